"""The maps that turn confidence into a probability."""

import numpy as np
import pytest

from asr.decoding.calibration import Calibration, IsotonicMap, LogitMap
from asr.decoding.hypothesis import Word
from asr.errors import DataError

KNOTS = ((0.2, 0.1), (0.5, 0.1), (0.9, 0.8))
MAPS = [LogitMap(temperature=0.4, bias=-1.5), LogitMap(temperature=7, bias=0.2), IsotonicMap(knots=KNOTS)]


def test_a_temperature_and_a_bias_act_on_the_logit() -> None:
    (found,) = LogitMap(temperature=2, bias=1)(np.array([0.8]))
    assert found == pytest.approx(1 / (1 + np.exp(-(np.log(4) / 2 + 1))))
    assert LogitMap(temperature=1)(np.array([0.3])) == pytest.approx(0.3)


def test_between_knots_the_line_is_straight_and_outside_flat() -> None:
    found = IsotonicMap(knots=KNOTS)(np.array([0.0, 0.2, 0.3, 0.7, 0.9, 1.0]))
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.45, 0.8, 0.8])


@pytest.mark.parametrize("map_", MAPS)
def test_no_map_turns_the_order_round(map_) -> None:
    confidences = np.sort(np.random.default_rng(0).uniform(0, 1, 500))
    found = map_(np.concatenate([[0.0], confidences, [1.0]]))
    assert (np.diff(found) >= 0).all()
    assert ((found > 0) & (found < 1)).all()
    if isinstance(map_, LogitMap):
        assert (np.diff(map_(confidences)) > 0).all()


@pytest.mark.parametrize("map_", MAPS)
def test_words_alone_are_judged_as_among_others(map_) -> None:
    calibration = Calibration(words=map_)
    words = [Word("a", 0, 1, 0.3), Word("b", 1, 2, 0.95), Word("c", 2, 3, 1.0)]
    together = calibration.judge_words(words)
    assert together == tuple(calibration.judge_words([word])[0] for word in words)
    assert [(word.word, word.start, word.end) for word in together] == [("a", 0, 1), ("b", 1, 2), ("c", 2, 3)]
    assert calibration.judge_words([]) == ()


def test_utterances_keep_their_mean_where_nothing_was_fitted() -> None:
    words = LogitMap(temperature=2)
    assert Calibration(words=words).judge_utterance(0.3) == 0.3
    assert Calibration(words=words, utterances=LogitMap(temperature=1)).judge_utterance(0.3) == pytest.approx(0.3)
    assert Calibration(words=words, utterances=words).judge_utterance(None) is None


def test_a_calibration_comes_back_from_a_file() -> None:
    calibration = Calibration(words=MAPS[2], utterances=MAPS[0], fitted="on much")
    assert Calibration.stored(calibration.model_dump(mode="json")) == calibration
    assert Calibration.stored(None) is None


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"words": None},
        {"words": {"kind": "magic"}},
        {"words": {"kind": "temperature", "temperature": 0}},
        {"words": {"kind": "temperature", "temperature": float("nan")}},
        {"words": {"kind": "temperature", "temperature": 1, "bias": float("inf")}},
        {"words": {"kind": "isotonic", "knots": []}},
        {"words": {"kind": "isotonic", "knots": [[0.2, 0.9], [0.4, 0.3]]}},
        {"words": {"kind": "isotonic", "knots": [[0.2, 0.9], [0.4, 1.3]]}},
        {"words": {"kind": "isotonic", "knots": [[0.2]]}},
    ],
)
def test_what_is_no_calibration_is_refused_in_one_line(stored) -> None:
    with pytest.raises(DataError, match=r"the model's calibration: .*fit it anew: asr calibrate") as caught:
        Calibration.stored(stored)
    assert "\n" not in str(caught.value)
