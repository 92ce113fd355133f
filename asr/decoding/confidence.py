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


def span_confidence(spans: Sequence[TokenSpan], frame_log_probs: NDArray[np.float32]) -> float:
    """Return the geometric mean of the highest posterior in each of `spans`, in [0, 1]; 0 without any frame.

    Args: frame_log_probs: (E,) natural log of the posterior of the aligned token of each frame.
    """
    peaks = [float(frame_log_probs[span.start : span.end].max()) for span in spans if span.end > span.start]
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
    means = [_span_posterior(spans[first:last], frame_log_probs) for _, first, last in words]
    return sum(means) / len(means) if means else None


def _span_posterior(spans: Sequence[TokenSpan], frame_log_probs: NDArray[np.float32]) -> float:
    total = sum(float(np.exp(frame_log_probs[span.start : span.end], dtype=np.float64).sum()) for span in spans)
    count = sum(span.end - span.start for span in spans)
    return min(max(total / count, 0.0), 1.0) if count else 0.0
