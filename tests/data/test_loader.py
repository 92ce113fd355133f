"""Batches: the same from any number of workers, as long as planned, and never with another's padding."""

import dataclasses
import itertools
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr.config import parse
from asr.data.loader import AugmentConfig, Batch, LoaderConfig, Replay, TrainingData
from asr.data.manifest import Utterance
from asr.errors import DataError, InputError
from tests.training.miniature import RATE, Corpus, make_corpus

EVERYTHING: dict[str, Any] = {
    "waveform": {"speed_factors": [0.9, 1.0, 1.1], "gain_db": [-6, 6]},
    "mixing": {"probability": 0.5},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"))


def training_data(corpus: Corpus, augment: dict[str, Any] | None = None, views: int = 1, **loader: Any) -> TrainingData:
    config = parse(LoaderConfig, {"batch_seconds": 3.0, "max_seconds": 3.0, "workers": 0, **loader}, where="test")
    augmenting = parse(AugmentConfig, augment or {}, where="test")
    return TrainingData(corpus.utterances, corpus.tokenizer, RATE, config, augmenting, seed=3, views=views)


def batches(data: TrainingData, epoch: int = 1, rank: int = 0, ranks: int = 1, first_step: int = 0) -> list[Batch]:
    found = list(data.loader_for(data.parts(epoch, rank=rank, ranks=ranks, first_step=first_step)))
    assert all(isinstance(batch, Batch) for batch in found)
    return found  # type: ignore[return-value]


def contents(batch: Batch) -> dict[str, Any]:
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    partners = values.pop("partners")
    return values | ({f"partner_{name}": value for name, value in vars(partners).items()} if partners else {})


def assert_equal(found: Sequence[Batch], others: Sequence[Batch]) -> None:
    for batch, other in zip(found, others, strict=True):
        mine, theirs = contents(batch), contents(other)
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            same = torch.equal(value, theirs[name]) if isinstance(value, torch.Tensor) else value == theirs[name]
            assert same, name


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("cached", [False, True])
def test_workers_change_nothing(corpus: Corpus, workers: int, cached: bool) -> None:
    plain = training_data(corpus, EVERYTHING, views=2, accumulate=2)
    parallel = training_data(corpus, EVERYTHING, views=2, accumulate=2, workers=workers)
    if cached:
        parallel.fill_cache()
    expected = batches(plain)
    assert any(batch.partners is not None and len(batch.partners.rows) for batch in expected)
    assert_equal(expected, batches(parallel))
    assert not multiprocessing.active_children()


def test_real_samples_are_those_planned_after_speed_perturbation(corpus: Corpus) -> None:
    data = training_data(corpus, EVERYTHING)
    for epoch in range(3):
        planned = dict(zip([u.id for u in data.utterances], data.planned_samples(epoch).tolist(), strict=True))
        real = {
            name: int(length)
            for batch in batches(data, epoch)
            for name, length in zip(batch.ids, batch.lengths, strict=True)
        }
        assert real == planned
    assert len({tuple(data.planned_samples(epoch)) for epoch in range(3)}) == 3


def test_ranks_see_every_utterance_once_and_take_the_same_steps(corpus: Corpus) -> None:
    for ranks, accumulate in itertools.product((1, 2, 3), (1, 2)):
        data = training_data(corpus, EVERYTHING, accumulate=accumulate)
        seen = [batches(data, 2, rank, ranks) for rank in range(ranks)]
        assert len({len(mine) for mine in seen}) == 1
        names = [name for mine in seen for batch in mine for name in batch.ids]
        assert sorted(names) == sorted(utterance.id for utterance in data.utterances)
        for parts in zip(*seen, strict=True):  # the same step everywhere
            assert len({(part.position[:2], part.global_count, part.global_seconds) for part in parts}) == 1
        assert len({batch.position for mine in seen for batch in mine}) == sum(map(len, seen))


def test_a_step_tells_its_size_over_all_parts(corpus: Corpus) -> None:
    data = training_data(corpus, EVERYTHING, accumulate=2)
    found = batches(data)
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert first.global_count == len(first.ids) + len(second.ids)
        samples = int(first.lengths.sum() + second.lengths.sum())
        assert first.global_seconds == second.global_seconds == samples / RATE


def test_an_epoch_can_start_in_the_middle(corpus: Corpus) -> None:
    data = training_data(corpus, EVERYTHING, accumulate=2)
    assert_equal(batches(data)[4:], batches(data, first_step=2))


def test_an_empty_part_is_a_batch_of_nothing(corpus: Corpus) -> None:
    data = training_data(corpus, EVERYTHING, views=2, accumulate=16)
    empty = [batch for batch in batches(data) if not batch.ids]
    assert empty
    assert empty[0].waveform.shape == (0, 1)
    assert empty[0].seeds.shape == (0, 2)
    assert empty[0].lengths.dtype == torch.int64
    assert empty[0].global_count > 0


def test_what_is_drawn_for_an_utterance_does_not_depend_on_its_batch(corpus: Corpus) -> None:
    small, large = training_data(corpus, EVERYTHING), training_data(corpus, EVERYTHING, batch_seconds=30.0)

    def rows(data: TrainingData) -> dict[str, np.ndarray]:
        return {
            name: row[:length].numpy()
            for batch in batches(data)
            for name, row, length in zip(batch.ids, batch.waveform, batch.lengths, strict=True)
        }

    found, others = rows(small), rows(large)
    assert all(np.array_equal(found[name], others[name]) for name in found)


def test_views_draw_seeds_of_their_own_and_epochs_too(corpus: Corpus) -> None:
    data = training_data(corpus, views=2)
    seeds = [int(seed) for epoch in (0, 1) for batch in batches(data, epoch) for seed in batch.seeds.flatten()]
    assert len(set(seeds)) == len(seeds) == 4 * len(data)


def test_padding_is_zero_and_targets_are_the_texts(corpus: Corpus) -> None:
    data = training_data(corpus)
    texts = {utterance.id: utterance.text for utterance in data.utterances}
    for batch in batches(data):
        for row, name in enumerate(batch.ids):
            assert not batch.waveform[row, batch.lengths[row] :].any()
            ids = batch.targets[row, : batch.target_lengths[row]].tolist()
            assert corpus.tokenizer.decode(ids) == texts[name]


def test_the_heaviest_parts_of_a_rank_are_among_its_own(corpus: Corpus) -> None:
    data = training_data(corpus, accumulate=2)
    for rank in range(2):
        mine = [batch for epoch in range(3) for batch in batches(data, epoch, rank, 2)]
        tried = list(data.heaviest(rank=rank, ranks=2))
        assert max(batch.waveform.numel() for batch in tried) == max(batch.waveform.numel() for batch in mine)
        assert max(batch.waveform.shape[1] for batch in tried) == max(
            batch.waveform.shape[1] for batch in mine if batch.ids
        )


def test_the_heaviest_batches_are_those_of_the_first_three_epochs(corpus: Corpus) -> None:
    """Epoch 0 is sorted by exact length and so pads least: the heaviest batches come later."""
    data = training_data(corpus, EVERYTHING)
    padded = [max(batch.waveform.numel() for batch in batches(data, epoch)) for epoch in range(3)]
    tried = list(data.heaviest(rank=0, ranks=1))
    assert len(tried) <= 2
    assert max(batch.waveform.numel() for batch in tried) == max(padded) > padded[0]
    longest = [int(data.planned_samples(epoch).max()) for epoch in range(3)]
    assert max(batch.waveform.shape[1] for batch in tried) == max(longest)


@pytest.mark.parametrize("workers", [0, 1])
def test_audio_that_cannot_be_read_is_one_error_of_one_line(tmp_path: Path, workers: int) -> None:
    corpus = make_corpus(tmp_path, num_train=3)
    data = training_data(corpus, workers=workers)
    (tmp_path / "u01.wav").write_bytes(b"RIFF and no more")
    answers = list(data.loader_for(data.parts(0, rank=0, ranks=1)))
    errors = [answer for answer in answers if isinstance(answer, InputError)]
    assert [type(error) for error in errors] == [DataError]
    assert str(errors[0]).startswith(str(tmp_path / "u01.wav"))
    assert "\n" not in str(errors[0])


def test_the_cache_is_filled_only_if_all_audio_fits(corpus: Corpus, tmp_path: Path) -> None:
    moved = make_corpus(tmp_path, num_train=3)
    without = training_data(moved, cache_mb=0)
    cached = training_data(moved)
    without.fill_cache()
    cached.fill_cache()
    for name in ("u00", "u01", "u02"):
        (tmp_path / f"{name}.wav").unlink()
    assert len(batches(cached)) > 0
    with pytest.raises(DataError, match=r"u0\d\.wav"):
        next(without.waveforms())


def test_a_text_outside_the_alphabet_names_its_utterance(corpus: Corpus) -> None:
    utterances = [Utterance("odd", Path("a.wav"), 0.0, 1.0, "aé")]
    with pytest.raises(DataError, match=r"utterance 'odd': 'é' \(U\+00E9\) is not in the alphabet"):
        TrainingData(utterances, corpus.tokenizer, RATE, LoaderConfig(), AugmentConfig(), seed=1).labels([0])


def test_a_batch_moves_with_all_its_tensors(corpus: Corpus) -> None:
    data = training_data(corpus, EVERYTHING)
    moved = [batch.to(torch.device("meta")) for batch in batches(data)]
    tensors = [value for batch in moved for value in contents(batch).values() if isinstance(value, torch.Tensor)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert len(tensors) == 8 * len(moved)


def replayed(corpus: Corpus, ratio: float, *, seed: int = 3) -> TrainingData:
    """Return data of three new utterances among the miniature corpus replayed."""
    new = [dataclasses.replace(item, id=f"new-{item.id}") for item in corpus.utterances[:3]]
    config = parse(LoaderConfig, {"batch_seconds": 3.0, "max_seconds": 3.0, "workers": 0}, where="test")
    replay = Replay(corpus.utterances, ratio)
    return TrainingData(new, corpus.tokenizer, RATE, config, AugmentConfig(), seed=seed, replay=replay)


def drawn(data: TrainingData, epoch: int) -> list[str]:
    """Return the ids of the replayed utterances of an epoch, in the order of the manifest."""
    return [data.utterances[index].id for index in sorted(data.selected(epoch)) if index >= data.num_new]


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.7])
def test_new_utterances_come_once_an_epoch_and_replayed_ones_make_their_share(corpus: Corpus, ratio: float) -> None:
    data = replayed(corpus, ratio)
    longest = max(item.duration for item in corpus.utterances)
    for epoch in range(4):
        ids = [name for batch in batches(data, epoch) for name in batch.ids]
        assert sorted(name for name in ids if name.startswith("new-")) == sorted(
            item.id for item in data.utterances[: data.num_new]
        )
        assert len(set(ids)) == len(ids)
        assert sorted(ids) == sorted(data.utterances[index].id for index in data.selected(epoch))
        seconds = {item.id: item.duration for item in data.utterances}
        old = sum(seconds[name] for name in ids if not name.startswith("new-"))
        new = sum(seconds[name] for name in ids if name.startswith("new-"))
        assert 0 <= old - new * ratio / (1 - ratio) <= longest


def test_every_epoch_replays_others_the_same_for_everybody(corpus: Corpus) -> None:
    data = replayed(corpus, 0.5)
    epochs = [drawn(data, epoch) for epoch in range(6)]
    assert len({tuple(names) for names in epochs}) > 3
    assert {name for names in epochs for name in names} > set(epochs[0])
    assert epochs == [drawn(replayed(corpus, 0.5), epoch) for epoch in range(6)]
    assert epochs != [drawn(replayed(corpus, 0.5, seed=4), epoch) for epoch in range(6)]


def test_too_little_to_replay_is_replayed_whole(corpus: Corpus) -> None:
    assert len(drawn(replayed(corpus, 0.95), 1)) == len(corpus.utterances)


def test_ranks_share_what_is_replayed(corpus: Corpus) -> None:
    data = replayed(corpus, 0.5)
    parts = [[name for batch in batches(data, 2, rank, 2) for name in batch.ids] for rank in (0, 1)]
    assert not set(parts[0]) & set(parts[1])
    assert sorted(parts[0] + parts[1]) == sorted(data.utterances[index].id for index in data.selected(2))
