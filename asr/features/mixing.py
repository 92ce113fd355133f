"""Sequence noise injection: the scaled spectrum of another utterance is added to an utterance's own.

Which utterance is the partner is drawn where the data are (`asr.data`); here the spectra meet.
"""

from dataclasses import dataclass

import torch
from pydantic import Field, field_validator
from torch import Tensor

from asr.config import Config
from asr.features.random import uniform

_SNR_STREAM = 21


class MixingConfig(Config):
    """How often and how loud other utterances are mixed in; off by default."""

    probability: float = Field(0.0, ge=0, le=1, description="share of the utterances that get a partner")
    snr_db: tuple[float, float] = Field((10.0, 25.0), description="range of signal-to-partner ratios, dB")

    @field_validator("snr_db")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if bounds[0] > bounds[1]:
            raise ValueError("the lowest value must come first")
        return bounds


@dataclass(frozen=True)
class Partners:
    """Waveforms to mix into some rows of a batch.

    Attributes:
        rows: (M,) int64, the row of the batch that partner m goes to.
        waveform: (M, S) float32.
        lengths: (M,) int64 samples.
    """

    rows: Tensor
    waveform: Tensor
    lengths: Tensor


def mix(energies: Tensor, mask: Tensor, partner: Tensor, partner_lengths: Tensor, snr_db: Tensor) -> Tensor:
    """Return mel energies with the partner's added at the wanted ratio of mean energies.

    A partner shorter than the utterance is repeated; a silent one changes nothing.

    Args:
        energies: (M, T, F) mel energies of the utterances; mask (M, T), True = valid.
        partner: (M, T', F) mel energies of the partners; partner_lengths (M,) their frames.
        snr_db: (M,) in dB.
    Source: Saon et al. 2019, "Sequence noise injected training for end-to-end speech recognition".
    """
    count = partner_lengths.clamp_min(1)
    position = torch.arange(energies.shape[1], device=energies.device) % count.unsqueeze(1)
    noise = partner.gather(1, position.unsqueeze(2).expand(-1, -1, partner.shape[2])) * mask.unsqueeze(2)
    power = (energies * mask.unsqueeze(2)).sum((1, 2))
    loudness = noise.sum((1, 2))
    ratio = torch.where(loudness > 0, power / loudness, 0)
    scale = ratio * torch.pow(10.0, -snr_db / 10)
    return energies + noise * scale.view(-1, 1, 1)


def draw_snr_db(config: MixingConfig, seeds: Tensor) -> Tensor:
    """Return (B,) signal-to-partner ratios in dB, one for each seed."""
    low, high = config.snr_db
    return low + (high - low) * uniform(seeds, _SNR_STREAM, 1).squeeze(1)
