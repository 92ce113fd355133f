"""lhotse cuts (.jsonl, .jsonl.gz): each supervision of a cut is an utterance, a cut without any one without a text.

    {"id": "c1", "type": "MonoCut", "start": 0, "duration": 4.0, "channel": 0,
     "recording": {"sources": [{"type": "file", "channels": [0], "source": "a.wav"}], ...},
     "supervisions": [{"id": "s1", "start": 0.5, "duration": 1.0, "channel": 0, "text": "good morning", ...}]}

The rows are plain JSON, so lhotse itself is not needed, and its recordings that are commands are never run.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from asr.data.importers.problems import BAD_ROW, Kind
from asr.data.importers.reading import json_lines, parse_row
from asr.data.importers.task import Draft, Task
from asr.errors import shown
from asr.units import Seconds, is_number

NO_FILE = Kind(
    "no-file",
    "cut that is no stretch of an audio file",
    "cuts that are no stretches of audio files",
    "in lhotse, write them to files with cuts.save_audios(FOLDER).drop_features()",
)
_CUTS = ("MonoCut", "MultiCut")


class _NoFileError(ValueError):
    """The audio of a cut is made, not read."""


def read(task: Task) -> list[Draft]:
    """Return the utterances of all cuts; cuts that are wrong or have no file of their own go to the task."""
    drafts: list[Draft] = []
    for line, raw in json_lines(task.source):
        name = f"line {line}"
        try:
            cut = parse_row(raw)
            name = _string(cut, "id") or name
            drafts += list(_drafts(cut, name, line, task))
        except _NoFileError as error:
            task.problems.add(NO_FILE, name, str(error))
        except ValueError as error:
            task.problems.add(BAD_ROW, name, f"line {line}: {error}")
    return drafts


def _drafts(cut: Mapping[str, Any], name: str, line: int, task: Task) -> Iterator[Draft]:
    """Yield the utterances of one cut.  Raises: ValueError saying what is wrong; _NoFileError."""
    kind = cut.get("type")
    if kind not in _CUTS:
        raise _NoFileError(f"a {shown(kind)}" if kind else "no type")
    recording = cut.get("recording")
    if not isinstance(recording, dict):
        raise _NoFileError("no recording")
    if recording.get("transforms"):
        raise _NoFileError("its recording is transformed")
    start = _time(cut, "start")
    supervisions = cut.get("supervisions") or []
    if not isinstance(supervisions, list) or not all(isinstance(one, dict) for one in supervisions):
        raise ValueError("'supervisions' must be a list of objects")
    for one in supervisions or [{**cut, "start": 0, "id": name}]:
        audio, channel = _source(recording, one.get("channel", cut.get("channel")))
        yield Draft(
            _string(one, "id") or name,
            task.resolve(audio),
            max(0.0, round(start + _time(one, "start"), 9)),
            _time(one, "duration"),
            _string(one, "text"),
            _string(one, "speaker"),
            channel,
            _string(one, "language"),
            line=line,
        )


def _source(recording: Mapping[str, Any], wanted: Any) -> tuple[str, int | None]:
    """Return (file, its channel from 0; None: all of them) that holds the wanted channel or channels."""
    sources = recording.get("sources")
    if not isinstance(sources, list) or not all(isinstance(source, dict) for source in sources):
        raise ValueError("'sources' of its recording must be a list of objects")
    channels = set(_integers(wanted, "channel"))
    for source in sources:
        held = _integers(source.get("channels"), "channels")
        if not channels <= set(held):
            continue
        if source.get("type") != "file":
            raise _NoFileError(f"its recording is a {shown(source.get('type'))}")
        path = _string(source, "source")
        if not path:
            raise ValueError("a source of its recording names no file")
        if channels == set(held):
            return path, None
        if len(channels) == 1:
            return path, held.index(next(iter(channels)))
    raise _NoFileError(f"no single file holds just its channels {shown(wanted)}")


def _integers(value: Any, key: str) -> list[int]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(type(one) is int for one in values):
        raise ValueError(f"{key!r} must be an integer or a list of them, found {shown(value)}")
    return values


def _time(row: Mapping[str, Any], key: str) -> Seconds:
    value: Any = row.get(key)
    if not is_number(value):
        raise ValueError(f"{key!r} must be a number of seconds, found {shown(value)}")
    return float(value)


def _string(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key!r} must be a string, found {shown(value)}")
    return value
