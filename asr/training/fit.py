"""Training from a manifest to checkpoints: what `asr train` calls."""

import hashlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from asr import store
from asr.config import dump_yaml
from asr.data.loader import AugmentConfig, TrainingData
from asr.data.manifest import Utterance
from asr.errors import DataError, MachineError, UsageError
from asr.model import AcousticModel
from asr.nn.ctc import frames_needed
from asr.text.tokenizer import Tokenizer
from asr.training.checkpoint import LAST, TrainingState, load_state, remove_unfinished
from asr.training.config import ExperimentConfig
from asr.training.module import CtcTraining
from asr.training.monitor import InterruptionError, Monitor, Progress
from asr.training.validation import Validation, Validator
from asr.units import samples_from_seconds

OVERFIT_CER = 5.0
OVERFIT_STEPS = 600
_STATISTICS_SECONDS = 3600.0
_PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_SHOWN = 5


@dataclass(frozen=True)
class Request:
    """What to train, where and how: the flags of `asr train`.

    Attributes:
        train, valid: utterances; valid may be empty.
        out: the run folder.
        device: "cpu" or "cuda".
        resume: continue the run in `out`.
        overfit: train on the first so many utterances only, without augmentation and dropout; 0 = off.
    """

    experiment: ExperimentConfig
    tokenizer: Tokenizer
    train: Sequence[Utterance]
    valid: Sequence[Utterance]
    out: Path
    seed: int
    device: str = "cpu"
    resume: bool = False
    overfit: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Attributes:
        left_out: utterances dropped before the start or without a finite loss, and why.
        waiting_share: share of the training time spent waiting for data.
    """

    validation: Validation | None
    steps: int
    audio_seconds: float
    wall_seconds: float
    waiting_share: float
    parameters: int
    left_out: dict[str, str]


def fit(request: Request, *, say: Callable[[str], None], progress: Progress) -> Outcome:
    """Train and return what came of it; checkpoints, logs and the configuration lie in `request.out`.

    Raises: UsageError, DataError or MachineError for what the user can cure.
    """
    _quieten()
    if request.overfit:
        request = _overfitting(request)
    config = request.experiment.train
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // config.devices))
    state = _resumed_state(request)
    utterances, left_out = _usable(request, say)
    run = _run_identity(request, utterances)
    model, state = _starting_point(request, state, run)
    views = 2 if config.consistency else 1
    sample_rate = model.sample_rate
    data = TrainingData(
        utterances,
        request.tokenizer,
        sample_rate,
        config.loader,
        request.experiment.augment,
        seed=request.seed,
        views=views,
    )
    data.fill_cache()
    if state is None:
        _set_statistics(model, data)
    module = CtcTraining(model, data, request.experiment, state)
    validator = Validator(request.valid, model, config.loader.batch_seconds) if request.valid else None
    _write_run(request, run)
    target = OVERFIT_CER if request.overfit else None
    monitor = Monitor(request.out, run, validator, say=say, progress=progress, stop_below_cer=target)
    say(_described(model, data, state))
    trainer = _trainer(request, monitor, module)
    if state is not None and state.scaler:
        trainer.precision_plugin.load_state_dict(state.scaler)
    try:
        with _memory_explained(module), monitor.stopping_on_interrupt():
            trainer.fit(module)
    except InterruptionError:
        say(f"interrupted after step {module.position.step}; continue with --resume")
        raise KeyboardInterrupt from None
    for name, times in sorted(module.left_out.items()):
        left_out[name] = f"no finite loss in {times} steps"
    return Outcome(
        validation=monitor.validation,
        steps=module.position.step,
        audio_seconds=module.position.audio_seconds,
        wall_seconds=monitor.train_seconds + (state.position.wall_seconds if state else 0.0),
        waiting_share=monitor.waiting_share(module),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        left_out=left_out,
    )


def _quieten() -> None:
    """Keep Lightning's banners and advice out of our output; its errors still arrive."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")


def _overfitting(request: Request) -> Request:
    """Return the request that must learn a handful of utterances by heart: the first thing to try on new data."""
    experiment = request.experiment
    few = list(request.train[: request.overfit])
    optimizer = experiment.train.optimizer.model_copy(update={"schedule": "constant", "warmup_steps": 20})
    loader = experiment.train.loader.model_copy(update={"accumulate": 1, "workers": 0})
    train = experiment.train.model_copy(
        update={
            "epochs": OVERFIT_STEPS,
            "validate_every": 10,
            "ema_decay": 0.0,
            "keep_best": 0,
            "keep_last": 0,
            "patience": 0,
            "checkpoint_steps": OVERFIT_STEPS * len(few),
            "optimizer": optimizer,
            "loader": loader,
        }
    )
    encoder = experiment.model.encoder.model_copy(update={"dropout": 0.0})
    model = experiment.model.model_copy(update={"encoder": encoder})
    changes = {"train": train, "model": model, "augment": AugmentConfig()}
    return Request(
        experiment=experiment.model_copy(update=changes),
        tokenizer=request.tokenizer,
        train=few,
        valid=few,
        out=request.out,
        seed=request.seed,
        device=request.device,
    )


def _resumed_state(request: Request) -> TrainingState | None:
    """Return the state to continue from, or None for a new run.  Raises: UsageError where a run would be lost."""
    folder = request.out / "checkpoints"
    last = folder / LAST
    if folder.is_dir():
        remove_unfinished(folder)
    if request.resume:
        return load_state(last) if last.is_file() else None
    if last.is_file() and not request.overfit:
        raise UsageError(f"{last}: this folder holds a run; continue it with --resume or give another --out")
    return None


def _usable(request: Request, say: Callable[[str], None]) -> tuple[list[Utterance], dict[str, str]]:
    """Return the utterances that can be trained on, and why each of the others is left out.

    Raises: DataError if too many cannot be spelled by CTC, or none is left.
    """
    geometry = request.experiment.model.geometry()
    config = request.experiment.train
    slowest = min(request.experiment.augment.waveform.speed_factors, default=1.0)
    fastest = max(request.experiment.augment.waveform.speed_factors, default=1.0)
    usable, left_out, infeasible = [], {}, 0
    for utterance in request.train:
        if utterance.text is None or not (ids := request.tokenizer.encode(utterance.text)):
            left_out[utterance.id] = "no text"
            continue
        if utterance.duration / slowest > config.loader.max_seconds:
            left_out[utterance.id] = f"{utterance.duration:.1f} s is above {config.loader.max_seconds:g} s"
            continue
        frames = geometry.encoder_frames(int(samples_from_seconds(utterance.duration, geometry.sample_rate) / fastest))
        needed = int(frames_needed(torch.tensor([ids]), torch.tensor([len(ids)])))
        if frames < needed:
            infeasible += 1
            left_out[utterance.id] = f"{frames} encoder frames < {needed} needed ({len(ids)} labels + repeats)"
            continue
        usable.append(utterance)
    if left_out:
        shown = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:_SHOWN])
        say(f"{len(left_out)} of {len(request.train)} training utterances left out: {shown}")
    if not usable:
        raise DataError("no utterance to train on is left; run asr check on the training manifest")
    if infeasible > config.max_infeasible * len(request.train):
        raise DataError(
            f"{infeasible} of {len(request.train)} training utterances have fewer encoder frames than CTC needs;"
            " lower model.encoder.factor, or clean the manifest with asr check --fix"
        )
    return usable, left_out


def _run_identity(request: Request, utterances: Sequence[Utterance]) -> dict[str, Any]:
    """Return what makes a run this run: a resumed one must agree."""
    rows = "\n".join(f"{item.id}\t{item.start}\t{item.duration}\t{item.text}" for item in utterances)
    return {
        "seed": request.seed,
        "config": request.experiment.model_dump(mode="json"),
        "data": hashlib.sha256(rows.encode()).hexdigest(),
    }


def _starting_point(
    request: Request, state: TrainingState | None, run: dict[str, Any]
) -> tuple[AcousticModel, TrainingState | None]:
    """Return the model at the start: fresh from the seed, or as it was saved."""
    if state is None:
        torch.manual_seed(request.seed)
        return AcousticModel(request.experiment.model, request.tokenizer).train(), None
    different = _differences(state.run, run)
    if different:
        raise UsageError(
            f"{request.out}: --resume continues the same run, but {different} differ; undo that or give another --out"
        )
    return AcousticModel.load(request.out / "checkpoints" / LAST).train(), state


def _differences(saved: dict[str, Any], now: dict[str, Any]) -> str:
    names = [name for name in ("seed", "data") if saved.get(name) != now[name]]
    flat_saved, flat_now = _flat(saved.get("config", {})), _flat(now["config"])
    for name in sorted(flat_saved.keys() | flat_now.keys()):
        before, after = flat_saved.get(name), flat_now.get(name)
        if before != after and name not in _MAY_CHANGE:
            names.append(f"{name} (was {before!r}, now {after!r})")
    return ", ".join(names)


# how a run is carried out, not what it computes; keep_* only say what stays on disk
_MAY_CHANGE = {
    "train.loader.workers",
    "train.loader.cache_mb",
    "train.devices",
    "train.num_nodes",
    "train.tensorboard",
    "train.checkpoint_steps",
    "train.keep_best",
    "train.keep_last",
    "train.threads",
}


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    return {
        name: value
        for key, inner in values.items()
        for name, value in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def _set_statistics(model: AcousticModel, data: TrainingData) -> None:
    """Give a global or running normaliser the mean and variance of up to an hour of training data."""
    if not model.frontend.normalizer.needs_statistics:
        return
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    seconds = 0.0
    for waveform in data.waveforms():
        row = torch.from_numpy(waveform).unsqueeze(0)
        features, _ = model.frontend.unnormalized(row, torch.tensor([row.shape[1]]))
        wide = features[0].double()
        count, total, squares = count + len(wide), total + wide.sum(0), squares + wide.square().sum(0)
        seconds += len(waveform) / model.sample_rate
        if seconds > _STATISTICS_SECONDS:
            break
    mean = total / count
    model.frontend.normalizer.set_statistics(mean, squares / count - mean.square())


def _trainer(request: Request, monitor: Monitor, module: CtcTraining) -> Trainer:
    config = request.experiment.train
    cuda = request.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        raise MachineError("--device cuda: torch sees no GPU here; use --device cpu, or run asr doctor")
    return Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy="ddp" if config.devices * config.num_nodes > 1 else "auto",
        precision=_PRECISIONS[config.precision],  # type: ignore[arg-type]
        max_epochs=max(0, config.epochs - module.first_epoch),
        accumulate_grad_batches=config.loader.accumulate,
        callbacks=[monitor],
        reload_dataloaders_every_n_epochs=1,  # an epoch's plan is made when it starts
        use_distributed_sampler=False,  # the plan already gives every rank its part
        num_sanity_val_steps=0,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        default_root_dir=str(request.out),
    )


def _write_run(request: Request, run: dict[str, Any]) -> None:
    store.write_text(request.out / "config.yaml", dump_yaml(run["config"]))
    request.tokenizer.save(request.out / "tokens.json")


def _described(model: AcousticModel, data: TrainingData, state: TrainingState | None) -> str:
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    minutes = float(data.num_samples.sum()) / model.sample_rate / 60
    start = "new run"
    if state is not None:
        position = state.position
        start = f"resumed at step {position.step}, epoch {position.epoch} step {position.step_in_epoch}"
    return f"{len(data)} utterances, {minutes:.1f} min; {millions:.2f} M parameters; {start}"


@contextmanager
def _memory_explained(module: CtcTraining) -> Iterator[None]:
    """Turn running out of memory into one line that says which batch it was and what would fit."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MachineError(_memory_message(module)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise MachineError(_memory_message(module)) from error


def _memory_message(module: CtcTraining) -> str:
    seconds = module.train_config.loader.batch_seconds
    return (
        f"out of memory on {module.last_shape} of step {module.position.step};"
        f" halve train.loader.batch_seconds (now {seconds:g}) or double train.loader.accumulate"
    )
