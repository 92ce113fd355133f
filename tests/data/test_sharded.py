"""Training data out of shards: the contracts of batches hold as they do for a manifest."""

import dataclasses
import itertools
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr.audio.files import read_audio
from asr.audio.resample import resample
from asr.config import parse
from asr.data.loader import AugmentConfig, Batch, BatchSource, LoaderConfig
from asr.data.shard_index import RECORD, Shard, ShardIndex
from asr.data.shard_reader import ShardReader, read_index
from asr.data.sharded import ShardedData, refuse_untrainable
from asr.errors import DataError, InputError
from asr.text.tokenizer import Tokenizer
from tests.data.shards import make_shards
from tests.data.test_loader import EVERYTHING, assert_equal
from tests.training.miniature import RATE, Corpus, make_corpus

ALL = EVERYTHING | {"joining": {"probability": 0.4, "max_seconds": 3.0}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"), num_train=23)


@pytest.fixture(scope="module")
def shards(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(corpus, tmp_path_factory.mktemp("shards") / "shards")


def sharded_data(
    corpus: Corpus, shards: Path, augment: dict[str, Any] | None = None, rate: int = RATE, views: int = 1, **loader: Any
) -> ShardedData:
    values = {"batch_seconds": 3.0, "max_seconds": 3.0, "workers": 0, "group_shards": 2, **loader}
    config = parse(LoaderConfig, values, where="test")
    augmenting = parse(AugmentConfig, augment or {}, where="test")
    return ShardedData(read_index(str(shards)), corpus.tokenizer, rate, config, augmenting, seed=3, views=views)


def batches(data: BatchSource, epoch: int = 1, rank: int = 0, ranks: int = 1, first_step: int = 0) -> list[Batch]:
    parts = data.parts(epoch, rank=rank, ranks=ranks, first_step=first_step)
    found = list(data.loader_for(parts))
    assert len(found) == len(parts)
    assert all(isinstance(batch, Batch) for batch in found)
    return found  # type: ignore[return-value]


def first_ids(found: list[Batch]) -> list[str]:
    return [name.split("+")[0] for batch in found for name in batch.ids]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_change_nothing(corpus: Corpus, shards: Path, workers: int) -> None:
    plain = sharded_data(corpus, shards, ALL, views=2, accumulate=2)
    parallel = sharded_data(corpus, shards, ALL, views=2, accumulate=2, workers=workers)
    expected = batches(plain)
    assert any(batch.partners is not None and len(batch.partners.rows) for batch in expected)
    assert any("+" in name for batch in expected for name in batch.ids)
    assert_equal(expected, batches(parallel))
    assert not multiprocessing.active_children()


def test_ranks_see_every_utterance_once_and_take_the_same_steps(corpus: Corpus, shards: Path) -> None:
    for ranks, accumulate, epoch in itertools.product((1, 2, 3), (1, 2), (0, 1)):
        data = sharded_data(corpus, shards, ALL, accumulate=accumulate)
        seen = [batches(data, epoch, rank, ranks) for rank in range(ranks)]
        assert len({len(mine) for mine in seen}) == 1
        names = [name for mine in seen for name in first_ids(mine)]
        assert sorted(names) == sorted(utterance.id for utterance in corpus.utterances)
        for parts in zip(*seen, strict=True):  # the same step everywhere
            assert len({(part.position[:2], part.global_count, part.global_seconds) for part in parts}) == 1
        assert len({batch.position for mine in seen for batch in mine}) == sum(map(len, seen))
        steps = [batch.position[1] for batch in seen[0]]
        assert steps == sorted(steps)
        assert set(steps) == set(range(steps[-1] + 1))


def test_batches_of_other_ranks_are_the_same_whole(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(corpus, shards, ALL)
    whole = [sorted(batch.ids) for batch in batches(data)]
    halves = zip(batches(data, rank=0, ranks=2), batches(data, rank=1, ranks=2), strict=True)
    assert whole == [sorted([*first.ids, *second.ids]) for first, second in halves]


def test_an_epoch_can_start_at_any_step(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(corpus, shards, ALL, accumulate=2)
    expected = batches(data)
    steps = len(expected) // 2
    assert len(data.groups(1)) > 2
    for first in range(steps + 1):
        assert_equal(expected[2 * first :], batches(data, first_step=first))


def test_a_step_in_the_middle_reads_no_shard_of_the_groups_before_it(
    corpus: Corpus, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    checked = ShardReader._checked

    def watched(self: ShardReader, shard: Shard) -> int:
        opened.append(shard.file)
        return checked(self, shard)

    monkeypatch.setattr(ShardReader, "_checked", watched)
    data = sharded_data(corpus, shards, ALL)
    last = len(data.groups(1)) - 1
    batches(data, first_step=data.group_plan(1, last).first_step)
    # those of the last group, and of the first one of the next epoch, which is got ready
    wanted = {*data.groups(1)[last].tolist(), *data.groups(2)[0].tolist()}
    assert set(opened) <= {data.index.shards[number].file for number in wanted}
    assert len(opened) < len(data.index.shards) - 2


def test_shards_of_groups_gone_by_are_closed(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(corpus, shards, EVERYTHING, group_shards=1)
    for part in data.parts(1, rank=0, ranks=1):
        data.prepare(part)
        data[part]
        assert data.reader._ahead is not None
        data.reader._ahead.join()
        assert len(data.reader._open) <= 2


def test_batches_partners_and_followers_are_of_one_group(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(corpus, shards, ALL)
    for part in data.parts(2, rank=0, ranks=1):
        own = set(data.groups(2)[part.group].tolist())
        assert {data.index.shard_of(row) for chain in part.chains for row in chain} <= own


def test_every_epoch_has_other_groups_and_batches(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(corpus, shards)
    orders = [tuple(np.concatenate(data.groups(epoch)).tolist()) for epoch in range(4)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(len(data.index.shards))) for order in orders)
    assert first_ids(batches(data, 1)) != first_ids(batches(data, 2))


def test_real_samples_are_those_planned(corpus: Corpus, shards: Path) -> None:
    for rate in (RATE, 11025):
        data = sharded_data(corpus, shards, ALL, rate=rate)
        for batch in batches(data):
            assert int(batch.lengths.sum()) == round(batch.global_seconds * rate)


def test_waveforms_and_labels_are_those_of_the_manifest(corpus: Corpus, shards: Path) -> None:
    by_id = {utterance.id: utterance for utterance in corpus.utterances}
    for rate in (RATE, 11025):
        for batch in batches(sharded_data(corpus, shards, rate=rate)):
            for row, name in enumerate(batch.ids):
                waveform = resample(read_audio(by_id[name].audio)[0], RATE, rate)
                assert np.array_equal(batch.waveform[row, : batch.lengths[row]].numpy(), waveform)
                assert not batch.waveform[row, batch.lengths[row] :].any()
                target = batch.targets[row, : batch.target_lengths[row]].tolist()
                assert corpus.tokenizer.decode(target) == by_id[name].text


def test_what_is_drawn_does_not_depend_on_how_the_corpus_was_cut(corpus: Corpus, shards: Path, tmp_path: Path) -> None:
    other = make_shards(corpus, tmp_path / "other", shard_bytes=90_000)

    def rows(folder: Path) -> dict[str, tuple[bytes, list[int]]]:
        return {
            name: (row[:length].numpy().tobytes(), seeds.tolist())
            for batch in batches(sharded_data(corpus, folder, {"waveform": ALL["waveform"]}, views=2))
            for name, row, length, seeds in zip(batch.ids, batch.waveform, batch.lengths, batch.seeds, strict=True)
        }

    assert len(list(other.glob("*.tar"))) < len(list(shards.glob("*.tar")))
    assert rows(shards) == rows(other)


def test_seeds_of_views_and_epochs_differ(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(corpus, shards, views=2)
    seeds = [int(seed) for epoch in (0, 1) for batch in batches(data, epoch) for seed in batch.seeds.flatten()]
    assert len(set(seeds)) == len(seeds) == 4 * len(data)
    assert min(seeds) >= 0


def test_the_first_epoch_runs_from_short_to_long_in_each_group(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(corpus, shards)
    found = batches(data, epoch=0)
    for group in range(len(data.groups(0))):
        plan = data.group_plan(0, group)
        mine = found[plan.first_step : plan.first_step + len(plan.batches)]
        lengths = [int(length) for batch in mine for length in batch.lengths]
        assert lengths == sorted(lengths)


def test_an_empty_part_is_a_batch_of_nothing(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(corpus, shards, ALL, views=2, accumulate=16)
    empty = [batch for batch in batches(data) if not batch.ids]
    assert empty
    assert (empty[0].waveform.shape, empty[0].seeds.shape) == ((0, 1), (0, 2))
    assert empty[0].global_count > 0


def test_the_heaviest_batches_are_of_the_rank(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(corpus, shards, ALL)
    for rank in range(2):
        mine = batches(data, 1, rank, 2)
        tried = list(data.heaviest(rank=rank, ranks=2))
        assert max(batch.waveform.numel() for batch in tried) == max(batch.waveform.numel() for batch in mine)
        longest = max(batch.waveform.shape[1] for batch in mine if batch.ids)
        assert max(batch.waveform.shape[1] for batch in tried) == longest


def test_too_long_utterances_are_left_out_and_named(corpus: Corpus, shards: Path) -> None:
    data = sharded_data(
        corpus, shards, {"waveform": {"speed_factors": [0.9]}, "mixing": {"probability": 0.9}}, max_seconds=0.9
    )
    left_out = refuse_untrainable(data.index, corpus.tokenizer, data.loader, data.augment)
    kept = {utterance.id for utterance in corpus.utterances if utterance.duration <= 0.9 * 0.9}
    assert 0 < len(kept) < len(data)
    assert len(left_out) == len(data) - len(kept)
    assert all(name.startswith("shard-0000") and ".tar:" in name for name in left_out)
    assert set(first_ids(batches(data))) == kept
    assert len(list(data.heaviest(rank=0, ranks=1))) > 0  # although whole groups may have nothing left


def test_shards_that_cannot_be_trained_on_are_refused(corpus: Corpus, shards: Path, tmp_path: Path) -> None:
    loader, augment = LoaderConfig(), AugmentConfig()
    index = read_index(str(shards))

    def refused(index: ShardIndex, tokenizer: Tokenizer = corpus.tokenizer, loader: LoaderConfig = loader) -> str:
        with pytest.raises(DataError) as caught:
            refuse_untrainable(index, tokenizer, loader, augment)
        return str(caught.value)

    assert refuse_untrainable(index, corpus.tokenizer, loader, augment) == {}
    assert "2 of 23 utterances have no text" in refused(dataclasses.replace(index, without_text=2))
    odd = dataclasses.replace(index, characters={**index.characters, "é": 7})
    assert "'é' (U+00E9, 7 utterances) not in the alphabet" in refused(odd)
    assert "all utterances are above 0.1 s" in refused(index, loader=LoaderConfig(max_seconds=0.1))


def test_a_character_that_the_normaliser_maps_is_no_fault(corpus: Corpus, shards: Path) -> None:
    from asr.text.normalize import Normalizer, NormalizerConfig
    from asr.text.tokenizer import train_char

    index = dataclasses.replace(read_index(str(shards)), characters={"É": 3, "&": 1, ";": 1, "a": 5})
    config = parse(NormalizerConfig, {"case": "lower", "map": {"é": "a", "&a;": "a"}}, where="test")
    tokenizer = train_char(["abcd"], Normalizer(config))
    assert refuse_untrainable(index, tokenizer, LoaderConfig(), AugmentConfig()) == {}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_lost_shard_is_one_error_of_one_line(corpus: Corpus, tmp_path: Path, workers: int) -> None:
    shards = make_shards(corpus, tmp_path / "shards")
    (shards / "shard-000002.tar").unlink()
    data = sharded_data(corpus, shards, workers=workers)
    answers = list(data.loader_for(data.parts(1, rank=0, ranks=1)))
    errors = [answer for answer in answers if isinstance(answer, InputError)]
    assert errors
    assert {type(error) for error in errors} == {DataError}
    assert f"{shards}/shard-000002.tar: this shard is lost; put it back, or copy" in str(errors[0])
    assert "\n" not in str(errors[0])


def test_the_plan_of_ten_million_utterances_costs_16_bytes_each(corpus: Corpus) -> None:
    """A tenth of it here: what grows with the corpus is the index, and nothing else."""
    data = ShardedData(synthetic_index(1_000_000), corpus.tokenizer, 16000, LoaderConfig(), AugmentConfig(), seed=1)
    assert data.index.records.nbytes == 16_000_000
    parts = data.parts(1, rank=3, ranks=8)
    steps = len(parts)
    assert 200_000 < steps < 400_000
    middle = next(iter(data.parts(1, rank=3, ranks=8, first_step=steps // 2)))
    assert middle.step == steps // 2


def synthetic_index(count: int, per_shard: int = 1300) -> ShardIndex:
    random = np.random.default_rng(1)
    records = np.zeros(count, RECORD)
    records["identity"] = random.integers(0, 1 << 63, count)
    records["samples"] = random.integers(20_000, 300_000, count)
    counts = [min(per_shard, count - first) for first in range(0, count, per_shard)]
    shards = [Shard(f"shard-{n:06d}.tar", 1 << 28, 1 << 28, "0" * 64, size) for n, size in enumerate(counts)]
    return ShardIndex("nowhere", 16000, shards, 0, {}, records, "0" * 64)
