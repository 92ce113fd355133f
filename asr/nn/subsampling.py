"""Convolutional subsampling: feature frames (B, T, F) → fewer, wider encoder frames (B, E, D)."""

from typing import Literal

import torch
from torch import Tensor, nn

from asr.masking import time_mask
from asr.nn.dropout import Dropout

Kernels = tuple[tuple[int, int], ...]

# Time strides for each factor; the kernel of a stride is odd, so a frame is centred (see FrameGeometry).
_STRIDES: dict[int, tuple[int, ...]] = {1: (1,), 2: (2,), 3: (3,), 4: (2, 2)}
_KERNELS = {1: 3, 2: 3, 3: 5}


def strided_kernels(factor: int, kind: Literal["conv", "vgg"]) -> Kernels:
    """Return (kernel, stride) along time of each convolution or pooling layer that a factor uses."""
    if kind == "conv":
        return tuple((_KERNELS[stride], stride) for stride in _STRIDES[factor])
    blocks = tuple(((3, 1), (3, 1), (_KERNELS[stride], stride)) for stride in _STRIDES[factor])
    return tuple(layer for block in blocks for layer in block)


class ConvSubsampling(nn.Module):
    """Convolutions over time, all feature dimensions at once: cheap, and enough for log mel energies."""

    def __init__(self, num_features: int, width: int, factor: int, dropout: float) -> None:
        super().__init__()
        self.kernels = strided_kernels(factor, "conv")
        self.convolutions = nn.ModuleList()
        for kernel, stride in self.kernels:
            self.convolutions.append(nn.Conv1d(num_features, width, kernel, stride, padding=(kernel - 1) // 2))
            num_features = width
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.kernels)
        self.dropout = Dropout(dropout)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return (outputs (B, E, D), lengths (B,)).  Args: features (B, T, F), 0 beyond lengths (B,)."""
        for (kernel, stride), convolution, norm in zip(self.kernels, self.convolutions, self.norms, strict=True):
            lengths = subsampled_lengths(lengths, kernel, stride)
            features = convolution(features.transpose(1, 2)).transpose(1, 2)
            features = nn.functional.silu(norm(features))
            # zeros again, so that the next convolution sees the same silence beyond every utterance's end
            features = features * time_mask(lengths, features.shape[1]).unsqueeze(2)
        return self.dropout(features), lengths


class VggSubsampling(nn.Module):
    """Two-dimensional convolutions with pooling, as in VGG: costs more, sees shifts in frequency.

    Source: Simonyan & Zisserman 2015; for CTC Hori et al. 2017.
    """

    def __init__(self, num_features: int, width: int, factor: int, dropout: float, channels: int = 32) -> None:
        super().__init__()
        self.strides = _STRIDES[factor]
        self.blocks = nn.ModuleList()
        inputs = 1
        for index in range(len(self.strides)):
            outputs = channels * (index + 1)
            first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
            self.blocks.append(nn.ModuleList([first, second]))
            inputs = outputs
            num_features = (num_features + 1) // 2
        self.projection = nn.Linear(inputs * num_features, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return (outputs (B, E, D), lengths (B,)).  Args: features (B, T, F), 0 beyond lengths (B,)."""
        images = features.unsqueeze(1)
        for stride, block in zip(self.strides, self.blocks, strict=True):
            mask = time_mask(lengths, images.shape[2]).view(len(lengths), 1, -1, 1)
            for convolution in block.children():
                images = nn.functional.relu(convolution(images)) * mask
            kernel = _KERNELS[stride]
            # the values are >= 0, so the zero padding never wins over them
            images = nn.functional.max_pool2d(images, (kernel, 3), (stride, 2), padding=((kernel - 1) // 2, 1))
            lengths = subsampled_lengths(lengths, kernel, stride)
            # the window behind the last valid one still reaches a valid frame: zeros again for the next block
            images = images * time_mask(lengths, images.shape[2]).view(len(lengths), 1, -1, 1)
        outputs = self.norm(self.projection(images.transpose(1, 2).flatten(2)))
        return self.dropout(outputs * time_mask(lengths, outputs.shape[1]).unsqueeze(2)), lengths


def subsampled_lengths(lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Return the number of outputs of a centred convolution for each length; 0 stays 0."""
    outputs = torch.div(lengths + 2 * ((kernel - 1) // 2) - kernel, stride, rounding_mode="floor") + 1
    return torch.where(lengths > 0, outputs, 0)
