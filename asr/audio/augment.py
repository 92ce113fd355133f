"""Augmentation of waveforms: speed, additive noise, gain.

Everything drawn for a waveform comes from one seed (asr.randomness), each purpose from a stream of its own, so
that switching one augmentation on does not change what the others draw.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field

from asr.audio.files import read_audio
from asr.audio.resample import Waveform, num_output, resample
from asr.config import Config
from asr.errors import DataError, UsageError
from asr.randomness import Streams, stream

_MAX_DENOMINATOR = 20
_NOISE_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph"})
_CACHED_SAMPLES = 1 << 26  # of noise kept in memory: 256 MiB

Range = tuple[float, float]


class WaveformAugmentConfig(Config):
    """What is done to waveforms in training; everything is off by default."""

    speed_factors: tuple[float, ...] = Field(
        (), description="tempo and pitch are multiplied by one of these, drawn evenly; ratios such as 0.9, 1.0, 1.1"
    )
    gain_db: Range | None = Field(None, description="lowest and highest gain, dB; drawn evenly")
    noise_folder: str | None = Field(None, description="folder of noise recordings, searched with its subfolders")
    noise_snr_db: Range = Field((10.0, 30.0), description="lowest and highest ratio of speech to noise, dB")
    noise_probability: float = Field(0.5, ge=0, le=1, description="share of the utterances that get noise")

    @pydantic.field_validator("speed_factors")
    @classmethod
    def _ratios(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        for factor in factors:
            speed_ratio(factor)
        return factors

    @pydantic.field_validator("gain_db", "noise_snr_db")
    @classmethod
    def _ordered(cls, bounds: Range | None) -> Range | None:
        if bounds is not None and bounds[0] > bounds[1]:
            raise ValueError("the lowest value must come first")
        return bounds

    @property
    def is_off(self) -> bool:
        """Whether waveforms stay as they are."""
        return not self.speed_factors and self.gain_db is None and self.noise_folder is None


@dataclass(frozen=True)
class WaveformDraw:
    """What was drawn for one waveform.

    Attributes:
        speed: tempo and pitch are multiplied by it; the duration is divided by it.
        noise: index of the recording in the NoiseFolder, or None.
        noise_start: where in the recording the noise starts, as a share of its length.
        snr_db: power of the speech over that of the noise, both averaged over the utterance, dB.
        gain_db: of the whole, dB.
    """

    speed: float = 1.0
    noise: int | None = None
    noise_start: float = 0.0
    snr_db: float = 0.0
    gain_db: float = 0.0


class NoiseFolder:
    """The noise recordings of a folder, each read once (the least used ones are dropped beyond 256 MiB)."""

    def __init__(self, folder: str | Path, sample_rate: int) -> None:
        """List the recordings; they are read at `sample_rate` in Hz.  Raises: DataError if there are none."""
        root = Path(folder)
        if not root.is_dir():
            raise DataError(f"{folder}: there is no such folder of noise recordings; correct noise_folder")
        self.paths: Sequence[Path] = sorted(
            path for path in root.rglob("*") if path.suffix.lower() in _NOISE_SUFFIXES and path.is_file()
        )
        if not self.paths:
            raise DataError(f"{folder}: no noise recordings ({' '.join(sorted(_NOISE_SUFFIXES))}) in this folder")
        self._sample_rate = sample_rate
        self._cache: OrderedDict[int, Waveform] = OrderedDict()
        self._cached = 0

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.paths)

    def waveform(self, index: int) -> Waveform:
        """Return recording `index` (S,), its channels mixed.  Raises: DataError as read_audio."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        waveform, _ = read_audio(self.paths[index], sample_rate=self._sample_rate)
        self._cache[index] = waveform
        self._cached += len(waveform)
        while self._cached > _CACHED_SAMPLES and len(self._cache) > 1:
            self._cached -= len(self._cache.popitem(last=False)[1])
        return waveform


@lru_cache
def speed_ratio(factor: float) -> Fraction:
    """Return a speed factor as a ratio of small integers.  Raises: UsageError if it is none or outside [0.5, 2]."""
    ratio = Fraction(factor).limit_denominator(_MAX_DENOMINATOR) if math.isfinite(factor) else Fraction(0)
    if not 0.5 <= factor <= 2 or abs(float(ratio) - factor) > 1e-9:
        raise UsageError(
            f"speed factor {factor:g} must lie between 0.5 and 2 and be a ratio with a denominator of at most "
            f"{_MAX_DENOMINATOR}, such as 0.9 = 9/10 or 1.05 = 21/20"
        )
    return ratio


def speed_factor(seed: int, config: WaveformAugmentConfig) -> float:
    """Return the speed drawn for a waveform: pure and cheap, so that a batch plan can count durations."""
    factors = config.speed_factors
    if not factors:
        return 1.0
    return factors[int(stream(seed, "speed").integers(len(factors)))]


def perturbed_samples(num_samples: int, factor: float) -> int:
    """Return the exact number of samples that `num_samples` become at speed `factor` (ceil(num_samples / factor))."""
    ratio = speed_ratio(factor)
    return num_output(num_samples, ratio.numerator, ratio.denominator)


def drawn_samples(
    num_samples: NDArray[np.int64], seeds: NDArray[np.int64], config: WaveformAugmentConfig
) -> NDArray[np.int64]:
    """Return the samples that many waveforms become at the speeds that their seeds draw; all (waveforms,) int64.

    The same as `perturbed_samples` at the `speed_factor` of each.
    """
    if not config.speed_factors:
        return num_samples
    ratios = [speed_ratio(factor) for factor in config.speed_factors]
    chosen = Streams(seeds, "speed").integers(np.arange(len(seeds)), len(ratios))
    source = np.array([ratio.numerator for ratio in ratios])[chosen]
    target = np.array([ratio.denominator for ratio in ratios])[chosen]
    samples: NDArray[np.int64] = -(-num_samples * target // source)
    return samples


def perturb_speed(waveform: Waveform, factor: float) -> Waveform:
    """Return the waveform (S,) played `factor` times as fast, (perturbed_samples(S),).

    Source: Ko et al. 2015, "Audio Augmentation for Speech Recognition" (pitch changes with the tempo).
    """
    ratio = speed_ratio(factor)
    return waveform if ratio == 1 else resample(waveform, ratio.numerator, ratio.denominator)


def draw(seed: int, config: WaveformAugmentConfig, noise: NoiseFolder | None) -> WaveformDraw:
    """Return everything that is drawn for a waveform; pure.  Args: noise: needed if config.noise_folder is set."""
    gain = 0.0 if config.gain_db is None else float(stream(seed, "gain").uniform(*config.gain_db))
    speed = speed_factor(seed, config)
    if config.noise_folder is None:
        return WaveformDraw(speed=speed, gain_db=gain)
    assert noise is not None, "a noise folder is configured: pass its NoiseFolder"
    random = stream(seed, "noise")
    wanted, index, start = random.random(), int(random.integers(len(noise))), float(random.random())
    snr = float(random.uniform(*config.noise_snr_db))
    if wanted >= config.noise_probability:
        return WaveformDraw(speed=speed, gain_db=gain)
    return WaveformDraw(speed, index, start, snr, gain)


def apply(waveform: Waveform, drawn: WaveformDraw, noise: NoiseFolder | None) -> Waveform:
    """Return the waveform (S,) float32 as drawn, (perturbed_samples(S),): speed, then noise, then gain.

    What would exceed [-1, 1] is scaled down as a whole, not clipped.  The input is not changed.
    """
    output = perturb_speed(waveform, drawn.speed)
    if drawn.noise is not None:
        assert noise is not None, "noise was drawn: pass its NoiseFolder"
        output = add_noise(output, _looped(noise.waveform(drawn.noise), drawn.noise_start, len(output)), drawn.snr_db)
    if drawn.gain_db:
        output = output * np.float32(10 ** (drawn.gain_db / 20))
    peak = float(np.abs(output).max(initial=0.0))
    if peak > 1 and output is not waveform:
        output = output / np.float32(peak)
    return output


def augment_waveform(
    waveform: Waveform, seed: int, config: WaveformAugmentConfig, noise: NoiseFolder | None = None
) -> Waveform:
    """Return the waveform (S,) with what `seed` draws; see `draw` and `apply`."""
    return apply(waveform, draw(seed, config, noise), noise)


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Return waveform + noise, both (S,), the noise scaled to `snr_db`; silence on either side changes nothing."""
    speech_power, noise_power = _power(waveform), _power(noise)
    if not speech_power or not noise_power:
        return waveform
    scale = math.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20)
    return waveform + noise * np.float32(scale)


def _power(waveform: Waveform) -> float:
    return float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0


def _looped(noise: Waveform, start: float, num_samples: int) -> Waveform:
    first = int(start * len(noise))
    return np.take(noise, np.arange(first, first + num_samples), mode="wrap")
