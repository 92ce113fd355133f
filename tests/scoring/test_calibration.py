"""Measures of confidence, against numbers worked out by hand."""

import json
from math import log
from pathlib import Path

import numpy as np
import pytest

from asr.errors import DataError
from asr.scoring.calibration import (
    area_under_curve,
    expected_calibration_error,
    normalised_cross_entropy,
    quality,
    read_judged,
    reliability,
    right_words,
)
from asr.scoring.texts import read_texts
from asr.text.normalize import Normalizer, NormalizerConfig

CONFIDENCES = np.array([0.9, 0.8, 0.95, 0.3, 0.25])
RIGHT = np.array([True, False, True, True, False])


def test_the_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    # two bins of five: [0.3, 0.25] with 1 of 2 right, [0.9, 0.8, 0.95] with 2 of 3
    gaps = 2 * abs(0.55 / 2 - 1 / 2) + 3 * abs(2.65 / 3 - 2 / 3)
    assert expected_calibration_error(CONFIDENCES, RIGHT, num_bins=2) == pytest.approx(gaps / 5)
    assert reliability(CONFIDENCES, RIGHT, 2) == [
        (pytest.approx(0.275), 0.5, 2),
        (pytest.approx(0.8833, abs=1e-4), pytest.approx(2 / 3), 3),
    ]


def test_bins_hold_their_lower_end_and_the_last_one_its_upper_too() -> None:
    edges = np.array([0.0, 0.5, 1.0])
    assert [count for _, _, count in reliability(edges, np.array([True] * 3), 2)] == [1, 2]


def test_normalised_cross_entropy_by_hand() -> None:
    entropy = -(0.6 * log(0.6) + 0.4 * log(0.4))
    given = [0.9, 1 - 0.8, 0.95, 0.3, 1 - 0.25]
    expected = (entropy + sum(map(log, given)) / 5) / entropy
    assert normalised_cross_entropy(CONFIDENCES, RIGHT) == pytest.approx(expected)
    # knowing the share and nothing else is worth nothing; certain and right is worth all, up to what is written
    assert normalised_cross_entropy(np.full(5, 0.6), RIGHT) == pytest.approx(0)
    assert normalised_cross_entropy(RIGHT.astype(float), RIGHT) == pytest.approx(1, abs=1e-4)


def test_one_certain_error_does_not_cost_everything() -> None:
    assert normalised_cross_entropy(np.array([1.0, 0.9]), np.array([False, True])) > -8


def test_the_area_counts_pairs_that_are_told_apart() -> None:
    # right 0.9 0.95 0.3 against wrong 0.8 0.25: all but (0.3, 0.8)
    assert area_under_curve(CONFIDENCES, RIGHT) == pytest.approx(5 / 6)
    assert area_under_curve(np.array([0.5, 0.5]), np.array([True, False])) == 0.5


@pytest.mark.parametrize("right", [True, False])
def test_what_has_no_meaning_is_none(right: bool) -> None:
    found = quality(np.array([0.2, 0.9]), np.array([right, right]))
    assert (found.nce, found.auc, found.right) == (None, None, 2 * right)


def test_each_recognised_word_is_right_or_not() -> None:
    assert right_words("a b c d", ["a", "x", "c", "e", "d"]) == [True, False, True, False, True]
    assert right_words("a", []) == []
    assert right_words("", ["a"]) == [False]


# Files


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def hypothesis(name: str, *words: tuple[str, object], **more: object) -> dict[str, object]:
    said = [{"word": word, "confidence": confidence} for word, confidence in words]
    return {"id": name, "text": " ".join(word for word, _ in words), "words": said, **more}


def test_words_are_judged_as_they_are_spelled(tmp_path: Path) -> None:
    rows = [{"id": "one", "text": "YES NO-NO"}, {"id": "two", "text": "go"}, {"id": "mute", "text": "hm"}]
    references = read_texts(write(tmp_path / "ref.jsonl", rows))
    said = [
        hypothesis("one", ("yes", 0.75), ("no-no", 0.5), confidence=0.5),
        hypothesis("two", ("stop", 0.25), confidence=0.125),
        hypothesis("mute", confidence=None),
    ]
    spelling = Normalizer(NormalizerConfig(case="lower", map={"-": " "}))
    judged = read_judged(references, write(tmp_path / "hyp.jsonl", said), spelling)
    assert judged.words.tolist() == [0.75, 0.5, 0.5, 0.25]
    assert judged.words_right.tolist() == [True, True, True, False]
    assert judged.utterances.tolist() == [0.5, 0.125]
    assert judged.utterances_right.tolist() == [True, False]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a", "text": "x"}, r"hyp.jsonl:1: 'words' must be a list with a confidence each, has none"),
        ({"id": "a", "text": "x", "words": "x"}, r"has \"x\""),
        ({"id": "a", "text": "x", "words": ["x"]}, "no word with a confidence"),
        ({"id": "a", "text": "x", "words": [{"word": "x"}]}, "from 0 to 1, got null"),
        (hypothesis("a", ("x", 1.5)), "from 0 to 1, got 1.5"),
        (hypothesis("a", ("x", True)), "from 0 to 1, got true"),
        (hypothesis("a", ("x", float("nan"))), "not JSON"),
        (hypothesis("a", ("x", 0.5), confidence="high"), 'from 0 to 1, got "high"'),
        (hypothesis("a"), "holds no words"),
    ],
)
def test_hypotheses_without_sound_confidences_are_refused(tmp_path: Path, row: object, message: str) -> None:
    references = read_texts(write(tmp_path / "ref.jsonl", [{"id": "a", "text": "x"}]))
    with pytest.raises(DataError, match=message):
        read_judged(references, write(tmp_path / "hyp.jsonl", [row]), Normalizer())
