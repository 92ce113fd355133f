"""Joined utterances: as long as planned, with the texts of all, the same from any number of workers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asr.config import parse
from asr.data.joining import JoiningConfig, join
from asr.data.loader import AugmentConfig, LoaderConfig, TrainingData
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import train_char
from tests.data.test_loader import assert_equal, batches, training_data
from tests.oracles.joining import followers
from tests.training.miniature import RATE, Corpus, make_corpus

JOINING = {"joining": {"probability": 0.6, "max_seconds": 2.5}, "waveform": {"speed_factors": [0.9, 1.0, 1.1]}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"))


def test_joined_is_as_long_as_planned_and_says_all_that_is_heard(corpus: Corpus) -> None:
    data = training_data(corpus, JOINING)
    rows = {utterance.id: index for index, utterance in enumerate(data.utterances)}
    own, planned = training_data(corpus, {"waveform": JOINING["waveform"]}).planned_samples(1), data.planned_samples(1)
    chains = 0
    for batch in batches(data, epoch=1):
        for position, name in enumerate(batch.ids):
            members = [rows[part] for part in name.split("+")]
            chains += len(members) > 1
            assert batch.lengths[position] == planned[members[0]] == own[members].sum() <= max(2.5 * RATE, own.max())
            text = "".join(data.utterances[member].text or "" for member in members)  # this alphabet has no space
            target = batch.targets[position, : batch.target_lengths[position]]
            assert corpus.tokenizer.decode(target.tolist()) == text
    assert chains > 3


def test_a_space_stands_between_two_texts_where_the_alphabet_has_one(corpus: Corpus) -> None:
    tokenizer = train_char(["a b", "c d"], Normalizer(NormalizerConfig()))
    rows = [replace(row, text="ab" if index % 2 else "c d") for index, row in enumerate(corpus.utterances)]
    augment = parse(AugmentConfig, {"joining": {"probability": 0.9, "max_seconds": 9.0}}, where="test")
    data = TrainingData(rows, tokenizer, RATE, LoaderConfig(workers=0), augment, seed=3)
    part = data.each_alone(epoch=1)[0]
    (chain,), (target,) = part.chains, data[part].targets
    assert len(chain) > 1
    assert tokenizer.decode(target.tolist()) == " ".join(rows[index].text or "" for index in chain)


def test_the_waveforms_stand_one_behind_the_other(corpus: Corpus) -> None:
    data = training_data(corpus, {"joining": JOINING["joining"]})
    for batch in batches(data, epoch=2):
        for row, name in enumerate(batch.ids):
            members = [u for part in name.split("+") for u in data.utterances if u.id == part]
            parts = [data._read(data.utterances.index(member)) for member in members]
            joined = torch.from_numpy(np.concatenate(parts))
            assert torch.equal(batch.waveform[row, : batch.lengths[row]], joined)


def test_every_utterance_starts_a_row_once_and_epochs_differ(corpus: Corpus) -> None:
    data = training_data(corpus, JOINING)
    first = [[name.split("+")[0] for batch in batches(data, epoch) for name in batch.ids] for epoch in (1, 2)]
    assert sorted(first[0]) == sorted(first[1]) == sorted(u.id for u in data.utterances)
    assert {n for b in batches(data, 1) for n in b.ids} != {n for b in batches(data, 2) for n in b.ids}


def test_workers_change_nothing(corpus: Corpus) -> None:
    assert_equal(batches(training_data(corpus, JOINING)), batches(training_data(corpus, JOINING, workers=2)))


def test_how_many_follow() -> None:
    """With probability p, p / (1 - p) follow on average; never beyond the room; never any at 0."""
    lengths, seeds = np.full(2000, 16000), np.arange(2000)
    config = parse(JoiningConfig, {"probability": 0.5, "max_seconds": 1000.0}, where="test")
    assert sum(map(len, join(seeds, lengths, config, 16000)[1].values())) / 2000 == pytest.approx(1.0, abs=0.1)
    config = parse(JoiningConfig, {"probability": 0.99, "max_seconds": 3.5}, where="test")
    assert max(map(len, join(seeds, lengths, config, 16000)[1].values())) == 2
    assert join(seeds, lengths, JoiningConfig(), 16000) == (lengths, {})


def test_all_at_once_are_as_one_after_another() -> None:
    random = np.random.default_rng(4)
    lengths, seeds = random.integers(8000, 160000, 700), random.integers(0, 1 << 63, 700)
    config = parse(JoiningConfig, {"probability": 0.8, "max_seconds": 30.0}, where="test")
    joined, found = join(seeds, lengths, config, 16000)
    for index, seed in enumerate(seeds.tolist()):
        expected = followers(seed, index, lengths, 0.8, 30.0, 16000)
        assert found.get(index, []) == expected
        assert joined[index] == lengths[[index, *expected]].sum()
    assert max(map(len, found.values())) > 4
