"""`asr compare`: two sets of hypotheses for the same references, with paired tests and a receipt."""

import argparse
import json
import time
from collections.abc import Mapping

from asr import receipts
from asr.cli import spelled
from asr.cli.outputs import refuse_folder, refuse_overwriting
from asr.errors import DataError, UsageError
from asr.scoring.comparison import Comparison, compare, comparison_text, comparison_values, contrast_values
from asr.scoring.error_rate import Score, score
from asr.scoring.texts import Text, pair_up, read_texts
from asr.store import write_json
from asr.text.normalize import Case, Normalizer

HELP = "say whether one set of hypotheses is better than another, or only luckier"

_SEED = 0  # of the bootstrap: the same files always give the same p-value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr compare`."""
    parser.add_argument("references", metavar="REFERENCE.jsonl", help="manifest with the texts that were spoken")
    parser.add_argument("a", metavar="A.hyp.jsonl", help="what one system recognised")
    parser.add_argument("b", metavar="B.hyp.jsonl", help="what the other system recognised, of the same manifest")
    parser.add_argument("--out", metavar="FILE.json", help="write the comparison here and its receipt beside it")
    spelled.add_arguments(parser)
    parser.add_argument(
        "--show", type=int, default=10, metavar="N", help="utterances to print, largest difference first (10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def run(args: argparse.Namespace) -> int:
    """Compare, write and print.  Raises: InputError."""
    start = time.monotonic()
    if args.show < 0:
        raise UsageError(f"--show {args.show}: must be 0 or more")
    if args.out is not None:
        refuse_folder(args.out)
        refuse_overwriting(args.out, _inputs(args))
    spelling = spelled.normalizer_of(args)
    references = read_texts(args.references)
    a, b = (_scored(references, path, args.case, spelling) for path in (args.a, args.b))
    result = compare(a, b, seed=_SEED)
    if args.out is not None:
        write_json(args.out, comparison_values(result) | {"utterances": contrast_values(result)})
        _write_receipt(args, spelling, result, time.monotonic() - start)
    if args.json:
        print(json.dumps(comparison_values(result), ensure_ascii=False, allow_nan=False))
    else:
        print(comparison_text(result, args.a, args.b, shown=args.show))
    return 0


def _scored(references: Mapping[str, Text], path: str, case: Case, spelling: Normalizer | None) -> Score:
    """Return the score of the hypotheses in `path`.  Raises: DataError, which names the file: there are two of them."""
    hypotheses = read_texts(path)
    try:
        return score(pair_up(references, hypotheses), case=case, spelling=spelling)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _inputs(args: argparse.Namespace) -> list[str]:
    """Return the files that the comparison depends on."""
    return [args.references, args.a, args.b, *([args.tokens] if args.tokens else [])]


def _write_receipt(
    args: argparse.Namespace, spelling: Normalizer | None, result: Comparison, wall_seconds: float
) -> None:
    receipt = receipts.collect(
        args.command_line,
        config=spelled.settings(args, spelling),
        seed=_SEED,
        inputs=_inputs(args),
        result=comparison_values(result),
        utterances=len(result.a.utterances),
        words=result.a.words.reference,
        wall_seconds=wall_seconds,
    )
    receipts.write(receipts.receipt_path(args.out), receipt)
