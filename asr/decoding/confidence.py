"""How sure the model was: a number in [0, 1] for every word.

The confidence of a word is the mean posterior over its aligned non-blank frames.  Blank frames are left out:
CTC models are nearly certain of blank between tokens, so they would make every word look sure.  No language
model takes part.  It is a ranking, not yet a probability of being right: that needs calibration.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.decoding.hypothesis import TokenSpan, Word


def span_confidence(spans: Sequence[TokenSpan], frame_log_probs: NDArray[np.float32]) -> float:
    """Return the mean posterior over the frames of `spans`, in [0, 1]; 0 without any frame.

    Args: frame_log_probs: (E,) natural log of the posterior of the aligned token of each frame.
    """
    total = sum(float(np.exp(frame_log_probs[span.start : span.end], dtype=np.float64).sum()) for span in spans)
    count = sum(span.end - span.start for span in spans)
    # Rounding may leave a posterior a hair above 1.
    return min(max(total / count, 0.0), 1.0) if count else 0.0


def mean_confidence(words: Sequence[Word]) -> float | None:
    """Return the mean confidence over words, or None without words."""
    return sum(word.confidence for word in words) / len(words) if words else None
