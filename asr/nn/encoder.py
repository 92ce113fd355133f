"""The encoder: subsampling, bidirectional recurrent layers, one output layer of token log-probabilities."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from asr.config import Config
from asr.masking import time_mask
from asr.nn.cells import CellName
from asr.nn.ctc import BLANK_ID
from asr.nn.dropout import Dropout
from asr.nn.recurrent import BidirectionalLayer
from asr.nn.reversal import reversal_index
from asr.nn.subsampling import ConvSubsampling, Kernels, VggSubsampling, strided_kernels

# Training starts from nearly all blank, which CTC leaves by itself.  From an even start small corpora may end
# with a label as the filler between words, which it does not leave (yesno: see docs/log.md).
BLANK_BIAS = 3.0


class EncoderConfig(Config):
    """Shape of the network."""

    subsampling: Literal["conv", "vgg"] = Field("conv", description="kind of the convolutions in front")
    factor: Literal[1, 2, 3, 4] = Field(4, description="feature frames per encoder frame")
    subsampling_width: int = Field(320, ge=1, le=8192, description="width of the convolutions' output")
    cell: CellName = Field("lstm", description="kind of the recurrent layers (docs/lstm.md)")
    layers: int = Field(4, ge=1, le=32, description="bidirectional recurrent layers")
    hidden: int = Field(320, ge=1, le=8192, description="cells in each direction of a layer")
    projection: int = Field(0, ge=0, le=8192, description="values that lstm_projected puts out; 0 = half of hidden")
    dropout: float = Field(0.2, ge=0, lt=1, description="dropout before each recurrent layer and before the output")
    residual: bool = Field(True, description="add a layer's input to its output where the widths agree")
    layer_norm: bool = Field(True, description="layer norm after each recurrent layer")
    intermediate: int = Field(0, ge=0, description="layer after which a second CTC head trains; 0 = none")

    @model_validator(mode="after")
    def _check(self) -> "EncoderConfig":
        if self.intermediate >= self.layers:
            raise ValueError(f"intermediate must be below layers ({self.layers}), got {self.intermediate}")
        if self.projection and self.cell != "lstm_projected":
            raise ValueError(f"projection is for cell lstm_projected, and cell is {self.cell}; leave it at 0")
        return self

    @property
    def strided(self) -> Kernels:
        """(kernel, stride) of each subsampling layer along time."""
        return strided_kernels(self.factor, self.subsampling)


@dataclass(frozen=True)
class EncoderOutput:
    """What the encoder says of a batch.

    Attributes:
        log_probs: (B, E, V) float32, natural log, normalised over V.
        lengths: (B,) int64 valid encoder frames.
        intermediate: (B, E, V) log-probs of the intermediate head, in training where it is configured.
    """

    log_probs: Tensor
    lengths: Tensor
    intermediate: Tensor | None = None


class Encoder(nn.Module):
    """Features → token log-probabilities, by bidirectional recurrent layers trained with CTC (Graves et al. 2006)."""

    def __init__(self, config: EncoderConfig, num_features: int, num_tokens: int) -> None:
        super().__init__()
        self.config = config
        front = ConvSubsampling if config.subsampling == "conv" else VggSubsampling
        self.subsampling = front(num_features, config.subsampling_width, config.factor, config.dropout)
        self.layers = nn.ModuleList()
        width = config.subsampling_width
        for _ in range(config.layers):
            layer = BidirectionalLayer(config.cell, width, config.hidden, projection=config.projection)
            self.layers.append(layer)
            width = layer.output_size
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.layers if config.layer_norm)
        self.dropout = Dropout(config.dropout)
        self.output = _output_layer(width, num_tokens)
        self.intermediate_output = _output_layer(width, num_tokens) if config.intermediate else None

    def forward(self, features: Tensor, lengths: Tensor) -> EncoderOutput:
        """Return token log-probabilities.  Args: features (B, T, F), 0 beyond lengths (B,) int64."""
        frames, lengths = self.subsampling(features, lengths)
        hidden = frames.transpose(0, 1).contiguous()
        index = reversal_index(lengths, hidden.shape[0])
        intermediate = None
        for number, layer in enumerate(self.layers, start=1):
            outputs = layer(hidden if number == 1 else self.dropout(hidden), index)
            if self.config.residual and outputs.shape == hidden.shape:
                outputs = outputs + hidden
            hidden = self.norms[number - 1](outputs) if self.config.layer_norm else outputs
            if self.training and self.intermediate_output is not None and number == self.config.intermediate:
                intermediate = _log_probs(self.intermediate_output(self.dropout(hidden)))
        log_probs = _log_probs(self.output(self.dropout(hidden)))
        mask = time_mask(lengths, log_probs.shape[1]).unsqueeze(2)
        return EncoderOutput(log_probs * mask, lengths, intermediate)


def _output_layer(width: int, num_tokens: int) -> nn.Linear:
    layer = nn.Linear(width, num_tokens)
    with torch.no_grad():
        layer.bias.zero_()
        layer.bias[BLANK_ID] = BLANK_BIAS
    return layer


def _log_probs(logits: Tensor) -> Tensor:
    """Return batch-first log-probs (B, E, V) of time-major logits (E, B, V), in float32 whatever came in."""
    return logits.float().log_softmax(-1).transpose(0, 1)
