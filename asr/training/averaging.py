"""Averages of weights: a moving one during training, and the mean of kept checkpoints after it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from asr.errors import DataError
from asr.model import AcousticModel


class MovingAverage:
    """Exponential moving average of weights, shorter at the start.

    The decay of step n is min(decay, (1 + n) / (10 + n)), so early weights are soon forgotten.
    """

    def __init__(self, decay: float, weights: dict[str, Tensor]) -> None:
        self.decay = decay
        self.average = {name: tensor.detach().clone() for name, tensor in weights.items()}

    def update(self, weights: dict[str, Tensor], step: int) -> None:
        """Take in the weights after a step; `step` counts from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        names = [name for name, tensor in self.average.items() if tensor.is_floating_point()]
        for name in names:  # the average follows the weights to their device
            self.average[name] = self.average[name].to(weights[name].device)
        with torch.no_grad():
            torch._foreach_lerp_(
                [self.average[name] for name in names], [weights[name].detach() for name in names], 1 - decay
            )


def average_models(paths: Sequence[Path]) -> AcousticModel:
    """Return the first model with the mean weights of all of them, summed in float64.

    Raises: DataError if the files are not models of one shape.
    """
    model = AcousticModel.load(paths[0])
    total = {name: tensor.double() for name, tensor in model.state_dict().items()}
    for path in paths[1:]:
        other = AcousticModel.load(path)
        if other.config != model.config or other.tokenizer.symbols != model.tokenizer.symbols:
            raise DataError(f"{path}: its configuration or tokens differ from {paths[0]}; average models of one run")
        for name, tensor in other.state_dict().items():
            total[name] += tensor.double()
    model.load_state_dict({name: (tensor / len(paths)).float() for name, tensor in total.items()})
    return model
