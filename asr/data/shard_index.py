"""The index of a corpus in tar shards: 16 bytes an utterance, and a header (docs/formats.md, "Shards")."""

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import DataError, shown
from asr.store import replacing, write_json
from asr.units import Seconds

FORMAT = 1
HEADER, INDEX = "shards.json", "index.bin"
BLOCK_BYTES = 512  # of a tar
MAX_HEADER_BYTES = 256 << 20
MAX_UTTERANCES = 1 << 31
RECORD = np.dtype([("identity", "<u8"), ("samples", "<u4"), ("block", "<u4")])
_SHARD_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.tar")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar.

    Attributes:
        file: its name in the folder.
        size: bytes.
        end: where its last utterance ends, bytes.
        utterances: how many it holds.
    """

    file: str
    size: int
    end: int
    sha256: str
    utterances: int


@dataclass(frozen=True)
class ShardIndex:
    """All shards of a corpus.  An utterance is known by its index: its place in `records`.

    Attributes:
        place: the folder or URL that holds the shards.
        sample_rate: in Hz, of all utterances.
        without_text: utterances that cannot be trained on.
        characters: character of the texts -> utterances that hold it.
        records: (utterances,) of RECORD, shard after shard.
        sha256: of the header, which names the hashes of all the rest.
    """

    place: str
    sample_rate: int
    shards: Sequence[Shard]
    without_text: int
    characters: Mapping[str, int]
    records: NDArray[np.void]
    sha256: str
    firsts: NDArray[np.int64] = field(init=False)  # (shards + 1,) the index of each shard's first utterance

    def __post_init__(self) -> None:
        counts = [shard.utterances for shard in self.shards]
        object.__setattr__(self, "firsts", np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]))

    def __len__(self) -> int:
        return len(self.records)

    @property
    def audio_seconds(self) -> Seconds:
        """All audio, as recorded."""
        return int(self.records["samples"].sum(dtype=np.int64)) / self.sample_rate

    def shard_of(self, index: int) -> int:
        """Return the number of the shard that holds an utterance."""
        return bisect_right(self._firsts, index) - 1

    def span(self, index: int) -> tuple[int, int, int]:
        """Return (shard, first byte, last byte + 1) of an utterance."""
        number = self.shard_of(index)
        last = index + 1 == self._firsts[number + 1]
        end = self.shards[number].end if last else self._blocks.item(index + 1) * BLOCK_BYTES
        return number, self._blocks.item(index) * BLOCK_BYTES, end

    def identity_of(self, index: int) -> int:
        """Return the 64 bits that an utterance is known by."""
        return int(self._identities.item(index))

    # a column of `records`, or a number of numpy's, is slow to get at
    @cached_property
    def _firsts(self) -> list[int]:
        found: list[int] = self.firsts.tolist()
        return found

    @cached_property
    def _blocks(self) -> NDArray[np.uint32]:
        return self.records["block"]

    @cached_property
    def _identities(self) -> NDArray[np.uint64]:
        return self.records["identity"]


def identity(utterance_id: str) -> int:
    """Return the 64 bits that an utterance is known by."""
    text = utterance_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def write_index(
    folder: Path,
    shards: Sequence[Shard],
    records: NDArray[np.void],
    *,
    sample_rate: int,
    without_text: int,
    characters: Mapping[str, int],
) -> None:
    """Write index.bin, then shards.json.  Raises: MachineError."""
    data = records.tobytes()
    with replacing(folder / INDEX) as temporary:
        temporary.write_bytes(data)
    header = {
        "format": FORMAT,
        "kind": "shards",
        "sample_rate": sample_rate,
        "utterances": len(records),
        "samples": int(records["samples"].sum(dtype=np.int64)),
        "without_text": without_text,
        "characters": dict(characters),
        "index": {"sha256": hashlib.sha256(data).hexdigest()},
        "shards": [
            {
                "file": shard.file,
                "bytes": shard.size,
                "end": shard.end,
                "sha256": shard.sha256,
                "utterances": shard.utterances,
            }
            for shard in shards
        ],
    }
    write_json(folder / HEADER, header)


def parse_header(data: bytes, place: str) -> dict[str, Any]:
    """Return the header of an index, checked: types, names and sums.  Raises: DataError."""
    where = f"{place}/{HEADER}"
    try:
        header = json.loads(data)
    except (ValueError, RecursionError):
        raise _bad(where, "it is not JSON") from None
    if not isinstance(header, dict) or header.get("kind") != "shards":
        raise _bad(where, "it is of another kind")
    if header.get("format") != FORMAT:
        raise DataError(f"{where}: format {shown(header.get('format'))}; this version reads {FORMAT}; upgrade it")
    for key, least in (("sample_rate", 1), ("utterances", 1), ("samples", 1), ("without_text", 0)):
        if not _is_count(header.get(key), least):
            raise _bad(where, f"{key} is {shown(header.get(key))}")
    if header["utterances"] > MAX_UTTERANCES:
        raise _bad(where, f"{header['utterances']} utterances are more than {MAX_UTTERANCES}")
    characters = header.get("characters")
    if not isinstance(characters, dict) or not all(_is_count(count, 1) for count in characters.values()):
        raise _bad(where, "characters are not counts")
    index = header.get("index")
    if not isinstance(index, dict) or not _is_hash(index.get("sha256")):
        raise _bad(where, "index has no sha256")
    rows = header.get("shards")
    if not isinstance(rows, list):
        raise _bad(where, "shards is not a list")
    header["shards"] = [_shard(row, where) for row in rows]
    if sum(shard.utterances for shard in header["shards"]) != header["utterances"]:
        raise _bad(where, "its shards do not hold as many utterances as it says")
    if len({shard.file for shard in header["shards"]}) < len(header["shards"]):
        raise _bad(where, "a shard is named twice")
    return header


def index_of(header: Mapping[str, Any], header_hash: str, data: bytes, place: str) -> ShardIndex:
    """Return the index of a checked header and the bytes of index.bin.

    Raises: DataError if they do not fit each other.
    """
    where = f"{place}/{INDEX}"
    if len(data) != header["utterances"] * RECORD.itemsize:
        wanted = header["utterances"] * RECORD.itemsize
        raise DataError(f"{where}: has {len(data)} bytes, {HEADER} wants {wanted}; copy the index again")
    if hashlib.sha256(data).hexdigest() != header["index"]["sha256"]:
        raise DataError(f"{where}: its SHA-256 is not that of {HEADER}; copy both again, or run asr shard again")
    index = ShardIndex(
        place=place,
        sample_rate=header["sample_rate"],
        shards=header["shards"],
        without_text=header["without_text"],
        characters=header["characters"],
        records=np.frombuffer(data, RECORD),
        sha256=header_hash,
    )
    _check_records(index, where)
    return index


def _shard(row: Any, where: str) -> Shard:
    if not isinstance(row, dict):
        raise _bad(where, f"a shard is {shown(row)}")
    name = row.get("file")
    if not isinstance(name, str) or not _SHARD_NAME.fullmatch(name):
        raise _bad(where, f"{shown(name)} is not the name of a shard in this folder")
    sizes = [row.get(key) for key in ("bytes", "end", "utterances")]
    if not all(_is_count(size, 1) for size in sizes) or not _is_hash(row.get("sha256")) or row["end"] > row["bytes"]:
        raise _bad(where, f"the sizes or the hash of {name} are none")
    return Shard(name, row["bytes"], row["end"], row["sha256"], row["utterances"])


def _check_records(index: ShardIndex, where: str) -> None:
    for number, shard in enumerate(index.shards):  # one shard at a time: no second index is held in memory
        rows = index.records[index.firsts[number] : index.firsts[number + 1]]
        blocks = rows["block"].astype(np.int64)
        in_order = blocks[0] == 0 and (np.diff(blocks) > 0).all() and blocks[-1] * BLOCK_BYTES < shard.end
        if not in_order or not rows["samples"].all():
            raise DataError(f"{where}: its records do not fit {shard.file}; run asr shard again")


def _is_count(value: object, least: int) -> bool:
    return type(value) is int and least <= value < 1 << 62


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _bad(where: str, why: str) -> DataError:
    return DataError(f"{where}: not an index of shards: {why}; run asr shard again")
