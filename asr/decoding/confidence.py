"""How sure the model was: a number in [0, 1] for every word.

The confidence of a word is the geometric mean, over its tokens, of the highest posterior that each token reaches.
Blank frames are left out: CTC models are nearly certain of blank between tokens, so they would make every word look
sure.  So are a token's weaker frames: where a token comes and goes, its posterior has to pass through every value
below its peak, however clear it was.  No language model takes part.  It is a ranking, not yet a probability of being
right: that needs calibration.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.decoding.hypothesis import TokenSpan, Word

if TYPE_CHECKING:
    from asr.text.tokenizer import Tokenizer


def span_peaks(spans: Sequence[TokenSpan], frame_log_probs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the natural log of the highest posterior in each of `spans`, (N,); -inf for one without a frame.

    Args:
        spans: in order, without overlap.
        frame_log_probs: (E,) natural log of the posterior of the aligned token of each frame.
    """
    return _in_spans(np.maximum, spans, frame_log_probs, -np.inf)


def span_confidence(spans: Sequence[TokenSpan], frame_log_probs: NDArray[np.float32]) -> float:
    """Return the geometric mean of the highest posterior in each of `spans`, in [0, 1]; 0 without any frame.

    Args: as of `span_peaks`.
    """
    peaks = [peak for peak in span_peaks(spans, frame_log_probs).tolist() if peak > -np.inf]
    # Rounding may leave a posterior a hair above 1.
    return min(float(np.exp(sum(peaks) / len(peaks))), 1.0) if peaks else 0.0


def mean_confidence(words: Sequence[Word]) -> float | None:
    """Return the mean confidence over words, or None without words."""
    return sum(word.confidence for word in words) / len(words) if words else None


def mean_posterior(
    spans: Sequence[TokenSpan], frame_log_probs: NDArray[np.float32], tokenizer: "Tokenizer"
) -> float | None:
    """Return the mean over words of the mean posterior over each word's frames that are not blank, or None.

    Thresholds of a model's domain are set on it.  Args: as of `words_from_spans`.
    """
    words = tokenizer.words_of([span.token_id for span in spans])
    totals = _in_spans(np.add, spans, np.exp(frame_log_probs, dtype=np.float64), 0.0)
    counts = np.array([span.end - span.start for span in spans])
    means = [_mean_of(totals[first:last], counts[first:last]) for _, first, last in words]
    return sum(means) / len(means) if means else None


def _mean_of(totals: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    count = int(counts.sum())
    return min(max(float(totals.sum()) / count, 0.0), 1.0) if count else 0.0


def _in_spans(
    function: np.ufunc, spans: Sequence[TokenSpan], values: NDArray[np.floating], nothing: float
) -> NDArray[np.float64]:
    """Return what a function of two makes of the values (E,) in each span; nothing for one without a frame."""
    found = np.full(len(spans), nothing)
    full = [index for index, span in enumerate(spans) if span.end > span.start]
    if full:
        edges = np.array([(spans[index].start, spans[index].end) for index in full]).ravel()
        # behind the last value there must be one for the last edge to point at
        found[full] = function.reduceat(np.append(values, 0), edges)[::2]
    return found
