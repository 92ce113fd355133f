"""Manifests: JSON Lines files of utterances (schema in docs/formats.md).

Reading tolerates what editors add (a byte-order mark, CRLF) and refuses everything else that the schema does
not allow, with the line number.  `scan_manifest` collects every fault, for the data check.
"""

import gc
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from asr.audio.source import AudioSource
from asr.errors import DataError, did_you_mean, shown
from asr.store import replacing
from asr.units import Seconds, is_number

MAX_LINE_BYTES = 1_000_000
KEYS = ("id", "audio", "start", "duration", "text", "speaker", "channel", "language")
_REQUIRED = ("id", "audio", "duration")
_TEXTS = ("id", "audio", "text", "speaker", "language")
_KNOWN = frozenset(KEYS)
_BAD_ID = re.compile(r"^\.{0,2}$|[\s/\x00-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One manifest row: a stretch of speech in an audio file.

    Attributes:
        id: unique in its manifest; no whitespace, no "/".
        audio: absolute path of the file.
        start, duration: in seconds; the utterance is [start, start + duration).
        text: the transcript as spoken, or None.
        channel: counted from 0; None mixes all channels.
        language: BCP 47 tag, or None.
    """

    id: str
    audio: Path
    start: Seconds
    duration: Seconds
    text: str | None = None
    speaker: str | None = None
    channel: int | None = None
    language: str | None = None

    @property
    def source(self) -> AudioSource:
        """Where its sound lies."""
        return AudioSource(self.audio, self.start, self.duration, self.channel)


@dataclass(frozen=True, slots=True)
class Fault:
    """One row that is not as the schema says: where, which kind, what is wrong."""

    line: int
    kind: str  # "bad-json", "bad-row", "wrong-duration" or "duplicate-id"
    id: str | None
    message: str


@dataclass(slots=True)
class ManifestScan:
    """Everything in a manifest, right and wrong.

    Attributes:
        utterances, lines: the good rows in order, and the line number of each (from 1).
        faults: the bad rows; a second row with an id seen before is one.
        bom_lines, crlf_lines: how many lines start with a byte-order mark, end with CRLF.
    """

    path: Path
    utterances: list[Utterance] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    bom_lines: int = 0
    crlf_lines: int = 0


class _RowError(Exception):
    """A row breaks the schema; caught here and turned into a Fault."""

    def __init__(self, message: str, kind: str = "bad-row") -> None:
        super().__init__(message)
        self.kind = kind


def read_manifest(path: str | Path) -> list[Utterance]:
    """Return the utterances of a manifest, in its order.

    Raises: DataError naming the file, the line and the first fault; DataError if the file cannot be read.
    """
    return faultless_scan(path).utterances


def faultless_scan(path: str | Path) -> ManifestScan:
    """Return all rows of a manifest, with their lines.  Raises: as `read_manifest`."""
    scan = scan_manifest(path)
    if scan.faults:
        first, others = scan.faults[0], len(scan.faults) - 1
        more = f" ({others} more faulty rows; 'asr check' lists them all)" if others else ""
        raise DataError(f"{path}:{first.line}: {first.message}{more}")
    return scan


def scan_manifest(path: str | Path) -> ManifestScan:
    """Return all rows of a manifest with every fault found.

    Raises: DataError if the file cannot be read at all.
    """
    scan = ManifestScan(Path(path))
    folders = _Folders(Path(path).parent)
    line_of: dict[str, int] = {}
    try:
        with open(path, "rb") as file, _collector_paused():
            for number, raw in _lines(file):
                _scan_line(scan, number, raw, folders, line_of)
    except OSError as error:
        raise DataError(f"{path}: cannot read the manifest: {error.strerror or error}; check the path") from None
    return scan


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write utterances in their order, audio paths relative to the manifest's folder.

    Raises: DataError for a row that could not be read back; MachineError if the file cannot be written.
    """
    folder = os.path.realpath(Path(path).parent)
    relative: dict[str, str] = {}
    seen: set[str] = set()
    lines = []
    for utterance in utterances:
        row = {key: getattr(utterance, key) for key in KEYS}
        row["audio"] = _relative_audio(os.fspath(utterance.audio), folder, relative)
        try:
            _check_row(row)
            if utterance.id in seen:
                raise _RowError(f"id {utterance.id!r} appears twice; give every utterance its own id")
        except _RowError as error:
            raise DataError(f"{path}: cannot write utterance {utterance.id!r}: {error}") from None
        seen.add(utterance.id)
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    # not joined first: a manifest may be a large part of the memory
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Look for no cycles while many objects without any are made: looking took a third of the reading."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # the objects made now count as old, and have not been looked at
        if was_on:
            gc.enable()


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line); of a line over the limit only the first MAX_LINE_BYTES + 1 bytes."""
    number = 0
    while raw := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        yield number, raw
        while len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            raw = file.readline(MAX_LINE_BYTES + 1)


def _scan_line(scan: ManifestScan, number: int, raw: bytes, folders: "_Folders", line_of: dict[str, int]) -> None:
    if raw.startswith(_BOM):
        scan.bom_lines += 1
        raw = raw[len(_BOM) :]
    if raw.endswith(b"\r\n"):
        scan.crlf_lines += 1
    if not raw.strip():
        return
    row: Any = None
    try:
        row = _parse_line(raw)
        _check_row(row, may_hold_surrogates=b"\\u" in raw)
        first = line_of.setdefault(row["id"], number)
        if first != number:
            raise _RowError(f"id {row['id']!r} is already used on line {first}; make it unique", "duplicate-id")
    except _RowError as error:
        name = row.get("id") if isinstance(row, dict) else None
        scan.faults.append(Fault(number, error.kind, name if isinstance(name, str) else None, str(error)))
        return
    start = row.get("start")
    scan.utterances.append(
        Utterance(
            row["id"],
            folders.absolute(row["audio"]),
            0.0 if start is None else float(start),
            float(row["duration"]),
            row.get("text"),
            row.get("speaker"),
            row.get("channel"),
            row.get("language"),
        )
    )
    scan.lines.append(number)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise _RowError("a key appears twice in this row; keep one")
    return row


def _refuse_constant(name: str) -> None:
    raise _RowError(f"{name} is not a JSON number; write a finite one", "bad-json")


_decode = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant).decode


def _parse_line(raw: bytes) -> Any:
    if len(raw) > MAX_LINE_BYTES:
        raise _RowError(f"the line is longer than {MAX_LINE_BYTES} bytes; is this a manifest?", "bad-json")
    try:
        return _decode(raw.decode("utf-8").rstrip())
    except UnicodeDecodeError as error:
        raise _RowError(f"not UTF-8 at byte {error.start + 1}; save the manifest as UTF-8", "bad-json") from None
    except json.JSONDecodeError as error:
        cure = 'write one {"id": ..., "audio": ..., "duration": ...} a line'
        raise _RowError(f"not JSON at column {error.colno}: {error.msg}; {cure}", "bad-json") from None
    except (ValueError, RecursionError):  # an integer of thousands of digits; brackets nested thousands deep
        raise _RowError("not JSON that a manifest could hold; write plain numbers and texts", "bad-json") from None


def _check_row(row: Any, *, may_hold_surrogates: bool = True) -> None:
    """Raise _RowError unless `row` has the keys and values of the schema."""
    if not isinstance(row, dict):
        raise _RowError(f"expected an object {{...}}, found {shown(row)}")
    if not row.keys() <= _KNOWN:
        unknown = next(key for key in row if key not in _KNOWN)
        raise _RowError(f"unknown key {unknown!r}{did_you_mean(unknown, KEYS)}")
    for key in _REQUIRED:
        if row.get(key) is None:
            raise _RowError(f"{key!r} is missing; every utterance needs {', '.join(_REQUIRED)}")
    for key in _TEXTS:
        value = row.get(key)
        if value is not None and type(value) is not str:
            raise _RowError(f"{key!r} must be a string, found {shown(value)}")
        if may_hold_surrogates and value is not None and _SURROGATE.search(value):
            raise _RowError(f"{key!r} holds half of a surrogate pair; save the text as UTF-8")
    _check_names(row)
    _check_numbers(row)


def _check_names(row: dict[str, Any]) -> None:
    if _BAD_ID.search(row["id"]):
        raise _RowError(f"id {row['id']!r} must be a name without whitespace or '/'; rename the utterance")
    if not row["audio"] or "\0" in row["audio"]:
        raise _RowError(f"audio {row['audio']!r} is not a path; give the path of the audio file")


def _check_numbers(row: dict[str, Any]) -> None:
    start, duration, channel = row.get("start", 0), row["duration"], row.get("channel")
    if not is_number(duration):
        raise _RowError(f"'duration' must be a number of seconds, found {shown(duration)}")
    if duration <= 0:
        raise _RowError(f"'duration' must be > 0, found {duration}; give the length in seconds", "wrong-duration")
    if start is not None and not is_number(start):
        raise _RowError(f"'start' must be a number of seconds, found {shown(start)}")
    if start is not None and start < 0:
        raise _RowError(f"'start' must be >= 0, found {start}; count seconds from the file's start", "wrong-duration")
    if channel is not None and (type(channel) is not int or channel < 0):
        raise _RowError(f"'channel' must be an integer from 0, or null, found {shown(channel)}")


class _Folders:
    """Absolute paths of audio files; each folder's links are resolved once, as that is slow."""

    def __init__(self, base: Path) -> None:
        self._base = os.path.realpath(base)
        self._resolved: dict[str, Path] = {}

    def absolute(self, audio: str) -> Path:
        name_at = audio.rfind("/") + 1
        head, tail = audio[:name_at], audio[name_at:]
        folder = self._resolved.get(head)
        if folder is None:
            folder = self._resolved[head] = Path(os.path.realpath(os.path.join(self._base, head)))
        return folder / tail


def _relative_audio(audio: str, folder: str, known: dict[str, str]) -> str:
    head, tail = os.path.split(audio)
    if head not in known:
        known[head] = os.path.relpath(os.path.realpath(head), folder)
    return tail if known[head] == os.curdir else os.path.join(known[head], tail)
