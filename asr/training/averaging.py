"""Averages of weights: a moving one during training; after it the mean of checkpoints, and that with an old model."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from asr.errors import DataError, UsageError
from asr.model import AcousticModel
from asr.training.alphabet import alphabet_change, with_alphabet
from asr.training.finetune import first_difference


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


@torch.no_grad()
def blend_old(model: AcousticModel, old: AcousticModel, share: float) -> None:
    """Move the weights of a fine-tuned model back towards those of the model it started from, in place.

    Often both the old and the new speech are then heard nearly as well as by the one model that is best at it.
    Symbols that the old model does not know keep their rows, and the statistics of the features stay.

    Args: share: of the way, from 0 (stay) to 1 (the old weights).
    Raises: UsageError if the two do not have one shape, or do not hear the same features.
    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models" (weight-space ensembles, WiSE-FT).
    """
    found = first_difference(model.config, old.config, free={"encoder.dropout", "encoder.intermediate"})
    if found:
        key, have, other = found
        cure = "; fine-tune with the features of the old one" if key.startswith("features.") else ""
        raise UsageError(f"model.{key} is {have!r} in the model and {other!r} in the old one: no blend of them{cure}")
    fresh = set(alphabet_change(old.tokenizer, model.tokenizer).new)
    known = torch.tensor([symbol not in fresh for symbol in model.tokenizer.symbols])
    weights = dict(with_alphabet(old, model.tokenizer, model.config).named_parameters())
    for name, weight in model.named_parameters():
        blend = weight.lerp(weights[name], share)
        if name.startswith(("encoder.output.", "encoder.intermediate_output.")):
            blend[~known] = weight[~known]
        weight.copy_(blend)
