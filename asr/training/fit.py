"""Training from a manifest to checkpoints: what `asr train` calls."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Trainer

from asr import store
from asr.config import dump_yaml
from asr.data.loader import BatchSource, Replay, TrainingData
from asr.data.manifest import Utterance
from asr.data.shard_index import ShardIndex
from asr.data.sharded import ShardedData
from asr.errors import DataError, UsageError, writing
from asr.features.normalization import Moments
from asr.model import AcousticModel
from asr.nn.steps import multiplies_bfloat16
from asr.training.alphabet import alphabet_change, with_alphabet
from asr.training.checkpoint import LAST, TrainingState, load_state, remove_unfinished
from asr.training.identity import differences, run_identity
from asr.training.module import CtcTraining
from asr.training.monitor import Monitor, Progress, evaluation_weights
from asr.training.processes import failures_explained, is_first_process, leave_the_group, no_process_left, set_threads
from asr.training.request import Outcome, Request, check_request, overfitting
from asr.training.selection import guarding, replayed, trainable
from asr.training.stopping import InterruptionError
from asr.training.validation import Validator

OVERFIT_CER = 5.0
_NOT_LIVE = (
    "this encoder streams, but the model will not: it normalises over the whole utterance; to use it live, train with"
    " model.features.normalization=running"
)
_STATISTICS_SECONDS = 3600.0
_PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def fit(request: Request, *, say: Callable[[str], None], progress: Progress) -> Outcome:
    """Train and return what came of it; checkpoints, logs and the configuration lie in `request.out`.

    Where several processes train, each calls this; the first one speaks and writes.
    Raises: UsageError, DataError or MachineError for what the user can cure.
    """
    check_request(request)
    if request.overfit:
        request = overfitting(request)
    first = is_first_process(request.experiment.train)
    if not first:
        say, progress = _say_nothing, _show_nothing
    with quiet_lightning():
        set_threads(request.experiment.train)
        state = _resumed_state(request)
        utterances, left_out = trainable(request, say)
        replay = replayed(request, say)
        guarded = guarding(request)
        run = run_identity(request, utterances, replay, guarded)
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
        if model.config.encoder.streams and not model.config.streams:
            say(_NOT_LIVE)
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


OUR_OWN: dict[str, Any] = {  # options of a Trainer: what we do in its place
    "reload_dataloaders_every_n_epochs": 1,  # an epoch's plan is made when it starts
    "num_sanity_val_steps": 0,
    "limit_val_batches": 0,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "logger": False,
}


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's banners and advice out of our output; its errors still arrive."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        yield


def _say_nothing(message: str) -> None:
    pass


def _show_nothing(done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
    pass


def _resumed_state(request: Request) -> TrainingState | None:
    """Return the state to continue from, or None for a new run.  Raises: UsageError where a run would be lost."""
    last = request.out / "checkpoints" / LAST
    if request.resume:
        return load_state(last) if last.is_file() else None
    if last.is_file() and not request.overfit:
        raise UsageError(f"{last}: this folder holds a run; continue it with --resume or give another --out")
    return None


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
    different = differences(state.run, run)
    if different:
        raise UsageError(
            f"{request.out}: --resume continues the same run, but what differs is {different}; undo that or give"
            " another --out"
        )
    return AcousticModel.load(request.out / "checkpoints" / LAST).train()


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
    trainer = _trainer(request, monitor, module, _precision(request, say))
    if state is not None and state.scaler:
        trainer.precision_plugin.load_state_dict(state.scaler)
    try:
        with no_process_left(trainer), failures_explained(module), monitor.stopping_on_interrupt():
            trainer.fit(module)
        leave_the_group()
    except InterruptionError:
        leave_the_group()
        if not trainer.is_global_zero:
            raise SystemExit(0) from None  # the first process tells it and ends with the exit code
        cure = "start it again" if request.overfit else "continue with --resume"
        say(f"interrupted after step {module.position.step}; {cure}")
        raise KeyboardInterrupt from None
    except SystemExit:  # Lightning's answer to a second Ctrl-C
        raise KeyboardInterrupt from None


def _precision(request: Request, say: Callable[[str], None]) -> str:
    """Return Lightning's name of the precision: bf16 is there to be fast, so a CPU that is slow at it takes float32."""
    precision = request.experiment.train.precision
    if precision == "bf16" and request.device == "cpu" and not multiplies_bfloat16():
        say("train.precision=bf16: this CPU has no fast bf16 products; training in float32")
        precision = "float32"
    return _PRECISIONS[precision]


def _trainer(request: Request, monitor: Monitor, module: CtcTraining, precision: str) -> Trainer:
    config = request.experiment.train
    return Trainer(
        accelerator="gpu" if request.device.startswith("cuda") else "cpu",
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy="ddp" if config.devices * config.num_nodes > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
        max_epochs=config.epochs - module.position.epoch,
        accumulate_grad_batches=config.loader.accumulate,
        callbacks=[monitor],
        use_distributed_sampler=False,  # the plan already gives every rank its part
        **OUR_OWN,
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
