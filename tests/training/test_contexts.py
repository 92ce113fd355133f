"""Contexts drawn for training steps: from (seed, step) alone, and only where the model can take them."""

from collections import Counter

import pytest

from asr.config import parse
from asr.errors import UsageError
from asr.nn.chunks import WHOLE, Context
from asr.training.config import ExperimentConfig
from asr.training.contexts import costliest_context, drawn_contexts

LISTED = [[320, 80], [640, 160], [0, 0]]


def experiment(encoder: dict[str, object], train: dict[str, object]) -> ExperimentConfig:
    return parse(ExperimentConfig, {"model": {"encoder": {"factor": 4} | encoder}, "train": train}, where="test")


def test_each_view_of_a_step_draws_one_of_the_listed_contexts() -> None:
    config = experiment({"chunk_ms": 320}, {"contexts_ms": LISTED})
    drawn = [drawn_contexts(config.model, config.train, 2, seed=1, step=step) for step in range(300)]
    assert drawn == [drawn_contexts(config.model, config.train, 2, seed=1, step=step) for step in range(300)]
    assert drawn != [drawn_contexts(config.model, config.train, 2, seed=2, step=step) for step in range(300)]
    counts = Counter(drawn[step][step % 2] for step in range(300))
    assert any(first != second for first, second in drawn)
    assert set(counts) == {Context(8, 2), Context(16, 4), WHOLE}
    assert min(counts.values()) > 70


def test_without_a_list_it_is_the_encoders_own() -> None:
    config = experiment({"chunk_ms": 640, "right_context_ms": 100}, {})
    assert drawn_contexts(config.model, config.train, 1, seed=1, step=5) == [Context(16, 3)]
    assert drawn_contexts(experiment({}, {}).model, config.train, 2, seed=1, step=5) == [WHOLE, WHOLE]


def test_soft_forgetting_cuts_the_second_view_and_leaves_the_first_whole() -> None:
    config = experiment({}, {"forgetting_ms": [400, 1200]})
    drawn = [drawn_contexts(config.model, config.train, 2, seed=1, step=step) for step in range(300)]
    assert all(whole == WHOLE and not cut.carried and cut.right == 0 for whole, cut in drawn)
    assert {cut.chunk for _, cut in drawn} == set(range(10, 31))
    alone = drawn_contexts(config.model, config.train, 1, seed=1, step=7)
    assert alone == [drawn[7][1]]


def test_memory_is_tried_with_what_costs_most() -> None:
    config = experiment({"chunk_ms": 320}, {"contexts_ms": [[0, 0], [320, 160], [80, 160], [640, 600]]})
    assert costliest_context(config.model, config.train) == Context(2, 4)
    whole = experiment({}, {})
    assert costliest_context(whole.model, whole.train) == WHOLE


@pytest.mark.parametrize(
    ("encoder", "train", "says"),
    [
        ({}, {"contexts_ms": LISTED}, "contexts_ms is for encoders with chunk_ms"),
        ({"chunk_ms": 320}, {"contexts_ms": [[20, 0]]}, r"\[20, 0\]: .*one encoder frame of 40 ms"),
        ({"chunk_ms": 320}, {"contexts_ms": [[0, 80]]}, r"\[0, 80\]: .*what lies behind a chunk"),
        ({"chunk_ms": 320}, {"contexts_ms": [[160, 10]]}, r"\[160, 10\]: .*right_context_ms=10 is shorter than one"),
        ({"chunk_ms": 320}, {"contexts_ms": [[160, 1e7]]}, r"\[160, 1e\+07\]: .*right_context_ms"),
        ({"chunk_ms": 320}, {"forgetting_ms": [400, 800]}, "forgetting_ms is for offline models"),
        ({}, {"forgetting_ms": [800, 400]}, r"must rise .*got \[800, 400\]"),
        ({"chunk_ms": 20}, {}, "encoder.chunk_ms=20 is shorter than one encoder frame of 40 ms"),
        ({"right_context_ms": 80}, {}, "right_context_ms is what lies behind a chunk; set chunk_ms"),
        ({"chunk_ms": 320, "bidirectional": False}, {}, "for one direction take lookahead_ms"),
        ({"lookahead_ms": 320}, {}, "set bidirectional=false, or take chunk_ms"),
        ({"projection": 20}, {}, "projection is for cell lstm_projected, and cell is lstm"),
        ({"cell": "lstn"}, {}, "'lstm'"),
    ],
)
def test_what_does_not_fit_is_refused(encoder: dict[str, object], train: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        experiment(encoder, train)
