"""The modules of tools/benchmarks, which are scripts and no package, and a miniature AN4 for them."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from tests.recipes.miniature import make_an4

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    "model.features.num_bins=16",
    "model.encoder.subsampling_width=16",
    "model.encoder.layers=1",
    "model.encoder.intermediate=0",
    "model.encoder.hidden=16",
    "train.loader.batch_seconds=3",
    "train.loader.max_seconds=3",
    "train.loader.workers=0",
    "train.threads=1",
)


def benchmark(name: str) -> ModuleType:
    """Return a module of tools/benchmarks, imported as its neighbours import it."""
    folder = str(ROOT / "tools" / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def prepared_an4(folder: Path) -> dict[str, Path]:
    """Return the manifests of a miniature AN4: 12 utterances to train on, 16 held out, 2 to test on."""
    manifests: dict[str, Path] = benchmark("_common").prepare_an4(
        make_an4(folder / "corpus", num_speakers=14), folder / "data", accept=False
    )
    return manifests
