"""How much data is enough: models trained on growing parts of somebody's data, and what more would bring.

The error rate of a recogniser falls about as a power of the amount of its data, so two or more amounts tell where
the next minutes lead.
Source: Hestness et al. 2017, "Deep learning scaling is predictable, empirically".
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from asr.data.manifest import Utterance
from asr.data.shard_index import ShardIndex
from asr.errors import DataError, UsageError
from asr.model import AcousticModel
from asr.randomness import stream
from asr.scoring.bootstrap import bootstrap_interval
from asr.scoring.error_rate import ErrorCounts, score
from asr.store import write_json
from asr.text.tokenizer import Tokenizer
from asr.training.checkpoint import LAST
from asr.training.config import ExperimentConfig, FinetuneConfig
from asr.training.fit import fit
from asr.training.identity import data_hash, run_identity
from asr.training.monitor import Progress
from asr.training.request import Request
from asr.training.validation import Validator

STEPS = (1, 2, 5)  # minutes, and ten times as many, and so on
MORE = 10.0  # minutes that are foreseen
LEAST_MINUTES = 2.0  # below, there are no two amounts
SCRATCH_RATE = 4.0  # learning rate from scratch, as a multiple of the fine-tuning's: a new network needs larger steps
_REPLICATIONS = 2000
_NEARLY_ALL = 0.8  # of the data: a last round amount above it is left to the whole

Start = Literal["model", "scratch"]


@dataclass(frozen=True)
class Question:
    """What a curve is asked of.

    Attributes:
        experiment: of one training on all the data; on less it makes as many steps.
        start: the model that one of the two curves starts from.
        train, test: the user's utterances, and held-out ones to measure on.
        out: a folder for the results.
    """

    experiment: ExperimentConfig
    tokenizer: Tokenizer
    start: AcousticModel
    train: Sequence[Utterance]
    test: Sequence[Utterance]
    out: Path
    seed: int
    device: str = "cpu"


@dataclass(frozen=True)
class CurvePoint:
    """One training and what came of it.

    Attributes:
        minutes, utterances: of training data.
        errors, words: of each test utterance, in order; rate, low, high: of all of them, in percent, with the
            interval that holds with 95 % (bootstrap over utterances).
    """

    start: Start
    minutes: float
    utterances: int
    errors: tuple[int, ...]
    words: tuple[int, ...]
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Forecast:
    """The error rate in percent after so many minutes, and the interval that holds with 95 %."""

    minutes: float
    rate: float
    low: float
    high: float


def amounts(utterances: Sequence[Utterance]) -> list[float]:
    """Return the amounts to train on, in minutes: 1, 2, 5, 10 ... and all.

    Raises: DataError if there is too little for two of them.
    """
    total = sum(utterance.duration for utterance in utterances) / 60
    if total < LEAST_MINUTES:
        raise DataError(
            f"{total:.1f} min of speech in {len(utterances)} training utterances; a learning curve needs at least"
            f" {LEAST_MINUTES:g} min, for two amounts: record more, or train on all with asr train --from"
        )
    found, scale = [], 1
    while scale < total:
        found += [float(step * scale) for step in STEPS if step * scale < _NEARLY_ALL * total]
        scale *= 10
    return [*found, total]


def parts(utterances: Sequence[Utterance], minutes: Sequence[float], seed: int) -> list[list[Utterance]]:
    """Return for each amount that many minutes of utterances, each part within the next."""
    order = stream(seed, "curve").permutation(len(utterances))
    ends = np.cumsum([utterances[index].duration for index in order])
    found = []
    for amount in minutes:
        count = max(1, int(np.searchsorted(ends, 60 * amount * (1 + 1e-9), side="right")))
        found.append([utterances[index] for index in sorted(order[:count])])
    return found


def learning_curve(question: Question, *, say: Callable[[str], None], progress: Progress) -> list[CurvePoint]:
    """Return a point for each amount and start; those found by an earlier call with the same question are kept.

    Raises: UsageError, DataError or MachineError for what the user can cure.
    """
    minutes = amounts(question.train)
    trained = parts(question.train, minutes, question.seed)
    known = [item for item in question.test if question.tokenizer.normalizer(item.text or "")]
    if not known:
        raise DataError("no utterance to measure on has a text; give another --test")
    validator = Validator(known, question.start, question.experiment.train.loader.batch_seconds)
    points = []
    for amount, part in zip(minutes, trained, strict=True):
        for start in ("model", "scratch"):
            points.append(_point(question, start, amount, part, minutes[-1], validator, say, progress))
            say(f"{_named(start, amount)}: WER {points[-1].rate:.2f} % [{points[-1].low:.2f}, {points[-1].high:.2f}]")
    return points


def forecast(points: Sequence[CurvePoint], start: Start, *, more: float = MORE, seed: int = 0) -> Forecast:
    """Return what `more` minutes would bring: a power law through the points of a start, and its uncertainty.

    The interval is the bootstrap's over the test utterances, drawn anew for all points together.
    Raises: UsageError for less than two points.
    """
    chosen = [point for point in points if point.start == start]
    if len(chosen) < 2:
        raise UsageError(f"a forecast needs two amounts of data, got {len(chosen)}")
    errors = np.array([point.errors for point in chosen], dtype=np.float64)
    words = np.array(chosen[0].words, dtype=np.float64)
    minutes = np.array([point.minutes for point in chosen])
    target = minutes[-1] + more
    draws = stream(seed, "forecast").integers(0, len(words), size=(_REPLICATIONS, len(words)))
    found = [_foreseen(minutes, errors[:, drawn].sum(1), words[drawn].sum(), target) for drawn in draws]
    low, high = np.quantile(found, [0.025, 0.975])
    return Forecast(target, _foreseen(minutes, errors.sum(1), words.sum(), target), float(low), float(high))


def _foreseen(minutes: np.ndarray, errors: np.ndarray, words: float, target: float) -> float:
    """Return the error rate in percent at `target` on the power law through the others, which never rises."""
    rates = np.log((errors + 0.5) / (words + 1))  # half an error, as there is no logarithm of none
    slope, offset = np.polyfit(np.log(minutes), rates, 1)
    if slope > 0:
        slope, offset = 0.0, float(rates.mean())
    return 100 * math.exp(offset + slope * math.log(target))


def _point(
    question: Question,
    start: Start,
    minutes: float,
    part: Sequence[Utterance],
    whole: float,
    validator: Validator,
    say: Callable[[str], None],
    progress: Progress,
) -> CurvePoint:
    """Return one point: that of an earlier call, or trained now (from where a killed call stopped)."""
    name = _named(start, minutes).replace(" ", "-")
    folder, file = question.out / name, question.out / f"{name}.json"
    request = _request(question, start, part, minutes / whole, folder)
    identity = _identity(question, request)
    if (kept := _kept(file, identity)) is not None:
        return kept
    say(f"{_named(start, minutes)}: {len(part)} utterances")
    fit(request, say=lambda _: None, progress=progress)
    point = _measured(start, minutes, len(part), AcousticModel.load(folder / "checkpoints" / LAST), validator)
    write_json(file, {"identity": identity, "point": asdict(point)})
    shutil.rmtree(folder)  # its state is ten times the model
    return point


def _named(start: Start, minutes: float) -> str:
    return f"{minutes:.4g} min from {'the model' if start == 'model' else 'scratch'}"


def _request(question: Question, start: Start, part: Sequence[Utterance], share: float, folder: Path) -> Request:
    """Return the training of one point: as many steps on a part as on the whole."""
    experiment = question.experiment
    epochs = math.ceil(experiment.train.epochs / share)
    changes: dict[str, Any] = {"epochs": epochs, "keep_best": 0, "keep_last": 0, "validate_every": epochs}
    tuning = experiment.finetune.model_copy(update={"guard": None})
    if start == "scratch":
        optimizer, tuning = experiment.train.optimizer, FinetuneConfig()
        rate = min(1.0, SCRATCH_RATE * optimizer.learning_rate)
        changes["optimizer"] = optimizer.model_copy(update={"learning_rate": rate})
    train = experiment.train.model_copy(update=changes)
    return Request(
        experiment=experiment.model_copy(update={"train": train, "finetune": tuning}),
        tokenizer=question.tokenizer,
        train=part,
        valid=[],
        out=folder,
        seed=question.seed,
        device=question.device,
        resume=True,
        start=question.start if start == "model" else None,
    )


def _identity(question: Question, request: Request) -> str:
    """Return a hash of what a point depends on."""
    assert not isinstance(request.train, ShardIndex), "a curve is made of the utterances of a manifest"
    told = {**run_identity(request, request.train, None, ()), "measured on": data_hash(question.test)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _kept(file: Path, identity: str) -> CurvePoint | None:
    try:
        values = json.loads(file.read_bytes())
        if values["identity"] != identity:
            return None
        point = values["point"]
        return CurvePoint(**{**point, "errors": tuple(point["errors"]), "words": tuple(point["words"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measured(start: Start, minutes: float, count: int, model: AcousticModel, validator: Validator) -> CurvePoint:
    counts = [utterance.words for utterance in score(validator.pairs(model)).utterances]
    interval = bootstrap_interval(counts)
    assert interval is not None, "every utterance measured on has words"
    total = sum(counts, ErrorCounts(0, 0, 0, 0))
    return CurvePoint(
        start=start,
        minutes=minutes,
        utterances=count,
        errors=tuple(item.errors for item in counts),
        words=tuple(item.reference for item in counts),
        rate=100 * total.rate,
        low=100 * interval.low,
        high=100 * interval.high,
    )
