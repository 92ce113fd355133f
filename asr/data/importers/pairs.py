"""Recordings and what belongs to them, found by name below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from asr.errors import DataError

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph"})


def files_by_stem(folder: str | Path, suffixes: frozenset[str]) -> dict[str, list[str]]:
    """Return stem -> files with one of the suffixes (of any case), as paths below `folder`; all sorted.

    The stem is the path below `folder` without its suffix.  Raises: DataError if `folder` cannot be read.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(_walk(folder)):
        stem, suffix = os.path.splitext(path)
        if suffix.lower() in suffixes:
            found.setdefault(stem, []).append(path)
    return found


def _walk(folder: str | Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot read the folder: {error.strerror}; check the path") from None

    seen = set()  # links to folders are followed, and may lead in circles
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders.sort()
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        inside = os.path.relpath(root, folder)
        for name in names:
            yield name if inside == os.curdir else os.path.join(inside, name)
