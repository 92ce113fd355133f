"""The bootstrap interval: its known distribution, its seed, and its edges."""

import numpy as np
import pytest

import asr.scoring.bootstrap as bootstrap
from asr.errors import UsageError
from asr.randomness import stream
from asr.scoring.bootstrap import bootstrap_interval
from asr.scoring.error_rate import ErrorCounts


def _counts(errors: list[int], lengths: list[int]) -> list[ErrorCounts]:
    return [ErrorCounts(0, 0, wrong, length) for wrong, length in zip(errors, lengths, strict=True)]


def test_interval_is_that_of_the_binomial_when_utterances_are_single_words() -> None:
    """400 utterances of one word, 25 % wrong: the mean of draws is normal with deviation sqrt(p q / n)."""
    interval = bootstrap_interval(_counts([1] * 100 + [0] * 300, [1] * 400), seed=3)
    assert interval is not None
    deviation = np.sqrt(0.25 * 0.75 / 400)
    # the ends are multiples of 1/400; quantiles of 10,000 draws are good to about 0.03 deviations
    assert interval.low == pytest.approx(0.25 - 1.96 * deviation, abs=0.004)
    assert interval.high == pytest.approx(0.25 + 1.96 * deviation, abs=0.004)


def test_long_utterances_weigh_more() -> None:
    """Rates are errors over words of the draw, not means of the utterances' rates."""
    interval = bootstrap_interval(_counts([0, 1], [99, 1]), seed=0)
    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 1.0)  # only the wrong one drawn twice: probability 1/4
    middle = bootstrap_interval(_counts([0, 1], [99, 1]), seed=0, level=0.02)
    assert middle is not None
    assert middle.low == middle.high == pytest.approx(0.01)


def test_same_seed_same_interval_and_another_seed_another() -> None:
    counts = _counts([0, 1, 2, 3, 1, 0, 5] * 9, [7, 5, 6, 9, 3, 8, 11] * 9)
    assert bootstrap_interval(counts, seed=1) == bootstrap_interval(counts, seed=1)
    assert bootstrap_interval(counts, seed=1) != bootstrap_interval(counts, seed=2)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = (np.array([0, 1, 2]), np.array([4, 5, 6]))
    whole = bootstrap.drawn_sums(values, 1000, stream(0, "test"))
    monkeypatch.setattr(bootstrap, "_BLOCK_DRAWS", 21)  # 7 replications at a time: 1000 is no multiple
    blocks = bootstrap.drawn_sums(values, 1000, stream(0, "test"))
    assert [sums.tolist() for sums in blocks] == [sums.tolist() for sums in whole]


def test_draws_without_reference_words_are_left_out() -> None:
    interval = bootstrap_interval(_counts([1, 0], [0, 4]), seed=0)
    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 0.25)
    assert bootstrap_interval(_counts([1, 2], [0, 0])) is None


@pytest.mark.parametrize(("replications", "level"), [(0, 0.95), (10, 0.0), (10, 1.0)])
def test_impossible_settings_are_refused(replications: int, level: float) -> None:
    with pytest.raises(UsageError, match="replications must be >= 1"):
        bootstrap_interval(_counts([1], [2]), replications=replications, level=level)
