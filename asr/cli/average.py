"""`asr average`: kept checkpoints of a run → one model file."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.outputs import refuse_overwriting
from asr.errors import EXIT_DONE, DataError, UsageError

if TYPE_CHECKING:
    from asr.model import AcousticModel
    from asr.store import Storage

HELP = "average checkpoints into one model file"
OLD_SHARE = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asr average`."""
    parser.add_argument("run", type=Path, metavar="RUN|FILE", help="run folder, or one model file to store anew")
    parser.add_argument("--out", required=True, type=Path, metavar="MODEL.safetensors", help="the model file")
    parser.add_argument("--number", type=int, default=0, metavar="N", help="average the last N kept checkpoints only")
    parser.add_argument(
        "--storage", choices=("float32", "float16", "int8"), default="float32", help="how matrices are stored"
    )
    parser.add_argument(
        "--domain",
        type=Path,
        metavar="MANIFEST",
        help="held-out utterances: unlike ones will be flagged when transcribing",
    )
    parser.add_argument(
        "--old", metavar="NAME|FILE|RUN", help="the model that a fine-tuning started from: what it knew is kept better"
    )
    parser.add_argument(
        "--old-share", type=float, metavar="X", help="how far to go back to its weights, 0 to 1 (with --old: 0.3)"
    )


def run(args: argparse.Namespace) -> int:
    """Average the kept checkpoints (the last state if none was kept), blend in the old model, and write the model."""
    from asr.model import AcousticModel
    from asr.recognizer import resolve_model
    from asr.training.averaging import average_models, blend_old

    if args.number < 0:
        raise UsageError(f"--number {args.number}: give how many of the last checkpoints to average, or 0 for all")
    if args.old_share is not None and not (args.old and 0 <= args.old_share <= 1):
        raise UsageError(f"--old-share {args.old_share:g}: give a number from 0 to 1, and the model with --old")
    paths = checkpoints(args.run)[-args.number :]  # -0 cuts nothing off
    old = resolve_model(args.old) if args.old else None
    refuse_overwriting(args.out, [*paths, *filter(None, (args.domain, old))])
    model = average_models(paths)
    described = f"mean of {len(paths)} checkpoints"
    if old:
        share = OLD_SHARE if args.old_share is None else args.old_share
        blend_old(model, AcousticModel.load(old), share)
        described += f", {100 * share:g} % of the way back to {args.old}"
    storage: Storage = args.storage
    domain = _domain(model, args.domain) if args.domain else model.notes.domain
    calibration = None if old else model.notes.calibration  # it was fitted on other weights
    model.save(args.out, notes=model.with_notes(storage=storage, domain=domain, calibration=calibration))
    size = args.out.stat().st_size / 1e6
    print(f"{args.out}: {described}, {size:.1f} MB as {storage}", file=sys.stderr)
    return EXIT_DONE


def _domain(model: "AcousticModel", manifest: Path) -> dict[str, float]:
    from asr.data.manifest import read_manifest
    from asr.tuning.domain import fit_domain

    utterances = read_manifest(manifest)
    return fit_domain(model, [item.source for item in utterances])


def checkpoints(run_or_file: Path) -> list[Path]:
    """Return the model files to average, oldest first.  Raises: DataError if there are none."""
    from asr.training.checkpoint import kept_checkpoints

    if run_or_file.is_file():
        return [run_or_file]
    folder = run_or_file / "checkpoints"
    kept = list(kept_checkpoints(folder).values())
    last = folder / "last.safetensors"
    if kept:
        return kept
    if last.is_file():
        return [last]
    raise DataError(f"{folder}: no checkpoints here; train first, or give a run folder or a model file")
