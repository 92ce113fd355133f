"""Manifests -> utterance lists of other programs."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from asr.data.manifest import Utterance
    from asr.data.recordings import Progress


FORMATS = {
    "kaldi": "a data folder: wav.scp, text, utt2spk, spk2utt, and segments where utterances are parts of files",
    "nemo": "JSON Lines with audio_filepath, duration, text",
}


@dataclass(frozen=True)
class Exported:
    """What an export has written: how many utterances, and what the user should know, one line each."""

    num_utterances: int
    notes: tuple[str, ...]


def export_manifest(name: str, manifest: str | Path, out: str | Path, progress: "Progress | None" = None) -> Exported:
    """Write the utterances of a manifest to `out` in another format, and say what has been written.

    Args: name: of the format, one of FORMATS.
    Raises: DataError if the manifest, its audio or what the format cannot hold is at fault; UsageError for an unknown
        format or a place that is taken; MachineError if it cannot be written.  Then nothing has been written.
    """
    from asr.data.manifest import read_manifest

    if name not in FORMATS:
        raise UsageError(f"'{name}': no format that is written{did_you_mean(name, FORMATS)}")
    utterances = read_manifest(manifest)
    if not utterances:
        raise DataError(f"{manifest}: no utterances to export; give a manifest that has some")
    return Exported(len(utterances), tuple(_writer(name)(utterances, Path(out), progress)))


def _writer(name: str) -> "Callable[[list[Utterance], Path, Progress | None], list[str]]":
    writer: Callable[[list[Utterance], Path, Progress | None], list[str]]
    writer = importlib.import_module(f"asr.data.exporters.{name}").write
    return writer
