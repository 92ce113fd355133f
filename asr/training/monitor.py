"""The callback that watches a training: logs, validates, keeps checkpoints, stops early, hints at trouble."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, Trainer

from asr.data.loader import Batch
from asr.model import AcousticModel, ModelNotes
from asr.training.checkpoint import (
    LAST,
    TrainingState,
    kept_checkpoints,
    kept_path,
    optimizer_tensors,
    save_checkpoint,
)
from asr.training.config import FinetuneConfig
from asr.training.journal import Journal
from asr.training.module import CtcTraining
from asr.training.stopping import InterruptionError, StopsOnInterrupt
from asr.training.validation import Validation, Validator

LOG_STEPS = 20
BLANK_SHARE = 0.99
BLANK_VALIDATIONS = 3
_SHOWN = 5  # names in a message


class Progress(Protocol):
    """What shows the progress of long work."""

    def __call__(self, done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
        """Report `done` of `total` pieces, the audio dealt with since the start, and a short note."""


class Monitor(StopsOnInterrupt, Callback):
    """Everything a training does beside training, on rank 0 where files are concerned."""

    def __init__(
        self,
        out: Path,
        run: dict[str, Any],
        validator: Validator | None,
        *,
        say: Callable[[str], None],
        progress: Progress,
        stop_below_cer: float | None = None,
        guard: Validator | None = None,
    ) -> None:
        super().__init__()
        self.out, self.run, self.validator, self.guard = out, run, validator, guard
        self.say, self.progress, self.stop_below_cer = say, progress, stop_below_cer
        self.validation: Validation | None = None
        self.guarded: Validation | None = None
        self.journal: Journal | None = None
        self.train_seconds = 0.0
        self._resumed_at = (0.0, 0.0)  # audio and wall seconds when this process started
        self._started = self._logged_at = time.monotonic()
        self._logged_audio = 0.0
        self._validating = 0.0
        self._seen_step = -1
        self._seen_skipped = 0
        self._step_loss = 0.0
        self._due = False  # a save that waits for the end of the epoch
        self.interrupted = False  # all processes agree to stop after this step

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Open the log."""
        module: CtcTraining = pl_module
        self.catch(signal.SIGTERM)  # only here: Lightning puts its own in place at the start, which saves nothing
        self._started = self._logged_at = time.monotonic()
        self._resumed_at = (module.position.audio_seconds, module.position.wall_seconds)
        self._logged_audio = module.position.audio_seconds
        self._seen_step, self._seen_skipped = module.position.step, module.position.skipped
        if trainer.is_global_zero:
            tensorboard = module.train_config.tensorboard
            self.journal = Journal(self.out / "logs", resumed_step=module.position.step, tensorboard=tensorboard)
            if self.guard is not None and module.position.guard_start is None:
                module.position.guard_start = self._guard(module, self.guard).wer

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log and save at their intervals, after the last part of a step."""
        module: CtcTraining = pl_module
        if module.position.step == self._seen_step:
            return
        self._seen_step = module.position.step
        self._agree(trainer, module)
        self._log(trainer, module)
        self._due |= self.interrupted or module.position.step % module.train_config.checkpoint_steps == 0
        if module.epoch_is_over or not self._due:
            return  # what is due at the last step of an epoch is done when the epoch has ended
        self.save_state(trainer, module)
        if self.interrupted:
            raise InterruptionError

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Validate, keep the checkpoint if it is good, stop if nothing gets better."""
        module: CtcTraining = pl_module
        module.finish_epoch()
        last = module.position.epoch >= module.train_config.epochs
        due = module.position.epoch % module.train_config.validate_every == 0 or last
        if due and trainer.is_global_zero:
            found = self._validate(module, self.validator) if self.validator is not None else None
            if self.guard is not None:
                self._watch(module, self._guard(module, self.guard))
            with evaluation_weights(module):
                self._keep(module, found)
        # the other ranks know neither what the validation found nor whether Ctrl-C came meanwhile
        told = (due and self._should_stop(module), self.interrupted or self._asked, module.position.worse)
        trainer.should_stop, self.interrupted, module.position.worse = trainer.strategy.broadcast(told, src=0)
        if due or self._due or self.interrupted:
            self.save_state(trainer, module)
        if self.interrupted and not (last or trainer.should_stop):
            raise InterruptionError

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Close the log, whatever ended the training."""
        self.train_seconds = time.monotonic() - self._started
        if self.journal is not None:
            self.journal.close()

    def waiting_share(self, module: CtcTraining) -> float:
        """Return the share of this process's training time, validation left out, spent waiting for data."""
        spent = time.monotonic() - self._started - self._validating
        return module.waited_seconds() / max(spent, 1e-9)

    def save_state(self, trainer: Trainer, module: CtcTraining) -> None:
        """Write the checkpoint that a resumed run starts from.  All ranks must call it; rank 0 writes."""
        self._due = False
        self._tell_left_out(module.gather_left_out(), module)
        if trainer.is_global_zero:
            self._write_state(trainer, module)
        trainer.strategy.barrier()  # no rank may leave while the file is being written

    def _write_state(self, trainer: Trainer, module: CtcTraining) -> None:
        module.position.wall_seconds = self._resumed_at[1] + time.monotonic() - self._started
        optimizer = trainer.optimizers[0]
        scaler = trainer.precision_plugin.state_dict()
        weights = module.raw_state() if module.average or module.adapters else {}
        raw = {name: tensor.clone() for name, tensor in weights.items()}
        moments = optimizer_tensors(optimizer, module.named_weights())
        state = TrainingState(module.position, raw, moments, scaler, self.run)
        with evaluation_weights(module):
            save_checkpoint(self.out / "checkpoints" / LAST, module.model, self._notes(module), state)

    def _agree(self, trainer: Trainer, module: CtcTraining) -> None:
        """Sum the step's loss over the ranks, and let all of them stop if one was asked to."""
        self._step_loss, module.step_loss = module.step_loss, 0.0
        self.interrupted = self._asked  # a signal from here on counts at the next step
        if trainer.world_size > 1:
            numbers = torch.tensor([self._step_loss, float(self.interrupted)], device=module.device)
            loss, asked = trainer.strategy.reduce(numbers, reduce_op="sum").tolist()
            self._step_loss, self.interrupted = loss, asked > 0

    def _log(self, trainer: Trainer, module: CtcTraining) -> None:
        position = module.position
        if self.journal is None:
            return
        if position.skipped > self._seen_skipped:
            self._seen_skipped = position.skipped
            self.say(
                f"step {position.step - 1}: the gradient is not finite; left the step out ({position.skipped} so far):"
                f" {module.last_shape}"
            )
        audio = position.audio_seconds - self._resumed_at[0]
        note = f"loss {self._step_loss:.2f}" + (f" WER {self.validation.wer:.1f} %" if self.validation else "")
        total = module.train_config.epochs
        self.progress(position.epoch, total, audio, f"step {position.step} {note}")
        if position.step % LOG_STEPS:
            return
        now = time.monotonic()
        speed = (position.audio_seconds - self._logged_audio) / max(now - self._logged_at, 1e-9)
        self._logged_at, self._logged_audio = now, position.audio_seconds
        self.journal.write(
            {
                "step": position.step,
                "epoch": position.epoch,
                "loss": self._step_loss,
                "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "gradient_norm": module.gradient_norm,
                "audio_seconds": position.audio_seconds,
                "audio_hours_per_hour": speed,
                "waiting_share": self.waiting_share(module),
            }
        )

    def _run(self, module: CtcTraining, validator: Validator) -> Validation:
        """Return what a validator finds, its time not counted as training."""
        started = time.monotonic()
        with evaluation_weights(module):
            found = validator.run(module.model)
        self._validating += time.monotonic() - started
        self._logged_at += time.monotonic() - started
        return found

    def _validate(self, module: CtcTraining, validator: Validator) -> Validation:
        found = self.validation = self._run(module, validator)
        position = module.position
        assert self.journal is not None, "the journal is opened on rank 0 before any validation"
        rates = {"wer": found.wer, "cer": found.cer}
        shape = {"blank_share": found.blank_share, "mean_tokens": found.mean_tokens}
        self.journal.write({"step": position.step, "epoch": position.epoch, **rates, **shape})
        self.say(
            f"epoch {position.epoch}, step {position.step}: WER {found.wer:.2f} %, CER {found.cer:.2f} %,"
            f" blanks {100 * found.blank_share:.0f} %, {found.mean_tokens:.1f} tokens an utterance,"
            f" waiting for data {100 * self.waiting_share(module):.1f} %"
        )
        for reference, hypothesis in found.pairs:
            self.say(f"    said  {reference}\n    heard {hypothesis}")
        self._hint(module, found)
        return found

    def _guard(self, module: CtcTraining, guard: Validator) -> Validation:
        """Return what is left of what the model knew before."""
        found = self.guarded = self._run(module, guard)
        position = module.position
        assert self.journal is not None, "the journal is opened before anything is guarded"
        self.journal.write(
            {"step": position.step, "epoch": position.epoch, "guard_wer": found.wer, "guard_cer": found.cer}
        )
        self.say(f"epoch {position.epoch}, step {position.step}: guard WER {found.wer:.2f} %, CER {found.cer:.2f} %")
        return found

    def _watch(self, module: CtcTraining, found: Validation) -> None:
        """Warn, once, at the moment when the guard has fallen."""
        position, config = module.position, module.experiment.finetune
        assert position.guard_start is not None, "the guard is measured before the first step"
        if position.guard_fell or found.wer <= position.guard_start + config.guard_drop:
            return
        position.guard_fell = True
        self.say(
            f"epoch {position.epoch}, step {position.step}: what the model knew is being forgotten: guard WER"
            f" {position.guard_start:.2f} -> {found.wer:.2f} %; {_remedy(config)}"
        )

    def _hint(self, module: CtcTraining, found: Validation) -> None:
        position = module.position
        position.all_blank = position.all_blank + 1 if found.blank_share > BLANK_SHARE else 0
        if position.all_blank >= BLANK_VALIDATIONS:
            rate = module.train_config.optimizer.learning_rate / 3
            self.say(
                f"all blank for {position.all_blank} validations: try train.optimizer.learning_rate={rate:.2g};"
                " check data and settings with --overfit 8"
            )

    def _keep(self, module: CtcTraining, found: Validation | None) -> None:
        """Keep this checkpoint if it is among the best or the last, and delete those that no longer are."""
        position, config = module.position, module.train_config
        if found is not None:
            rate = found.wer if self.guarded is None else (found.wer + self.guarded.wer) / 2  # the best of both
            position.worse = 0 if not position.best or rate < position.best[0][0] else position.worse + 1
            position.best = sorted({*position.best, (rate, position.step)})[: max(1, config.keep_best)]
        folder = self.out / "checkpoints"
        steps = kept_checkpoints(folder).keys() | {position.step}
        # a killed run may have kept one beyond the step that it was resumed from
        last = sorted(step for step in steps if step <= position.step)[-config.keep_last :] if config.keep_last else []
        wanted = {step for _, step in position.best[: config.keep_best]} | set(last)
        if position.step in wanted:
            save_checkpoint(kept_path(folder, position.step), module.model, self._notes(module), None)
        for step in steps - wanted:
            kept_path(folder, step).unlink(missing_ok=True)

    def _should_stop(self, module: CtcTraining) -> bool:
        if self.validation is None:
            return False
        if self.stop_below_cer is not None:
            return self.validation.cer < self.stop_below_cer
        patience = module.train_config.patience
        if patience and module.position.worse >= patience:
            self.say(f"no better rate in {patience} validations: stopped early")
            return True
        return False

    def _tell_left_out(self, names: Sequence[str], module: CtcTraining) -> None:
        if names:
            shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
            self.say(f"step {module.position.step}: no finite CTC loss, left out of the sum: {shown}")

    def _notes(self, module: CtcTraining) -> ModelNotes:
        told = {**self.run, "step": module.position.step, "audio_seconds": module.position.audio_seconds}
        return ModelNotes(training=told)


def _remedy(config: FinetuneConfig) -> str:
    """Return what holds a model back from forgetting, as it is configured."""
    if config.replay.manifest is None:
        return "replay old utterances (finetune.replay.manifest)"
    return f"raise finetune.replay.ratio (now {config.replay.ratio:g}) or lower train.optimizer.learning_rate"


@contextmanager
def evaluation_weights(module: CtcTraining) -> Iterator[AcousticModel]:
    """Put the moving average into the model for a while, if there is one, or else merge its adapters into it."""
    model = module.model
    if module.average is None and module.adapters is None:
        yield model
        return
    raw = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(module.average.average if module.average else module.merged_state())
    try:
        yield model
    finally:
        model.load_state_dict(raw)
