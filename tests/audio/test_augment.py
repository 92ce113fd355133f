import math
from pathlib import Path

import numpy as np
import pytest

from asr.audio import augment
from asr.audio.augment import (
    NoiseFolder,
    WaveformAugmentConfig,
    WaveformDraw,
    apply,
    augment_waveform,
    draw,
    drawn_samples,
    perturb_speed,
    perturbed_samples,
    speed_factor,
)
from asr.audio.files import write_audio
from asr.config import parse
from asr.errors import DataError, UsageError

RATE = 16000


def config(**values: object) -> WaveformAugmentConfig:
    return parse(WaveformAugmentConfig, values, where="test")


@pytest.fixture
def noise(tmp_path: Path) -> NoiseFolder:
    random = np.random.default_rng(1)
    for name, seconds in (("b/short.wav", 0.1), ("a.flac", 2.0), ("c.wav", 1.0)):
        samples = (random.standard_normal(int(seconds * RATE)) * 0.1).astype(np.float32)
        write_audio(tmp_path / "noise" / name, samples, RATE)
    (tmp_path / "noise" / "README.txt").write_text("not audio")
    return NoiseFolder(tmp_path / "noise", RATE)


def test_off_by_default(tone: np.ndarray) -> None:
    assert config().is_off
    assert draw(1, config(), None) == WaveformDraw()
    np.testing.assert_array_equal(augment_waveform(tone, 1, config()), tone)


def test_every_field_says_what_it_means() -> None:
    assert all(field.description for field in WaveformAugmentConfig.model_fields.values())


@pytest.mark.parametrize("factor", [0.5, 0.9, 0.95, 1.0, 1.05, 1.1, 4 / 3, 2.0])
def test_perturbed_length_is_exact(factor: float) -> None:
    for num_samples in [*range(1, 60), 999, 16001]:
        waveform = np.ones(num_samples, np.float32)
        assert len(perturb_speed(waveform, factor)) == perturbed_samples(num_samples, factor)
    assert perturbed_samples(9000, 0.9) == 10000
    assert perturbed_samples(0, 0.9) == 0


@pytest.mark.parametrize("factor", [0.9137, 0.49, 2.1, 0.0, -1.0, 1.001, 19.99 / 20])
def test_odd_factors_are_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="denominator of at most 20") as caught:
        config(speed_factors=[1.0, factor])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        perturbed_samples(10, factor)


def test_wrong_settings_are_refused() -> None:
    for values in ({"gain_db": [3, -3]}, {"noise_snr_db": [20, 10]}, {"noise_probability": 1.5}, {"speed_factor": [1]}):
        with pytest.raises(UsageError):
            config(**values)


def test_faster_is_shorter_and_higher() -> None:
    tone = np.sin(2 * np.pi * 1000 / RATE * np.arange(RATE)).astype(np.float32)
    faster = perturb_speed(tone, 1.1)
    assert len(faster) == math.ceil(RATE / 1.1)
    assert np.argmax(np.abs(np.fft.rfft(faster, RATE))) == 1100


def test_speed_is_drawn_evenly_and_purely() -> None:
    settings = config(speed_factors=[0.9, 1.0, 1.1])
    drawn = [speed_factor(seed, settings) for seed in range(3000)]
    assert drawn == [speed_factor(seed, settings) for seed in range(3000)]
    for factor in (0.9, 1.0, 1.1):
        assert abs(drawn.count(factor) - 1000) < 130  # five standard deviations
    assert draw(7, settings, None).speed == speed_factor(7, settings)


def test_lengths_of_many_are_those_of_each() -> None:
    random = np.random.default_rng(2)
    num_samples, seeds = random.integers(1, 400000, 500), random.integers(0, 1 << 63, 500)
    for factors in ([], [0.9], [0.9, 1.0, 1.1], [0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15]):
        settings = config(speed_factors=factors)
        expected = [
            perturbed_samples(count, speed_factor(seed, settings))
            for count, seed in zip(num_samples.tolist(), seeds.tolist(), strict=True)
        ]
        assert drawn_samples(num_samples, seeds, settings).tolist() == expected


def test_one_draw_never_shifts_another(noise: NoiseFolder) -> None:
    full = config(speed_factors=[0.9, 1.1], gain_db=[-6, 6], noise_folder="x", noise_probability=1.0)
    for seed in range(20):
        everything = draw(seed, full, noise)
        assert everything.speed == draw(seed, config(speed_factors=[0.9, 1.1]), None).speed
        assert everything.gain_db == draw(seed, config(gain_db=[-6, 6]), None).gain_db
        only_noise = draw(seed, config(noise_folder="x", noise_probability=1.0), noise)
        assert (everything.noise, everything.noise_start) == (only_noise.noise, only_noise.noise_start)
        assert -6 <= everything.gain_db <= 6
        assert 10 <= everything.snr_db <= 30


def test_noise_has_its_share_and_visits_every_recording(noise: NoiseFolder) -> None:
    settings = config(noise_folder="x", noise_probability=0.25)
    drawn = [draw(seed, settings, noise).noise for seed in range(2000)]
    assert abs(sum(index is not None for index in drawn) - 500) < 100
    assert set(drawn) == {None, 0, 1, 2}


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 25.0])
@pytest.mark.parametrize("recording", [0, 1, 2])
def test_snr_is_what_was_drawn(noise: NoiseFolder, tone: np.ndarray, snr_db: float, recording: int) -> None:
    tone = tone * 0.3
    mixed = apply(tone, WaveformDraw(noise=recording, noise_start=0.9, snr_db=snr_db), noise)
    assert mixed.dtype == np.float32
    found = 10 * math.log10(float(np.mean(tone**2) / np.mean((mixed - tone) ** 2)))
    assert abs(found - snr_db) < 0.01


def test_short_noise_is_looped_from_where_it_starts(noise: NoiseFolder, tone: np.ndarray) -> None:
    short = next(index for index, path in enumerate(noise.paths) if path.stem == "short")
    added = apply(tone * 0.1, WaveformDraw(noise=short, noise_start=0.5, snr_db=0.0), noise) - tone * 0.1
    recording = noise.waveform(short)
    np.testing.assert_allclose(added[1600:3200], added[:1600], atol=1e-6)
    first = len(recording) // 2
    scale = added[0] / recording[first]
    np.testing.assert_allclose(added[:800], recording[first:] * scale, atol=1e-5)


def test_gain_and_no_clipping(tone: np.ndarray) -> None:
    np.testing.assert_allclose(apply(tone * 0.1, WaveformDraw(gain_db=6.0), None), tone * 0.1 * 10**0.3, rtol=1e-5)
    loud = apply(tone, WaveformDraw(gain_db=40.0), None)
    assert np.abs(loud).max() == pytest.approx(1.0)
    np.testing.assert_allclose(loud / np.abs(loud).max(), tone / np.abs(tone).max(), atol=1e-5)


def test_silence_and_nothing_stay(noise: NoiseFolder) -> None:
    drawn = WaveformDraw(speed=0.9, noise=0, snr_db=10.0, gain_db=3.0)
    assert not apply(np.zeros(900, np.float32), drawn, noise).any()
    assert apply(np.zeros(0, np.float32), drawn, noise).shape == (0,)


def test_input_is_not_changed(noise: NoiseFolder, tone: np.ndarray) -> None:
    before = tone.copy()
    apply(tone, WaveformDraw(noise=0, snr_db=0.0, gain_db=20.0), noise)
    np.testing.assert_array_equal(tone, before)


def test_each_recording_is_read_once(noise: NoiseFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    original = augment.read_audio

    def counting(path: Path, **options: int) -> object:
        read.append(path)
        return original(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(augment, "read_audio", counting)
    for _ in range(3):
        for index in range(len(noise)):
            noise.waveform(index)
    assert len(read) == 3
    monkeypatch.setattr(augment, "_CACHED_SAMPLES", 20000)  # less than two seconds: the least used are dropped
    fresh = NoiseFolder(noise.paths[0].parent, RATE)
    for index in (0, 1, 2, 2, 0):
        fresh.waveform(index)
    assert len(read) > 6


def test_noise_folder_must_hold_audio(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        NoiseFolder(tmp_path / "none", RATE)
    with pytest.raises(DataError, match="no noise recordings"):
        NoiseFolder(tmp_path, RATE)
