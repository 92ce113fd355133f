"""Seeded randomness of the data: everything drawn for an utterance comes from (seed, epoch, id, view).

No global generator is touched, so what is drawn does not depend on workers, ranks or batch neighbours.
"""

import hashlib
import zlib

import numpy as np


def utterance_seed(seed: int, epoch: int, utterance_id: str, view: int = 0) -> int:
    """Return a non-negative int64 from which everything random about one view of one utterance is drawn."""
    text = f"{seed}\0{epoch}\0{utterance_id}\0{view}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def step_seed(seed: int, step: int, part: int) -> int:
    """Return the seed of everything that a network draws (dropout) in one part of a training step."""
    return utterance_seed(seed, step, "step", part)


def stream(seed: int, name: str) -> np.random.Generator:
    """Return a generator of its own for one purpose (`name`), so that one draw never shifts another."""
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
