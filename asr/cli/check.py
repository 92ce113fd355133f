"""`asr check`: manifests and their audio -> one report of everything wrong, and a cleaned manifest."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr.cli.outputs import refuse_overwriting
from asr.errors import EXIT_DATA, EXIT_DONE, UsageError

if TYPE_CHECKING:
    from asr.data.check_report import Report
    from asr.text.tokenizer import Tokenizer

HELP = "report everything wrong in manifests and their audio, and write cleaned ones"


@dataclass(frozen=True)
class _Needs:
    """What the data must fit; None where it is not known."""

    tokenizer: "Tokenizer | None" = None
    encoder_frames: Callable[[int], int] | None = None
    sample_rate: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr check`."""
    parser.epilog = "Exit code: 3 if there are errors, or with --strict warnings, in the manifests as given; else 0."
    parser.add_argument(
        "manifests",
        nargs="+",
        metavar="MANIFEST|key.path=value",
        help="manifests (.jsonl); several, as train then test, show leaks; with --config, values that replace its own",
    )
    parser.add_argument("--model", metavar="NAME|FILE|RUN", help="check what this model needs of the data")
    parser.add_argument(
        "--tokens", metavar="tokens.json", help="find characters outside this alphabet (in place of the model's)"
    )
    parser.add_argument(
        "--config",
        metavar="conf.yaml",
        help="check against the sample rate of its model and, with --tokens, for utterances that CTC cannot spell",
    )
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument("--json", action="store_true", help="print the report as JSON (docs/formats.md)")
    parser.add_argument(
        "--fix",
        metavar="OUT.jsonl",
        help="write the manifest without its errors, and OUT.dropped.tsv: what was dropped and why",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that read audio (default 1)")


def run(args: argparse.Namespace) -> int:
    """Print the report, write the cleaned manifest if asked; return the exit code."""
    from asr.cli.progress import progress_bar
    from asr.config import split_overrides
    from asr.data.check import check_manifests

    args.manifests, overrides = split_overrides(args.manifests)
    _check_usage(args, overrides)
    needs = _needs(args, overrides)
    with progress_bar("check", unit="files") as progress:
        report = check_manifests(
            {path: path for path in args.manifests},
            tokenizer=needs.tokenizer,
            encoder_frames=needs.encoder_frames,
            sample_rate=needs.sample_rate,
            jobs=args.jobs,
            progress=progress,
        )
    if args.json:
        print(json.dumps(report.json(), indent=2, ensure_ascii=False))
    else:
        print(report.text(), end="")
    if args.fix:
        _fix(report, args.manifests[0], args.fix)
    return EXIT_DATA if report.errors or (args.strict and report.warnings) else EXIT_DONE


def _check_usage(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    manifests: Sequence[str] = args.manifests
    if not manifests:
        raise UsageError("no manifest given; name at least one (.jsonl)")
    if overrides and not args.config:
        raise UsageError(f"{overrides[0]}: replaces a value of a configuration; name that with --config")
    twice = next((path for path in manifests if manifests.count(path) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice}: given twice; name each manifest once")
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: must be at least 1")
    if args.model and args.config:
        raise UsageError("--model holds its own configuration; leave --config out")
    if args.fix and len(manifests) > 1:
        raise UsageError(f"--fix cleans one manifest, {len(manifests)} are given; run it once for each")
    if args.fix and os.path.isdir(args.fix):
        raise UsageError(f"--fix {args.fix}: a folder; give the name of the file, for example {args.fix}/clean.jsonl")
    if args.fix:
        refuse_overwriting(args.fix, manifests, flag="--fix")


def _needs(args: argparse.Namespace, overrides: Sequence[str]) -> _Needs:
    """Return what the model, tokens or configuration named by the arguments need of the data."""
    from asr.config import load_config
    from asr.text.tokenizer import Tokenizer
    from asr.training.config import ExperimentConfig

    tokenizer = Tokenizer.load(args.tokens) if args.tokens else None
    if args.model:
        return _model_needs(args.model, tokenizer)
    if not args.config:
        return _Needs(tokenizer)
    geometry = load_config(ExperimentConfig, args.config, overrides).model.geometry()
    return _Needs(tokenizer, geometry.encoder_frames if tokenizer else None, geometry.sample_rate)


def _model_needs(name: str, tokenizer: "Tokenizer | None") -> _Needs:
    from asr.model import AcousticModel
    from asr.recognizer import resolve_model

    model = AcousticModel.load(resolve_model(name))
    return _Needs(tokenizer or model.tokenizer, model.geometry.encoder_frames, model.sample_rate)


def _fix(report: "Report", manifest: str, out: str) -> None:
    from asr.data.check_report import write_cleaned

    dropped = write_cleaned(report, manifest, out)
    kept, lost = len(report.kept[manifest]), len({row.line for row in report.dropped[manifest]})
    # Programs that read --json get JSON alone on standard output.
    print(f"wrote {out}: {kept} utterances; {dropped}: {lost} dropped", file=sys.stderr)
