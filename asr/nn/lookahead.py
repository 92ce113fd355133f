"""A convolution that lets a network of one direction see a little of the future."""

import torch
from torch import Tensor, nn


class Lookahead(nn.Module):
    """r_t = sum over j = 0..L of w_j h_{t+j}, each dimension by itself; it starts as r_t = h_t.

    Source: Amodei et al. 2016, "Deep Speech 2", section 3.7 (row convolution).
    """

    def __init__(self, width: int, frames: int) -> None:
        """Make the convolution.  Args: frames: L."""
        super().__init__()
        self.frames = frames
        self.weight = nn.Parameter(torch.zeros(frames + 1, width))
        if not self.weight.is_meta:
            nn.init.ones_(self.weight[0])

    def forward(self, hidden: Tensor) -> Tensor:
        """Return (E, B, D).  Args: hidden (E, B, D), 0 beyond each row's end, as is what lies behind it."""
        return self.inside(nn.functional.pad(hidden, (0, 0, 0, 0, 0, self.frames)))

    def inside(self, hidden: Tensor) -> Tensor:
        """Return (E, B, D) of the frames that have L frames behind them.  Args: hidden (E + L, B, D)."""
        kernels = self.weight.t().unsqueeze(1).to(hidden.dtype)
        found = nn.functional.conv1d(hidden.permute(1, 2, 0), kernels, groups=len(kernels))
        return found.permute(2, 0, 1)
