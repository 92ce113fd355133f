"""Entropy pruning: what goes is what the definition says, and probabilities still sum to 1."""

from pathlib import Path

import numpy as np
import pytest

from asr.lm.arpa_writing import arpa_parts
from asr.lm.ngram import NgramModel
from asr.lm.perplexity import perplexity
from asr.lm.pruning import prune
from asr.lm.training import train_ngram
from asr.lm.words import START
from tests.lm.texts import random_text, write_text
from tests.oracles import back_off
from tests.oracles.entropy_pruning import relative_entropies


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("text") / "text", random_text(1, 150, num_words=20))


@pytest.fixture(scope="module")
def model(text: Path) -> NgramModel:
    return train_ngram(text, 3).model


def ngrams(model: NgramModel) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    return back_off.read(b"".join(arpa_parts(model)).decode())


@pytest.mark.parametrize("threshold", [1e-5, 1e-4, 1e-3])
def test_what_goes_is_what_the_definition_says(model: NgramModel, threshold: float) -> None:
    probs, backoffs = ngrams(model)
    growths = relative_entropies(probs, backoffs, [word for word in model.symbols if word != "<s>"])
    expected = {gram for gram in probs if len(gram) == 1}
    for length in (3, 2):  # an n-gram that a longer one continues stays
        kept = {gram for gram, growth in growths.items() if len(gram) == length and growth >= threshold}
        expected |= kept | {gram[:-1] for gram in expected if len(gram) == length + 1}
    found, _ = ngrams(prune(model, threshold))
    near = {gram for gram, growth in growths.items() if growth == pytest.approx(threshold, rel=1e-3)}
    assert found.keys() - near == expected - near
    assert 20 < len(found) < len(probs)
    assert all(found[gram] == probs[gram] for gram in found)


@pytest.mark.parametrize("threshold", [1e-9, 1e-4, 1e-2, 1e9])
def test_probabilities_still_sum_to_one(model: NgramModel, threshold: float) -> None:
    pruned = prune(model, threshold)
    words = [word for word in range(len(pruned.symbols)) if word != START]
    for state in range(pruned.num_states):
        assert sum(10 ** pruned.score(state, word)[0] for word in words) == pytest.approx(1, abs=1e-5)


def test_nothing_goes_below_every_growth_and_all_above(model: NgramModel) -> None:
    same = prune(model, 1e-12)
    for left, right in zip(same.arrays, model.arrays, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)  # weights anew, from rounded probabilities
    bare = prune(model, 1e9)
    assert (bare.order, bare.num_states, bare.symbols) == (1, 1, model.symbols)


def test_perplexity_grows_with_the_threshold(model: NgramModel, text: Path) -> None:
    values = [perplexity(prune(model, threshold), text).with_unknown for threshold in (1e-9, 1e-4, 1e-3, 1e-1)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(perplexity(model, text).with_unknown, rel=1e-4)
