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
from asr.data.loader import AugmentConfig, BatchSource, Replay, TrainingData, token_ids
from asr.data.manifest import Utterance, read_manifest
from asr.data.shard_index import ShardIndex
from asr.data.sharded import ShardedData, refuse_untrainable
from asr.errors import EXIT_DATA, EXIT_MACHINE, EXIT_USAGE, DataError, MachineError, UsageError, writing
from asr.features.normalization import Moments
from asr.model import AcousticModel
from asr.nn.ctc import frames_to_spell
from asr.receipts import cores
from asr.text.tokenizer import Tokenizer
from asr.training.alphabet import alphabet_change, with_alphabet
from asr.training.checkpoint import LAST, TrainingState, load_state, remove_unfinished
from asr.training.config import ExperimentConfig, FinetuneConfig, ReplayConfig, TrainConfig
from asr.training.finetune import check_freezing
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
        start: the model to start from; None: from nothing.
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
    start: AcousticModel | None = None


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
        utterances, left_out = _trainable(request, say)
        replay = _replay(request, say)
        guarded = _guarded(request)
        run = _run_identity(request, utterances, replay, guarded)
        model = _fresh_model(request, say) if state is None else _resumed_model(request, state, run)
        data = _training_data(request, utterances, replay, model)
        if state is None and not _keeps_statistics(request):
            _set_statistics(model, data)
        module = CtcTraining(model, data, request.experiment, state, _start_of_the_pull(request))
        validator = _validator(request, request.valid, model, say) if first else None
        guard = _validator(request, guarded, model, say) if first else None
        if first:
            _write_run(request, run)
        target = OVERFIT_CER if request.overfit else None
        monitor = Monitor(request.out, run, validator, say=say, progress=progress, stop_below_cer=target, guard=guard)
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
    _check_finetuning(request)
    _check_shards(request)
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


def _check_finetuning(request: Request) -> None:
    """Raise UsageError for a configuration that only makes sense with a model to start from, or with this one not."""
    config = request.experiment.finetune
    if request.start is None:
        asked = [key for key, value in config.model_dump().items() if value != FinetuneConfig().model_dump()[key]]
        if asked:
            raise UsageError(f"finetune.{asked[0]} is for a training that starts from a model; add --from MODEL")
        return
    if config.guard and not request.valid:
        raise UsageError("finetune.guard needs --valid as well: the checkpoint that is best at both is kept")
    check_freezing(config, [name for name, _ in request.start.named_parameters()])
    change = alphabet_change(request.start.tokenizer, request.tokenizer)
    if change.shares_nothing and not config.new_script:
        old, new = (" ".join(tokens.symbols[1:9]) for tokens in (request.start.tokenizer, request.tokenizer))
        raise UsageError(
            f"the tokens ({new} ...) share no symbol with the model's ({old} ...); set text.case if it is the case that"
            " differs, or finetune.new_script=true if the script is another"
        )


def _check_shards(request: Request) -> None:
    """Raise UsageError for what only the utterances of a manifest can do."""
    if isinstance(request.train, ShardIndex):
        if request.overfit:
            raise UsageError(
                "--overfit learns the first utterances of a manifest; give --train the manifest of the shards"
            )
        if request.experiment.finetune.replay.manifest is not None:
            raise UsageError("finetune.replay mixes utterances into those of a manifest; give --train one, not shards")


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
    tuning = experiment.finetune.model_copy(update={"replay": ReplayConfig(), "guard": None})
    changes = {"train": train, "model": model, "augment": AugmentConfig(), "finetune": tuning}
    return Request(
        experiment=experiment.model_copy(update=changes),
        tokenizer=request.tokenizer,
        train=few,
        valid=few,
        out=overfit_folder(request.out),
        seed=request.seed,
        device=request.device,
        overfit=request.overfit,
        start=request.start,
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


def _trainable(request: Request, say: Callable[[str], None]) -> tuple[Sequence[Utterance] | ShardIndex, dict[str, str]]:
    """Return what is trained on, and why each utterance that is not is left out.  Raises: DataError."""
    if not isinstance(request.train, ShardIndex):
        return _usable(request, request.train, "training", say)
    loader, augment = request.experiment.train.loader, request.experiment.augment
    left_out = refuse_untrainable(request.train, request.tokenizer, loader, augment)
    _tell(left_out, len(request.train), "training", say)
    return request.train, left_out


def _usable(
    request: Request, utterances: Sequence[Utterance], kind: str, say: Callable[[str], None]
) -> tuple[list[Utterance], dict[str, str]]:
    """Return the utterances that can be trained on, and why each of the others is left out.

    Args: kind: what they are called in messages.
    Raises: DataError if too many cannot be spelled by CTC, or none is left.
    """
    usable, left_out, unspellable = [], {}, 0
    geometry = request.experiment.model.geometry()
    for utterance in utterances:
        why, spellable = _obstacle(utterance, request, geometry)
        unspellable += not spellable
        if why:
            left_out[utterance.id] = why
        else:
            usable.append(utterance)
    _tell(left_out, len(utterances), kind, say)
    if unspellable > request.experiment.train.max_infeasible * len(utterances):
        raise DataError(
            f"{unspellable} of {len(utterances)} {kind} utterances have no label or fewer encoder frames than CTC"
            " needs at the fastest of augment.waveform.speed_factors; lower these or model.encoder.factor, or leave the"
            " utterances named above out"
        )
    if not usable:
        raise DataError(f"no utterance to train on is left; run asr check on the {kind} manifest")
    return usable, left_out


def _tell(left_out: dict[str, str], total: int, kind: str, say: Callable[[str], None]) -> None:
    """Say which utterances are left out, and why."""
    if left_out:
        shown = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:_SHOWN])
        more = f"; and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        say(f"{len(left_out)} of {total} {kind} utterances left out: {shown}{more}")


def _replay(request: Request, say: Callable[[str], None]) -> Replay | None:
    """Return the old utterances among the new ones, if they are wanted.  Raises: DataError as `read_manifest`."""
    config = request.experiment.finetune.replay
    if config.manifest is None:
        return None
    return Replay(_usable(request, read_manifest(config.manifest), "replay", say)[0], config.ratio)


def _guarded(request: Request) -> list[Utterance]:
    """Return the held-out utterances of the old kind.  Raises: DataError if they have no texts to compare with."""
    path = request.experiment.finetune.guard
    if path is None:
        return []
    utterances = read_manifest(path)
    if not any(request.tokenizer.normalizer(utterance.text or "") for utterance in utterances):
        raise DataError(f"{path}: no utterance of finetune.guard has a text; give references to compare with")
    return utterances


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


def _training_data(
    request: Request, utterances: Sequence[Utterance] | ShardIndex, replay: Replay | None, model: AcousticModel
) -> BatchSource:
    """Return the data, decoded into memory where a manifest's fits."""
    config, augment = request.experiment.train, request.experiment.augment
    views = 2 if config.consistency else 1
    rest = (request.tokenizer, model.sample_rate, config.loader, augment)
    if isinstance(utterances, ShardIndex):
        return ShardedData(utterances, *rest, seed=request.seed, views=views)
    data = TrainingData(utterances, *rest, seed=request.seed, views=views, replay=replay)
    data.fill_cache()
    return data


def _validator(
    request: Request, utterances: Sequence[Utterance], model: AcousticModel, say: Callable[[str], None]
) -> Validator | None:
    """Return what validates, None without utterances for it.  Raises: DataError if none of them has a text."""
    if not utterances:
        return None
    known = [utterance for utterance in utterances if model.tokenizer.normalizer(utterance.text or "")]
    if not known:
        raise DataError("no utterance to validate on has a text; give another --valid")
    if len(known) < len(utterances):
        say(f"{len(utterances) - len(known)} of {len(utterances)} validation utterances left out: no text")
    return Validator(known, model, request.experiment.train.loader.batch_seconds)


def _run_identity(
    request: Request,
    utterances: Sequence[Utterance] | ShardIndex,
    replay: Replay | None,
    guarded: Sequence[Utterance],
) -> dict[str, Any]:
    """Return what makes a run this run: a resumed one must agree."""
    run = {
        "seed": request.seed,
        "config": request.experiment.model_dump(mode="json"),
        "training data": _data_hash(utterances),
        "validation data": _data_hash(request.valid),
        "tokens": _tokens_hash(request.tokenizer),
    }
    if request.start is not None:
        run["model of --from"] = _model_hash(request.start)
    if replay is not None:
        run["replay data"] = _data_hash(replay.utterances)
    if guarded:
        run["guard data"] = _data_hash(guarded)
    return run


def _tokens_hash(tokenizer: Tokenizer) -> str:
    description, model_bytes = tokenizer.state()
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode() + model_bytes).hexdigest()


def _model_hash(model: AcousticModel) -> str:
    """Return a hash of what a model computes, whatever else its file says."""
    found = hashlib.sha256(_tokens_hash(model.tokenizer).encode() + model.config.model_dump_json().encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


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


def _fresh_model(request: Request, say: Callable[[str], None]) -> AcousticModel:
    """Return the model before its first step: drawn from the seed, or with the weights of another."""
    torch.manual_seed(request.seed)
    if request.start is None:
        return AcousticModel(request.experiment.model, request.tokenizer).train()
    say(f"alphabet: {alphabet_change(request.start.tokenizer, request.tokenizer)}")
    return with_alphabet(request.start, request.tokenizer, request.experiment.model).train()


def _start_of_the_pull(request: Request) -> dict[str, torch.Tensor] | None:
    """Return the weights that a fine-tuning starts from, made again where it is resumed; None if nothing pulls."""
    if not request.experiment.finetune.pull:
        return None
    return _fresh_model(request, _say_nothing).state_dict()


def _resumed_model(request: Request, state: TrainingState, run: dict[str, Any]) -> AcousticModel:
    """Return the model as it was saved.  Raises: UsageError if it is of another run."""
    different = _differences(state.run, run)
    if different:
        raise UsageError(
            f"{request.out}: --resume continues the same run, but what differs is {different}; undo that or give"
            " another --out"
        )
    return AcousticModel.load(request.out / "checkpoints" / LAST).train()


def _differences(saved: dict[str, Any], now: dict[str, Any]) -> str:
    names = [
        name for name in sorted(saved.keys() | now.keys()) if name != "config" and saved.get(name) != now.get(name)
    ]
    # keys that the version which saved it did not know stand at their defaults
    flat_saved = _flat(ExperimentConfig().model_dump(mode="json")) | _flat(saved.get("config", {}))
    flat_now = _flat(now["config"])
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


def _keeps_statistics(request: Request) -> bool:
    """Return whether the model that the training starts from brings its statistics of the features along."""
    wanted = request.experiment.model.features.normalization
    return request.start is not None and request.start.config.features.normalization == wanted


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
        _leave_the_group()
    except InterruptionError:
        _leave_the_group()
        if not trainer.is_global_zero:
            raise SystemExit(0) from None  # the first process tells it and ends with the exit code
        cure = "start it again" if request.overfit else "continue with --resume"
        say(f"interrupted after step {module.position.step}; {cure}")
        raise KeyboardInterrupt from None
    except SystemExit:  # Lightning's answer to a second Ctrl-C
        raise KeyboardInterrupt from None


def _leave_the_group() -> None:
    """End the connection of the processes: gloo's threads would abort a process that ends while they run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


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
    if isinstance(data, TrainingData) and data.replay_ratio:
        old, whole = data.selected(0)[data.num_new :], data.selected(0)
        start += f", {100 * data.num_samples[old].sum() / data.num_samples[whole].sum():.0f} % of an epoch replayed"
    if resumed:
        start = f"resumed at step {position.step}, epoch {position.epoch} step {position.step_in_epoch}"
    if module.finished:
        start = f"the run had ended after step {position.step}"
    return f"{data.num_new} utterances, {minutes:.1f} min; {millions:.2f} M parameters; {start}"


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
