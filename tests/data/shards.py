"""Shards of the miniature corpus, and ways to spoil them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asr.data.shard_index import HEADER, INDEX
from asr.data.sharding import write_shards
from tests.training.miniature import Corpus

SHARD_BYTES = 40_000  # two or three of the miniature's utterances


def make_shards(corpus: Corpus, folder: Path, shard_bytes: int = SHARD_BYTES) -> Path:
    """Write the training part of the corpus as shards."""
    write_shards(corpus.utterances, folder, shard_bytes=shard_bytes)
    return folder


def change_header(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite shards.json."""
    header = json.loads((folder / HEADER).read_text("utf-8"))
    change(header)
    (folder / HEADER).write_text(json.dumps(header), "utf-8")


def change_shard(folder: Path, number: int, change: Callable[[bytes], bytes]) -> Path:
    """Rewrite a shard, and its size and hash in the header, as one who means harm would."""
    path = folder / f"shard-{number:06d}.tar"
    data = change(path.read_bytes())
    path.write_bytes(data)
    facts = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    change_header(folder, lambda header: header["shards"][number].update(facts))
    return path


def change_index(folder: Path, change: Callable[[bytes], bytes]) -> None:
    """Rewrite index.bin, and its hash in the header."""
    data = change((folder / INDEX).read_bytes())
    (folder / INDEX).write_bytes(data)
    change_header(folder, lambda header: header["index"].update(sha256=hashlib.sha256(data).hexdigest()))
