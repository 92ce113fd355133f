"""Masks of padded batches: True = valid, always."""

import torch
from torch import Tensor


def time_mask(lengths: Tensor, size: int) -> Tensor:
    """Return (B, size) bool, True at positions before each row's length."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)
