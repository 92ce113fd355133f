"""From confidence to the probability of being right: fits the maps that asr/decoding/calibration.py applies."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from asr.decoding.calibration import ConfidenceMap, IsotonicMap, LogitMap, Numbers, logit, sigmoid
from asr.decoding.confidence import mean_confidence
from asr.errors import DataError
from asr.recognizer import Transcript
from asr.scoring.calibration import Right, area_under_curve, cross_entropy, right_words

LEAST_EACH = 10  # right ones, and wrong ones: with fewer, two parameters are guessed
ISOTONIC_FROM = 1000  # below, isotonic regression fits the noise (Niculescu-Mizil and Caruana 2005, section 5)
NUM_FOLDS = 5
_MIN_SLOPE = 0.01  # what says nothing about being right still may not turn the order round
_MAX_STEPS = 100

Fit = Callable[[Numbers, Right], ConfidenceMap]


@dataclass(frozen=True, slots=True)
class Observed:
    """Confidences (N,), whether each was right, and the number of the speaker or utterance that it comes from."""

    confidences: Numbers
    right: Right
    groups: np.ndarray

    def part(self, chosen: Right) -> "Observed":
        """Return those that are chosen (N,)."""
        return Observed(self.confidences[chosen], self.right[chosen], self.groups[chosen])


@dataclass(frozen=True, slots=True)
class Fitted:
    """A map, and what maps fitted on the other folds say of each confidence (N,): how good it is on speech unheard."""

    map: ConfidenceMap
    unheard: Numbers


def observe(
    transcripts: Iterable[Transcript], references: Sequence[str], speakers: Sequence[str | None]
) -> tuple[Observed, Observed]:
    """Return what was observed of words, and of utterances that have words.

    An utterance's confidence is the mean over its words; it is right if its text holds no error at all.
    Args: transcripts: not calibrated.  references: spelled as the model spells.  speakers: one for each utterance;
        if they are fewer than the folds, each utterance counts as of its own.
    """
    named = len(set(speakers)) >= NUM_FOLDS
    numbers = {speaker: number for number, speaker in enumerate(dict.fromkeys(speakers))}
    groups = [numbers[speaker] if named else index for index, speaker in enumerate(speakers)]
    words: list[tuple[float, bool, int]] = []
    utterances: list[tuple[float, bool, int]] = []
    for transcript, reference, group in zip(transcripts, references, groups, strict=True):
        said = [word.word for word in transcript.words]
        for word, right in zip(transcript.words, right_words(reference, said), strict=True):
            words.append((word.confidence, right, group))
        mean = mean_confidence(transcript.words)
        if mean is not None:
            utterances.append((mean, said == reference.split(), group))
    return _observed(words), _observed(utterances)


def _observed(rows: Sequence[tuple[float, bool, int]]) -> Observed:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return Observed(np.array(columns[0], float), np.array(columns[1], bool), np.array(columns[2], int))


def fit(observed: Observed, method: str | None = None, *, what: str = "words") -> Fitted:
    """Return the map from confidence to the probability of being right.

    Args: method: "temperature" or "isotonic"; None: isotonic for ISOTONIC_FROM or more if it foresees unheard folds
        better.  what: was observed, for messages.
    Raises: DataError where nothing can be learnt: too few are right or wrong, or confidence says nothing about it.
    """
    _check(observed, what)
    methods = [method] if method else list(METHODS)[: 1 + (len(observed.right) >= ISOTONIC_FROM)]
    unheard = {name: foreseen(observed, METHODS[name]) for name in methods}
    best = min(methods, key=lambda name: cross_entropy(unheard[name], observed.right))
    return Fitted(METHODS[best](observed.confidences, observed.right), unheard[best])


def _check(observed: Observed, what: str) -> None:
    count, right = len(observed.right), int(observed.right.sum())
    if not count:
        raise DataError(f"no {what} were recognised; give speech that the model knows")
    if right == count:
        raise DataError(
            f"all {count} {what} are right, so there is no error to learn from; give speech that the model was not"
            " trained on, or more of it"
        )
    if not right:
        raise DataError(
            f"none of {count} {what} is right; check that the texts are those of the recordings, and that the model"
            " knows such speech"
        )
    if min(right, count - right) < LEAST_EACH:
        raise DataError(
            f"{right} of {count} {what} are right, and at least {LEAST_EACH} must be right and {LEAST_EACH} wrong; give"
            " more speech that the model was not trained on"
        )
    if len(np.unique(observed.groups)) == 1:
        raise DataError(f"all {what} come from one utterance; give several, so that the fit can be judged")
    area = area_under_curve(observed.confidences, observed.right)
    assert area is not None, "there are right and wrong ones"
    if area <= 0.5:
        raise DataError(
            f"right {what} have no higher confidence than wrong ones ({area:.2f} of pairs are told apart, by chance"
            " 0.50): there is nothing to calibrate; train longer, or give more speech"
        )


def foreseen(observed: Observed, fit: Fit) -> Numbers:
    """Return for each confidence what a map says that was fitted without its fold; a group lies in one fold."""
    folds = np.unique(observed.groups, return_inverse=True)[1] % NUM_FOLDS
    found = np.empty(len(folds))
    for fold in np.unique(folds):
        heard = observed.part(folds != fold)
        found[folds == fold] = fit(heard.confidences, heard.right)(observed.confidences[folds == fold])
    return found


def fit_temperature(confidences: Numbers, right: Right) -> LogitMap:
    """Return the temperature and bias with the least cross entropy.

    So that few or well separated examples do not claim certainty, the targets are not 1 and 0 but what a uniform
    prior makes of N of each: (N + 1) / (N + 2) and 1 / (N + 2).
    Source: Platt 1999, section 2.2; Lin, Lin and Weng 2007 (Newton's method with halved steps).
    """
    num_right = int(right.sum())
    num_wrong = len(right) - num_right
    targets = np.where(right, (num_right + 1) / (num_right + 2), 1 / (num_wrong + 2))
    logits = logit(confidences)
    slope, bias = _logistic(np.stack([logits, np.ones_like(logits)], 1), targets, np.array([1.0, 0.0]))
    if slope < _MIN_SLOPE:
        slope = _MIN_SLOPE
        (bias,) = _logistic(np.ones((len(logits), 1)), targets, np.zeros(1), slope * logits)
    return LogitMap(temperature=float(1 / slope), bias=float(bias))


def _logistic(inputs: Numbers, targets: Numbers, weights: Numbers, offset: float | Numbers = 0.0) -> Numbers:
    """Return the weights (K,) with the least cross entropy of sigmoid(inputs (N, K) @ weights + offset (N,))."""

    def loss(weights: Numbers) -> float:
        values = inputs @ weights + offset
        return float((np.logaddexp(0.0, values) - targets * values).sum())

    now = loss(weights)
    for _ in range(_MAX_STEPS):
        probabilities = sigmoid(inputs @ weights + offset)
        gradient = inputs.T @ (probabilities - targets)
        hessian = inputs.T @ (inputs * (probabilities * (1 - probabilities))[:, None])
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        size = 1.0
        while (then := loss(weights - size * step)) > now and size > 1e-6:
            size /= 2
        if now - then < 1e-10 * len(targets):
            break
        weights, now = weights - size * step, then
    return weights


def fit_isotonic(confidences: Numbers, right: Right) -> IsotonicMap:
    """Return the rising map with the least squared error at the confidences: a knot for each block of equal value.

    So that no certainty is claimed, one right example is added at the lowest confidence and a wrong one at the highest.
    Source: Ayer et al. 1955 (pool adjacent violators); Zadrozny and Elkan 2002.
    """
    inputs = np.concatenate([confidences, [confidences.min(), confidences.max()]])
    places, values = pool_adjacent_violators(inputs, np.concatenate([right, [True, False]]).astype(float))
    return IsotonicMap(knots=tuple(zip(places.tolist(), values.tolist(), strict=True)))


def pool_adjacent_violators(inputs: Numbers, targets: Numbers) -> tuple[Numbers, Numbers]:
    """Return (mean input, mean target) of the blocks of the rising step function nearest to the targets (N,).

    Equal inputs lie in one block.
    """
    distinct, group, counts = np.unique(inputs, return_inverse=True, return_counts=True)
    sums = np.bincount(group, weights=targets)
    blocks: list[tuple[float, float, float]] = []  # how many, the sum of their inputs, that of their targets
    for count, place, total in zip(counts.tolist(), (counts * distinct).tolist(), sums.tolist(), strict=True):
        block = (count, place, total)
        while blocks and blocks[-1][2] * block[0] >= block[2] * blocks[-1][0]:
            before = blocks.pop()
            block = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    weights, places, totals = np.array(blocks).T
    return np.clip(places / weights, 0.0, 1.0), totals / weights


METHODS: dict[str, Fit] = {"temperature": fit_temperature, "isotonic": fit_isotonic}
