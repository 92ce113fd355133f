"""How much shall a second language model count?  Weight and bonus with the fewest word errors on lists of answers.

The lists are decoded once and kept (`asr decode --nbest`), so that trying a weight costs no search.
Source: Och 2003, "Minimum error rate training in statistical machine translation" (the errors of the best answers of
lists, as a function of the weights), here on a plain grid.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.decoding.rescoring import RescoringConfig, TextScorer
from asr.errors import DataError
from asr.scoring.error_rate import word_errors
from asr.scoring.texts import Text, read_texts
from asr.units import is_number

WEIGHTS = np.arange(41) * 0.05
BONUSES = np.arange(-8, 17) * 0.25

Answers = Sequence[tuple[str, float]]  # of one utterance: texts and what the search gave them


@dataclass(frozen=True)
class Fitted:
    """What was found.

    Attributes:
        config: weight and bonus.
        errors: of the words of the references, rescored so; before: in the search's order; least: with the best answer
            of each list, which no order beats.
    """

    config: RescoringConfig
    errors: int
    before: int
    least: int
    words: int


def fit_rescoring(
    references: Mapping[str, str],
    answers: Mapping[str, Answers],
    scorer: TextScorer,
    *,
    normalize: Callable[[str], str] = lambda text: text,
) -> Fitted:
    """Return the weight and bonus of the grid with the fewest word errors; the mean with their neighbours decides.

    So a lucky point among worse ones is not taken.  Where several are equal, the one nearest to the defaults is.

    Args:
        references, answers: by utterance; the answers without the second model.
        normalize: spells the references as the answers are spelled.
    Raises: DataError for utterances that only one side has, or nothing to choose from.
    """
    _check(references, answers)
    texts = {name: normalize(text).split() for name, text in references.items()}
    lists = [_Measured.of(answers[name], texts[name], scorer) for name in references]
    errors = np.array([[sum(item.errors_at(w, b) for item in lists) for b in BONUSES] for w in WEIGHTS])
    row, column = _best(_with_neighbours(errors))
    return Fitted(
        RescoringConfig(weight=round(float(WEIGHTS[row]), 2), bonus=float(BONUSES[column])),
        errors=int(errors[row, column]),
        before=sum(item.errors_at(0.0, 0.0) for item in lists),
        least=sum(int(item.errors.min()) for item in lists),
        words=sum(map(len, texts.values())),
    )


def read_references(path: Path) -> dict[str, str]:
    """Return the texts of a manifest by utterance.  Raises: DataError as `read_texts`."""
    texts: dict[str, Text] = read_texts(path)
    return {name: text.text for name, text in texts.items()}


def read_answers(path: Path) -> dict[str, Answers]:
    """Return the n-best lists of hypotheses (docs/formats.md) by utterance.  Raises: DataError naming what is wrong."""
    names = list(read_texts(path))  # which checks the rows
    with open(path, encoding="utf-8-sig") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    return {name: _answers(row, path) for name, row in zip(names, rows, strict=True)}


def _answers(row: dict[str, Any], path: Path) -> Answers:
    nbest = row.get("nbest")
    if not isinstance(nbest, list) or not nbest or not all(map(_is_answer, nbest)):
        raise DataError(f"{path}: utterance {row['id']!r} has no n-best list; make them with asr decode --nbest 100")
    return [(item["text"], float(item["score"])) for item in nbest]


def _is_answer(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("text"), str) and is_number(item.get("score"))


@dataclass(frozen=True)
class _Measured:
    """The answers of one utterance: all (answers,)."""

    scores: NDArray[np.float64]
    log_probs: NDArray[np.float64]
    words: NDArray[np.int64]
    errors: NDArray[np.int64]

    @staticmethod
    def of(answers: Answers, reference: list[str], scorer: TextScorer) -> "_Measured":
        texts = [text for text, _ in answers]
        errors = [word_errors(reference, text.split()) for text in texts]
        return _Measured(
            np.array([score for _, score in answers]),
            np.array(scorer(texts)),
            np.array([len(text.split()) for text in texts]),
            np.array(errors),
        )

    def errors_at(self, weight: float, bonus: float) -> int:
        """Return the errors of the answer that is best with a weight and a bonus."""
        return int(self.errors[(self.scores + weight * self.log_probs + bonus * self.words).argmax()])


def _with_neighbours(errors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of each point and the eight around it; those at the border count for what lies beyond."""
    padded = np.pad(errors.astype(np.float64), 1, mode="edge")
    shifted = [
        padded[row : row + errors.shape[0], column : column + errors.shape[1]]
        for row in range(3)
        for column in range(3)
    ]
    mean: NDArray[np.float64] = np.mean(shifted, axis=0)
    return mean.round(9)


def _best(smooth: NDArray[np.float64]) -> tuple[int, int]:
    """Return where the lowest point is; of several, the one nearest to the defaults."""
    default = RescoringConfig()
    points = np.argwhere(smooth == smooth.min())
    away = np.abs(WEIGHTS[points[:, 0]] - default.weight) + np.abs(BONUSES[points[:, 1]] - default.bonus)
    row, column = points[away.argmin()].tolist()
    return row, column


def _check(references: Mapping[str, str], answers: Mapping[str, Answers]) -> None:
    if references.keys() != answers.keys():
        name = min(references.keys() ^ answers.keys())
        side = "n-best list" if name in references else "reference"
        raise DataError(f"utterance {name!r} has no {side}; decode exactly the manifest that is given")
    if not any(len(some) > 1 for some in answers.values()):
        raise DataError("no utterance has more than one answer, so there is nothing to choose; decode with --nbest 100")
