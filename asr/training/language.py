"""The Lightning module of an LSTM language model, its configuration and its batches."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asr.config import Config
from asr.lm.lstm import LstmConfig, LstmLanguageModel, bordered
from asr.lm.sentences import Sentences
from asr.masking import time_mask
from asr.randomness import step_seed, stream
from asr.store import Storage
from asr.training.checkpoint import restore_optimizer
from asr.training.config import OptimizerConfig
from asr.training.module import seed_network
from asr.training.schedule import learning_rate

_POOL = 50  # batches that are cut from sentences sorted by length together

Batch = tuple[Tensor, Tensor]  # token ids (B, U + 1) between borders, (B,) tokens to foresee in each


class LanguageTrainConfig(Config):
    """How long, on what, and what is kept."""

    epochs: int = Field(30, ge=1, description="passes over the text")
    batch_tokens: int = Field(1024, ge=1, description="tokens of a step, padding included")
    max_tokens: int = Field(400, ge=1, description="of a longer sentence only so many are learned from")
    valid_share: float = Field(0.05, gt=0, lt=1, description="held out of the text where there is no --valid")
    patience: int = Field(4, ge=0, description="stop after so many epochs without a better perplexity; 0 = never")
    checkpoint_steps: int = Field(2000, ge=1, description="steps between saves of the training's state")
    storage: Storage = Field("float32", description="how matrices are kept in the file")
    optimizer: OptimizerConfig = Field(
        OptimizerConfig(learning_rate=4e-3, warmup_steps=50, clip_norm=1.0), description="optimiser and schedule"
    )


class LanguageConfig(Config):
    """The root: what conf/lm-lstm.yaml holds."""

    model: LstmConfig = Field(LstmConfig(), description="the network")
    train: LanguageTrainConfig = Field(LanguageTrainConfig(), description="optimiser, batches, length")


@dataclass
class LanguagePosition:
    """How far a training has come.

    Attributes:
        step: optimiser steps done.
        epoch, step_in_epoch: the next step's place in the plan.
        tokens: seen so far, sentence ends counted.
        wall_seconds: spent so far, over all starts.
        best, best_epoch: the lowest perplexity a token of the held-out sentences, and the epochs done then.
        worse: epochs since.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    tokens: int = 0
    wall_seconds: float = 0.0
    best: float = math.inf
    best_epoch: int = 0
    worse: int = 0


def plan(lengths: NDArray[np.int64], batch_tokens: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the sentences of each batch of an epoch: every sentence once, those of a batch about equally long.

    Args: lengths: (sentences,) tokens to foresee in each.
    """
    random = stream(seed, f"sentences {epoch}")
    order = random.permutation(len(lengths))
    pool = max(1, _POOL * batch_tokens // max(1, int(lengths.mean())))
    batches = []
    for first in range(0, len(order), pool):
        some = order[first : first + pool]
        batches += _cut(some[np.argsort(lengths[some], kind="stable")], lengths, batch_tokens)
    return [batches[number] for number in random.permutation(len(batches))]


def _cut(order: NDArray[np.int64], lengths: NDArray[np.int64], batch_tokens: int) -> list[NDArray[np.int64]]:
    """Return sentences, ordered by rising length, in batches that hold at most so many tokens when padded, or one."""
    batches, first = [], 0
    for place, number in enumerate(order):
        if place > first and (place + 1 - first) * lengths[number] > batch_tokens:
            batches.append(order[first:place])
            first = place
    return [*batches, order[first:]]


class _Batches(Dataset[Batch]):
    """The batches of an epoch from where the training stands."""

    def __init__(self, sentences: Sentences, batches: list[NDArray[np.int64]], max_tokens: int) -> None:
        self._sentences, self._batches, self._max_tokens = sentences, batches, max_tokens

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        rows = self._sentences.rows(self._batches[index])
        tokens, lengths = bordered([row[: self._max_tokens] for row in rows])
        return tokens, lengths - torch.tensor([len(row) > self._max_tokens for row in rows], dtype=torch.int64)


class LanguageTraining(LightningModule):
    """Trains an LstmLanguageModel.

    Attributes: position: how far the training has come; the batches start there.
    """

    def __init__(
        self,
        model: LstmLanguageModel,
        sentences: Sentences,
        config: LanguageTrainConfig,
        seed: int,
        position: LanguagePosition,
        saved_optimizer: Mapping[str, Mapping[str, Tensor]],
    ) -> None:
        super().__init__()
        self.model = model
        self.sentences, self.train_config, self.seed, self.position = sentences, config, seed, position
        self._saved_optimizer = saved_optimizer
        self._steps_in_epoch = 1

    @property
    def epoch_is_over(self) -> bool:
        """Whether the step just done was the last one of its epoch."""
        return self.position.step_in_epoch >= self._steps_in_epoch

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches of the epoch about to run, from where the training stands."""
        config = self.train_config
        lengths = np.minimum(self.sentences.lengths, config.max_tokens) + 1
        batches = plan(lengths, config.batch_tokens, self.seed, self.position.epoch)
        self._steps_in_epoch = len(batches)
        rest = batches[self.position.step_in_epoch :]
        return DataLoader(_Batches(self.sentences, rest, config.max_tokens), batch_size=None)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean cost of a token, in natural logs."""
        seed_network(step_seed(self.seed, self.position.step, 0), self.device)
        tokens, lengths = batch
        chosen = self.model(tokens[:, :-1]).gather(2, tokens[:, 1:, None]).squeeze(2)
        mask = time_mask(lengths, chosen.shape[1])
        self.position.tokens += int(lengths.sum())
        mean: Tensor = -(chosen * mask).sum() / lengths.sum()
        return mean

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the learning rate of this step."""
        done = (self.position.epoch + self.position.step_in_epoch / self._steps_in_epoch) / self.train_config.epochs
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.train_config.optimizer, self.position.step, done)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm; one that is not finite is dropped, and the step with it."""
        limit = self.train_config.optimizer.clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), limit)
        if not math.isfinite(float(norm)):
            optimizer.zero_grad(set_to_none=True)

    def optimizer_step(self, *arguments: Any, **keywords: Any) -> None:
        """Take the step, and advance the position."""
        super().optimizer_step(*arguments, **keywords)
        self.position.step += 1
        self.position.step_in_epoch += 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; vectors (biases) are not decayed.  A resumed training gets its state back."""
        config = self.train_config.optimizer
        weights = dict(self.model.named_parameters())
        groups = [
            {
                "params": [weight for weight in weights.values() if weight.ndim >= 2],
                "weight_decay": config.weight_decay,
            },
            {"params": [weight for weight in weights.values() if weight.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
        restore_optimizer(optimizer, weights, self._saved_optimizer)
        return optimizer
