"""What the benchmarks share: the command line's manners, the corpus, receipts and tables."""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.cli.main import Parser, guarded
from asr.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def run(name: str, parser: Parser, work: Callable[[argparse.Namespace], int]) -> int:
    """Return the exit code of `work` on the arguments typed, its errors printed as one line."""
    return guarded(name, lambda: work(parser.parse_intermixed_args()))


def use_cores(count: int) -> int:
    """Keep this process and its children on `count` cores (0: all that it has); return how many these are.

    To be called before torch is imported: threads keep the cores that they start with.
    Raises: UsageError if there are fewer.
    """
    if not hasattr(os, "sched_setaffinity"):  # not Linux: nothing can be kept
        return count or os.cpu_count() or 1
    cores = sorted(os.sched_getaffinity(0))
    if not 0 <= count <= len(cores):
        raise UsageError(f"--threads {count}: this process has {len(cores)} cores; give 1 to {len(cores)}")
    chosen = cores[: count or len(cores)]
    os.sched_setaffinity(0, chosen)
    return len(chosen)


def prepare_an4(corpus: Path, folder: Path, *, accept: bool) -> dict[str, Path]:
    """Return the manifests train, train_all, valid and test of AN4, written to `folder` by its recipe.

    Raises: DataError if it is not AN4, or with `accept` not the AN4 that was published.
    """
    specification = importlib.util.spec_from_file_location("an4_prepare", ROOT / "recipes" / "an4" / "prepare.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    module.prepare(corpus, folder, accept=accept)
    return {part: folder / f"{part}.jsonl" for part in ("train", "train_all", "valid", "test")}


def say(message: str) -> None:
    """Print a line about what is going on to standard error."""
    print(message, file=sys.stderr, flush=True)


def table(title: str, rows: Mapping[str, Any]) -> str:
    """Return names and values as aligned lines; [a, b, c] is shown as b, from a to c."""
    width = max(map(len, rows))
    return "\n".join([title, *(f"  {name:<{width}}  {_shown(value)}" for name, value in rows.items())])


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3:
        return f"{_shown(value[1])}  ({_shown(value[0])} to {_shown(value[2])})"
    return f"{value:,.5g}" if isinstance(value, float) else str(value)
