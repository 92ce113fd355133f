"""Dropout whose random numbers cost little on CPU."""

import torch
from torch import Tensor, nn

_LEVELS = 256  # one byte decides about one value


class Dropout(nn.Module):
    """Dropout with probabilities in steps of 1/256 (Srivastava et al. 2014).

    torch draws one number a value from a sequential generator, which takes several percent of a training step
    on CPU; here one 64-bit number decides about eight values.  On other devices torch's own is used.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped = min(round(probability * _LEVELS), _LEVELS - 1)  # something is always kept

    def forward(self, values: Tensor) -> Tensor:
        """Return values, some of them 0 and the rest scaled up in training; unchanged in evaluation."""
        if not self.training or self.dropped == 0:
            return values
        probability = self.dropped / _LEVELS
        if values.device.type != "cpu":
            return nn.functional.dropout(values, probability)
        words = torch.empty((values.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: values.numel()] >= self.dropped
        return values * (kept.view(values.shape).to(values.dtype) * (1 / (1 - probability)))
