"""NeMo manifests: JSON Lines with audio_filepath, duration and text; offset, speaker, lang and id where given.

{"audio_filepath": "wav/a.wav", "duration": 3.2, "text": "good morning", "offset": 12.5}
"""

from collections import Counter
from pathlib import Path
from typing import Any

from asr.data.check_report import counted
from asr.data.importers.problems import BAD_ROW
from asr.data.importers.reading import json_lines, parse_row
from asr.data.importers.task import Draft, Task
from asr.errors import shown
from asr.units import is_number

# NeMo itself takes the other name of the path, and "language" is what NeMo's tools for curating data write.
_KEYS = {
    "audio_filepath": "audio",
    "audio_filename": "audio",
    "offset": "start",
    "duration": "duration",
    "text": "text",
    "speaker": "speaker",
    "lang": "language",
    "language": "language",
    "channel": "channel",
    "id": "id",
}


def read(task: Task) -> list[Draft]:
    """Return the rows of a NeMo manifest; rows that are wrong and keys that are not used go to the task."""
    drafts, unused = [], Counter[str]()
    for line, raw in json_lines(task.source):
        try:
            row = parse_row(raw)
            drafts.append(_draft(row, line, task))
        except ValueError as error:
            task.problems.add(BAD_ROW, f"line {line}", str(error))
            continue
        unused.update(row.keys() - _KEYS.keys())
    if unused:
        keys = ", ".join(f"{shown(key)} ({counted(count, 'row')})" for key, count in sorted(unused.items()))
        task.notes.append(f"keys that are not used: {keys}")
    return drafts


def _draft(row: dict[str, Any], line: int, task: Task) -> Draft:
    """Return one row.  Raises: ValueError saying what is wrong."""
    values = {_KEYS[key]: value for key, value in row.items() if key in _KEYS and value is not None}
    for key in ("audio", "text", "id"):
        if not isinstance(values.get(key, ""), str):
            raise ValueError(f"{key} must be a string, found {shown(values[key])}")
    for key in ("start", "duration"):
        if not is_number(values.get(key, 0)):
            raise ValueError(f"{key} must be a number of seconds, found {shown(values[key])}")
    if type(values.get("channel", 0)) is not int:
        raise ValueError(f"channel must be an integer, found {shown(values['channel'])}")
    path = values.get("audio")
    if not path:
        raise ValueError("no 'audio_filepath'")
    return Draft(
        values.get("id", Path(path).stem),
        task.resolve(path),
        values.get("start", 0.0),
        values.get("duration"),
        values.get("text"),
        _name(values.get("speaker")),
        values.get("channel"),
        _name(values.get("language")),
        line=line,
    )


def _name(value: Any) -> str | None:
    """Return the name of a speaker or language; numbers are names too."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int):
        return str(value)
    raise ValueError(f"a name was expected, found {shown(value)}")
