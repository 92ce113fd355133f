"""Band-limited resampling written as the sum it is: one output sample at a time, in float64."""

import math

import numpy as np


def resample_by_sum(waveform: np.ndarray, source_rate: int, target_rate: int) -> np.ndarray:
    """Return the waveform (S,) at another rate: y(t) = sum over n of x[n] h(t - n), rows of h normalised to 1.

    h is a sinc with its cutoff at 0.95 of the lower Nyquist frequency, under a Kaiser window of 48 samples of
    the lower rate on either side.
    """
    lower = min(1.0, target_rate / source_rate)
    half = math.ceil(48 / lower)
    beta = 0.1102 * (76 - 8.7)
    output = np.zeros(math.ceil(len(waveform) * target_rate / source_rate))
    for index in range(len(output)):
        time = index * source_rate / target_rate
        positions = np.arange(math.floor(time) - half + 1, math.floor(time) + half + 1)
        distances = positions - time
        taps = np.sinc(0.95 * lower * distances) * np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (distances / half) ** 2)))
        inside = (positions >= 0) & (positions < len(waveform))
        output[index] = taps[inside] @ waveform[positions[inside]].astype(np.float64) / taps.sum()
    return output
