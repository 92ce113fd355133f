"""The noise estimate follows what is known by construction, and meets the edges."""

import numpy as np
import pytest

from asr.scoring.snr import HIGHEST_DB, estimate_snr

RATE = 16000


def _bursts(seconds: float = 4.0) -> np.ndarray:
    """Return noise of power 1 that sounds in half of the quarter seconds."""
    on = np.arange(int(seconds * RATE)) // (RATE // 4) % 2
    return on * np.random.default_rng(0).normal(0, 1, len(on))


@pytest.mark.parametrize("snr_db", [0, 10, 20, 30])
def test_known_ratios(snr_db: int) -> None:
    speech = _bursts()
    noise = np.random.default_rng(1).normal(0, 10 ** (-snr_db / 20), len(speech))
    found = estimate_snr((0.1 * (speech + noise)).astype(np.float32), RATE)
    # the loudest of frames of 320 samples are 0.8 dB above their mean, the 10th percentile of the floor 0.5 below
    assert found == pytest.approx(snr_db + 1, abs=1.5)


def test_twice_the_noise_is_three_decibels_and_loudness_does_not_matter() -> None:
    speech, noise = _bursts(), np.random.default_rng(1).normal(0, 0.05, 4 * RATE)
    one, two, quiet = (
        estimate_snr((0.1 * gain * (speech + more * noise)).astype(np.float32), RATE)
        for gain, more in ((1, 1), (1, np.sqrt(2)), (0.01, 1))
    )
    assert one is not None
    assert two == pytest.approx(one - 3, abs=0.2)
    assert quiet == pytest.approx(one, abs=0.1)


def test_an_offset_is_no_noise_and_digital_silence_is_left_out() -> None:
    sound = (0.1 * _bursts() + np.random.default_rng(1).normal(0, 0.001, 4 * RATE)).astype(np.float32)
    found = estimate_snr(sound, RATE)
    assert estimate_snr(sound + np.float32(0.25), RATE) == pytest.approx(found, abs=0.1)
    assert estimate_snr(np.concatenate([sound, np.zeros(16 * RATE, np.float32)]), RATE) == found


def test_edges() -> None:
    assert estimate_snr(np.zeros(RATE, np.float32), RATE) is None
    assert estimate_snr(np.zeros(0, np.float32), RATE) is None
    assert estimate_snr(np.ones(10, np.float32), RATE) is None
    clean = _bursts().astype(np.float32) * 0.1 + np.tile([0, 1e-7], 2 * RATE).astype(np.float32)
    assert estimate_snr(clean, RATE) == HIGHEST_DB
    tone = np.sin(np.arange(RATE) * 2 * np.pi * 1000 / RATE).astype(np.float32)
    assert estimate_snr(tone, RATE) == pytest.approx(-10)  # nothing stands out
