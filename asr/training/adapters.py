"""Low-rank adapters: small changes of the matrices, trained in their place and merged into them on saving."""

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call

from asr.nn.cells.cell import Cell
from asr.nn.chunks import Context
from asr.nn.encoder import Encoder, EncoderOutput

TRAINED_WHOLE = ("output.", "intermediate_output.")  # small, and where new symbols have rows that nothing is known of


class Adapters(nn.Module):
    """One pair of thin matrices for each matrix of the recurrent and linear layers; their product is added to it.

    The change starts at zero.  The encoder's own matrices are not trained, but its output layers are.
    Source: Hu et al. 2021, "LoRA: low-rank adaptation of large language models", section 4.1.
    """

    def __init__(self, encoder: Encoder, rank: int) -> None:
        """Make the adapters of an encoder and freeze what they stand in for.

        Args: rank: of the changes; matrices with fewer rows or columns are left as they are.
        """
        super().__init__()
        self.names = [name for name in _matrices(encoder) if min(encoder.get_parameter(name).shape) > rank]
        self.down, self.up = nn.ParameterList(), nn.ParameterList()
        for name in self.names:
            rows, columns = encoder.get_parameter(name).shape
            self.down.append(torch.randn(rank, columns) / math.sqrt(columns))
            self.up.append(torch.zeros(rows, rank))
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(name.startswith(TRAINED_WHOLE))

    def merged(self, encoder: Encoder) -> dict[str, Tensor]:
        """Return the changed matrices by their name in the encoder."""
        return {
            name: encoder.get_parameter(name) + up @ down
            for name, down, up in zip(self.names, self.down, self.up, strict=True)
        }

    def encode(self, encoder: Encoder, features: Tensor, lengths: Tensor, context: Context) -> EncoderOutput:
        """Return what the encoder would say with the changed matrices; gradients reach the adapters."""
        with torch.autocast(features.device.type, enabled=False):
            matrices = self.merged(encoder)
        output: EncoderOutput = functional_call(encoder, matrices, (features, lengths, context))
        return output


def _matrices(encoder: Encoder) -> list[str]:
    """Return the names of the matrices of recurrent and linear layers, but for those of the output layers."""
    found = []
    for prefix, module in encoder.named_modules():
        if isinstance(module, (Cell, nn.Linear)):
            found += [f"{prefix}.{name}" for name, parameter in module.named_parameters() if parameter.ndim == 2]
    return [name for name in found if not name.startswith(TRAINED_WHOLE)]
