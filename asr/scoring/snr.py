"""How far speech stands above the noise of its recording."""

import numpy as np

from asr.audio.resample import Waveform

FRAME_SECONDS = 0.02
NOISE_PERCENTILE, SPEECH_PERCENTILE = 10, 95  # of the frames' powers
HIGHEST_DB = 60.0  # beyond it the rounding to 16 bits decides, not the room

_ROUNDING_POWER = 1 / 12 / 32768**2  # of samples of 16 bits: no recording is quieter


def estimate_snr(waveform: Waveform, sample_rate: int) -> float | None:
    """Return the ratio of the loud frames' power to the noise floor, dB, at most 60; None if there is no sound.

    Args: waveform (S,) in [-1, 1]; sample_rate in Hz.
    The power of a frame is its variance over 20 ms; the floor is the 10th percentile of all frames, speech the 95th
    less the floor.  Frames whose samples are all alike are digital silence, not noise, and are left out.
    What it is not: the ratio of *mean* powers, which is lower by about 6 dB, as speech is quiet most of the time; and
    a recording without pauses has no floor to find, music and other talkers count as speech.  Compare its values
    with each other only.
    Source: NIST's stnr (Speech Quality Assurance package 2.3, 1993): peak speech power over noise power, of the
        histogram of 20 ms frames; percentiles stand in for its fitted curve.
    """
    frame = max(2, int(FRAME_SECONDS * sample_rate))
    num_frames = len(waveform) // frame
    if not num_frames:
        return None
    frames = waveform[: num_frames * frame].reshape(num_frames, frame).astype(np.float64)
    powers = frames.var(axis=1)
    powers = powers[powers > 0]
    if not len(powers):
        return None
    noise, loud = np.percentile(powers, [NOISE_PERCENTILE, SPEECH_PERCENTILE])
    noise = max(float(noise), _ROUNDING_POWER)
    speech = max(float(loud) - noise, noise / 10)  # at least -10 dB: below, nothing stands out
    return min(10 * float(np.log10(speech / noise)), HIGHEST_DB)
