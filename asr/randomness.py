"""Seeded randomness of the data: everything drawn for an utterance comes from (seed, epoch, id, view).

No global generator is touched, so what is drawn does not depend on workers, ranks or batch neighbours.
"""

import hashlib
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
# Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3": Philox 4x64, 10 rounds
_MULTIPLIERS = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_WEYL = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_ROUNDS = 10


def utterance_seed(seed: int, epoch: int, utterance_id: str, view: int = 0) -> int:
    """Return a non-negative int64 from which everything random about one view of one utterance is drawn."""
    text = f"{seed}\0{epoch}\0{utterance_id}\0{view}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def utterance_seeds(seed: int, epoch: int, utterance_ids: Iterable[str], view: int = 0) -> NDArray[np.int64]:
    """Return `utterance_seed` of many utterances, (utterances,) int64."""
    before, after = f"{seed}\0{epoch}\0".encode(), f"\0{view}".encode()
    blake2b = hashlib.blake2b
    digests = b"".join(
        [
            blake2b(before + name.encode("utf-8", "surrogatepass") + after, digest_size=8).digest()
            for name in utterance_ids
        ]
    )
    return (np.frombuffer(digests, "<u8") >> np.uint64(1)).astype(np.int64)


def identity_seeds(seed: int, epoch: int, identities: Words, view: int = 0) -> NDArray[np.int64]:
    """Return the seeds of utterances that are known by 64 bits in place of an id, (utterances,) non-negative int64.

    Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators" (the mixing function).
    """
    values = identities ^ np.uint64(2 * utterance_seed(seed, epoch, "identities", view))
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((values ^ (values >> np.uint64(31))) >> np.uint64(1)).astype(np.int64)


def step_seed(seed: int, step: int, part: int) -> int:
    """Return the seed of everything that a network draws (dropout) in one part of a training step."""
    return utterance_seed(seed, step, "step", part)


def stream(seed: int, name: str) -> np.random.Generator:
    """Return a generator of its own for one purpose (`name`), so that one draw never shifts another."""
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))


class Streams:
    """`stream(seed, name)` of many seeds at once, drawn row by row: the same numbers, a hundred times as fast."""

    def __init__(self, seeds: NDArray[np.int64], name: str) -> None:
        self._keys: Words = seeds.astype(np.uint64)
        self._purpose = np.uint64(zlib.crc32(name.encode()))
        self._drawn = np.zeros(len(seeds), np.uint64)  # 64-bit words of each row so far
        self._block = np.zeros((len(seeds), 4), np.uint64)  # the words that its counter gives at once
        self._halves = np.zeros(len(seeds), np.uint64)  # upper half of a word, of which the lower one was drawn
        self._has_half = np.zeros(len(seeds), bool)

    def random(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return `Generator.random()` of each row, (rows,) in [0, 1)."""
        return (self._words(rows) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def integers(self, rows: NDArray[np.int64], high: int) -> NDArray[np.int64]:
        """Return `Generator.integers(high)` of each row, (rows,) in [0, high).  Args: high: 1 to 2^32 - 1.

        Source: Lemire 2019, "Fast random integer generation in an interval": few draws are thrown away.
        """
        assert 0 < high <= int(_LOW), f"integers below {high} take another way in numpy"
        if high == 1:
            return np.zeros(len(rows), np.int64)  # numpy draws nothing
        products = self._small_words(rows) * np.uint64(high)
        unfair = np.uint64((int(_LOW) + 1 - high) % high)
        while len(again := np.flatnonzero((products & _LOW) < unfair)):
            products[again] = self._small_words(rows[again]) * np.uint64(high)
        return (products >> _HALF).astype(np.int64)

    def _words(self, rows: NDArray[np.int64]) -> Words:
        """Return the next 64 bits of each row."""
        lanes = self._drawn[rows] % np.uint64(4)
        fresh = rows[lanes == 0]
        self._block[fresh] = _philox(
            self._drawn[fresh] // np.uint64(4) + np.uint64(1), self._keys[fresh], self._purpose
        )
        self._drawn[rows] += np.uint64(1)
        found: Words = self._block[rows, lanes.astype(np.int64)]
        return found

    def _small_words(self, rows: NDArray[np.int64]) -> Words:
        """Return the next 32 bits of each row: of every other word the lower half, then the upper one."""
        words, kept = np.empty(len(rows), np.uint64), self._has_half[rows]
        words[kept] = self._halves[rows[kept]]
        fresh = rows[~kept]
        whole = self._words(fresh)
        words[~kept], self._halves[fresh] = whole & _LOW, whole >> _HALF
        self._has_half[rows] = ~kept
        return words


def _philox(counters: Words, keys: Words, purpose: np.uint64) -> Words:
    """Return (rows, 4) 64-bit words: Philox 4x64-10 of the counters (counter, 0, 0, 0) and keys (key, purpose)."""
    zeros = np.zeros_like(counters)
    words, key, second = [counters, zeros, zeros, zeros], keys.copy(), np.full_like(keys, purpose)
    for _ in range(_ROUNDS):
        high_0, low_0 = _product(words[0], _MULTIPLIERS[0])
        high_1, low_1 = _product(words[2], _MULTIPLIERS[1])
        words = [high_1 ^ words[1] ^ key, low_1, high_0 ^ words[3] ^ second, low_0]
        key, second = key + _WEYL[0], second + _WEYL[1]
    return np.stack(words, axis=1)


def _product(words: Words, by: np.uint64) -> tuple[Words, Words]:
    """Return the upper and the lower 64 bits of products of 64-bit words."""
    low, high, by_low, by_high = words & _LOW, words >> _HALF, by & _LOW, by >> _HALF
    first, second, third = low * by_low, high * by_low, low * by_high
    middle = (first >> _HALF) + (second & _LOW) + (third & _LOW)
    return high * by_high + (second >> _HALF) + (third >> _HALF) + (middle >> _HALF), words * by
