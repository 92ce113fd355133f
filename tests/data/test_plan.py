"""The batch plan: every utterance once, whatever the number of ranks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.plan import batch_sums, heaviest, plan_epoch, split_batches

lengths = st.lists(st.integers(1, 400), min_size=1, max_size=60).map(lambda row: np.array(row, dtype=np.int64))


def as_lists(batches: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


@given(lengths, st.integers(1, 1000), st.integers(0, 5), st.integers(0, 3))
def test_every_utterance_once_and_no_batch_above_the_budget(
    num_samples: np.ndarray, budget: int, seed: int, epoch: int
) -> None:
    batches = plan_epoch(num_samples, batch_samples=budget, seed=seed, epoch=epoch)
    assert sorted(itertools.chain(*as_lists(batches))) == list(range(len(num_samples)))
    for batch in batches:
        assert num_samples[batch].sum() <= budget or len(batch) == 1


@given(lengths, st.integers(1, 1000), st.integers(0, 3))
def test_batches_are_full(num_samples: np.ndarray, budget: int, epoch: int) -> None:
    """Two batches that lie side by side in the order of lengths would not fit into one."""
    batches = plan_epoch(num_samples, batch_samples=budget, seed=1, epoch=epoch)
    assert len(batches) <= 1 + 2 * num_samples.sum() / budget + (num_samples > budget).sum()


def test_the_same_seed_and_epoch_give_the_same_plan_and_others_another() -> None:
    num_samples = np.random.default_rng(0).integers(8000, 160000, 500)
    plans = {
        (seed, epoch): as_lists(plan_epoch(num_samples, batch_samples=800000, seed=seed, epoch=epoch))
        for seed in (1, 2)
        for epoch in (1, 2)
    }
    assert plans[1, 1] == as_lists(plan_epoch(num_samples, batch_samples=800000, seed=1, epoch=1))
    texts = [str(plan) for plan in plans.values()]
    assert len(set(texts)) == 4
    members = [sorted(map(sorted, plan)) for plan in plans.values()]
    assert members[0] != members[1], "only the order of the batches differs: utterances always meet the same others"


def test_the_first_epoch_runs_from_short_to_long_if_wanted() -> None:
    num_samples = np.random.default_rng(0).integers(8000, 160000, 200)
    easy = plan_epoch(num_samples, batch_samples=800000, seed=1, epoch=0)
    assert np.all(np.diff(num_samples[np.concatenate(easy)]) >= 0)
    hard = plan_epoch(num_samples, batch_samples=800000, seed=1, epoch=0, shortest_first=False)
    assert not np.all(np.diff([num_samples[batch].max() for batch in hard]) >= 0)


def test_buckets_keep_padding_small() -> None:
    num_samples = np.random.default_rng(0).integers(8000, 160000, 1000)
    for epoch in (0, 3):
        batches = plan_epoch(num_samples, batch_samples=1600000, seed=1, epoch=epoch)
        padded = sum(int(num_samples[batch].max()) * len(batch) for batch in batches)
        assert padded < 1.12 * num_samples.sum(), epoch  # lengths are jittered by 10 % before sorting


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
@given(lengths)
def test_parts_hold_the_batch_once_and_are_even(parts: int, num_samples: np.ndarray) -> None:
    batch = np.arange(len(num_samples))
    pieces = split_batches([batch], num_samples, parts)
    assert len(pieces) == parts
    assert sorted(itertools.chain(*as_lists(pieces))) == batch.tolist()
    ends = [num_samples[piece] for piece in pieces if len(piece)]
    for shorter, longer in itertools.pairwise(ends):
        assert shorter.max() <= longer.min()  # similar lengths together: little padding
    share = num_samples.sum() / parts
    assert all(num_samples[piece].sum() <= share + num_samples.max() for piece in pieces)


def test_a_batch_of_fewer_utterances_than_parts_leaves_parts_empty() -> None:
    lengths = np.array([5, 6, 7])
    two, one = np.array([2, 0]), np.array([1])
    assert as_lists(split_batches([two, one], lengths, 4)) == [[0], [2], [], [], [1], [], [], []]


@given(lengths, st.integers(1, 5), st.integers(50, 1000))
def test_a_batch_is_split_the_same_beside_others(num_samples: np.ndarray, parts: int, budget: int) -> None:
    batches = plan_epoch(num_samples, batch_samples=budget, seed=1, epoch=1)
    alone = [split_batches([batch], num_samples, parts) for batch in batches]
    assert as_lists(split_batches(batches, num_samples, parts)) == as_lists(list(itertools.chain(*alone)))
    assert batch_sums(batches, num_samples) == [int(num_samples[batch].sum()) for batch in batches]


def test_the_heaviest_batches_are_the_most_padded_and_the_longest() -> None:
    num_samples = np.array([10, 10, 10, 10, 35, 5, 30])
    batches = [np.array([0, 1, 2, 3]), np.array([4]), np.array([5, 6])]
    assert heaviest(batches, num_samples) == [1, 2]
