"""SpecAugment: masks over time and frequency, drawn for each utterance from its own seed."""

import torch
from pydantic import Field
from torch import Tensor

from asr.config import Config
from asr.features.random import uniform

_TIME_STREAM, _FREQUENCY_STREAM = 11, 12


class SpecAugmentConfig(Config):
    """How much of the features is masked in training; all off by default."""

    frequency_masks: int = Field(0, ge=0, le=20, description="number of frequency masks")
    frequency_width: int = Field(20, ge=0, description="largest width of one, in feature dimensions")
    time_masks_per_second: float = Field(0.0, ge=0, le=20, description="time masks for each second of the utterance")
    time_masks: int = Field(20, ge=0, le=100, description="largest number of time masks of an utterance")
    time_width_ms: float = Field(100.0, ge=0, description="largest width of a time mask, milliseconds")
    time_share: float = Field(0.05, ge=0, le=1, description="largest width of a time mask as a share of the utterance")


def specaugment_mask(
    config: SpecAugmentConfig, seeds: Tensor, lengths: Tensor, shape: tuple[int, int], *, frames_per_second: float
) -> Tensor:
    """Return (B, T, F) bool, True = keep.

    Adaptive: the number of time masks follows the utterance's length, their width is limited by a share of it.

    Args: seeds (B,) int64; lengths (B,) valid frames; shape (T, F).
    Source: Park et al. 2019 (SpecAugment); Park et al. 2020, section 3 (adaptive multiplicity and size).
    """
    num_frames, num_features = shape
    wide = lengths.float().unsqueeze(1)
    count = (wide / frames_per_second * config.time_masks_per_second).floor().clamp_max(config.time_masks)
    limit = (wide * config.time_share).clamp_max(config.time_width_ms / 1000 * frames_per_second)
    time = _bands(uniform(seeds, _TIME_STREAM, 2 * config.time_masks), count, limit, wide, num_frames)
    full = torch.full_like(wide, num_features)
    masks = torch.full_like(wide, config.frequency_masks)
    width = torch.full_like(wide, min(config.frequency_width, num_features))
    draws = uniform(seeds, _FREQUENCY_STREAM, 2 * config.frequency_masks)
    frequency = _bands(draws, masks, width, full, num_features)
    return ~(time.unsqueeze(2) | frequency.unsqueeze(1))


def _bands(draws: Tensor, count: Tensor, limit: Tensor, extent: Tensor, size: int) -> Tensor:
    """Return (B, size) bool, True inside one of the first `count` bands of width 0 to `limit` within `extent`.

    Args: draws (B, 2 * N) in [0, 1): widths, then starts; count, limit, extent (B, 1) float.
    """
    num_bands = draws.shape[1] // 2
    if num_bands == 0:
        return torch.zeros(len(draws), size, dtype=torch.bool, device=draws.device)
    width = (draws[:, 0::2] * (limit + 1)).floor().minimum(limit.floor())
    start = (draws[:, 1::2] * (extent - width + 1).clamp_min(1)).floor()
    used = torch.arange(num_bands, device=draws.device) < count
    position = torch.arange(size, device=draws.device).view(1, 1, -1)
    inside = (position >= start.unsqueeze(2)) & (position < (start + width).unsqueeze(2))
    return (inside & used.unsqueeze(2)).any(1)
