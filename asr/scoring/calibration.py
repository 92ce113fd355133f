"""Is confidence what it claims to be?  Measures of a probability against what was right, over words or utterances."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import DataError, shown
from asr.scoring.error_rate import align
from asr.scoring.texts import Text, read_texts
from asr.units import is_number

NUM_BINS = 15  # as Guo et al. 2017
# Half of the last digit of a confidence in a file of hypotheses: a written 1 or 0 means no more than this.
LEAST = 5e-5

Confidences = NDArray[np.float64]
Right = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Quality:
    """How good confidences (N,) are.

    Attributes:
        count, right: how many were judged, and how many of them were right.
        ece: expected calibration error, 0 is best.
        nce: normalised cross entropy, 1 is best, 0 no better than to know the share of right ones; None if all or
            none are right.
        auc: the probability that a right one has a higher confidence than a wrong one; None likewise.
    """

    count: int
    right: int
    ece: float
    nce: float | None
    auc: float | None


def quality(confidences: Confidences, right: Right) -> Quality:
    """Return all measures of N >= 1 confidences."""
    ece = expected_calibration_error(confidences, right)
    nce, auc = normalised_cross_entropy(confidences, right), area_under_curve(confidences, right)
    return Quality(len(right), int(right.sum()), ece, nce, auc)


def expected_calibration_error(confidences: Confidences, right: Right, *, num_bins: int = NUM_BINS) -> float:
    """Return the mean over all, bin by bin, of |mean confidence - share that is right|.

    Bins are equally wide, each with its lower end and the last with both.
    Source: Naeini et al. 2015; Guo et al. 2017, equation 3.
    """
    return sum(
        count * abs(confidence - share) for confidence, share, count in reliability(confidences, right, num_bins)
    ) / len(right)


def reliability(confidences: Confidences, right: Right, num_bins: int = NUM_BINS) -> list[tuple[float, float, int]]:
    """Return (mean confidence, share that is right, how many) of each bin that is not empty, in rising order."""
    places = np.minimum((confidences * num_bins).astype(np.int64), num_bins - 1)
    counts = np.bincount(places, minlength=num_bins)
    sums, hits = (np.bincount(places, weights=values, minlength=num_bins) for values in (confidences, right))
    return [(float(sums[k] / counts[k]), float(hits[k] / counts[k]), int(counts[k])) for k in np.flatnonzero(counts)]


def cross_entropy(confidences: Confidences, right: Right) -> float:
    """Return the mean of -ln(probability given to what happened); confidences are taken to be LEAST off 0 and 1."""
    clipped = np.clip(confidences, LEAST, 1 - LEAST)
    return float(-np.log(np.where(right, clipped, 1 - clipped)).mean())


def normalised_cross_entropy(confidences: Confidences, right: Right) -> float | None:
    """Return (H - cross entropy) / H, H being the entropy of the share that is right; None if H is 0.

    Source: Siu et al. 1997; NIST, "The 2000 evaluation plan for recognition of conversational speech", appendix.
    """
    share = right.mean()
    if share in (0, 1):
        return None
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    return float(1 - cross_entropy(confidences, right) / entropy)


def area_under_curve(confidences: Confidences, right: Right) -> float | None:
    """Return the share of pairs, one right and one wrong, that confidence tells apart; of equal ones half count."""
    num_right, num_wrong = int(right.sum()), int((~right).sum())
    if not num_right or not num_wrong:
        return None
    _, group, counts = np.unique(confidences, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[group]  # from 1, equal ones sharing their mean
    return float((ranks[right].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def right_words(reference: str, words: Sequence[str]) -> list[bool]:
    """Return of each recognised word whether it stands in the reference, by an alignment with the fewest edits."""
    alignment = align(reference.split(), list(words))
    return [left == right for left, right in alignment if right is not None]


@dataclass(frozen=True, slots=True)
class Judged:
    """Confidences of words and utterances, and whether each was right; utterances without words are none.

    Attributes: words, words_right: (N,).  utterances, utterances_right: (M,); empty if the file has none.
    """

    words: Confidences
    words_right: Right
    utterances: Confidences
    utterances_right: Right


def read_judged(references: Mapping[str, Text], path: str | Path, spelling: Callable[[str], str]) -> Judged:
    """Return the confidences in a file of hypotheses and what was right, both texts spelled by `spelling`.

    Args: references: of the same utterances (`pair_up` says which are missing).
    Raises: DataError with file and line for a row without confidences in [0, 1].
    """
    read_texts(path)  # says what else is wrong
    words, words_right, utterances, utterances_right = [], [], [], []
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            row = json.loads(line)
            said = [
                (part, confidence)
                for word, confidence in _words(row, f"{path}:{number}")
                for part in spelling(word).split()
            ]
            reference = spelling(references[row["id"]].text)
            words += [confidence for _, confidence in said]
            words_right += right_words(reference, [word for word, _ in said])
            if said and row.get("confidence") is not None:
                utterances.append(_confidence(row["confidence"], f"{path}:{number}"))
                utterances_right.append(reference.split() == [word for word, _ in said])
    if not words:
        raise DataError(f"{path}: holds no words; decode with a model that recognises some")
    return Judged(np.array(words), np.array(words_right, bool), np.array(utterances), np.array(utterances_right, bool))


def _words(row: Mapping[str, Any], where: str) -> list[tuple[str, float]]:
    words = row.get("words")
    if not isinstance(words, list):
        found = "has none" if words is None else f"has {shown(words)}"
        raise DataError(f"{where}: 'words' must be a list with a confidence each, {found}; decode with asr decode")
    for word in words:
        if not isinstance(word, dict) or not isinstance(word.get("word"), str):
            raise DataError(f"{where}: {shown(word)} is no word with a confidence; decode with asr decode")
    return [(word["word"], _confidence(word.get("confidence"), where)) for word in words]


def _confidence(value: object, where: str) -> float:
    if not is_number(value) or not 0 <= value <= 1:  # type: ignore[operator]
        raise DataError(f"{where}: a confidence must be a number from 0 to 1, got {shown(value)}; decode anew")
    return float(value)  # type: ignore[arg-type]
