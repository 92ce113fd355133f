"""Training from a manifest to checkpoints: what `asr train` calls."""

import hashlib
import json
import logging
import os
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from asr import store
from asr.audio.augment import perturbed_samples
from asr.config import dump_yaml
from asr.data.loader import AugmentConfig, BatchSource, TrainingData, token_ids
from asr.data.manifest import Utterance
from asr.data.shard_index import ShardIndex
from asr.data.sharded import ShardedData, refuse_untrainable
from asr.errors import EXIT_DATA, EXIT_MACHINE, EXIT_USAGE, DataError, MachineError, UsageError, writing
from asr.features.normalization import Moments
from asr.model import AcousticModel
from asr.nn.ctc import frames_to_spell
from asr.receipts import cores
from asr.text.tokenizer import Tokenizer
from asr.training.checkpoint import LAST, TrainingState, load_state, remove_unfinished
from asr.training.config import ExperimentConfig, TrainConfig
from asr.training.module import CtcTraining
from asr.training.monitor import InterruptionError, Monitor, Progress, evaluation_weights
from asr.training.validation import Validation, Validator
from asr.units import FrameGeometry, samples_from_seconds

OVERFIT_CER = 5.0
OVERFIT_STEPS = 600
_STATISTICS_SECONDS = 3600.0
_PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_SHOWN = 5  # utterances in a message
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")  # set by those who start processes
_OUR_CODES = (EXIT_USAGE, EXIT_DATA, EXIT_MACHINE)
_PEER_SECONDS, _END_SECONDS = 3.0, 60.0  # that other processes have for ending


@dataclass(frozen=True)
class Request:
    """What to train, where and how: the flags of `asr train`.

    Attributes:
        train: utterances, or the index of shards of them.
        valid: utterances, or none.
        out: the run folder.
        device: "cpu" or "cuda".
        resume: continue the run in `out`.
        overfit: train on the first so many utterances only, without augmentation and dropout; 0 = off.
    """

    experiment: ExperimentConfig
    tokenizer: Tokenizer
    train: Sequence[Utterance] | ShardIndex
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

    Where several processes train, each calls this; the first one speaks and writes.
    Raises: UsageError, DataError or MachineError for what the user can cure.
    """
    _check(request)
    if request.overfit:
        request = _overfitting(request)
    first = is_first_process(request.experiment.train)
    if not first:
        say, progress = _say_nothing, _show_nothing
    with _quiet_lightning():
        _set_threads(request.experiment.train)
        state = _resumed_state(request)
        utterances, left_out = _usable(request, say)
        run = _run_identity(request, utterances)
        model, state = _starting_point(request, state, run)
        data = _training_data(request, utterances, model)
        if state is None:
            _set_statistics(model, data)
        module = CtcTraining(model, data, request.experiment, state)
        validator = _validator(request, model, say) if first else None
        if first:
            _write_run(request, run)
        target = OVERFIT_CER if request.overfit else None
        monitor = Monitor(request.out, run, validator, say=say, progress=progress, stop_below_cer=target)
        say(_described(module, resumed=state is not None))
        wall_seconds = module.position.wall_seconds
        if not module.finished:
            _train(request, module, monitor, state, say)
        if monitor.validation is None and validator is not None:  # nothing was left to do
            with evaluation_weights(module):
                monitor.validation = validator.run(model)
    for name, times in sorted(module.position.left_out.items()):
        left_out[name] = f"no finite loss in {times} steps"
    return Outcome(
        validation=monitor.validation,
        steps=module.position.step,
        audio_seconds=module.position.audio_seconds,
        wall_seconds=wall_seconds + monitor.train_seconds,
        waiting_share=monitor.waiting_share(module),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        left_out=left_out,
    )


def is_first_process(config: TrainConfig) -> bool:
    """Return whether this process is the one that speaks and writes, of those that train together."""
    if config.devices * config.num_nodes == 1:
        return True
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def _check(request: Request) -> None:
    """Raise UsageError or MachineError for what cannot work here."""
    config = request.experiment.train
    if not 0 <= request.seed < 1 << 63:
        raise UsageError(f"--seed {request.seed}: must lie between 0 and 2^63 - 1")
    made, wanted = request.tokenizer.normalizer.config, request.experiment.text
    if made != wanted:
        differing = [key for key, value in wanted.model_dump().items() if getattr(made, key) != value]
        raise UsageError(
            "; ".join(
                f"text.{key} is {getattr(wanted, key)!r}, in the tokens {getattr(made, key)!r}" for key in differing
            )
            + "; make the tokens with asr tokens --config, or correct the configuration"
        )
    if request.overfit and isinstance(request.train, ShardIndex):
        raise UsageError("--overfit learns the first utterances of a manifest; give --train the manifest of the shards")
    if request.overfit < 0:
        raise UsageError(f"--overfit {request.overfit}: give the number of utterances to learn, for example 8")
    if request.device == "cpu":
        if config.precision == "fp16":
            raise UsageError("train.precision=fp16 needs --device cuda; on the CPU use float32 or bf16")
        return
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise MachineError("--device cuda: torch sees no GPU here; use --device cpu, or run asr doctor")
    if config.devices > found:
        raise MachineError(f"train.devices={config.devices}: this machine has {found} GPUs; lower it")


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's banners and advice out of our output; its errors still arrive."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        yield


def _set_threads(config: TrainConfig) -> None:
    """Share the cores among the processes, unless the configuration or the environment says otherwise."""
    threads = config.threads
    if not threads and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, cores() // config.devices)
    if threads:
        torch.set_num_threads(threads)
        if config.devices > 1:
            os.environ["OMP_NUM_THREADS"] = str(threads)  # or else Lightning sets a number of its own


def _say_nothing(message: str) -> None:
    pass


def _show_nothing(done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
    pass


def _overfitting(request: Request) -> Request:
    """Return the request that must learn a handful of utterances by heart: the first thing to try on new data."""
    experiment = request.experiment
    assert not isinstance(request.train, ShardIndex), "refused before"
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
        out=overfit_folder(request.out),
        seed=request.seed,
        device=request.device,
        overfit=request.overfit,
    )


def overfit_folder(out: Path) -> Path:
    """Return where --overfit works: beside the run and not in it, so that neither stands in the other's way."""
    return out / "overfit"


def _resumed_state(request: Request) -> TrainingState | None:
    """Return the state to continue from, or None for a new run.  Raises: UsageError where a run would be lost."""
    last = request.out / "checkpoints" / LAST
    if request.resume:
        return load_state(last) if last.is_file() else None
    if last.is_file() and not request.overfit:
        raise UsageError(f"{last}: this folder holds a run; continue it with --resume or give another --out")
    return None


def _usable(request: Request, say: Callable[[str], None]) -> tuple[Sequence[Utterance] | ShardIndex, dict[str, str]]:
    """Return the utterances that can be trained on, and why each of the others is left out.

    Raises: DataError if too many cannot be spelled by CTC, or none is left.
    """
    if isinstance(request.train, ShardIndex):
        loader, augment = request.experiment.train.loader, request.experiment.augment
        return request.train, _told(refuse_untrainable(request.train, request.tokenizer, loader, augment), request, say)
    usable, left_out, unspellable = [], {}, 0
    geometry = request.experiment.model.geometry()
    for utterance in request.train:
        why, spellable = _obstacle(utterance, request, geometry)
        unspellable += not spellable
        if why:
            left_out[utterance.id] = why
        else:
            usable.append(utterance)
    _told(left_out, request, say)
    if unspellable > request.experiment.train.max_infeasible * len(request.train):
        raise DataError(
            f"{unspellable} of {len(request.train)} training utterances have no label or fewer encoder frames than CTC"
            " needs at the fastest of augment.waveform.speed_factors; lower these or model.encoder.factor, or leave the"
            " utterances named above out"
        )
    if not usable:
        raise DataError("no utterance to train on is left; run asr check on the training manifest")
    return usable, left_out


def _told(left_out: dict[str, str], request: Request, say: Callable[[str], None]) -> dict[str, str]:
    """Return what is left out, and why, having said so."""
    if left_out:
        shown = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:_SHOWN])
        more = f"; and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        say(f"{len(left_out)} of {len(request.train)} training utterances left out: {shown}{more}")
    return left_out


def _obstacle(utterance: Utterance, request: Request, geometry: FrameGeometry) -> tuple[str, bool]:
    """Return (why an utterance cannot be trained on, or "", whether it has a text that CTC can spell)."""
    speeds = request.experiment.augment.waveform.speed_factors
    limit = request.experiment.train.loader.max_seconds
    if utterance.text is None:
        return "no text", True
    ids = token_ids(request.tokenizer, utterance)
    if not len(ids):
        return "its text is empty", False
    if utterance.duration / min(speeds, default=1.0) > limit:
        return f"{utterance.duration:.1f} s is above {limit:g} s", True
    samples = samples_from_seconds(utterance.duration, geometry.sample_rate)
    frames = geometry.encoder_frames(perturbed_samples(samples, max(speeds, default=1.0)))
    needed = frames_to_spell(ids)
    if frames < needed:
        return f"{frames} encoder frames < {needed} needed ({len(ids)} labels + repeats)", False
    return "", True


def _training_data(request: Request, utterances: Sequence[Utterance] | ShardIndex, model: AcousticModel) -> BatchSource:
    """Return the data, decoded into memory where a manifest's fits."""
    config, augment = request.experiment.train, request.experiment.augment
    views = 2 if config.consistency else 1
    rest = (request.tokenizer, model.sample_rate, config.loader, augment)
    if isinstance(utterances, ShardIndex):
        return ShardedData(utterances, *rest, seed=request.seed, views=views)
    data = TrainingData(utterances, *rest, seed=request.seed, views=views)
    data.fill_cache()
    return data


def _validator(request: Request, model: AcousticModel, say: Callable[[str], None]) -> Validator | None:
    """Return what validates, None without utterances for it.  Raises: DataError if none of them has a text."""
    if not request.valid:
        return None
    known = [utterance for utterance in request.valid if model.tokenizer.normalizer(utterance.text or "")]
    if not known:
        raise DataError("no utterance to validate on has a text; give another --valid")
    if len(known) < len(request.valid):
        say(f"{len(request.valid) - len(known)} of {len(request.valid)} validation utterances left out: no text")
    return Validator(known, model, request.experiment.train.loader.batch_seconds)


def _run_identity(request: Request, utterances: Sequence[Utterance] | ShardIndex) -> dict[str, Any]:
    """Return what makes a run this run: a resumed one must agree."""
    description, model_bytes = request.tokenizer.state()
    tokens = json.dumps(description, sort_keys=True).encode() + model_bytes
    return {
        "seed": request.seed,
        "config": request.experiment.model_dump(mode="json"),
        "training data": _data_hash(utterances),
        "validation data": _data_hash(request.valid),
        "tokens": hashlib.sha256(tokens).hexdigest(),
    }


def _data_hash(utterances: Sequence[Utterance] | ShardIndex) -> str:
    """Return a hash of what is learned from, not of where it lies."""
    if isinstance(utterances, ShardIndex):
        return utterances.sha256
    found, between = hashlib.sha256(), ""
    for item in utterances:
        row = f"{between}{item.id}\t{_stretch(item)}\t{item.duration}\t{item.text}"
        found.update(row.encode("utf-8", "surrogatepass"))
        between = "\n"
    return found.hexdigest()


def _stretch(utterance: Utterance) -> str:
    """Return where in its file an utterance starts, and on which channel unless on all (older runs never noted it)."""
    return f"{utterance.start}" + ("" if utterance.channel is None else f"@{utterance.channel}")


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
            f"{request.out}: --resume continues the same run, but what differs is {different}; undo that or give"
            " another --out"
        )
    return AcousticModel.load(request.out / "checkpoints" / LAST).train(), state


def _differences(saved: dict[str, Any], now: dict[str, Any]) -> str:
    names = [name for name in now if name != "config" and saved.get(name) != now[name]]
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
    "train.loader.shard_cache_mb",
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


def _set_statistics(model: AcousticModel, data: BatchSource) -> None:
    """Give a global or running normaliser the mean and variance of up to an hour of training data."""
    if not model.frontend.normalizer.needs_statistics:
        return
    found: Moments | None = None
    for waveform in data.waveforms():
        row = torch.from_numpy(waveform).unsqueeze(0)
        moments = model.frontend.moments(row, torch.tensor([row.shape[1]]))
        found = moments if found is None else found + moments
        if found.count * model.config.features.hop_ms / 1000 > _STATISTICS_SECONDS:
            break
    if found is not None:
        model.frontend.normalizer.set_statistics(found.mean, found.variance)


def _train(
    request: Request,
    module: CtcTraining,
    monitor: Monitor,
    state: TrainingState | None,
    say: Callable[[str], None],
) -> None:
    """Let Lightning train.  Raises: KeyboardInterrupt after Ctrl-C; UsageError, DataError, MachineError."""
    trainer = _trainer(request, monitor, module)
    if state is not None and state.scaler:
        trainer.precision_plugin.load_state_dict(state.scaler)
    try:
        with _no_process_left(trainer), _failures_explained(module), monitor.stopping_on_interrupt():
            trainer.fit(module)
    except InterruptionError:
        if not trainer.is_global_zero:
            raise SystemExit(0) from None  # the first process tells it and ends with the exit code
        cure = "start it again" if request.overfit else "continue with --resume"
        say(f"interrupted after step {module.position.step}; {cure}")
        raise KeyboardInterrupt from None
    except SystemExit:  # Lightning's answer to a second Ctrl-C
        raise KeyboardInterrupt from None


def _trainer(request: Request, monitor: Monitor, module: CtcTraining) -> Trainer:
    config = request.experiment.train
    return Trainer(
        accelerator="gpu" if request.device.startswith("cuda") else "cpu",
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy="ddp" if config.devices * config.num_nodes > 1 else "auto",
        precision=_PRECISIONS[config.precision],  # type: ignore[arg-type]
        max_epochs=config.epochs - module.position.epoch,
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
    with writing(request.out):
        for folder in (request.out, request.out / "checkpoints"):
            remove_unfinished(folder)
    store.write_text(request.out / "config.yaml", dump_yaml(run["config"]))
    request.tokenizer.save(request.out / "tokens.json")


def _described(module: CtcTraining, *, resumed: bool) -> str:
    data, position = module.data, module.position
    millions = sum(parameter.numel() for parameter in module.model.parameters()) / 1e6
    minutes = data.audio_seconds / 60
    start = "new run"
    if resumed:
        start = f"resumed at step {position.step}, epoch {position.epoch} step {position.step_in_epoch}"
    if module.finished:
        start = f"the run had ended after step {position.step}"
    return f"{len(data)} utterances, {minutes:.1f} min; {millions:.2f} M parameters; {start}"


@contextmanager
def _no_process_left(trainer: Trainer) -> Iterator[None]:
    """End the processes that Lightning started on this machine: wait for them, or kill them after an error.

    Raises: MachineError in place of a broken connection if another process had failed first.
    """
    failed = True
    try:
        yield
        failed = False
    except InterruptionError:  # all ranks end by themselves
        failed = False
        raise
    except RuntimeError as error:
        if any(code in _OUR_CODES for code in _exit_codes(trainer, _PEER_SECONDS)):
            raise MachineError("another process of this training failed; its message stands above") from error
        raise
    finally:
        _exit_codes(trainer, 0 if failed else _END_SECONDS)
        for process in _children(trainer):
            process.kill()
            process.wait()


def _children(trainer: Trainer) -> list["subprocess.Popen[bytes]"]:
    return list(getattr(trainer.strategy.launcher, "procs", []))


def _exit_codes(trainer: Trainer, seconds: float) -> list[int]:
    """Return the exit codes of the processes that end within `seconds`."""
    until, codes = time.monotonic() + seconds, []
    for process in _children(trainer):
        with suppress(subprocess.TimeoutExpired):
            codes.append(process.wait(max(0.0, until - time.monotonic())))
    return codes


@contextmanager
def _failures_explained(module: CtcTraining) -> Iterator[None]:
    """Turn running out of memory into one line that says which batch it was and what would fit."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MachineError(_memory_message(module)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):
            raise MachineError(_memory_message(module)) from error
        if "DataLoader worker" in str(error):  # killed from outside, or without room in /dev/shm
            raise MachineError(
                f"a data worker ended before its time in step {module.position.step}, most likely for lack of memory"
                " (or of /dev/shm); lower train.loader.workers or train.loader.cache_mb"
            ) from error
        raise


def _memory_message(module: CtcTraining) -> str:
    seconds = module.train_config.loader.batch_seconds
    return (
        f"out of memory on {module.last_shape} of step {module.position.step};"
        f" halve train.loader.batch_seconds (now {seconds:g}) or double train.loader.accumulate"
    )
