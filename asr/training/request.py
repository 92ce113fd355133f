"""What a training is asked to do, what it came to, and what is refused before it starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from asr.data.loader import AugmentConfig
from asr.data.manifest import Utterance
from asr.data.shard_index import ShardIndex
from asr.errors import MachineError, UsageError
from asr.model import AcousticModel
from asr.text.tokenizer import Tokenizer
from asr.training.alphabet import alphabet_change
from asr.training.config import ExperimentConfig, FinetuneConfig, ReplayConfig
from asr.training.finetune import check_freezing
from asr.training.validation import Validation

OVERFIT_STEPS = 600


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


def check_request(request: Request) -> None:
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


def overfitting(request: Request) -> Request:
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
