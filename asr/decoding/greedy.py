"""Best path decoding: the most probable token of every frame, repeats merged, blanks dropped.

A `FramePath` is all that is kept of the log-probabilities, so that hours of audio fit in memory and the parts
of a long recording can be joined before repeats are merged: a token that lies across a border stays one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.decoding.hypothesis import Hypothesis, TokenSpan
from asr.decoding.times import words_from_spans
from asr.errors import DataError, UsageError
from asr.units import FrameGeometry, Seconds

if TYPE_CHECKING:
    from torch import Tensor

    from asr.decoding.beam import Prefix
    from asr.text.tokenizer import Tokenizer

SUM_TOLERANCE = 0.01  # on a row's sum of probabilities: bfloat16 log-probs stay within it, logits never do


@dataclass(frozen=True, slots=True)
class FramePath:
    """One token a frame for one utterance, blanks and repeats included.

    Attributes:
        token_ids: (E,) int64.
        log_probs: (E,) float32, natural log of the posterior of each of them.
        words: what a search calls the words that the path spells; None: as the tokens spell them.
        warnings: of the search, one line each.
    """

    token_ids: NDArray[np.int64]
    log_probs: NDArray[np.float32]
    words: tuple[str, ...] | None = None
    warnings: tuple[str, ...] = ()

    def __getitem__(self, frames: slice) -> "FramePath":
        """Return a part; a copy, so that the frames around it are freed."""
        return FramePath(self.token_ids[frames].copy(), self.log_probs[frames].copy())


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader makes of all that it heard of a recording.

    Attributes:
        path: what is read; score: what it was chosen for.
        answers: of a search that was asked for several: all it has, best first, the first being that of the path.
        nbest: how many texts of the answers are wanted.
    """

    path: FramePath
    score: float
    answers: tuple["Prefix", ...] = ()
    nbest: int = 0


class GreedyReader:
    """Reads the best path."""

    def hear(self, log_probs: "Tensor", lengths: "Tensor") -> list[FramePath]:
        """Return what is kept of log-probs (B, E, V), for each utterance.  Raises: as `best_paths`."""
        return best_paths(log_probs, lengths)

    def join(self, parts: Sequence[FramePath]) -> FramePath:
        """Return consecutive parts of one recording as one."""
        return join_paths(parts)

    def read(self, path: FramePath) -> Reading:
        """Return the path of all that was heard; its score is its natural log-probability."""
        return Reading(path, float(path.log_probs.sum(dtype=np.float64)))


def best_paths(log_probs: "Tensor", lengths: "Tensor") -> list[FramePath]:
    """Return the most probable token of every frame, for each utterance.

    Args:
        log_probs: (B, E, V) natural log, normalised over V, on any device.
        lengths: (B,) int64 valid encoder frames; frames beyond them are never read.
    Raises: UsageError for shapes that do not fit; DataError for rows that are not log-probabilities.
    Source: Graves et al. 2006, section 3.2 (best path decoding).
    """
    import torch

    check_shapes(tuple(log_probs.shape), lengths)
    log_probs, lengths = log_probs.detach(), lengths.to(log_probs.device)
    valid = torch.arange(log_probs.shape[1], device=log_probs.device) < lengths[:, None]
    best, token_ids = log_probs.max(dim=-1)
    _check_normalised(log_probs, valid)
    all_ids, all_best, counts = token_ids.cpu().numpy(), best.float().cpu().numpy(), lengths.tolist()
    return [
        FramePath(ids[:count].copy(), row[:count].copy())
        for ids, row, count in zip(all_ids, all_best, counts, strict=True)
    ]


def join_paths(paths: Sequence[FramePath]) -> FramePath:
    """Return consecutive parts of one recording as one path."""
    ids = [np.empty(0, np.int64), *(path.token_ids for path in paths)]
    log_probs = [np.empty(0, np.float32), *(path.log_probs for path in paths)]
    return FramePath(np.concatenate(ids), np.concatenate(log_probs))


def collapse(path: FramePath, *, blank_id: int = 0) -> list[TokenSpan]:
    """Return the tokens of a path: runs of equal ids as one span each, blanks dropped."""
    ids = path.token_ids
    if len(ids) == 0:
        return []
    starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
    ends = np.append(starts[1:], len(ids))
    kept = ids[starts] != blank_id
    runs = zip(ids[starts[kept]].tolist(), starts[kept].tolist(), ends[kept].tolist(), strict=True)
    return [TokenSpan(token_id, start, end) for token_id, start, end in runs]


def ctc_greedy(log_probs: "Tensor", lengths: "Tensor", *, blank_id: int = 0) -> list[list[TokenSpan]]:
    """Return the best path's tokens for each utterance, with the frames that spell them.

    Args, Raises, Source: as `best_paths`; UsageError too if `blank_id` is outside V.
    """
    if not 0 <= blank_id < log_probs.shape[-1]:
        raise UsageError(f"blank_id {blank_id} is outside the {log_probs.shape[-1]} tokens of log_probs")
    return [collapse(path, blank_id=blank_id) for path in best_paths(log_probs, lengths)]


def hypothesis_from_path(
    path: FramePath, tokenizer: "Tokenizer", geometry: FrameGeometry, duration: Seconds, *, blank_id: int = 0
) -> Hypothesis:
    """Return the hypothesis that a path spells; its score is the path's natural log-probability.

    Args: geometry: of the model that made the path.  duration: of the audio; word times are clipped to it.
    """
    spans = collapse(path, blank_id=blank_id)
    words = words_from_spans(spans, path.log_probs, tokenizer, geometry, duration, path.words)
    score = float(path.log_probs.sum(dtype=np.float64))
    text = " ".join(word.word for word in words)
    return Hypothesis(tuple(span.token_id for span in spans), text, score, score, 0.0, tuple(spans), tuple(words))


def hypotheses_from_greedy(
    log_probs: "Tensor",
    lengths: "Tensor",
    tokenizer: "Tokenizer",
    geometry: FrameGeometry,
    durations: Sequence[Seconds],
    *,
    blank_id: int = 0,
) -> list[Hypothesis]:
    """Return the best path's hypothesis for each utterance.

    Args, Raises, Source: as `best_paths`.  durations: of each utterance's audio, in seconds.
    """
    paths = best_paths(log_probs, lengths)
    if len(durations) != len(paths):
        raise UsageError(f"{len(durations)} durations for {len(paths)} utterances; give one each")
    return [
        hypothesis_from_path(path, tokenizer, geometry, duration, blank_id=blank_id)
        for path, duration in zip(paths, durations, strict=True)
    ]


def check_shapes(shape: tuple[int, ...], lengths: "Tensor") -> None:
    """Raise UsageError unless the shapes are (B, E, V) and (B,), and the lengths counts of valid frames."""
    if len(shape) != 3 or tuple(lengths.shape) != shape[:1]:
        raise UsageError(f"log_probs {shape} and lengths {tuple(lengths.shape)}: expected (B, E, V) and (B,)")
    if lengths.is_floating_point() or lengths.dtype.is_complex:
        raise UsageError(f"lengths are {lengths.dtype}; give counts of valid frames as int64")
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= shape[1]:
        raise UsageError(f"lengths {int(lengths.min())} to {int(lengths.max())} do not fit {shape[1]} encoder frames")


def _check_normalised(log_probs: "Tensor", valid: "Tensor") -> None:
    """Raise DataError unless the probabilities of every valid frame sum to 1."""
    sums = log_probs.float().logsumexp(dim=-1).exp().masked_fill(~valid, 1.0)
    if sums.numel() == 0:
        return
    off = (sums - 1.0).abs()
    refuse_sum(float(sums.flatten()[int(off.nan_to_num(nan=float("inf")).argmax())]))


def refuse_sum(worst: float) -> None:
    """Raise DataError if the worst sum of a row's probabilities says that they are none."""
    if worst != worst:  # NaN
        raise DataError("log_probs hold NaN: the audio or the model's weights are broken; run asr info on the model")
    if not abs(worst - 1.0) <= SUM_TOLERANCE:
        raise DataError(f"rows sum to {worst:.1f}: logits passed, or log taken twice? give log-probabilities over V")
