"""The texts to compare: read from manifests or hypotheses, paired by id.

Both are JSON Lines with `id` and `text` (docs/formats.md); other keys do not matter to a score.  What else a manifest
says of an utterance is kept as it is written, and looked at by who needs it (asr/scoring/spoken.py).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.errors import DataError, shown
from asr.scoring.error_rate import Pair
from asr.units import is_number

SPOKEN_KEYS = ("speaker", "audio", "start", "channel", "words")

_SHOWN_IDS = 5
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Text:
    """What one utterance says; its duration in seconds where the file tells.

    Attributes:
        spoken: the values of `SPOKEN_KEYS` that the row has, unchecked.
        where: file and line, for messages.
    """

    text: str
    duration: float | None
    spoken: Mapping[str, Any] = field(default_factory=dict, compare=False)
    where: str = field(default="", compare=False)


def recordings(texts: Mapping[str, Text], path: str | Path) -> set[Path]:
    """Return the recordings that the rows of a manifest name, whether they are there or not.  Args: path: its own."""
    named = [text.spoken.get("audio") for text in texts.values()]
    return {Path(path).parent / audio for audio in named if isinstance(audio, str) and "\0" not in audio}


def read_texts(path: str | Path) -> dict[str, Text]:
    """Return the texts of a manifest or of hypotheses by utterance id, in the file's order.

    Raises: DataError with file and line for a row without id or text, a repeated id, or bad JSON.
    """
    texts: dict[str, Text] = {}
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    _add_row(texts, line, where=f"{path}:{number}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}; check the path") from None
    return texts


def pair_up(references: Mapping[str, Text], hypotheses: Mapping[str, Text]) -> list[Pair]:
    """Return one pair for each reference, in their order.

    Raises: DataError naming the ids that only one side has: a score of a part would not be the score.
    """
    missing = [name for name in references if name not in hypotheses]
    extra = [name for name in hypotheses if name not in references]
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(references)} references have no hypothesis ({_listed(missing)})")
    if extra:
        faults.append(f"{len(extra)} of {len(hypotheses)} hypotheses have no reference ({_listed(extra)})")
    if faults:
        raise DataError(f"{' and '.join(faults)}; decode exactly the manifest that is scored")
    return [Pair(name, text.text, hypotheses[name].text) for name, text in references.items()]


def _add_row(texts: dict[str, Text], line: str, *, where: str) -> None:
    row = _parse(line, where=where)
    name, text, duration = row.get("id"), row.get("text"), row.get("duration")
    if not isinstance(name, str) or not name:
        raise DataError(f"{where}: 'id' must be a text, got {shown(name)}; give every utterance an id")
    if name in texts:
        raise DataError(f"{where}: utterance {name!r} occurs twice; keep one")
    if not isinstance(text, str):
        raise DataError(f"{where}: utterance {name!r}: 'text' must be a text, got {shown(text)}; transcribe or drop it")
    for key in ("id", "text"):
        if _SURROGATE.search(row[key]):
            raise DataError(f"{where}: {key!r} holds half of a surrogate pair; save the text as UTF-8")
    if duration is not None and not is_number(duration):
        raise DataError(
            f"{where}: utterance {name!r}: 'duration' must be in seconds, got {shown(duration)}; correct it"
        )
    spoken = {key: row[key] for key in SPOKEN_KEYS if row.get(key) is not None}
    texts[name] = Text(text, None if duration is None else float(duration), spoken, where)


def _parse(line: str, *, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "a number or a nesting that no text needs"
        raise DataError(f"{where}: not JSON ({reason}); expected one object a line") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with 'id' and 'text', got {shown(row)}")
    return row


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _SHOWN_IDS else ""
    return ", ".join(names[:_SHOWN_IDS]) + more
