"""Language models in the search: scores equal those of the whole sentence, computed apart."""

from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from asr.decoding.beam import BeamConfig, BeamSearch
from asr.decoding.fusion import ADDED, ALL, CERTAIN, MODEL, STATES, UNKNOWN_LETTERS, extend
from asr.decoding.scorer import FusionConfig, fuse
from asr.errors import DataError
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import Tokenizer, train_sentencepiece
from tests.decoding.test_beam import EVERYTHING, all_alignments, random_log_probs

CONFIG = FusionConfig(weight=0.7, bonus=0.4, unknown=-3.0)
LN_10 = float(np.log(10))


def characters(letters: str) -> Tokenizer:
    return Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *letters]})


def model_of(folder: Path, text: str, order: int = 2) -> NgramModel:
    (folder / "text").write_text(text)
    return train_ngram(folder / "text", order).model


def all_texts(log_probs: NDArray[np.float32], space: int = 1) -> dict[tuple[int, ...], float]:
    """Return the log-probability of every text: spaces at its ends and next to others say nothing."""
    found: dict[tuple[int, ...], float] = {}
    for ids, score in all_alignments(log_probs).items():
        pairs = zip(ids, (space, *ids), strict=False)
        kept = [token for token, before in pairs if not token == before == space]
        text = tuple(kept[:-1] if kept[-1:] == [space] else kept)
        found[text] = float(np.logaddexp(found.get(text, -np.inf), score))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_words_are_scored_as_the_model_scores_the_sentence(tmp_path: Path, seed: int) -> None:
    tokenizer = characters("▁ab")
    model = model_of(tmp_path, "a b a\nab a\na a b\nba ab b\n", 3)
    log_probs = random_log_probs(6, 4, seed)
    search = BeamSearch(4, EVERYTHING, fuse(tokenizer, model, CONFIG))
    search.accept(log_probs)
    acoustic = all_texts(log_probs)
    found = search.finish(10**6)
    assert {prefix.token_ids for prefix in found} == acoustic.keys()
    for prefix in found:
        words = tokenizer.decode(prefix.token_ids).split()
        log10 = model.sentence_log10(words)
        strange = sum(word not in model.symbols for word in words)
        added = CONFIG.weight * LN_10 * log10 + CONFIG.bonus * len(words) + CONFIG.unknown * strange
        assert prefix.acoustic_score == pytest.approx(acoustic[prefix.token_ids], abs=1e-5)
        assert prefix.lm_score == pytest.approx(LN_10 * log10, abs=1e-4)
        assert prefix.score == pytest.approx(prefix.acoustic_score + added, abs=1e-4)


def test_tokens_are_scored_where_they_are_the_model_s_words(tmp_path: Path) -> None:
    tokenizer = characters("▁ab")
    model = model_of(tmp_path, "a b ▁ a\na ▁ b a\nb b\n")
    log_probs = random_log_probs(5, 4, 1)
    search = BeamSearch(4, EVERYTHING, fuse(tokenizer, model, CONFIG))
    search.accept(log_probs)
    found = search.finish(10**6)
    assert len(found) == len(all_texts(log_probs))
    for prefix in found:
        expected = LN_10 * model.sentence_log10([tokenizer.symbols[token] for token in prefix.token_ids])
        assert prefix.lm_score == pytest.approx(expected, abs=1e-4)


def test_a_model_finds_the_word_that_it_knows(tmp_path: Path) -> None:
    tokenizer = characters("▁abcdefghij")
    logits = np.random.default_rng(0).normal(size=(14, 12))
    for place, token in enumerate(tokenizer.encode("cab bed")):
        logits[2 * place, token] = logits[2 * place + 1, 0] = 9
    logits[4, tokenizer.encode("d")] = 8.5  # cad, nearly
    log_probs = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)

    def heard(text: str) -> str:
        model = model_of(tmp_path, text)
        search = BeamSearch(12, BeamConfig(), fuse(tokenizer, model, CONFIG))
        search.accept(log_probs)
        return tokenizer.decode(search.finish()[0].token_ids)

    assert heard("cab bed\nhead\n") == "cab bed"
    assert heard("cad bed\nhead\n") == "cad bed"
    assert heard("bed\nhead\n") == "cab bed", "words that it does not know are heard too"


def test_pieces_of_words_are_scored_as_words(tmp_path: Path) -> None:
    texts = ["abba cab", "cab abba bad", "bad cab", "abba"] * 20
    tokenizer = train_sentencepiece(texts, Normalizer(NormalizerConfig()), size=12, model="bpe")
    model = model_of(tmp_path, "\n".join(texts))
    log_probs = random_log_probs(4, tokenizer.size, 2)
    search = BeamSearch(tokenizer.size, EVERYTHING, fuse(tokenizer, model, CONFIG))
    search.accept(log_probs)
    found = search.finish(3000)
    assert any(word in model.symbols for prefix in found for word in tokenizer.decode(prefix.token_ids).split())
    for prefix in found:
        pieces = "".join(tokenizer.symbols[token] for token in prefix.token_ids).replace("▁", " ").split()
        assert prefix.lm_score == pytest.approx(LN_10 * model.sentence_log10(pieces), abs=1e-4)


def test_a_model_of_other_letters_is_refused(tmp_path: Path) -> None:
    model = model_of(tmp_path, "ÄÖ Ü\n")
    with pytest.raises(DataError, match=r"words \('ÄÖ', 'Ü', \.\.\.\) cannot be spelled in the tokens of the model"):
        fuse(characters("▁ab"), model)


def test_the_look_ahead_is_taken_back_when_the_word_ends(tmp_path: Path) -> None:
    tokenizer = characters("▁ab")
    model = model_of(tmp_path, "ab\nab a\n")
    fusion = fuse(tokenizer, model, CONFIG)
    rows = [np.log(np.full(4, 0.01) + 0.96 * (np.arange(4) == token)) for token in (2, 3, 1, 2)]
    log_probs = np.array(rows, np.float32)
    scores = []
    for frames in range(1, 5):
        search = BeamSearch(4, EVERYTHING, fusion)
        search.accept(log_probs[:frames])
        scores.append({prefix.token_ids: prefix.score for prefix in search.finish(10**6)})
    for frames, found in enumerate(scores, 1):
        ids = (2, 3, 1, 2)[:frames]
        words = tokenizer.decode(ids).split()
        strange = sum(word not in model.symbols for word in words)
        expected = CONFIG.weight * LN_10 * model.sentence_log10(words) + 0.4 * len(words) - 3.0 * strange
        ids = ids[:-1] if ids[-1] == 1 else ids  # a space at the end says nothing
        acoustic = all_texts(log_probs[:frames])[ids]
        assert found[ids] == pytest.approx(acoustic + expected, abs=1e-4)


def test_an_unknown_word_costs_the_more_the_longer_it_is(tmp_path: Path) -> None:
    """Priced in full at its first strange letter, it lost to words that were still to prove themselves."""
    tokenizer = characters("▁abc")
    fusion = fuse(tokenizer, model_of(tmp_path, "a b\n" * 1000 + "ab\n"), CONFIG)
    states, added = np.zeros((2, STATES), np.int32), np.zeros((2, ADDED))
    states[0, MODEL] = fusion.start
    ahead = []
    for token in tokenizer.encode("ab" + "c" * 4):
        extend(fusion, states[0], added[0], token, states[1], added[1])
        states[0], added[0] = states[1], added[1]
        ahead.append(added[0, ALL] - added[0, CERTAIN])
    assert UNKNOWN_LETTERS == 4
    price = CONFIG.weight * LN_10 * fusion.arcs.log10_probs[0] + CONFIG.unknown
    assert ahead == sorted(ahead, reverse=True)
    assert price < ahead[1] < 0, "or the test would not see what is kept of the prefix that was known"
    assert ahead[2] == pytest.approx(min(0.75 * price, ahead[1]))
    assert ahead[3:] == pytest.approx([price] * 3)


def test_the_search_is_compiled_once_with_a_model_and_without(tmp_path: Path) -> None:
    tokenizer = characters("▁ab")
    kinds = [numba.typeof(fuse(tokenizer, model)) for model in (None, model_of(tmp_path, "a b\n"))]
    assert kinds[0] == kinds[1] == numba.typeof(fuse(tokenizer, hotwords={"ab": 1}))
