"""`asr score`: error rates of hypotheses, with alignments, slices, reports, an interval and a receipt."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from asr import receipts
from asr.cli import spelled
from asr.cli.outputs import refuse_folder, refuse_overwriting
from asr.cli.progress import progress_bar
from asr.errors import UsageError
from asr.scoring.bootstrap import Interval, bootstrap_interval
from asr.scoring.error_rate import Score, score
from asr.scoring.labels import WAYS, labels
from asr.scoring.listing import listing, slice_table
from asr.scoring.report import alignment_text, case_only_substitutions, interval_line, score_values, summary
from asr.scoring.slices import Slice, interval_over_slices, slices
from asr.scoring.spoken import known_speakers
from asr.scoring.texts import Text, pair_up, read_texts, recordings
from asr.store import write_json, write_text
from asr.text.normalize import Normalizer

HELP = "compare hypotheses with references: word and character error rates"

_SEED = 0  # of the bootstrap: the same files always give the same interval


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr score`."""
    parser.add_argument("references", metavar="REFERENCE.jsonl", help="manifest with the texts that were spoken")
    parser.add_argument("hypotheses", metavar="HYPOTHESES.jsonl", help="what `asr decode` wrote")
    parser.add_argument("--out", metavar="FILE.json", help="write the score here and its receipt beside it")
    spelled.add_arguments(parser)
    parser.add_argument(
        "--by",
        action="append",
        choices=WAYS,
        default=[],
        metavar="|".join(WAYS),
        help="print a table of slices too: of each speaker, by length in seconds, by words, by signal-to-noise ratio",
    )
    parser.add_argument("--report", metavar="FILE.txt", help="write summary, confusions and alignments as plain text")
    parser.add_argument("--html", metavar="FILE.html", help="write one page to read, search and listen to")
    parser.add_argument("--alignments", action="store_true", help="print the alignment of every utterance")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def run(args: argparse.Namespace) -> int:
    """Score, write and print.  Raises: InputError."""
    start = time.monotonic()
    _check_outputs(args, _inputs(args))
    spelling = spelled.normalizer_of(args)
    references, hypotheses = read_texts(args.references), read_texts(args.hypotheses)
    _check_outputs(args, recordings(references, args.references))
    result = score(pair_up(references, hypotheses), case=args.case, spelling=spelling)
    interval = bootstrap_interval([utterance.words for utterance in result.utterances], seed=_SEED)
    tables = _tables(args, result, references)
    if args.report is not None:
        write_text(args.report, listing(_title(args), result, interval, _shown_tables(tables, result, references)))
    if args.html is not None:
        _write_page(args, result, interval, tables, references, hypotheses)
    if args.out is not None:
        values = score_values(result, interval, utterances=False, tables=tables)
        write_json(args.out, score_values(result, interval, utterances=True, tables=tables))
        _write_receipt(args, spelling, references, values, result, time.monotonic() - start)
    _print(args, result, interval, tables)
    return 0


def _check_outputs(args: argparse.Namespace, inputs: Iterable[str | Path]) -> None:
    outputs = {"--out": args.out, "--report": args.report, "--html": args.html}
    given = {flag: path for flag, path in outputs.items() if path is not None}
    for flag, path in given.items():
        refuse_folder(path, flag=flag)
        refuse_overwriting(path, inputs, flag=flag)
    if len({os.path.realpath(path) for path in given.values()}) < len(given):
        raise UsageError(f"{', '.join(given)}: two of them name one file; give each a name of its own")


def _tables(args: argparse.Namespace, result: Score, references: Mapping[str, Text]) -> dict[str, list[Slice]]:
    """Return the slices that --by asks for, by the way of slicing."""
    tables = {}
    for way in dict.fromkeys(args.by):
        with progress_bar("listen", unit="utterances") as progress:
            label_of = labels(way, result, references, args.references, progress)
        tables[way] = slices(result, label_of, seed=_SEED)
    return tables


def _shown_tables(
    tables: Mapping[str, list[Slice]], result: Score, references: Mapping[str, Text]
) -> dict[str, list[Slice]]:
    """Return the tables of a report: those asked for, after that of the speakers where some are known."""
    known = known_speakers(references)
    if not known or "speaker" in tables:
        return dict(tables)
    label_of = {name: known.get(name, "unknown") for name in references}
    return {"speaker": slices(result, label_of, seed=_SEED), **tables}


def _title(args: argparse.Namespace) -> str:
    """Return what a report is of."""
    return f"{args.hypotheses} against {args.references}"


def _write_page(
    args: argparse.Namespace,
    result: Score,
    interval: Interval | None,
    tables: Mapping[str, list[Slice]],
    references: Mapping[str, Text],
    hypotheses: Mapping[str, Text],
) -> None:
    from asr.scoring.page import page
    from asr.scoring.sound import sounds

    worst_first = sorted(result.utterances, key=lambda item: -item.words.errors)
    with progress_bar("draw", unit="utterances") as progress:
        heard = sounds([item.id for item in worst_first], references, args.references, progress)
    for note in heard.notes:
        print(f"asr score: {note}", file=sys.stderr)
    shown = _shown_tables(tables, result, references)
    write_text(args.html, page(_title(args), result, interval, shown, references, hypotheses, heard))


def _inputs(args: argparse.Namespace) -> list[str]:
    """Return the files that the score depends on."""
    return [args.references, args.hypotheses, *([args.tokens] if args.tokens else [])]


def _print(
    args: argparse.Namespace, result: Score, interval: Interval | None, tables: Mapping[str, list[Slice]]
) -> None:
    if args.json:
        values = score_values(result, interval, utterances=args.alignments, tables=tables)
        print(json.dumps(values, ensure_ascii=False, allow_nan=False))
    else:
        if args.alignments:
            print("\n\n".join(alignment_text(utterance) for utterance in result.utterances), end="\n\n")
        print(summary(result, interval))
        for way, parts in tables.items():
            print(f"\n{slice_table(way, parts, result)}")
            over = interval_over_slices(parts, seed=_SEED) if way == "speaker" else None
            if over is not None:
                print(interval_line(over, f"{len(parts)} speakers"))
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
    values: Mapping[str, object],
    result: Score,
    wall_seconds: float,
) -> None:
    receipt = receipts.collect(
        args.command_line,
        config=spelled.settings(args, spelling),
        seed=_SEED,
        inputs=_inputs(args),
        result=values,
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
