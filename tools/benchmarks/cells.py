"""Speed of the recurrent cells against torch's LSTM of the same size, on CPU, in one run and as ratios.

    tools/bench cells [--quick] [--cells NAME,NAME] [--threads N] [--out FILE]

Each cell of `asr.nn.cells`, four layers of it, against `nn.LSTM` of four layers: training steps (forwards and
backwards through time) in float32 and, where the CPU multiplies it, under autocast to bf16, one way and both ways;
inference of one sequence, whole, and in chunks of 8 frames as a stream reads them.  A figure is our time over torch's:
under 1 is faster.  They take turns, torch, cell, cell, torch, cell, cell, ..., and in the next round the other way
around; a cell's time is divided by the mean of torch's before and after it, and of the rounds the median counts.
Both ways, 1,000 frames are timed at the smallest shape alone: larger ones take minutes and say the same.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any

from _common import run, say, use_cores

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from _cells import Timed

    from asr.nn.cells import CellName

HEADER = (
    "cell",
    "training, float32",
    "training, bf16",
    "worst in training",
    "share of a product, float32 / bf16",
    "inference",
    "stream",
    "worst in inference and stream",
)


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench cells",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("--quick", action="store_true", help="the smallest shape of each kind alone: about a minute")
    found.add_argument("--cells", default="", metavar="NAME,NAME", help="default: all")
    found.add_argument("--threads", type=int, default=0, metavar="N", help="cores to use (default: all)")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    return found


def bench(args: argparse.Namespace) -> int:
    """Measure, print, and write the receipt; return the exit code."""
    cores = use_cores(args.threads)
    names = _names(args.cells)
    started = time.monotonic()
    import torch
    from _cells import shapes, timed

    from asr import receipts
    from asr.nn.steps import multiplies_bfloat16

    torch.set_num_threads(cores)
    torch.manual_seed(1)
    found = []
    for shape in shapes(quick=args.quick, bf16=multiplies_bfloat16()):
        found.append(timed(shape, names))
        said = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found[-1].ratios.items())
        say(f"{shape.kind}, {shape}: torch {found[-1].torch_seconds:.3g} s; {said}")
    result = {"cells": {name: summary(found, name) for name in names}, "shapes": list(map(_shape, found))}
    print(table(result["cells"]), end="", flush=True)
    if args.out:
        receipt = receipts.collect(
            ["tools/bench", "cells", *sys.argv[1:]],
            config=None,
            seed=1,
            inputs=[],
            result=result,
            wall_seconds=time.monotonic() - started,
        )
        receipts.write(args.out, receipt)
    return EXIT_DONE


def _names(typed: str) -> "Sequence[CellName]":
    """Return the cells that were asked for.  Raises: UsageError if there is no such cell."""
    from asr.nn.cells import CELL_NAMES

    names = [name for name in CELL_NAMES if not typed or name in typed.split(",")]
    for name in typed.split(",") if typed else ():
        if name not in CELL_NAMES:
            raise UsageError(f"--cells {typed}: '{name}' is no cell; there are {', '.join(CELL_NAMES)}")
    return names


def summary(found: "Iterable[Timed]", name: str) -> dict[str, Any]:
    """Return the figures of a cell: geometric means of its ratios, the worst of them, and its share of a product."""
    groups: dict[str, list[Timed]] = {}
    for item in found:
        shape = item.shape
        groups.setdefault(f"training {shape.precision}" if shape.kind == "training" else shape.kind, []).append(item)
    means = {key: round(geometric_mean(item.ratios[name] for item in items), 3) for key, items in groups.items()}
    shares = {
        f"share {items[0].shape.precision}": round(geometric_mean(item.flop_share[name] for item in items), 3)
        for key, items in groups.items()
        if key.startswith("training")
    }
    training = [item for key, items in groups.items() if key.startswith("training") for item in items]
    others = [item for key, items in groups.items() if not key.startswith("training") for item in items]
    return {
        **means,
        "training": round(geometric_mean(item.ratios[name] for item in training), 3),
        **shares,
        "worst in training": _worst(training, name),
        "worst elsewhere": _worst(others, name),
    }


def _worst(found: "Sequence[Timed]", name: str) -> list[Any]:
    worst = max(found, key=lambda item: item.ratios[name])
    kind = "" if worst.shape.kind == "training" else f"{worst.shape.kind}, "
    return [round(worst.ratios[name], 3), f"{kind}{worst.shape}"]


def _shape(item: "Timed") -> dict[str, Any]:
    return {
        "kind": item.shape.kind,
        "shape": str(item.shape),
        "rounds": item.shape.rounds,
        "torch_seconds": round(item.torch_seconds, 6),
        "product_gflop_per_second": round(item.product_rate / 1e9, 2),
        "ratios": {name: round(ratio, 4) for name, ratio in item.ratios.items()},
        "share_of_product": {name: round(share, 4) for name, share in item.flop_share.items()},
    }


def table(cells: dict[str, dict[str, Any]]) -> str:
    """Return the summaries of cells as Markdown."""
    lines: list[Sequence[str]] = [HEADER, ["---"] * len(HEADER)]
    for name, figures in cells.items():
        shares = [_number(figures.get(f"share {precision}")) for precision in ("float32", "bf16")]
        training = [_number(figures.get(f"training {precision}")) for precision in ("float32", "bf16")]
        inference = [_number(figures[kind]) for kind in ("inference", "stream")]
        worst = ["{:.2f} ({})".format(*figures[key]) for key in ("worst in training", "worst elsewhere")]
        lines.append([name, *training, worst[0], " / ".join(shares), *inference, worst[1]])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(run("tools/bench cells", parser(), bench))
