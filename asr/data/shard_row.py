"""One utterance in the bytes of a tar: two members, a JSON row and a FLAC file."""

import json
import re
import struct
from typing import NamedTuple

from asr.data.shard_index import BLOCK_BYTES, identity
from asr.errors import shown

# name, size, type, magic, the first byte of the folders.  Python's own reader of headers costs more than the audio.
_MEMBER = struct.Struct("100s24x12s20xc100x5s83xc")
_FOLDERS = slice(345, 500)
_OCTAL = re.compile(rb"([0-7]{1,12})[\0 ]*")
_TEXTS = ("text", "speaker", "language")
_decode = json.JSONDecoder().raw_decode


class ShardedUtterance(NamedTuple):
    """One utterance as it stands in its shard: its id, its text, and its audio as FLAC."""

    id: str
    text: str | None
    audio: memoryview


class RowError(ValueError):
    """What is wrong with the bytes, to be said after the name of the utterance."""


def parse_row(data: bytes, expected: int) -> ShardedUtterance:
    """Return the utterance in the bytes of its two members.

    Args: expected: the 64 bits that the index knows its id by.
    Raises: RowError for anything else.
    """
    row_name, first, last = _member(data, 0)
    audio_name, audio_first, audio_last = _member(data, _rounded(last))
    if _rounded(audio_last) != len(data):
        raise RowError("holds more than two members")
    key = row_name[:-5]
    if row_name[-5:] != ".json" or audio_name != key + ".flac":
        raise RowError(f"is '{row_name}' and '{audio_name}' where KEY.json and KEY.flac belong")
    try:
        text = data[first:last].decode()
        row, end = _decode(text)
        if text[end:].strip():
            raise ValueError
    except (ValueError, RecursionError):
        raise RowError(f"has a row '{row_name}' that is not JSON") from None
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise RowError(f"has a row '{row_name}' without an id")
    for name in _TEXTS:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            raise RowError(f"has a row '{row_name}' that holds {shown(value)} as its {name}")
    if identity(row["id"]) != expected:
        raise RowError(f"is '{row['id']}', and not the one of the index")
    return ShardedUtterance(row["id"], row.get("text"), memoryview(data)[audio_first:audio_last])  # no copy


def _rounded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _member(data: bytes, start: int) -> tuple[str, int, int]:
    """Return the name of the member whose header is at `start`, and where its body begins and ends."""
    body = start + BLOCK_BYTES
    if len(data) < body:
        raise RowError("has no tar header where the index points to")
    raw_name, octal, kind, magic, folders = _MEMBER.unpack_from(data, start)
    digits = _OCTAL.fullmatch(octal)
    if digits is None or magic != b"ustar":
        raise RowError("has no tar header where the index points to")
    name = raw_name.partition(b"\0")[0].decode("utf-8", "replace")
    if folders != b"\0":
        name = data[start:body][_FOLDERS].partition(b"\0")[0].decode("utf-8", "replace") + "/" + name
    if "/" in name or "\\" in name or name in ("", ".", ".."):
        raise RowError(f"has a member {shown(name)} that leads out of the archive, refused")
    if kind not in b"0\0":
        raise RowError(f"has a member {shown(name)} that is no plain file, refused")
    end = body + int(digits[1], 8)
    if end > len(data):
        raise RowError(f"has a member {shown(name)} that is cut short")
    return name, body, end
