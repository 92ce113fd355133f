"""Waveforms that callers hand over: what makes one no waveform."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_PEAK = 100.0  # above this a waveform is certainly not scaled to [-1, 1]
_SCALED = "give floats in [-1, 1], 16-bit samples divided by 32768"


def as_samples(waveform: ArrayLike) -> NDArray[np.generic]:
    """Return what a caller handed over, also a tensor of any device and type, as an array."""
    given: Any = waveform
    if hasattr(given, "detach"):
        given = given.detach().cpu()
        given = given.float() if given.is_floating_point() else given
    samples: NDArray[np.generic] = np.asarray(given)
    return samples


def waveform_fault(samples: NDArray[np.generic]) -> str | None:
    """Return what is wrong with samples that should be (S,) floats in [-1, 1], and the cure; None: nothing."""
    if samples.ndim != 1:
        return f"has shape {samples.shape}; give one channel, (S,)"
    if not len(samples):
        return None
    if not np.issubdtype(samples.dtype, np.floating):
        return f"is {samples.dtype}; {_SCALED}"
    finite = np.isfinite(samples)
    if not finite.all():
        return f"holds NaN or infinite samples, the first at sample {int(finite.argmin())}; repair what it comes from"
    if (peak := float(np.abs(samples).max())) > MAX_PEAK:
        return f"reaches {peak:g}; {_SCALED}"
    return None
