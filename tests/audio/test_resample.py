import math

import numpy as np
import pytest

from asr.audio.resample import Resampler, num_output, resample
from asr.errors import UsageError
from tests.oracles.resample import resample_by_sum

RATIOS = [(9, 10), (10, 9), (11, 10), (44100, 16000), (8000, 16000), (16000, 8000), (48000, 16000), (11025, 16000)]


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(num_samples) * 0.2).astype(np.float32)


def sine(frequency: float, rate: int, num_samples: int) -> np.ndarray:
    return np.sin(2 * np.pi * frequency / rate * np.arange(num_samples)).astype(np.float32)


def level_db(waveform: np.ndarray) -> float:
    """Power against that of a full sine, edges left out."""
    inner = waveform[len(waveform) // 4 : -len(waveform) // 4].astype(np.float64)
    return 10 * math.log10(2 * float(np.mean(inner**2)) + 1e-30)


@pytest.mark.parametrize(("source", "target"), [*RATIOS, (15999, 16000)])
@pytest.mark.parametrize("num_samples", [1, 2, 50, 300])
def test_equals_the_sum_it_stands_for(source: int, target: int, num_samples: int) -> None:
    waveform = noise(num_samples)
    output = resample(waveform, source, target)
    assert output.dtype == np.float32
    # the matrix is float32: 100 products of numbers below 1 round to about 1e-7 each
    np.testing.assert_allclose(output, resample_by_sum(waveform, source, target), atol=2e-6)


@pytest.mark.parametrize(("source", "target"), [*RATIOS, (1, 1), (3, 1), (1, 3), (15999, 16000)])
def test_length_is_exact(source: int, target: int) -> None:
    for num_samples in [*range(1, 40), 441, 442, 1000, 16001]:
        expected = math.ceil(num_samples * target / source)
        assert num_output(num_samples, source, target) == expected
        assert len(resample(np.zeros(num_samples, np.float32), source, target)) == expected


def test_length_is_computed_in_integers() -> None:
    assert num_output(9 * 10**17 + 9, 9, 10) == 10**18 + 10  # beyond what a float can count
    assert num_output(0, 9, 10) == 0


@pytest.mark.parametrize(("source", "target"), [*RATIOS, (16000, 16000), (15999, 16000)])
def test_streamed_equals_whole_for_any_cutting(source: int, target: int) -> None:
    random = np.random.default_rng(source + target)
    waveform = noise(2000)
    whole = resample(waveform, source, target)
    for largest in (1, 7, 500, 2000):
        resampler = Resampler(source, target)
        pieces, position = [], 0
        while position < len(waveform):
            step = int(random.integers(0, largest + 1))
            pieces.append(resampler.accept(waveform[position : position + step]))
            position += step
        pieces.append(resampler.finish())
        streamed = np.concatenate(pieces)
        assert streamed.shape == whole.shape
        np.testing.assert_allclose(streamed, whole, atol=1e-6)


def test_rates_without_a_small_ratio_do_not_wait_for_a_second() -> None:
    resampler = Resampler(15999, 16000)
    found = resampler.accept(noise(2000))
    assert len(found) > 2000 - 60  # half of the filter, at the most
    assert len(resampler.accept(noise(1000))) in (1000, 1001)


def test_finish_starts_anew() -> None:
    resampler, waveform = Resampler(9, 10), noise(1000)
    first = np.concatenate([resampler.accept(waveform), resampler.finish()])
    second = np.concatenate([resampler.accept(waveform), resampler.finish()])
    np.testing.assert_array_equal(first, second)


def test_nothing_in_nothing_out() -> None:
    for source, target in [(9, 10), (16000, 16000), (15999, 16000)]:
        assert resample(np.zeros(0, np.float32), source, target).shape == (0,)


def test_equal_rates_copy() -> None:
    waveform = noise(100)
    output = resample(waveform, 16000, 16000)
    np.testing.assert_array_equal(output, waveform)
    assert not np.shares_memory(output, waveform)


@pytest.mark.parametrize(("source", "target"), RATIOS)
def test_passband_is_flat_and_not_delayed(source: int, target: int) -> None:
    nyquist = min(source, target) / 2
    for share in (0.02, 0.3, 0.6, 0.8, 0.9):
        frequency = share * nyquist
        output = resample(sine(frequency, source, 12000), source, target)
        assert abs(level_db(output)) < 0.1
        error = level_db(output - sine(frequency, target, len(output)))
        assert error < -60  # phase and amplitude: the output is the sine at the new rate


@pytest.mark.parametrize(("source", "target"), [(10, 9), (44100, 16000), (16000, 8000), (48000, 16000)])
def test_nothing_is_folded_down(source: int, target: int) -> None:
    for share in (1.0, 1.02, 1.1, 1.5, 2.3):
        frequency = share * target / 2
        if frequency < source / 2:
            # share 1.0 lies at the edge itself; half a percent above it is stopped
            frequency *= 1.005
            assert level_db(resample(sine(frequency, source, 20000), source, target)) < -70


@pytest.mark.parametrize(("source", "target"), [(9, 10), (8000, 16000), (11025, 16000)])
def test_no_image_is_added(source: int, target: int) -> None:
    output = resample(sine(0.8 * source / 2, source, 12000), source, target)
    spectrum = np.abs(np.fft.rfft(output[2000:10192] * np.blackman(8192))) ** 2
    edge = math.ceil(source / target * (len(spectrum) - 1)) + 8
    assert 10 * math.log10(spectrum[edge:].max(initial=1e-30) / spectrum.max()) < -70


@pytest.mark.parametrize(("source", "target"), [(9, 10), (10, 9), (44100, 16000), (8000, 16000), (16000, 8000)])
def test_agrees_with_torchaudio_in_the_passband(source: int, target: int) -> None:
    import torch
    import torchaudio.functional

    rng = np.random.default_rng(3)
    nyquist = min(source, target) / 2
    tones = [sine(share * nyquist, source, 12000) for share in rng.uniform(0.01, 0.88, 12)]
    waveform = (sum(tones) / 12).astype(np.float32)
    ours = resample(waveform, source, target)
    theirs = torchaudio.functional.resample(
        torch.from_numpy(waveform), source, target, lowpass_filter_width=64, rolloff=0.95, beta=8.0,
        resampling_method="sinc_interp_kaiser",
    ).numpy()  # fmt: skip
    assert ours.shape == theirs.shape
    inner = slice(len(ours) // 8, -len(ours) // 8)
    # both filters are flat there within their own ripple, about 1e-4
    np.testing.assert_allclose(ours[inner], theirs[inner], atol=1e-3)


def test_rates_must_be_positive() -> None:
    with pytest.raises(UsageError, match="0 Hz -> 16000 Hz"):
        Resampler(0, 16000)
