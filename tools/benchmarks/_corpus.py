"""Synthetic corpora in the likeness of LibriSpeech: ids, paths, lengths and texts, but no audio."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.data.shard_index import BLOCK_BYTES, RECORD, Shard, write_index

RATE = 16000
_LETTERS = "etaoinshrdlucmfywgpbvkxqjz"  # by falling frequency in English
_WORDS = 20_000
_WORDS_PER_SECOND = 2.75
_SHARD_BYTES, _BYTES_PER_SECOND = 256_000_000, 17_000  # of FLAC, as LibriSpeech's
_UTTERANCES_PER_CHAPTER, _CHAPTERS_PER_SPEAKER = 40, 3


def write_synthetic_manifest(path: Path, num_utterances: int, seed: int = 1) -> None:
    """Write a manifest whose rows are as long as those of LibriSpeech: 12 s and 180 letters on average."""
    random = np.random.default_rng(seed)
    share = 1 / np.arange(2, len(_LETTERS) + 2)  # Zipf's law
    letters = random.choice(list(_LETTERS), (_WORDS, 9), p=share / share.sum())
    words = ["".join(row[:length]) for row, length in zip(letters, random.integers(1, 9, _WORDS), strict=True)]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in _rows(words, num_utterances, random))


def write_synthetic_index(folder: Path, num_utterances: int, seed: int = 1) -> None:
    """Write the index of shards that are not there."""
    random = np.random.default_rng(seed)
    records = np.zeros(num_utterances, RECORD)
    seconds = _seconds(num_utterances, random)
    records["identity"] = np.sort(random.integers(0, 1 << 63, num_utterances, np.uint64))
    records["samples"] = seconds * RATE
    blocks = 3 + (seconds * _BYTES_PER_SECOND).astype(np.int64) // BLOCK_BYTES
    shard_of = np.cumsum(blocks) * BLOCK_BYTES // _SHARD_BYTES
    shards = []
    for number, rows in enumerate(np.split(np.arange(num_utterances), np.flatnonzero(np.diff(shard_of)) + 1)):
        ends = np.cumsum(blocks[rows])
        records["block"][rows] = ends - blocks[rows]
        end = int(ends[-1]) * BLOCK_BYTES
        shards.append(Shard(f"shard-{number:06d}.tar", end + 2 * BLOCK_BYTES, end, "0" * 64, len(rows)))
    folder.mkdir()
    write_index(folder, shards, records, sample_rate=RATE, without_text=0, characters={"a": num_utterances})


def _seconds(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    full = random.random(count) < 0.65  # most utterances fill what a cutter allowed, the others end with a paragraph
    return np.where(full, random.normal(14.5, 1.2, count), random.uniform(1.5, 16, count)).clip(1.3, 34.9)


def _rows(words: list[str], count: int, random: np.random.Generator) -> Iterator[dict[str, object]]:
    seconds = _seconds(count, random)
    for index in range(count):
        chapter, number = divmod(index, _UTTERANCES_PER_CHAPTER)
        speaker = 14 + chapter // _CHAPTERS_PER_SPEAKER
        name = f"{speaker}-{121000 + chapter}-{number:04d}"
        duration = int(seconds[index] * RATE) / RATE
        chosen = random.integers(0, len(words), int(duration * _WORDS_PER_SECOND) + 1)
        yield {
            "id": name,
            "audio": f"../LibriSpeech/train-other-500/{speaker}/{121000 + chapter}/{name}.flac",
            "start": 0,
            "duration": duration,
            "text": " ".join(words[word] for word in chosen),
            "speaker": str(speaker),
            "channel": None,
            "language": "en",
        }
