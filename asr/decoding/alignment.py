"""Where a given text lies in the audio: the most probable path of CTC that spells it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.decoding.greedy import FramePath
from asr.errors import DataError, UsageError
from asr.native import compiled

AROUND = 100  # frames before and after the one that a token is expected in
MAX_CELLS = 1 << 31  # frames by states, a byte each


def best_alignment(
    log_probs: NDArray[np.float32],
    token_ids: Sequence[int],
    *,
    near: Sequence[int] | None = None,
    blank_id: int = 0,
) -> FramePath:
    """Return the most probable path that spells the tokens, one token a frame; of equal ones the earliest.

    Args:
        log_probs: (E, V) natural log.
        token_ids: (U,) without blanks.
        near: (U,) rising frames; each token is looked for within AROUND frames of its own, so hours can be aligned.
    Raises: DataError if the frames are too few for the tokens; UsageError for ids outside [0, V) or blanks, and where
        the text is too long to be aligned without `near`.
    Source: Graves et al. 2006, section 4.1, with the maximum in place of the sum.
    """
    frames, num_tokens = log_probs.shape
    ids = np.asarray(token_ids, np.int64)
    if len(ids) and not (0 <= ids.min() <= ids.max() < num_tokens and (ids != blank_id).all()):
        raise UsageError(f"token ids must lie in [0, {num_tokens}) and none may be the blank, {blank_id}")
    needed = len(ids) + int((ids[1:] == ids[:-1]).sum())
    if frames < needed:
        raise DataError(f"{frames} encoder frames cannot spell {len(ids)} tokens, which need {needed}; check the text")
    labels = np.full(2 * len(ids) + 1, blank_id, np.int64)
    labels[1::2] = ids
    firsts, lasts = _reachable(frames, len(labels), None if near is None else np.asarray(near, np.int64))
    width = int((lasts - firsts).max(initial=1))
    if frames * width > MAX_CELLS:
        raise UsageError(f"{len(ids)} tokens in {frames} frames are too many to align at once; cut the recording")
    rows = np.ascontiguousarray(log_probs, np.float32)
    path = np.zeros(frames, np.int64)
    _best_path(rows, labels, firsts, lasts, np.zeros((frames, width), np.uint8), path)
    return FramePath(path, rows[np.arange(frames), path])


def _reachable(frames: int, states: int, near: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the states [first, last) that each frame may be in: those on a way from the start to the end."""
    time = np.arange(frames)
    firsts, lasts = np.maximum(0, states - 2 * (frames - time)), np.minimum(states, 2 * time + 2)
    if near is not None:
        firsts = np.maximum(firsts, 2 * np.searchsorted(near, time - AROUND))
        lasts = np.minimum(lasts, 2 * np.searchsorted(near, time + AROUND, side="right") + 1)
    return firsts, lasts


@compiled
def _best_path(log_probs: Any, labels: Any, firsts: Any, lasts: Any, steps: Any, path: Any) -> None:
    """Fill `path` (E,) with the label of each frame.

    `steps` notes for the states from the first of a frame by how many states the best path came forward.
    """
    frames, states = len(path), len(labels)
    before, now = np.full(states, -np.inf), np.full(states, -np.inf)
    before[0] = 0.0  # as if a blank had been heard before the first frame
    for t in range(frames):
        first = firsts[t]
        for s in range(first, lasts[t]):
            best, step = before[s], 0
            if s > 0 and before[s - 1] > best:
                best, step = before[s - 1], 1
            if s > 1 and labels[s] != labels[s - 2] and before[s - 2] > best:
                best, step = before[s - 2], 2
            now[s] = best + log_probs[t, labels[s]]
            steps[t, s - first] = step
        for s in range(firsts[t - 1] if t else 0, first):  # left behind
            now[s] = before[s] = -np.inf
        before, now = now, before
    s = states - 1
    if states > 1 and before[states - 2] > before[states - 1]:
        s = states - 2
    for t in range(frames - 1, -1, -1):
        path[t] = labels[s]
        s -= steps[t, s - firsts[t]]
