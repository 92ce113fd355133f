"""The batch plan of an epoch: which utterances make each step, from (seed, epoch) and nothing else."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# Lengths are jittered by this share before sorting, so that neighbours differ from epoch to epoch.
_LENGTH_JITTER = 0.1


def plan_epoch(
    num_samples: Indices, *, batch_samples: int, seed: int, epoch: int, shortest_first: bool = True
) -> list[Indices]:
    """Return the global batches of an epoch: each utterance once, no batch above `batch_samples`.

    Utterances of similar length share a batch; the order of the batches is random, except that epoch 0
    runs from short to long where `shortest_first` (Amodei et al. 2016, "SortaGrad").
    An utterance longer than `batch_samples` makes a batch of its own.

    Args: num_samples (utterances,) int64, after speed perturbation.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    easy = epoch == 0 and shortest_first
    jitter = (
        np.zeros(len(num_samples)) if easy else generator.uniform(-_LENGTH_JITTER, _LENGTH_JITTER, len(num_samples))
    )
    order = np.argsort(num_samples * (1 + jitter), kind="stable")
    batches = _cut(order, num_samples, batch_samples)
    if easy:
        return batches
    return [batches[index] for index in generator.permutation(len(batches))]


def _cut(order: Indices, num_samples: Indices, batch_samples: int) -> list[Indices]:
    """Cut an order into runs of at most `batch_samples` in total."""
    ends = np.cumsum(num_samples[order]).tolist()
    batches, start, before = [], 0, 0
    while start < len(order):
        stop = max(start + 1, bisect_right(ends, before + batch_samples, lo=start))
        batches.append(order[start:stop])
        start, before = stop, ends[stop - 1]
    return batches


def split_batches(batches: Sequence[Indices], num_samples: Indices, parts: int) -> list[Indices]:
    """Return every global batch cut into exactly `parts` pieces of similar length and cost; some may be empty.

    Piece `batch * parts + r * accumulate + a` belongs to rank r, accumulation a: no part sees another's padding.
    """
    if not batches:
        return []
    members, starts = np.concatenate(batches), _starts(batches)
    batch_of = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    members = members[np.lexsort((num_samples[members], batch_of))]
    before = np.concatenate([[0], np.cumsum(num_samples[members])])  # samples before each member
    begun = before[:-1] - before[starts][batch_of]  # of these, those of its own batch
    total = np.diff(before[np.append(starts, len(members))])[batch_of]
    piece_of = parts * batch_of
    for piece in range(1, parts):  # a piece begins behind the member with which the shares before it are full
        piece_of += begun >= total * piece / parts
    return np.split(members, np.searchsorted(piece_of, np.arange(1, parts * len(batches))))


def batch_sums(batches: Sequence[Indices], num_samples: Indices) -> list[int]:
    """Return the samples of each batch.  Args: batches: none is empty."""
    if not batches:
        return []
    sums: list[int] = np.add.reduceat(num_samples[np.concatenate(batches)], _starts(batches)).tolist()
    return sums


def heaviest(batches: Sequence[Indices], num_samples: Indices) -> list[int]:
    """Return the positions of the batches to try before step 1: the most padded samples, the longest row.

    Args: batches: none is empty.
    """
    longest = np.maximum.reduceat(num_samples[np.concatenate(batches)], _starts(batches))
    padded = longest * np.array([len(batch) for batch in batches])
    return sorted({int(np.argmax(padded)), int(np.argmax(longest))})


def _starts(batches: Sequence[Indices]) -> Indices:
    """Return where each batch starts if they stand one behind the other."""
    sizes = np.array([len(batch) for batch in batches])
    starts: Indices = np.cumsum(sizes) - sizes
    return starts
