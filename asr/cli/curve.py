"""`asr curve`: how much data do I need?  Two learning curves, drawn, and what the next ten minutes would bring."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cli.starting import finetuning
from asr.errors import EXIT_DONE

if TYPE_CHECKING:
    from asr.training.curve import CurvePoint, Forecast, Question

HELP = "train on growing parts of the data, and say what more of it would bring"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asr curve`."""
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="of a fine-tuning on all the data")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values that replace those in the file")
    parser.add_argument(
        "--from", dest="start", required=True, metavar="NAME|FILE|RUN", help="the model that one curve starts from"
    )
    parser.add_argument("--train", required=True, type=Path, metavar="MANIFEST", help="the data, 2 minutes or more")
    parser.add_argument(
        "--test", required=True, type=Path, metavar="MANIFEST", help="held-out utterances to measure on"
    )
    parser.add_argument("--tokens", type=Path, metavar="tokens.json", help="made by asr tokens (default: the model's)")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for curve.png and curve.json")
    parser.add_argument("--seed", type=int, default=1, help="of all randomness (default: 1)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to train (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Train, draw and tell; a call that was interrupted goes on where it stopped."""
    from asr.cli.notes import log_on_stderr
    from asr.cli.progress import progress_bar
    from asr.plots.picture import require_matplotlib
    from asr.training.curve import forecast, learning_curve

    require_matplotlib()  # before an hour of training, not after it
    question = _question(args)
    with log_on_stderr("asr curve"), progress_bar("curve", unit="epochs") as progress:
        points = learning_curve(question, say=_say, progress=progress)
    foreseen = {start: forecast(points, start) for start in ("model", "scratch")}
    _write(args, points, foreseen)
    _print(points, foreseen)
    return EXIT_DONE


def _question(args: argparse.Namespace) -> "Question":
    from asr.data.manifest import read_manifest
    from asr.training.curve import Question

    experiment, tokenizer, start = finetuning(args)
    return Question(
        experiment=experiment,
        tokenizer=tokenizer,
        start=start,
        train=read_manifest(args.train),
        test=read_manifest(args.test),
        out=args.out,
        seed=args.seed,
        device=args.device,
    )


def _write(args: argparse.Namespace, points: "list[CurvePoint]", foreseen: "dict[Any, Forecast]") -> None:
    from asr.plots.curve import CurveLine, draw_curve
    from asr.store import write_json

    lines = {}
    for start, name in (("model", f"from {args.start}"), ("scratch", "from scratch")):
        later = foreseen[start]
        line = [(point.minutes, point.rate, point.low, point.high) for point in points if point.start == start]
        lines[name] = CurveLine(line, (later.minutes, later.rate, later.low, later.high))
    draw_curve(lines, args.out / "curve.png", title=f"{args.test.name}, 95 % intervals; dotted: 10 minutes more")
    rows = [{key: value for key, value in asdict(point).items() if key not in ("errors", "words")} for point in points]
    told = {start: asdict(later) for start, later in foreseen.items()}
    write_json(args.out / "curve.json", {"seed": args.seed, "points": rows, "forecast": told})


def _print(points: "list[CurvePoint]", foreseen: "dict[Any, Forecast]") -> None:
    print("minutes  utterances  WER from the model      WER from scratch")
    for minutes in sorted({point.minutes for point in points}):
        model, scratch = (
            next(point for point in points if point.minutes == minutes and point.start == start)
            for start in ("model", "scratch")
        )
        print(f"{minutes:7.4g}  {model.utterances:10d}  {_rate(model):<22}  {_rate(scratch)}")
    later, now = foreseen["model"], [point for point in points if point.start == "model"][-1]
    print(
        f"ten more minutes ({later.minutes:.4g} in all) would bring the model from {now.rate:.2f} % to about"
        f" {_rate(later)}"
    )


def _rate(found: "CurvePoint | Forecast") -> str:
    return f"{found.rate:.2f} % [{found.low:.2f}, {found.high:.2f}]"


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
