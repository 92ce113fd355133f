"""Where a given text lies in the audio: the most probable path of CTC that spells it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.decoding.greedy import FramePath
from asr.errors import DataError, UsageError
from asr.native import compiled

MAX_CELLS = 1 << 31  # frames by states, a byte each


def best_alignment(log_probs: NDArray[np.float32], token_ids: Sequence[int], *, blank_id: int = 0) -> FramePath:
    """Return the most probable path that spells the tokens, one token a frame; of equal ones the earliest.

    Args:
        log_probs: (E, V) natural log.
        token_ids: (U,) without blanks.
    Raises: DataError if the frames are too few for the tokens; UsageError for ids outside [0, V) or blanks, and where
        the text is too long to be aligned at once.
    Source: Graves et al. 2006, section 4.1, with the maximum in place of the sum.
    """
    frames, num_tokens = log_probs.shape
    ids = np.asarray(token_ids, np.int64)
    if len(ids) and not (0 <= ids.min() <= ids.max() < num_tokens and (ids != blank_id).all()):
        raise UsageError(f"token ids must lie in [0, {num_tokens}) and none may be the blank, {blank_id}")
    needed = len(ids) + int((ids[1:] == ids[:-1]).sum())
    if frames < needed:
        raise DataError(f"{frames} encoder frames cannot spell {len(ids)} tokens, which need {needed}; check the text")
    if frames * (2 * len(ids) + 1) > MAX_CELLS:
        raise UsageError(f"{len(ids)} tokens in {frames} frames are too many to align at once; cut the recording")
    labels = np.full(2 * len(ids) + 1, blank_id, np.int64)
    labels[1::2] = ids
    rows = np.ascontiguousarray(log_probs, np.float32)
    steps, path = np.zeros((frames, len(labels)), np.uint8), np.zeros(frames, np.int64)
    _best_path(rows, labels, steps, path)
    return FramePath(path, rows[np.arange(frames), path])


@compiled
def _best_path(log_probs: Any, labels: Any, steps: Any, path: Any) -> None:
    """Fill `path` (E,) with the label of each frame.  `steps` (E, S) notes by how many states each came forward."""
    frames, states = steps.shape
    before, now = np.full(states, -np.inf), np.full(states, -np.inf)
    before[0] = 0.0  # as if a blank had been heard before the first frame
    for t in range(frames):
        first = max(0, states - 2 * (frames - t))  # states from which the end can be reached
        last = min(states, 2 * t + 2)
        for s in range(first, last):
            best, step = before[s], 0
            if s > 0 and before[s - 1] > best:
                best, step = before[s - 1], 1
            if s > 1 and labels[s] != labels[s - 2] and before[s - 2] > best:
                best, step = before[s - 2], 2
            now[s] = best + log_probs[t, labels[s]]
            steps[t, s] = step
        for s in range(first):
            now[s] = -np.inf
        before, now = now, before
    s = states - 1
    if states > 1 and before[states - 2] > before[states - 1]:
        s = states - 2
    for t in range(frames - 1, -1, -1):
        path[t] = labels[s]
        s -= steps[t, s]
