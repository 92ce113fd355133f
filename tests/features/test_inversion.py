"""Mel energies turned back into audio: what is heard is what the features say."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asr.audio.files import read_audio
from asr.features.filterbank import ENERGY_FLOOR
from asr.features.frontend import FeatureConfig, Frontend
from asr.features.inversion import griffin_lim, masked_parts, mel_energies, power_spectra
from tests.tiny_model import babble

SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("*.flac"))
AUDIBLE = 11.5  # nepers of power below the loudest (50 dB): what lies lower, the phases of louder neighbours decide


def frontend_of(**values: object) -> Frontend:
    return Frontend(FeatureConfig.model_validate({"normalization": "none", **values}))


def buzz(seconds: float = 1.0, sample_rate: int = 16000) -> Tensor:
    """Return (1, S), a voice's harmonics with a gliding pitch and a loudness that comes and goes."""
    time = torch.arange(int(seconds * sample_rate)) / sample_rate
    phase = 2 * torch.pi * (110 * time + 30 * time.square())
    harmonics = sum(torch.sin(k * phase) / k for k in range(1, 30))
    assert isinstance(harmonics, Tensor)
    noise = torch.from_numpy(babble(seconds, sample_rate, seed=1))
    return (0.1 * harmonics * (1.1 + torch.sin(8 * torch.pi * time)) + 0.1 * noise)[None]


def lengths_of(waveform: Tensor) -> Tensor:
    return torch.tensor([waveform.shape[1]])


def differences(frontend: Frontend, features: Tensor, waveform: Tensor) -> Tensor:
    """Return |log-mel of the waveform - features| where the features are audible."""
    found, _ = frontend.unnormalized(waveform, lengths_of(waveform))
    return (found - features).abs()[features > features.max() - AUDIBLE]


def inverted(frontend: Frontend, waveform: Tensor, seed: int = 5) -> tuple[Tensor, Tensor]:
    features, _ = frontend.unnormalized(waveform, lengths_of(waveform))
    energies = mel_energies(frontend, features)
    return features, griffin_lim(frontend, energies, lengths_of(waveform), torch.tensor([seed]))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"num_bins": 40, "sample_rate": 8000},
        {"preemphasis": 0.0},
        {"preemphasis": 1.0},
        {"window_ms": 32, "hop_ms": 16, "edge_ms": 0, "low_hz": 0},
    ],
)
def test_speech_like_sounds_keep_their_log_mel(values: dict[str, object]) -> None:
    frontend = frontend_of(**values)
    waveform = buzz(sample_rate=frontend.config.sample_rate)
    features, output = inverted(frontend, waveform)
    assert output.shape == waveform.shape
    apart = differences(frontend, features, output)
    assert apart.mean() < 0.15
    assert apart.median() < 0.08
    start = torch.randn(waveform.shape, generator=torch.Generator().manual_seed(0)) * waveform.std()
    assert differences(frontend, features, start).mean() > 1  # noise as loud is nowhere near


@pytest.mark.parametrize("path", SAMPLES[:3], ids=lambda path: path.stem)
def test_speech_keeps_its_log_mel(path: Path) -> None:
    frontend = frontend_of()
    speech, rate = read_audio(path, sample_rate=16000)
    features, output = inverted(frontend, torch.from_numpy(speech)[None])
    apart = differences(frontend, features, output)
    assert rate == 16000
    assert apart.mean() < 0.1  # 0.06 measured: 0.3 dB
    assert output.square().mean().item() == pytest.approx(float(np.square(speech).mean()), rel=0.1)


def test_momentum_and_iterations_bring_it_closer() -> None:
    frontend, waveform = frontend_of(), buzz()
    features, _ = frontend.unnormalized(waveform, lengths_of(waveform))
    energies, seed = features.exp(), torch.tensor([5])

    def apart(iterations: int, momentum: float) -> float:
        output = griffin_lim(frontend, energies, lengths_of(waveform), seed, iterations=iterations, momentum=momentum)
        return differences(frontend, features, output).mean().item()

    plain = apart(60, 0.0)
    assert plain < 0.7 * apart(0, 0.0)
    assert apart(60, 0.99) < 0.8 * plain


def test_power_spectra_have_the_energies_and_are_not_negative() -> None:
    frontend, waveform = frontend_of(), buzz()
    features, _ = frontend.unnormalized(waveform, lengths_of(waveform))
    matrix = frontend.filterbank.mel_matrix
    power = power_spectra(features.exp(), matrix)
    assert power.min() >= 0
    apart = ((power @ matrix).clamp_min(ENERGY_FLOOR).log() - features).abs()
    assert apart[features > features.max() - AUDIBLE].mean() < 0.01
    assert not power_spectra(torch.zeros(1, 3, 80), matrix).any()


def test_masks_are_silence() -> None:
    frontend, waveform = frontend_of(), buzz()
    features, _ = frontend.unnormalized(waveform, lengths_of(waveform))
    masked = features.clone()
    masked[:, 40:60] = 0
    masked[:, :, 30:45] = 0
    frames, bands = masked_parts(masked)
    assert frames[0].nonzero().flatten().tolist() == list(range(40, 60))
    assert bands[0].nonzero().flatten().tolist() == list(range(30, 45))
    energies = mel_energies(frontend, masked)
    whole = mel_energies(frontend, features)
    assert torch.equal(energies, whole * (masked != 0))
    assert whole[:, 15:90].count_nonzero() > 0.99 * whole[:, 15:90].numel()  # nearly all of it sounds
    output = griffin_lim(frontend, energies, lengths_of(waveform), torch.tensor([5]))
    heard, _ = frontend.unnormalized(output, lengths_of(output))
    energy, before = heard.exp()[0], features.exp()[0]
    # 60 dB and more less; the windows of the frames next to a mask reach into it
    assert energy[43:57].mean() < 1e-6 * before[43:57].mean()
    sounding = [*range(15, 38), *range(63, 90)]
    assert energy[sounding, 32:43].mean() < 1e-3 * before[sounding, 32:43].mean()
    kept = torch.tensor([*range(28), *range(47, 80)])
    apart = (heard - features)[0][sounding][:, kept].abs()
    assert apart[features[0][sounding][:, kept] > features.max() - AUDIBLE].mean() < 0.3


def test_masked_frames_of_cepstra_are_silence_and_the_others_have_their_envelope() -> None:
    frontend, waveform = frontend_of(kind="mfcc"), buzz()
    features, _ = frontend.unnormalized(waveform, lengths_of(waveform))
    masked = features.clone()
    masked[:, 40:60] = 0
    energies = mel_energies(frontend, masked)
    assert not energies[:, 40:60].any()
    output = griffin_lim(frontend, energies, lengths_of(waveform), torch.tensor([5]))
    heard, _ = frontend.unnormalized(output, lengths_of(output))
    middle = slice(frontend.geometry.hop * 33, frontend.geometry.hop * 47)  # 10 frames of edge come first
    assert output[:, middle].square().mean() < 1e-6 * waveform[:, middle].square().mean()
    apart = (heard - features)[0, 15:37].abs().mean()
    assert apart < 0.1 * (features[0, 15:37] - features[0, 15:37].mean(0)).abs().mean()


def test_same_seed_same_waveform_alone_and_in_a_batch() -> None:
    frontend = frontend_of(num_bins=40, edge_ms=0)
    waveform = torch.cat([buzz(0.5), torch.from_numpy(babble(0.5, seed=3))[None]])
    lengths, seeds = torch.tensor([8000, 5001]), torch.tensor([1, 2])
    features, _ = frontend.unnormalized(waveform, lengths)
    energies, frames = features.exp(), frontend.geometry.num_frames(5001)
    energies[1, frames:] = 1e9  # never read
    few = {"iterations": 3}  # more of them let rounding grow
    batch = griffin_lim(frontend, energies, lengths, seeds, **few)
    assert torch.equal(batch, griffin_lim(frontend, energies, lengths, seeds, **few))
    assert not batch[1, 5001:].any()
    alone = griffin_lim(frontend, energies[1:, :frames], lengths[1:], seeds[1:], **few)
    torch.testing.assert_close(alone[0], batch[1, :5001], rtol=0, atol=1e-4)
    other = griffin_lim(frontend, energies, lengths, seeds + 1, **few)
    assert (other - batch).abs().max() > 1e-2


@pytest.mark.parametrize("num_samples", [1, 159, 160, 399, 401, 2000])
def test_every_length_comes_back(num_samples: int) -> None:
    frontend = frontend_of(num_bins=20, edge_ms=0)
    waveform = buzz(0.2)[:, :num_samples]
    _, output = inverted(frontend, waveform)
    assert output.shape == waveform.shape
    assert output.isfinite().all()
    _, silence = inverted(frontend, torch.zeros_like(waveform))
    assert not silence.any()
