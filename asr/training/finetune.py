"""Fine-tuning: what of a model is trained how fast, and what holds it back from forgetting.

Sources: Howard & Ruder 2018, "Universal language model fine-tuning" (a learning rate per depth, gradual unfreezing);
Li et al. 2018, "Explicit inductive bias for transfer learning" (the pull towards the start, L2-SP).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr.config import load_config
from asr.errors import UsageError
from asr.model import AcousticModel, ModelConfig
from asr.nn.encoder import EncoderConfig
from asr.text.tokenizer import Tokenizer
from asr.training.config import ExperimentConfig, FinetuneConfig

# what may change of a trained model; other statistics of its features, and a backward direction that sees less, it
# learns to take as they come
_FREE = {
    "encoder.chunk_ms",
    "encoder.dropout",
    "encoder.intermediate",
    "encoder.right_context_ms",
    "features.normalization",
}
_ENCODER = "encoder."


def finetuning_config(
    path: str | Path, overrides: Sequence[str], model: AcousticModel, tokenizer: Tokenizer
) -> ExperimentConfig:
    """Return the configuration of a fine-tuning: that of the file, over what the model and its tokens bring along.

    Raises: UsageError for a bad file, key or value, or for one that the model's weights do not fit.
    """
    base = {
        "model": model.config.model_dump(mode="json"),
        "text": tokenizer.normalizer.config.model_dump(mode="json"),
    }
    experiment = load_config(ExperimentConfig, path, overrides, base=base)
    if difference := first_difference(experiment.model, model.config, free=_FREE):
        key, found, have = difference
        raise UsageError(
            f"{path}: model.{key} is {found!r}, in the model that --from names {have!r}; leave it out"
            f"{_cure(key)}: of a trained model only {', '.join(sorted(f'model.{key}' for key in _FREE))} may change"
        )
    return experiment


def first_difference(one: ModelConfig, other: ModelConfig, *, free: Collection[str]) -> tuple[str, Any, Any] | None:
    """Return the first key in which two models differ and both of its values; None if they do not.

    Args: free: keys that may differ.
    """
    values = dict(_leaves(other.model_dump(mode="json")))
    for key, value in _leaves(one.model_dump(mode="json")):
        if key not in free and value != values[key]:
            return key, value, values[key]
    return None


def _cure(key: str) -> str:
    return " (recordings of any rate are resampled)" if key == "features.sample_rate" else ""


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def depth_below_output(name: str, config: EncoderConfig) -> int:
    """Return how many layers lie between a weight of the encoder and its output: 0 for the output layer itself."""
    part, _, rest = name.removeprefix(_ENCODER).partition(".")
    if part == "subsampling":
        return config.layers + 1
    if part in ("layers", "norms"):
        return config.layers - int(rest.partition(".")[0])
    return 0


def frozen_patterns(config: FinetuneConfig, epoch: int) -> tuple[str, ...]:
    """Return the patterns of `freeze` that hold in an epoch (from 0): the last is let go first."""
    released = epoch // config.unfreeze_epochs if config.unfreeze_epochs else 0
    return config.freeze[: max(0, len(config.freeze) - released)]


def matched(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the names (of the model) that one of the patterns (of the encoder) matches."""
    return [name for name in names if any(fnmatchcase(name.removeprefix(_ENCODER), pattern) for pattern in patterns)]


def check_freezing(config: FinetuneConfig, names: Sequence[str]) -> None:
    """Return if every pattern of `freeze` names weights and some are left.  Raises: UsageError."""
    for pattern in config.freeze:
        if not matched(names, [pattern]):
            groups = sorted({name.removeprefix(_ENCODER).rpartition(".")[0] + ".*" for name in names})
            raise UsageError(f"finetune.freeze: '{pattern}' names no weights; there are: {', '.join(groups)}")
    if len(matched(names, config.freeze)) == len(names) and not config.unfreeze_epochs:
        raise UsageError(f"finetune.freeze: {list(config.freeze)} leaves nothing to train; freeze less")


@torch.no_grad()
def pull_towards(start: Mapping[str, Tensor], weights: Mapping[str, Tensor], share: float) -> None:
    """Move `weights` towards `start` by a share of the way, in place."""
    for name, parameter in weights.items():
        parameter.lerp_(start[name].to(parameter.device), share)
