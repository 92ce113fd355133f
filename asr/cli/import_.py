"""`asr import`: the utterance list of another program -> a manifest."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.outputs import refuse_overwriting
from asr.data.importers import FORMATS
from asr.errors import EXIT_DONE, UsageError, did_you_mean

if TYPE_CHECKING:
    from asr.data.importers.task import ImportOptions

HELP = "make a manifest of recordings and texts in another format"

# Options that some formats have: as an argument of the command, and what it is without it.
_OWN_OPTIONS = {
    "allow_pipes": ("--allow-pipes", False),
    "columns": ("--column", []),
    "quotes": ("--no-quotes", True),
    "tier": ("--tier", None),
    "max_gap": ("--max-gap", None),
    "split": ("--split", None),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr import`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = [f"  {name:<11} {known.help}" for name, known in FORMATS.items()]
    parser.epilog = "formats:\n" + "\n".join(lines)
    parser.add_argument("format", metavar="FORMAT", help="one of those below")
    parser.add_argument("source", metavar="SOURCE", type=Path, help="the folder or file to read")
    parser.add_argument("--out", required=True, type=Path, metavar="MANIFEST.jsonl", help="the manifest to write")
    parser.add_argument(
        "--audio-root", type=Path, metavar="DIR", help="where relative paths start (default: the folder of SOURCE)"
    )
    parser.add_argument("--language", metavar="TAG", help="of utterances for which SOURCE names none, such as en")
    parser.add_argument("--speaker", metavar="NAME", help="of utterances for which SOURCE names none")
    parser.add_argument(
        "--skip-faulty",
        action="store_true",
        help="leave out what is wrong, and list it in MANIFEST.dropped.tsv, instead of refusing all",
    )
    _add_own_arguments(parser)


def _add_own_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow-pipes",
        action="store_true",
        help="kaldi: run the programs that wav.scp names, without a shell; for folders that you trust",
    )
    parser.add_argument(
        "--column",
        dest="columns",
        action="append",
        default=[],
        metavar="KEY=NAME",
        help="table, huggingface: the column that holds the id, audio, text, ...; may be repeated",
    )
    parser.add_argument(
        "--no-quotes", dest="quotes", action="store_false", help="table: quotes are characters like others"
    )
    parser.add_argument("--tier", metavar="NAME", help="textgrid: the tier that holds the utterances")
    parser.add_argument(
        "--max-gap", type=float, metavar="SECONDS", help="ctm: a longer pause starts a new utterance (default 0.5)"
    )
    parser.add_argument("--split", metavar="NAME", help="huggingface: the part to import, such as train")


def run(args: argparse.Namespace) -> int:
    """Write the manifest, say what it holds, and return the exit code."""
    from asr.cli.progress import progress_bar
    from asr.data.check_report import counted
    from asr.data.importers import import_manifest

    options = _options(args)
    if args.out.is_dir():
        raise UsageError(f"--out {args.out}: a folder; give the name of the file, for example {args.out}/train.jsonl")
    refuse_overwriting(args.out, [args.source])
    with progress_bar("import", unit="files") as progress:
        imported = import_manifest(args.format, args.source, args.out, options, progress)
    for note in imported.notes:
        print(f"asr import: {note}", file=sys.stderr)
    if imported.skipped_list is not None:
        skipped = counted(len(imported.skipped), "problem")
        print(f"asr import: {skipped} left out, listed in {imported.skipped_list}", file=sys.stderr)
    speakers = counted(imported.num_speakers, "speaker") if imported.num_speakers else "speakers not given"
    utterances = counted(imported.num_utterances, "utterance")
    print(f"wrote {args.out}: {utterances}, {imported.seconds / 3600:.2f} hours, {speakers}")
    return EXIT_DONE


def _options(args: argparse.Namespace) -> "ImportOptions":
    from asr.data.importers.task import ImportOptions

    if args.format not in FORMATS:
        raise UsageError(f"'{args.format}': no format that is read{did_you_mean(args.format, FORMATS)}")
    for name, (flag, default) in _OWN_OPTIONS.items():
        if getattr(args, name) != default and name not in FORMATS[args.format].options:
            owners = " and ".join(name_ for name_, known in FORMATS.items() if name in known.options)
            raise UsageError(f"{flag}: an option of {owners}, not of {args.format}; leave it out")
    if args.max_gap is not None and not 0 <= args.max_gap < float("inf"):
        raise UsageError(f"--max-gap {args.max_gap:g}: must be 0 seconds or more")
    return ImportOptions(
        audio_root=args.audio_root,
        language=args.language,
        speaker=args.speaker,
        skip_faulty=args.skip_faulty,
        allow_pipes=args.allow_pipes,
        columns=_columns(args.columns),
        quotes=args.quotes,
        tier=args.tier,
        **({} if args.max_gap is None else {"max_gap": args.max_gap}),
        split=args.split,
    )


def _columns(words: Sequence[str]) -> dict[str, str]:
    """Return key -> column's name of `KEY=NAME` words."""
    columns = {}
    for word in words:
        key, equals, name = word.partition("=")
        if not equals or not key or not name:
            raise UsageError(f"--column {word}: expected KEY=NAME, for example text=Transcript")
        columns[key] = name
    return columns
