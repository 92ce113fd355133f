"""The batch plan of an epoch: which utterances make each step, from (seed, epoch) and nothing else."""

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
    ends = np.cumsum(num_samples[order])
    batches, start, before = [], 0, 0
    while start < len(order):
        stop = max(start + 1, int(np.searchsorted(ends, before + batch_samples, side="right")))
        batches.append(order[start:stop])
        start, before = stop, int(ends[stop - 1])
    return batches


def split_batch(batch: Indices, num_samples: Indices, parts: int) -> list[Indices]:
    """Return a global batch cut into exactly `parts` pieces of similar length and cost; some may be empty.

    Part r * accumulate + a belongs to rank r, accumulation a: no part sees another's padding.
    """
    order = batch[np.argsort(num_samples[batch], kind="stable")]
    ends = np.cumsum(num_samples[order])
    borders = np.searchsorted(ends, ends[-1] * np.arange(1, parts) / parts, side="left") + 1
    return np.split(order, np.minimum(borders, len(order)))


def heaviest(batches: Sequence[Indices], num_samples: Indices) -> list[int]:
    """Return the positions of the batches to try before step 1: the most padded samples, the longest row."""
    padded = [int(num_samples[batch].max()) * len(batch) for batch in batches]
    longest = [int(num_samples[batch].max()) for batch in batches]
    return sorted({int(np.argmax(padded)), int(np.argmax(longest))})
