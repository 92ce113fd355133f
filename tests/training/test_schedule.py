"""Learning rates at known points."""

from typing import Any

import pytest

from asr.config import parse
from asr.training.config import OptimizerConfig
from asr.training.schedule import learning_rate

LONG_AFTER_WARMUP = 10**6


def rate(step: int, progress: float, **changes: Any) -> float:
    values = {"learning_rate": 0.01, "warmup_steps": 100, "final_ratio": 0.1, **changes}
    return learning_rate(parse(OptimizerConfig, values, where="test"), step, progress)


@pytest.mark.parametrize(
    ("schedule", "start", "middle", "end"),
    [
        ("constant", 0.01, 0.01, 0.01),
        ("linear", 0.01, 0.0055, 0.001),
        ("cosine", 0.01, 0.0055, 0.001),
        ("exponential", 0.01, 0.01 * 0.1**0.5, 0.001),
    ],
)
def test_schedules_at_their_start_middle_and_end(schedule: str, start: float, middle: float, end: float) -> None:
    found = [rate(LONG_AFTER_WARMUP, progress, schedule=schedule) for progress in (0.0, 0.5, 1.0)]
    assert found == pytest.approx([start, middle, end])


def test_the_cosine_is_one_and_not_a_line() -> None:
    assert rate(LONG_AFTER_WARMUP, 0.25, schedule="cosine") == pytest.approx(0.001 + 0.009 * (1 + 0.5**0.5) / 2)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exponential"])
def test_schedules_fall(schedule: str) -> None:
    rates = [rate(LONG_AFTER_WARMUP, progress / 50, schedule=schedule) for progress in range(51)]
    assert rates == sorted(rates, reverse=True)


def test_the_warm_up_rises_in_equal_steps_to_the_peak() -> None:
    rates = [rate(step, 0.0) for step in (0, 1, 49, 99, 100)]
    assert rates == pytest.approx([0.0001, 0.0002, 0.005, 0.01, 0.01])
    assert rate(0, 0.0, warmup_steps=0) == 0.01


def test_an_exponential_fall_to_nothing_stays_above_it() -> None:
    assert rate(LONG_AFTER_WARMUP, 1.0, schedule="exponential", final_ratio=0.0) == pytest.approx(1e-6)
    assert rate(LONG_AFTER_WARMUP, 1.0, schedule="linear", final_ratio=0.0) == pytest.approx(0.0)
