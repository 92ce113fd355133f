"""What the tests of importers share: recordings, and imports without the command line."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.data.importers import Imported, import_manifest
from asr.data.importers.task import ImportOptions
from asr.data.manifest import Utterance, read_manifest


def record(path: Path, seconds: float = 1.0, *, channels: int = 1, rate: int = 8000, seed: int = 0) -> Path:
    """Write noise, of which every channel and seed is another, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (round(seconds * rate), channels) if channels > 1 else round(seconds * rate)
    samples = np.random.default_rng(seed).integers(-8000, 8000, shape).astype(np.int16)
    soundfile.write(path, samples, rate, format="NIST" if path.suffix == ".sph" else None)
    return path


def files(folder: Path, **contents: str) -> Path:
    """Write text files, their names with "__" in the place of the dot; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8", newline="")
    return folder


def imported(name: str, source: Path, **options: Any) -> tuple[list[Utterance], Imported]:
    """Import `source` to a manifest beside it; return its rows and what was said."""
    out = source.parent / "out.jsonl"
    said = import_manifest(name, source, out, ImportOptions(**options))
    return read_manifest(out), said


def rows(name: str, source: Path, **options: Any) -> list[Utterance]:
    """Import `source` and return the rows of the manifest."""
    return imported(name, source, **options)[0]


def left(folder: Path) -> set[str]:
    """Return the names in a folder, hidden ones too."""
    return {path.name for path in folder.iterdir()}
