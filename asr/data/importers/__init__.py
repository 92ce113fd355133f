"""Utterance lists of other programs -> manifests.

Each format is one file here, with `read(task) -> drafts`; what all have in common (paths, durations, ids, what is
wrong) is done once, in finishing.py.  Nothing is skipped without being counted and named.
"""

import gc
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from asr.data.importers.problems import Problem
    from asr.data.importers.task import Draft, ImportOptions, Task
    from asr.data.recordings import Progress


@dataclass(frozen=True)
class Format:
    """A format that is read: what its source is, and which of the options are its own."""

    help: str
    options: tuple[str, ...] = ()


FORMATS = {
    "kaldi": Format("a data folder: wav.scp, text, segments, utt2spk, ...", ("allow_pipes",)),
    "nemo": Format("JSON Lines with audio_filepath, duration, text"),
    "table": Format("CSV or TSV with a line of column names, as spreadsheets save it", ("columns", "quotes")),
    "folder": Format("a folder of recordings, each with its text in a .txt or .lab file of the same name"),
    "textgrid": Format("Praat TextGrid files beside recordings of the same name", ("tier",)),
    "ctm": Format("word times, grouped into utterances at pauses", ("max_gap",)),
    "huggingface": Format("a data set on disk: saved, or Parquet files", ("columns", "split")),
    "lhotse": Format("cuts as .jsonl or .jsonl.gz"),
}


@dataclass(frozen=True)
class Imported:
    """What an import has written.

    Attributes:
        num_utterances, seconds, num_speakers: of the manifest.
        notes: what the user should know, one line each.
        skipped: what was left out, with `skip_faulty`; listed in `skipped_list`.
    """

    num_utterances: int
    seconds: float
    num_speakers: int
    notes: tuple[str, ...]
    skipped: "tuple[Problem, ...]"
    skipped_list: Path | None


def import_manifest(
    name: str,
    source: str | Path,
    out: str | Path,
    options: "ImportOptions | None" = None,
    progress: "Progress | None" = None,
) -> Imported:
    """Write the manifest `out` of what `source` lists, and say what has been written.

    Args:
        name: of the format, one of FORMATS.
        progress: is told of the audio files looked at.
    Raises: DataError naming everything that is wrong in the source, in one line; UsageError for an unknown format;
        MachineError if something cannot be written or a package is missing.  Then nothing has been written.
    """
    from asr.data.check_report import write_with_dropped
    from asr.data.importers.finishing import finish
    from asr.data.importers.task import ImportOptions, Task
    from asr.data.importers.written import WrittenAudio
    from asr.data.manifest import write_manifest

    if name not in FORMATS:
        raise UsageError(f"'{name}': no format that is read{did_you_mean(name, FORMATS)}")
    with _no_search_for_cycles(), WrittenAudio(Path(out)) as written:
        task = Task(Path(source), options or ImportOptions(), written, progress)
        utterances = finish(_reader(name)(task), task)
        if task.is_lost:
            raise DataError(f"{source}: {task.problems.message()}; or leave them out with --skip-faulty")
        if not utterances:
            wrong = task.problems.message() or "is this the right source?"
            raise DataError(f"{source}: no utterances that can be imported; {wrong}")
        written.place()
        skipped_list = None
        if len(task.problems):
            rows = [(problem.name, problem.kind.name, problem.detail or problem.kind.one) for problem in task.problems]
            skipped_list = write_with_dropped(out, utterances, rows)
        else:
            write_manifest(out, utterances)
    return Imported(
        len(utterances),
        sum(utterance.duration for utterance in utterances),
        len({utterance.speaker for utterance in utterances} - {None}),
        tuple(task.notes),
        tuple(task.problems),
        skipped_list,
    )


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Keep Python from looking for cycles among the rows: there are none, and it takes a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _reader(name: str) -> "Callable[[Task], list[Draft]]":
    reader: Callable[[Task], list[Draft]] = importlib.import_module(f"asr.data.importers.{name}").read
    return reader
