"""`asr score`: error rates of hypotheses, with alignments, an interval and a receipt."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping

from asr import receipts
from asr.cli.outputs import refuse_overwriting
from asr.scoring.bootstrap import Interval, bootstrap_interval
from asr.scoring.error_rate import Score, score
from asr.scoring.report import alignment_text, case_only_substitutions, score_values, summary
from asr.scoring.texts import Text, pair_up, read_texts
from asr.store import write_json
from asr.text.normalize import Normalizer
from asr.text.tokenizer import Tokenizer

HELP = "compare hypotheses with references: word and character error rates"

_SEED = 0  # of the bootstrap: the same files always give the same interval


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr score`."""
    parser.add_argument("references", metavar="REFERENCE.jsonl", help="manifest with the texts that were spoken")
    parser.add_argument("hypotheses", metavar="HYPOTHESES.jsonl", help="what `asr decode` wrote")
    parser.add_argument("--out", metavar="FILE.json", help="write the score here and its receipt beside it")
    parser.add_argument(
        "--case", choices=("keep", "lower"), default="keep", help="lower: upper and lower case are equal"
    )
    parser.add_argument(
        "--tokens", metavar="tokens.json", help="spell both as these tokens' texts (their text.map, .remove and .case)"
    )
    parser.add_argument("--alignments", action="store_true", help="print the alignment of every utterance")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def run(args: argparse.Namespace) -> int:
    """Score, write and print.  Raises: InputError."""
    start = time.monotonic()
    if args.out is not None:
        refuse_overwriting(args.out, _inputs(args))
    spelling = Tokenizer.load(args.tokens).normalizer if args.tokens else None
    references = read_texts(args.references)
    result = score(pair_up(references, read_texts(args.hypotheses)), case=args.case, spelling=spelling)
    interval = bootstrap_interval([utterance.words for utterance in result.utterances], seed=_SEED)
    if args.out is not None:
        write_json(args.out, score_values(result, interval, utterances=True))
        _write_receipt(args, spelling, references, result, interval, time.monotonic() - start)
    _print(args, result, interval)
    return 0


def _inputs(args: argparse.Namespace) -> list[str]:
    """Return the files that the score depends on."""
    return [args.references, args.hypotheses, *([args.tokens] if args.tokens else [])]


def _print(args: argparse.Namespace, result: Score, interval: Interval | None) -> None:
    if args.json:
        values = score_values(result, interval, utterances=args.alignments)
        print(json.dumps(values, ensure_ascii=False, allow_nan=False))
    else:
        if args.alignments:
            print("\n\n".join(alignment_text(utterance) for utterance in result.utterances), end="\n\n")
        print(summary(result, interval))
    by_case = case_only_substitutions(result)
    if by_case:
        cure = "--case lower counts them as right"
        print(
            f"asr score: substituted words that differ in upper and lower case only: {by_case}; {cure}", file=sys.stderr
        )


def _write_receipt(
    args: argparse.Namespace,
    spelling: Normalizer | None,
    references: Mapping[str, Text],
    result: Score,
    interval: Interval | None,
    wall_seconds: float,
) -> None:
    receipt = receipts.collect(
        args.command_line,
        config={"case": args.case} | ({"text": spelling.config.model_dump(mode="json")} if spelling else {}),
        seed=_SEED,
        inputs=_inputs(args),
        result=score_values(result, interval, utterances=False),
        utterances=len(result.utterances),
        words=result.words.reference,
        audio_seconds=_total_seconds(references.values()),
        wall_seconds=wall_seconds,
    )
    receipts.write(receipts.receipt_path(args.out), receipt)


def _total_seconds(texts: Iterable[Text]) -> float | None:
    """Return the summed durations, None unless every utterance has one."""
    durations = [text.duration for text in texts]
    known = [duration for duration in durations if duration is not None]
    return sum(known) if len(known) == len(durations) else None
