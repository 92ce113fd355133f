"""`asr export`: a manifest -> the utterance list of another program."""

import argparse
import sys
from pathlib import Path

from asr.cli.outputs import refuse_overwriting
from asr.data.check_report import counted
from asr.data.exporters import FORMATS
from asr.errors import EXIT_DONE, UsageError, did_you_mean

HELP = "write a manifest as the utterance list of another program"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr export`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "formats:\n" + "\n".join(f"  {name:<7} {text}" for name, text in FORMATS.items())
    parser.add_argument("format", metavar="FORMAT", help="one of those below")
    parser.add_argument("manifest", metavar="MANIFEST", help="the utterances (*.jsonl)")
    parser.add_argument("--out", required=True, type=Path, metavar="PATH", help="the folder (kaldi) or file to write")


def run(args: argparse.Namespace) -> int:
    """Write the list, say what it holds, and return the exit code."""
    from asr.cli.progress import progress_bar
    from asr.data.exporters import export_manifest

    if args.format not in FORMATS:
        raise UsageError(f"'{args.format}': no format that is written{did_you_mean(args.format, FORMATS)}")
    refuse_overwriting(args.out, [args.manifest])
    with progress_bar("export", unit="files") as progress:
        exported = export_manifest(args.format, args.manifest, args.out, progress)
    for note in exported.notes:
        print(f"asr export: {note}", file=sys.stderr)
    print(f"wrote {args.out}: {counted(exported.num_utterances, 'utterance')}")
    return EXIT_DONE
