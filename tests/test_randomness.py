"""Seeds of data: pure functions of (seed, epoch, utterance id, view), the same for ever."""

import subprocess
import sys

import numpy as np
import pytest

from asr.randomness import Streams, step_seed, stream, utterance_seed, utterance_seeds


def test_golden_seeds() -> None:
    """Whatever a published training drew hangs on these numbers."""
    assert utterance_seed(1, 0, "an4-0001") == 2341268042043069487
    assert stream(2341268042043069487, "speed").integers(0, 1000, 4).tolist() == [995, 142, 21, 750]


def test_seeds_are_non_negative_int64_and_all_different() -> None:
    seeds = [
        utterance_seed(seed, epoch, name, view)
        for seed in range(3)
        for epoch in range(4)
        for name in ("a", "b", "a0", "0")
        for view in range(2)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(1, 2, 3) not in seeds


def test_parts_do_not_run_into_each_other() -> None:
    assert utterance_seed(1, 11, "a") != utterance_seed(11, 1, "a")
    assert utterance_seed(1, 1, "1") != utterance_seed(1, 11, "")


def test_another_process_draws_the_same() -> None:
    """Python's own hash of text differs between processes; this one must not."""
    code = "from asr.randomness import utterance_seed; print(utterance_seed(3, 4, 'é', 1))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) == utterance_seed(3, 4, "é", 1)


def test_an_id_that_is_no_unicode_text_still_has_a_seed() -> None:
    assert utterance_seed(1, 0, "a\udcff") != utterance_seed(1, 0, "a\udcfe")


def test_streams_of_one_seed_are_independent_and_repeat() -> None:
    first, again, other = (stream(5, name).random(2000) for name in ("speed", "speed", "gain"))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.08


def test_no_global_generator_is_touched() -> None:
    before = np.random.get_state()[1].copy()
    stream(1, "x").random(10)
    assert np.array_equal(before, np.random.get_state()[1])


def test_seeds_of_many_are_those_of_each() -> None:
    names = ["a", "é", "a\udcff", "1034-121119-0005", *map(str, range(100))]
    for seed, epoch, view in ((0, 0, 0), (3, 11, 1), (2**63 - 1, 5, 0)):
        many = utterance_seeds(seed, epoch, names, view)
        assert many.dtype == np.int64
        assert many.tolist() == [utterance_seed(seed, epoch, name, view) for name in names]


@pytest.mark.parametrize("high", [1, 2, 3, 7, 280_000, 3 << 30, 2**32 - 1])
def test_streams_of_many_seeds_are_those_of_each(high: int) -> None:
    """3 << 30 throws every fourth draw away, so that rows fall out of step with each other."""
    seeds = utterance_seeds(1, 2, map(str, range(300)))
    many, each = Streams(seeds, "joining"), [stream(int(seed), "joining") for seed in seeds]
    rows = np.arange(300)
    for turn in range(9):
        assert many.random(rows).tolist() == [each[row].random() for row in rows]
        assert many.integers(rows, high).tolist() == [int(each[row].integers(high)) for row in rows], turn
        rows = rows[turn % 2 :: 1 + turn % 2]
