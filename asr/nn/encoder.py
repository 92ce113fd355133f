"""The encoder: subsampling, recurrent layers, one output layer of token log-probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from asr.config import Config
from asr.masking import time_mask
from asr.nn.cells import CellName
from asr.nn.cells.cell import State
from asr.nn.chunks import WHOLE, ChunkPlan, Context, Frames
from asr.nn.ctc import BLANK_ID
from asr.nn.dropout import Dropout
from asr.nn.lookahead import Lookahead
from asr.nn.recurrent import BidirectionalLayer, UnidirectionalLayer
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
    layers: int = Field(4, ge=1, le=32, description="recurrent layers")
    hidden: int = Field(320, ge=1, le=8192, description="cells in each direction of a layer")
    projection: int = Field(0, ge=0, le=8192, description="values that lstm_projected puts out; 0 = half of hidden")
    bidirectional: bool = Field(True, description="layers in both directions; without, the model can stream")
    lookahead_ms: float = Field(0, ge=0, le=5000, description="future that a model of one direction sees")
    chunk_ms: float = Field(0, ge=0, le=60000, description="audio that the backward direction reads at once; 0 = all")
    right_context_ms: float = Field(0, ge=0, le=10000, description="audio behind a chunk that it reads, too")
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
        if self.chunk_ms and not self.bidirectional:
            raise ValueError("chunk_ms is for bidirectional layers; for one direction take lookahead_ms")
        if self.right_context_ms and not self.chunk_ms:
            raise ValueError("right_context_ms is what lies behind a chunk; set chunk_ms above 0, too")
        if self.lookahead_ms and self.bidirectional:
            raise ValueError("lookahead_ms is for models of one direction; set bidirectional=false, or take chunk_ms")
        return self

    @property
    def streams(self) -> bool:
        """Whether the network puts out frames before it has heard all."""
        return not self.bidirectional or self.chunk_ms > 0

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
    """Features → token log-probabilities, by recurrent layers trained with CTC (Graves et al. 2006)."""

    def __init__(
        self,
        config: EncoderConfig,
        num_features: int,
        num_tokens: int,
        *,
        context: Context = WHOLE,
        lookahead: int = 0,
    ) -> None:
        """Make an encoder.

        Args: context, lookahead: what `chunk_ms`, `right_context_ms` and `lookahead_ms` are in encoder frames.
        """
        super().__init__()
        self.config = config
        self.context = context
        front = ConvSubsampling if config.subsampling == "conv" else VggSubsampling
        self.subsampling = front(num_features, config.subsampling_width, config.factor, config.dropout)
        kind = BidirectionalLayer if config.bidirectional else UnidirectionalLayer
        self.layers = nn.ModuleList()
        width = config.subsampling_width
        for _ in range(config.layers):
            layer = kind(config.cell, width, config.hidden, projection=config.projection)
            self.layers.append(layer)
            width = layer.output_size
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in self.layers if config.layer_norm)
        self.lookahead = Lookahead(width, lookahead) if lookahead else None
        self.dropout = Dropout(config.dropout)
        self.output = _output_layer(width, num_tokens)
        self.intermediate_output = _output_layer(width, num_tokens) if config.intermediate else None

    def forward(self, features: Tensor, lengths: Tensor, context: Context | None = None) -> EncoderOutput:
        """Return token log-probabilities.

        Args:
            features: (B, T, F), 0 beyond lengths (B,) int64.
            context: of a bidirectional encoder, in place of its own.
        """
        subsampled, lengths = self.subsampling(features, lengths)
        own = subsampled.transpose(0, 1).contiguous()
        plan = ChunkPlan(context or self.context, lengths, len(own))
        hidden, intermediate, _ = self.recur(plan.frames(own), plan)
        mask = time_mask(lengths, len(own)).unsqueeze(2)
        if self.lookahead is not None:
            hidden = self.lookahead(hidden * mask.transpose(0, 1))
        log_probs = self.log_probs(hidden)
        inner = None if intermediate is None else _log_probs(intermediate)
        return EncoderOutput(log_probs * mask, lengths, inner)

    def recur(
        self, frames: Frames, plan: ChunkPlan, states: Sequence[State] | None = None
    ) -> tuple[Tensor, Tensor | None, list[State]]:
        """Return the last layer's (E, B, D), in training the intermediate logits (E, B, V), and each layer's state.

        Args: states: of the layers before the first frame; None: there was nothing.
        """
        intermediate, after = None, []
        for number, layer in enumerate(self.layers, start=1):
            inputs = frames if number == 1 else frames.through(self.dropout)
            outputs, state = layer(inputs, plan, None if states is None else states[number - 1])
            after.append(state)
            if self.config.residual and outputs.own.shape == frames.own.shape:
                outputs = Frames(outputs.own + frames.own, outputs.right + frames.right)
            frames = outputs.through(self.norms[number - 1]) if self.config.layer_norm else outputs
            if self.training and self.intermediate_output is not None and number == self.config.intermediate:
                intermediate = self.intermediate_output(self.dropout(frames.own))
        return frames.own, intermediate, after

    def initial_states(self, rows: int) -> list[State]:
        """Return the states of the layers before the first frame."""
        layers = [layer for layer in self.layers if isinstance(layer, (BidirectionalLayer, UnidirectionalLayer))]
        return [layer.forwards.initial_state(rows) for layer in layers]

    def log_probs(self, hidden: Tensor) -> Tensor:
        """Return token log-probabilities (B, E, V) of the last layer's values (E, B, D)."""
        return _log_probs(self.output(self.dropout(hidden)))


def _output_layer(width: int, num_tokens: int) -> nn.Linear:
    layer = nn.Linear(width, num_tokens)
    with torch.no_grad():
        layer.bias.zero_()
        layer.bias[BLANK_ID] = BLANK_BIAS
    return layer


def _log_probs(logits: Tensor) -> Tensor:
    """Return batch-first log-probs (B, E, V) of time-major logits (E, B, V), in float32 whatever came in."""
    return logits.float().log_softmax(-1).transpose(0, 1)
