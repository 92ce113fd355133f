"""Where a given text lies in the audio: the most probable path of CTC that spells it.

`torchaudio.functional.forced_align` finds the same path (a test compares them), but notes a byte for each frame and
state: 6 GB for an hour and its text.  Here scores are kept once in SEGMENT frames, and steps are noted for one segment
at a time, from the last to the first, among the states that can still lead to where the next one starts.  So this one
way aligns a word and an hour, and, told where to look, what a search has found; torchaudio's would be a second.
Source: Grice, Hughey & Speck 1997, "Reduced space sequence alignment".
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decoding.greedy import FramePath
from asr.errors import DataError, UsageError
from asr.native import compiled

AROUND = 100  # frames before and after the one that a token is expected in
SEGMENT = 1024  # frames
MAX_SCORES = 1 << 27  # kept, 8 bytes each: 4 hours at 40 ms a frame and 10 tokens a second
_ANYWHERE, _NOWHERE = -1, -2


class _States(NamedTuple):
    """What a path goes through: a blank, the first token, a blank, ..., and when it can be where.

    Attributes:
        labels: (2U + 1,) token ids.
        skips: (2U + 1,) what leaving out the state before adds to a score: 0 for a blank between two different tokens,
            -inf for all else.
        firsts, lasts: (E,) the states [first, last) that each frame may be in; neither ever falls.
    """

    labels: NDArray[np.int64]
    skips: NDArray[np.float64]
    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]


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
        near: (U,) rising frames; each token is looked for within AROUND frames of its own only, which is faster.
    Raises: DataError if the frames are too few for the tokens, or none of the paths has any probability; UsageError
        for ids outside [0, V) or blanks, and where there is too much of both to be aligned at once.
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
    skips = np.full(len(labels), -np.inf)
    skips[2:][labels[2:] != labels[:-2]] = 0.0
    reachable = _reachable(frames, len(labels), None if near is None else np.asarray(near, np.int64))
    rows = np.ascontiguousarray(log_probs, np.float32)
    path = _best_path(rows, _States(labels, skips, *reachable))
    return FramePath(path, rows[np.arange(frames), path])


def _reachable(frames: int, states: int, near: NDArray[np.int64] | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the states [first, last) that each frame may be in: those on a way from the start to the end."""
    time = np.arange(frames)
    firsts, lasts = np.maximum(0, states - 2 * (frames - time)), np.minimum(states, 2 * time + 2)
    if near is not None:
        firsts = np.maximum(firsts, 2 * np.searchsorted(near, time - AROUND))
        lasts = np.minimum(lasts, 2 * np.searchsorted(near, time + AROUND, side="right") + 1)
    return firsts, lasts


def _best_path(rows: NDArray[np.float32], states: _States) -> NDArray[np.int64]:
    """Return the label of each frame, (E,), segment by segment from the end."""
    firsts, lasts, num_labels = states.firsts, states.lasts, len(states.labels)
    width, count = int((lasts - firsts).max(initial=1)), -(-len(rows) // SEGMENT)
    if count * width > MAX_SCORES:
        raise UsageError(f"{num_labels // 2} tokens in {len(rows)} frames are too many at once; cut the recording")
    kept = np.full((count, width), -np.inf)
    path = np.zeros(len(rows), np.int64)
    if count:
        _keep_scores(rows, states, kept)
    state = _ANYWHERE
    for number in reversed(range(count)):
        start = number * SEGMENT
        part = slice(start, start + SEGMENT)
        low, high = firsts[part], lasts[part]
        if state != _ANYWHERE:
            low, high = np.maximum(low, state - 2 * np.arange(len(low))[::-1]), np.minimum(high, state + 1)
        offset = int(firsts[start - 1]) if number else 0
        within = states._replace(firsts=low, lasts=high)
        state = int(_trace(rows[part], within, kept[number], offset, state, path[part]))
        if state == _NOWHERE:
            raise DataError(f"no path that spells the {num_labels // 2} tokens has any probability; check the text")
    return path


@compiled
def _keep_scores(log_probs: Any, states: Any, kept: Any) -> None:
    """Fill `kept`: for each segment the scores before its first frame, of the states that the frame before may be in.

    The scores of state s lie at s + 2, so that none has fewer than two before it.
    """
    labels, skips, firsts, lasts = states
    before, now = np.full(len(labels) + 2, -np.inf), np.full(len(labels) + 2, -np.inf)
    before[2] = kept[0, 0] = 0.0  # as if a blank had been heard before the first frame
    for t in range((len(kept) - 1) * SEGMENT):
        first, last, row = firsts[t], lasts[t], log_probs[t]
        for s in range(first, last):
            stay, come, skip = before[s + 2], before[s + 1], before[s] + skips[s]
            best = come if come > stay else stay
            now[s + 2] = (skip if skip > best else best) + row[labels[s]]
        for s in range(firsts[t - 1] if t else 0, first):  # left behind
            now[s + 2] = before[s + 2] = -np.inf
        before, now = now, before
        if (t + 1) % SEGMENT == 0:
            kept[(t + 1) // SEGMENT, : last - first] = before[first + 2 : last + 2]


@compiled
def _trace(log_probs: Any, states: Any, kept: Any, offset: int, state: int, path: Any) -> int:
    """Fill the `path` of a segment that ends in `state`; return the state before its first frame, _NOWHERE if none.

    `kept` holds the scores before the segment of the states from `offset` on.  `steps` notes for the states from the
    first of a frame by how many states the best path came forward.
    """
    labels, skips, firsts, lasts = states
    count = len(labels)
    steps = np.zeros((len(path), max(1, (lasts - firsts).max())), np.uint8)
    before, now = np.full(count + 2, -np.inf), np.full(count + 2, -np.inf)
    known = min(len(kept), count - offset)
    before[offset + 2 : offset + 2 + known] = kept[:known]
    for t in range(len(path)):
        first, row, steps_here = firsts[t], log_probs[t], steps[t]
        for s in range(first, lasts[t]):
            stay, come, skip = before[s + 2], before[s + 1], before[s] + skips[s]
            best = come if come > stay else stay
            step = 1 if come > stay else 0
            now[s + 2] = (skip if skip > best else best) + row[labels[s]]
            steps_here[s - first] = 2 if skip > best else step
        for s in range(firsts[t - 1] if t else 0, first):  # left behind
            now[s + 2] = before[s + 2] = -np.inf
        before, now = now, before
    s = state
    if state == _ANYWHERE:
        s = count - 2 if count > 1 and before[count] > before[count + 1] else count - 1
    if not before[s + 2] > -np.inf:  # or NaN
        return _NOWHERE
    for t in range(len(path) - 1, -1, -1):
        path[t] = labels[s]
        s -= steps[t, s - firsts[t]]
    return int(s)
