"""Training steps of a recipe through the real path and written bare, taking turns in one process.

The real path is `asr.training.fit`: Lightning, loader, workers, features, augmentation, logs.  The bare loop
takes the same steps on random numbers of the same shapes.  They take turns in the order real, bare, bare, real,
so that a machine that slows down hits both, and each finds the other's shapes already known to the libraries
equally often.
"""

import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Any
from unittest import mock

import torch
from _arithmetic import PRODUCT_SIZE, product_rate, step_flop, synchronize
from torch import Tensor

from asr.masking import time_mask
from asr.model import ModelConfig
from asr.nn.ctc import consistency_losses, ctc_losses
from asr.nn.encoder import Encoder, EncoderOutput
from asr.training import fit as fitting
from asr.training.averaging import MovingAverage
from asr.training.config import ExperimentConfig
from asr.training.module import CtcTraining
from asr.training.request import Request

PREFETCHED = 4  # batches that a worker makes ahead (asr.data.loader): they must not count as made in no time
SETTLE = PREFETCHED + 2
BARE_WARMUP = 2
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class StepShape:
    """The sizes of one step.

    Attributes:
        frame_lengths: feature frames of each utterance, once.
        target_lengths: tokens of each utterance.
        audio_seconds: once, after speed perturbation.
    """

    frame_lengths: Sequence[int]
    target_lengths: Sequence[int]
    audio_seconds: float

    def flop(self, config: ModelConfig, num_tokens: int, views: int) -> int:
        """Return the FLOP of the step."""
        return step_flop(config, num_tokens, views * len(self.frame_lengths), max(self.frame_lengths))


@dataclass(frozen=True)
class Round:
    """Equal steps through the real path and bare, with the matrix products timed beside them.

    Attributes:
        audio_seconds: of audio, every view counted.
        waited: seconds of the real path spent waiting for data.
        products: FLOP per second of plain matrix products, by type.
    """

    steps: int
    audio_seconds: float
    flop: float
    real_seconds: float
    waited: float
    bare_seconds: float
    products: dict[str, float]

    def arithmetic_to(self, product: str) -> float:
        """Return the step's FLOP per second as a share of a matrix product's."""
        return self.flop / self.real_seconds / self.products[product]


class BareTraining:
    """The training written bare: model, loss, clipping, AdamW, moving average; no data and no Lightning."""

    def __init__(self, experiment: ExperimentConfig, num_tokens: int, device: torch.device) -> None:
        model, self.config = experiment.model, experiment.train
        self.device, self.num_features, self.num_tokens = device, model.features.num_features, num_tokens
        self.views = 2 if self.config.consistency else 1
        self.encoder = Encoder(model.encoder, self.num_features, num_tokens).train().to(device)
        self.average = MovingAverage(self.config.ema_decay, self.encoder.state_dict())
        optimizer = self.config.optimizer
        self.optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=1e-4, betas=optimizer.betas, weight_decay=optimizer.weight_decay, fused=True
        )
        self.steps = 0

    def inputs(self, shape: StepShape) -> tuple[Tensor, ...]:
        """Return random (features, frame lengths, targets, target lengths) of a step, every view a row."""
        rows = self.views * len(shape.frame_lengths)
        frames, labels = max(shape.frame_lengths), max(shape.target_lengths)
        tensors = (
            torch.randn(rows, frames, self.num_features),
            torch.tensor(shape.frame_lengths).repeat(self.views),
            torch.randint(1, self.num_tokens, (rows, labels)),
            torch.tensor(shape.target_lengths).repeat(self.views),
        )
        return tuple(tensor.to(self.device) for tensor in tensors)

    def step(self, features: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> None:
        """Take one step."""
        dtype = DTYPES[self.config.precision]
        autocast = nullcontext() if dtype is torch.float32 else torch.autocast(self.device.type, dtype=dtype)
        with autocast:
            loss = self._loss(self.encoder(features, lengths), targets, target_lengths)
        self.optimizer.zero_grad()
        loss.backward()
        limit = self.config.optimizer.clip_norm or float("inf")
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), limit)
        self.optimizer.step()
        self.steps += 1
        if self.config.ema_decay:
            self.average.update(self.encoder.state_dict(), self.steps)

    def seconds(self, shapes: Sequence[StepShape]) -> float:
        """Return the seconds that the steps take, the random numbers made before."""
        inputs = [self.inputs(shape) for shape in shapes]
        for tensors in inputs[:BARE_WARMUP]:
            self.step(*tensors)
        synchronize(self.device)
        started = time.perf_counter()
        for tensors in inputs:
            self.step(*tensors)
        synchronize(self.device)
        return time.perf_counter() - started

    def _loss(self, output: EncoderOutput, targets: Tensor, target_lengths: Tensor) -> Tensor:
        losses = ctc_losses(output.log_probs, output.lengths, targets, target_lengths).losses
        if output.intermediate is not None:
            inner = ctc_losses(output.intermediate, output.lengths, targets, target_lengths).losses
            weight = self.config.intermediate_weight
            losses = (1 - weight) * losses + weight * inner
        total = losses.sum() / self.views
        if self.views == 2:
            first, second = output.log_probs.chunk(2)
            mask = time_mask(output.lengths[: len(first)], first.shape[1])
            total = total + self.config.consistency * consistency_losses(first, second, mask).sum()
        return total * self.views / len(losses)


@dataclass
class Rounds:
    """Takes turns with a training; it is the training's `progress`, called after each of its steps."""

    steps: int
    block: int
    device: torch.device
    product_size: int = PRODUCT_SIZE
    warmup: int = SETTLE
    rounds: list[Round] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def measure(self, request: Request, say: Callable[[str], None]) -> list[Round]:
        """Return the rounds of a training, which is stopped after them; its losses are in `losses`."""
        losses, turns = self.losses, self._turns

        class Watched(CtcTraining):
            """The module, known to us."""

            def on_train_start(self) -> None:
                super().on_train_start()
                self.turns, self.turned = turns(self), self.position.step

            def optimizer_step(self, *arguments: Any, **keywords: Any) -> None:
                super().optimizer_step(*arguments, **keywords)
                losses.append(float(self.step_loss))

            def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
                if self.position.step > self.turned:  # the last part of a step
                    self.turned = self.position.step
                    if next(self.turns, "over") == "over":
                        raise EnoughError

        try:
            with mock.patch.object(fitting, "CtcTraining", Watched):
                fitting.fit(request, say=say, progress=_no_progress)
        except EnoughError:
            return self.rounds
        raise AssertionError("the training ended before its measurement; give it more epochs")

    def _turns(self, module: CtcTraining) -> Generator[None, None, None]:
        """Yield for every step that the training may take."""
        bare = BareTraining(module.experiment, module.model.encoder.output.out_features, self.device)
        yield from _steps(self.warmup)
        done = 0
        while done < self.steps:
            if len(self.rounds) % 2 == 0:
                count = self._until_border(module)
                shapes = list(islice(upcoming(module), count))
                real = yield from self._real(module, count)
                bare_seconds = bare.seconds(shapes)
            else:
                count = self.block
                shapes = list(islice(upcoming(module), SETTLE, SETTLE + count))
                bare_seconds = bare.seconds(shapes)
                yield from _steps(SETTLE)
                real = yield from self._real(module, count)
            self.rounds.append(self._round(module, shapes, real, bare_seconds))
            done += count

    def _real(self, module: CtcTraining, count: int) -> Generator[None, None, tuple[float, float]]:
        """Return (seconds, seconds waited for data) of the next steps of the training."""
        synchronize(self.device)
        started, waited = time.perf_counter(), module.waited_seconds()
        yield from _steps(count)
        synchronize(self.device)
        return time.perf_counter() - started, module.waited_seconds() - waited

    def _until_border(self, module: CtcTraining) -> int:
        """Return the steps of this round: more where the next epoch would else start while nobody measures."""
        left = len(module.data.plan(module.position.epoch)) - module.position.step_in_epoch - self.block
        return self.block + left + 1 if 0 <= left < SETTLE else self.block

    def _round(
        self, module: CtcTraining, shapes: Sequence[StepShape], real: tuple[float, float], bare_seconds: float
    ) -> Round:
        views, num_tokens = module.data.views, module.model.encoder.output.out_features
        names = {"float32", module.train_config.precision}
        return Round(
            steps=len(shapes),
            audio_seconds=views * sum(shape.audio_seconds for shape in shapes),
            flop=sum(shape.flop(module.model.config, num_tokens, views) for shape in shapes),
            real_seconds=real[0],
            waited=real[1],
            bare_seconds=bare_seconds,
            products={name: product_rate(self.product_size, DTYPES[name], self.device) for name in sorted(names)},
        )


class EnoughError(Exception):
    """All that was to be measured is measured."""


def upcoming(module: CtcTraining) -> Iterator[StepShape]:
    """Yield the shapes of the steps that a training will take next: they follow from its batch plan."""
    data, position = module.data, module.position
    geometry = module.model.geometry
    first = position.step_in_epoch
    for epoch in range(position.epoch, module.train_config.epochs):
        num_samples = data.planned_samples(epoch)
        parts = data.parts(epoch, rank=0, ranks=1, first_step=first)
        accumulate = module.train_config.loader.accumulate
        for start in range(0, len(parts), accumulate):
            chains = [chain for part in parts[start : start + accumulate] for chain in part.chains]
            samples = [int(num_samples[chain[0]]) for chain in chains]
            yield StepShape(
                [geometry.num_frames(count) for count in samples],
                [len(data.labels(chain)) for chain in chains],
                sum(samples) / data.sample_rate,
            )
        first = 0


def summary(rounds: Sequence[Round]) -> dict[str, object]:
    """Return the figures of some rounds: ratios as [least, median, greatest] over the rounds."""
    real = sum(item.real_seconds for item in rounds)
    products = {
        f"arithmetic_to_{name}_product": _spread(
            [item.flop / item.real_seconds / item.products[name] for item in rounds]
        )
        for name in rounds[0].products
    }
    return {
        "steps": sum(item.steps for item in rounds),
        "rounds": len(rounds),
        "audio_seconds": round(sum(item.audio_seconds for item in rounds), 2),
        "audio_seconds_per_second": round(sum(item.audio_seconds for item in rounds) / real, 2),
        "bare_audio_seconds_per_second": round(
            sum(item.audio_seconds for item in rounds) / sum(item.bare_seconds for item in rounds), 2
        ),
        "speed_to_bare": _spread([item.bare_seconds / item.real_seconds for item in rounds]),
        "speed_to_bare_in_total": round(sum(item.bare_seconds for item in rounds) / real, 4),
        "waiting_share": round(sum(item.waited for item in rounds) / real, 5),
        "step_gflop": round(sum(item.flop for item in rounds) / sum(item.steps for item in rounds) / 1e9, 2),
        "gflop_per_second": round(sum(item.flop for item in rounds) / real / 1e9, 2),
        "product_gflop_per_second": {
            name: _spread([item.products[name] / 1e9 for item in rounds]) for name in rounds[0].products
        },
        **products,
    }


def measure(
    request: Request,
    *,
    steps: int,
    block: int,
    say: Callable[[str], None],
    product_size: int = PRODUCT_SIZE,
    warmup: int = SETTLE,
) -> dict[str, object]:
    """Return the `summary` of a training's first steps against bare ones; nothing is left on disk.

    Args:
        steps: timed at least, in turns of `block`.
        warmup: steps before the first that is timed.
    """
    turns = Rounds(steps, block, torch.device(request.device), product_size, warmup)
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as folder:
        rounds = turns.measure(replace(request, valid=[], out=Path(folder)), say)
    last = turns.losses[-max(1, len(turns.losses) // 4) :]
    return {**summary(rounds), "steps_trained": len(turns.losses), "loss_of_last_quarter": round(fmean(last), 4)}


def _no_progress(done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
    pass


def _steps(count: int) -> Iterator[None]:
    for _ in range(count):
        yield


def _spread(values: Sequence[float]) -> list[float]:
    return [round(value, 4) for value in (min(values), median(values), max(values))]
