"""Training speed of the AN4 recipe, in one run and as ratios.

    tools/bench train --corpus DIR [--steps N] [--threads N] [--out FILE] [key.path=value ...]

For each precision: the recipe's steps through the real path (asr.training.fit with Lightning, loader, features
and logs) against the same steps written bare; the share of its time spent waiting for data; and the arithmetic
of a step per second against a plain product of two 4096 x 4096 matrices.  All three take turns on the same
cores.  The arithmetic of bf16 is compared with the float32 product, as the figure asks, and with the bf16 one.
Not measured: the first epoch's order by length (it is switched off) and validation.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _common import ROOT, prepare_an4, run, say, table, use_cores

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, UsageError


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("overrides", nargs="*", metavar="key.path=value", help="over the values of conf/an4.yaml")
    found.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="AN4")
    found.add_argument(
        "--steps", type=int, default=96, metavar="N", help="steps timed for each precision (default: 96)"
    )
    found.add_argument("--block", type=int, default=12, metavar="N", help="steps between turns (default: 12)")
    found.add_argument("--threads", type=int, default=0, metavar="N", help="cores to use (default: all)")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    found.add_argument(
        "--accept", choices=("published", "any"), default="published", help="any: even a corpus not as published"
    )
    return found


def bench(args: argparse.Namespace) -> int:
    """Measure, print, and write the receipt; return the exit code."""
    if args.steps < 1 or args.block < 1:
        raise UsageError(f"--steps {args.steps} --block {args.block}: both must be at least 1")
    cores = use_cores(args.threads)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as folder:
        from asr import receipts

        manifests = prepare_an4(args.corpus, Path(folder), accept=args.accept == "published")
        request = recipe_request(manifests["train"], [*args.overrides, f"train.threads={cores}"])
        result = {name: _measured(request, name, args) for name in _precisions()}
        receipt = receipts.collect(
            ["tools/bench", "train", *sys.argv[1:]],
            config=request.experiment,
            seed=request.seed,
            inputs=[],
            result=result,
            utterances=len(request.train),
            audio_seconds=sum(utterance.duration for utterance in request.train),
            wall_seconds=time.monotonic() - started,
        )
    if args.out:
        receipts.write(args.out, receipt)
    return EXIT_DONE


def _precisions() -> list[str]:
    """Return what is worth measuring: a training takes no bf16 where the CPU is slow at it."""
    from asr.nn.steps import multiplies_bfloat16

    if multiplies_bfloat16():
        return ["float32", "bf16"]
    say("this CPU has no fast bf16 products, so trainings take float32; bf16 is left out")
    return ["float32"]


def recipe_request(manifest: Path, overrides: list[str], *, device: str = "cpu") -> Any:
    """Return the training of conf/an4.yaml on a manifest, batches of all lengths from the first step on."""
    from asr.config import load_config
    from asr.data.manifest import read_manifest
    from asr.text.normalize import Normalizer
    from asr.text.tokenizer import train_char
    from asr.training.config import ExperimentConfig
    from asr.training.request import Request

    wanted = [*overrides, "train.loader.shortest_first=false"]
    experiment = load_config(ExperimentConfig, ROOT / "conf" / "an4.yaml", wanted)
    train = read_manifest(manifest)
    tokenizer = train_char((utterance.text or "" for utterance in train), Normalizer(experiment.text))
    return Request(experiment, tokenizer, train, [], Path(), seed=1, device=device)


def with_precision(request: Any, precision: str) -> Any:
    """Return the same training in another precision."""
    from dataclasses import replace

    train = request.experiment.train.model_copy(update={"precision": precision})
    return replace(request, experiment=request.experiment.model_copy(update={"train": train}))


def _measured(request: Any, precision: str, args: argparse.Namespace) -> dict[str, Any]:
    from _steps import measure

    result = measure(with_precision(request, precision), steps=args.steps, block=args.block, say=say)
    print(table(f"{precision}: median (least to greatest) of the rounds", result), flush=True)
    return result


if __name__ == "__main__":
    sys.exit(run("tools/bench train", parser(), bench))
