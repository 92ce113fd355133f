"""The Lightning module: ties the network, the data and the optimiser together, and does no mathematics itself."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from asr.data.loader import Batch, BatchSource
from asr.errors import InputError, UsageError
from asr.model import AcousticModel
from asr.nn.chunks import Context
from asr.nn.encoder import EncoderOutput
from asr.randomness import step_seed
from asr.training.adapters import Adapters
from asr.training.averaging import MovingAverage
from asr.training.checkpoint import Position, TrainingState, restore_optimizer
from asr.training.config import ExperimentConfig
from asr.training.contexts import costliest_context, drawn_contexts
from asr.training.finetune import depth_below_output, frozen_patterns, matched, pull_towards
from asr.training.objective import BatchLoss, batch_loss
from asr.training.schedule import learning_rate

MAX_SKIPPED = 20  # steps in a row without a finite gradient, after which no better one is to be hoped for
BROKEN_DOWN = "no finite gradient in"  # how that error begins, for who runs `asr train`


class TimedLoader:
    """A loader that knows how long its reader has waited for it."""

    def __init__(self, loader: "DataLoader[Batch | InputError]") -> None:
        self.loader = loader
        self.waited = 0.0

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches, measuring the time that each takes to arrive.

        Raises: DataError if an utterance cannot be read.
        """
        batches = iter(self.loader)
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - started
            if batch is None:
                return
            if isinstance(batch, InputError):
                raise batch
            yield batch


class CtcTraining(LightningModule):
    """Trains an AcousticModel.  A step is one global batch; ranks and accumulation only split it.

    Attributes:
        position: how far the training has come; the loader starts there.
        left_out: ids of utterances whose loss this rank found infeasible or not finite since they were last
            gathered into the position -> in how many steps.
        adapters: low-rank changes that are trained in place of the matrices, if the configuration wants them.
    """

    def __init__(
        self,
        model: AcousticModel,
        data: BatchSource,
        experiment: ExperimentConfig,
        state: TrainingState | None,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Put together what trains.

        Args: state: of the run to resume; start: weights that a fine-tuning started from, towards which it is pulled.
        """
        super().__init__()
        self.model = model
        self.data = data
        self.experiment = experiment
        self.train_config = experiment.train
        self.finetune_config = experiment.finetune
        rank = experiment.finetune.adapter_rank
        self.adapters = Adapters(model.encoder, rank) if rank else None
        self._start = start
        self.position = state.position if state else Position()
        self.left_out: dict[str, int] = {}
        self.last_shape = "the first batch"
        self.seconds_waited = 0.0
        self.step_loss = 0.0
        self.gradient_norm = 0.0
        self._saved_optimizer = state.optimizer if state else {}
        decay = self.train_config.ema_decay
        self.average = MovingAverage(decay, self.merged_state()) if decay else None
        self._loader: TimedLoader | None = None
        self._steps_in_epoch = 1
        self._step_seconds = 0.0
        self._skipped_in_a_row = 0
        if state and state.raw:  # a checkpoint's own weights are the average, with the adapters merged into them
            self.load_raw(state.raw)
        self._freeze()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: all epochs are done, or nothing had got better for long enough."""
        config = self.train_config
        return self.position.epoch >= config.epochs or 0 < config.patience <= self.position.worse

    @property
    def epoch_is_over(self) -> bool:
        """Whether the step just done was the last one of its epoch."""
        return self.position.step_in_epoch >= self._steps_in_epoch

    def named_weights(self) -> dict[str, torch.nn.Parameter]:
        """Return all weights by name, those of the adapters too."""
        adapters = self.adapters.named_parameters(prefix="adapters") if self.adapters else ()
        return dict(self.model.named_parameters()) | dict(adapters)

    def raw_state(self) -> dict[str, Tensor]:
        """Return the weights that the optimiser works on, and what else the model keeps."""
        adapters = self.adapters.state_dict(prefix="adapters.") if self.adapters else {}
        return {**self.model.state_dict(), **adapters}

    def load_raw(self, raw: Mapping[str, Tensor]) -> None:
        """Put back what `raw_state` returned."""
        own = {name: tensor for name, tensor in raw.items() if not name.startswith("adapters.")}
        self.model.load_state_dict(own)
        if self.adapters:
            changes = {name.removeprefix("adapters."): raw[name] for name in raw.keys() - own.keys()}
            self.adapters.load_state_dict(changes)

    def merged_state(self) -> dict[str, Tensor]:
        """Return the model's weights with the adapters merged into them."""
        state = self.model.state_dict()
        if self.adapters:
            with torch.no_grad():
                changed = self.adapters.merged(self.model.encoder)
            state = {**state, **{f"encoder.{name}": tensor for name, tensor in changed.items()}}
        return state

    def train_dataloader(self) -> TimedLoader:
        """Return the batches of the epoch about to run, from where the training stands."""
        self._collect_wait()
        self._freeze()
        ranks = self.trainer.world_size
        parts = self.data.parts(
            self.position.epoch, rank=self.global_rank, ranks=ranks, first_step=self.position.step_in_epoch
        )
        self._steps_in_epoch = self.position.step_in_epoch + len(parts) // self.train_config.loader.accumulate
        pin = self.trainer.strategy.root_device.type == "cuda"
        self._loader = TimedLoader(self.data.loader_for(parts, pin=pin))
        return self._loader

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Return the batch on the device."""
        return batch.to(device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the part's loss, scaled so that the mean over ranks and accumulation is the step's."""
        # dropout depends on the place in the run and on nothing before it, so a resumed run draws the same
        seed_network(step_seed(self.data.seed, self.position.step, batch.position[2]), self.device)
        scale = self.trainer.world_size * self.train_config.loader.accumulate
        self._step_seconds = batch.global_seconds * batch.seeds.shape[1]
        if not batch.ids:
            return _zero_loss(self)
        loss = self.loss_of(batch)
        self._count(loss)
        self.step_loss += float(loss.ctc)
        return loss.total * scale

    def on_train_start(self) -> None:
        """Try the heaviest batches, so that a lack of memory shows now and not in the middle of an epoch."""
        if self.position.step:
            return
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        heaviest = costliest_context(self.model.config, self.train_config)
        for batch in self.data.heaviest(rank=self.global_rank, ranks=self.trainer.world_size):
            with self.trainer.precision_plugin.forward_context():
                loss = self.loss_of(batch.to(self.device), [heaviest] * batch.seeds.shape[1])
            # grad() and not backward(): nothing is left behind, and no other rank is waited for
            torch.autograd.grad(loss.total, parameters, allow_unused=True)

    def loss_of(self, batch: Batch, contexts: Sequence[Context] | None = None) -> BatchLoss:
        """Return the loss of a batch of at least one utterance.

        Args: contexts: of its views; None: as they are drawn for the step.
        """
        rows, samples = batch.waveform.shape
        seconds = samples / self.data.sample_rate
        self.last_shape = f"{rows} utterances of up to {seconds:.1f} s and {batch.targets.shape[1]} labels"
        views = batch.seeds.shape[1]
        if contexts is None:
            contexts = drawn_contexts(self.model.config, self.train_config, views, self.data.seed, self.position.step)
        augment = self.experiment.augment
        return batch_loss(self.model, batch, self.train_config, augment, contexts=contexts, encode=self._encode)

    def _encode(self, features: Tensor, lengths: Tensor, context: Context) -> EncoderOutput:
        if self.adapters:
            return self.adapters.encode(self.model.encoder, features, lengths, context)
        output: EncoderOutput = self.model.encoder(features, lengths, context)
        return output

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the learning rate of this step."""
        done = (self.position.epoch + self.position.step_in_epoch / self._steps_in_epoch) / self.train_config.epochs
        rate = learning_rate(self.train_config.optimizer, self.position.step, done)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        """Clip the gradient's norm, and keep it for the log.

        A gradient that is not finite is dropped, and the step with it: it would spoil all weights for good.
        Raises: UsageError if that happens again and again.
        """
        for name in self._resting:  # without a gradient AdamW leaves a weight as it is
            self._weights[name].grad = None
        limit = self.train_config.optimizer.clip_norm or float("inf")
        self.gradient_norm = float(torch.nn.utils.clip_grad_norm_(self.parameters(), limit))
        if math.isfinite(self.gradient_norm):
            self._skipped_in_a_row = 0
            return
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row > MAX_SKIPPED:
            raise UsageError(
                f"step {self.position.step}: {BROKEN_DOWN} {MAX_SKIPPED} steps; lower"
                f" train.optimizer.learning_rate (now {self.train_config.optimizer.learning_rate:g}), or look at the"
                " data with asr check"
            )
        self.position.skipped += 1
        optimizer.zero_grad(set_to_none=True)  # without gradients AdamW changes nothing

    def optimizer_step(self, *arguments: Any, **keywords: Any) -> None:
        """Take the step, and advance the position: here a step is known to be whole, even if it was left out."""
        super().optimizer_step(*arguments, **keywords)
        self.position.step += 1
        self.position.step_in_epoch += 1
        self.position.audio_seconds += self._step_seconds
        # with fp16 the loss scaler oversteps its scale now and then to find it: no sign of trouble, and no new weights
        left_out = self.train_config.precision == "fp16" and self._skipped_in_a_row > 0
        self._pull()
        if self.average and not left_out:
            self.average.update(self.merged_state(), self.position.step)

    def finish_epoch(self) -> None:
        """Turn to the next epoch."""
        self.position.epoch += 1
        self.position.step_in_epoch = 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW.  A resumed run gets its state back.

        Vectors (biases, norms) are not decayed; gains and peepholes that a cell keeps as rows of one matrix are.
        """
        config = self.train_config.optimizer
        groups: dict[tuple[bool, float], dict[str, Any]] = {}
        for name, parameter in self.named_weights().items():
            if parameter.requires_grad:
                matrix, share = parameter.ndim >= 2, self._share_of_rate(name)
                decay = config.weight_decay if matrix else 0.0
                group = groups.setdefault(
                    (matrix, share), {"params": [], "names": [], "weight_decay": decay, "share": share}
                )
                group["params"].append(parameter)
                group["names"].append(name)
        # one fused loop over the weights: a plain AdamW costs a fifth of a CPU step.  With fp16 it would undo the
        # loss scale inside its step, too late for clipping.
        fused = self.train_config.precision != "fp16"
        optimizer = torch.optim.AdamW(list(groups.values()), lr=config.learning_rate, betas=config.betas, fused=fused)
        restore_optimizer(optimizer, self.named_weights(), self._saved_optimizer)
        self._saved_optimizer = {}
        return optimizer

    def waited_seconds(self) -> float:
        """Return the time spent waiting for data since the start."""
        return self.seconds_waited + (self._loader.waited if self._loader else 0.0)

    def gather_left_out(self) -> list[str]:
        """Move what all ranks left out to the position; return the names that are new there.  A collective call."""
        found = [self.left_out]
        if self.trainer.world_size > 1:
            found = [{}] * self.trainer.world_size
            torch.distributed.all_gather_object(found, self.left_out)
        self.left_out = {}
        new = sorted({name for part in found for name in part} - self.position.left_out.keys())
        for part in found:
            for name, times in part.items():
                self.position.left_out[name] = self.position.left_out.get(name, 0) + times
        return new

    def _share_of_rate(self, name: str) -> float:
        """Return the learning rate of a weight as a share of the output layer's."""
        if name.startswith("adapters."):
            return 1.0
        return self.finetune_config.depth_decay ** depth_below_output(name, self.model.config.encoder)

    def _freeze(self) -> None:
        """Let rest what is frozen in this epoch; what is never let go needs no gradient at all, which saves time."""
        weights = self._weights = self.named_weights()
        self._resting = matched(weights, frozen_patterns(self.finetune_config, self.position.epoch))
        if not self.finetune_config.unfreeze_epochs:
            for name in self._resting:
                weights[name].requires_grad_(False)

    def _pull(self) -> None:
        """Pull what is trained towards where it started, by as much as this step's learning rate says."""
        if not self.finetune_config.pull:
            return
        assert self._start is not None, "a pull is only for a fine-tuning"
        for group in self.trainer.optimizers[0].param_groups:
            weights = dict(zip(group["names"], group["params"], strict=True))
            pull_towards(self._start, weights, min(1.0, group["lr"] * self.finetune_config.pull))

    def _collect_wait(self) -> None:
        if self._loader is not None:
            self.seconds_waited += self._loader.waited
            self._loader = None

    def _count(self, loss: BatchLoss) -> None:
        for name in loss.infeasible + loss.nonfinite:
            self.left_out[name] = self.left_out.get(name, 0) + 1


def seed_network(seed: int, device: torch.device) -> None:
    """Seed what the network draws from, and nothing else.

    torch.manual_seed also notes the seed, with the traceback of its caller, for every kind of device that is
    not in use: a millisecond a step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _zero_loss(module: CtcTraining) -> Tensor:
    """Return 0 with a gradient of 0 for everything trained, for a rank whose part of the step is empty."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return torch.stack([parameter.sum() * 0.0 for parameter in trained]).sum()
