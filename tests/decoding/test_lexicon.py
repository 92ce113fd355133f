"""Search in a closed vocabulary: its words alone, against all alignments; phones, homophones, unfinished words."""

import logging
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from asr.decoding.beam import BeamConfig, BeamSearch
from asr.decoding.greedy import hypothesis_from_path
from asr.decoding.lexicon import vocabulary_of
from asr.decoding.scorer import FusionConfig, fuse
from asr.decoding.searching import UNFINISHED, SearchReader
from asr.errors import DataError
from asr.recognizer import Recognizer
from asr.text.lexicon import Lexicon, parse_lexicon
from asr.text.normalize import Normalizer
from asr.text.tokenizer import Tokenizer, train_lexicon, train_sentencepiece
from asr.units import FrameGeometry
from tests.decoding.test_beam import EVERYTHING, random_log_probs
from tests.decoding.test_scorer import CONFIG, LN_10, all_texts, characters, model_of
from tests.tiny_model import babble, tiny_model

PHONES = "two T UW\nto T UW\nto T AH\na AH\noh AH\nut AH T\n"


def lexicon_of(text: str) -> Lexicon:
    return parse_lexicon(text.encode(), Normalizer(), where="a.dic")


def phones(text: str = "two a") -> Tokenizer:
    return train_lexicon([text], Normalizer(), lexicon_of(PHONES))


def peaked(ids: list[int], num_tokens: int, likelier: float = 0.9) -> NDArray[np.float32]:
    """Return log-probs of frames that say these tokens, all others being equally improbable."""
    rest = (1 - likelier) / (num_tokens - 1)
    rows = [np.where(np.arange(num_tokens) == token, likelier, rest) for token in ids]
    return np.log(np.array(rows)).astype(np.float32)


def spoken(tokenizer: Tokenizer, ids: tuple[int, ...]) -> list[tuple[str, ...]]:
    symbols = [tokenizer.symbols[token] for token in ids]
    return [tuple(run) for is_space, run in groupby(symbols, lambda symbol: symbol == "▁") if not is_space]


@pytest.mark.parametrize("seed", range(2))
def test_words_of_the_lexicon_alone_are_said_each_as_probable_as_it_is(seed: int) -> None:
    tokenizer = characters("▁ab")
    fusion = fuse(tokenizer, vocabulary=vocabulary_of(tokenizer, lexicon_of("ab\nb\naab\n")))
    log_probs = random_log_probs(6, 4, seed)
    search = BeamSearch(4, EVERYTHING, fusion)
    search.accept(log_probs)
    found = {prefix.token_ids: prefix for prefix in search.finish(10**6) if prefix.score > -np.inf}
    expected = {
        ids: score
        for ids, score in all_texts(log_probs).items()
        if all(word in ("ab", "b", "aab") for word in tokenizer.decode(ids).split())
    }
    assert found.keys() == expected.keys()
    assert () in found
    for ids, prefix in found.items():
        assert prefix.score == pytest.approx(expected[ids], abs=1e-5)


def test_phones_are_searched_in_their_own_lexicon_with_a_language_model(tmp_path: Path) -> None:
    tokenizer = phones()
    model = model_of(tmp_path, "two a\nto a two\na to\nto oh\n", 3)
    log_probs = random_log_probs(5, 5, 3)
    search = BeamSearch(5, EVERYTHING, fuse(tokenizer, model, CONFIG))
    search.accept(log_probs)
    lexicon = lexicon_of(PHONES).words
    sounds = {spelled for pronunciations in lexicon.values() for spelled in pronunciations}
    found = {prefix.token_ids: prefix for prefix in search.finish(10**6) if prefix.score > -np.inf}
    allowed = {
        ids for ids in all_texts(log_probs, tokenizer.symbols.index("▁")) if sounds.issuperset(spoken(tokenizer, ids))
    }
    assert found.keys() == allowed
    for ids, prefix in found.items():
        words: list[str] = []
        for run in spoken(tokenizer, ids):  # the likeliest that sounds so after those before
            alike = [word for word, pronunciations in lexicon.items() if run in pronunciations]
            state = model.start
            for word in words:
                _, state = model.score(state, model.id_of(word))
            words.append(max(alike, key=lambda word: model.score(state, model.id_of(word))[0]))
        log10 = model.sentence_log10(words)
        assert prefix.lm_score == pytest.approx(LN_10 * log10, abs=1e-4)
        expected = prefix.acoustic_score + CONFIG.weight * LN_10 * log10 + CONFIG.bonus * len(words)
        assert prefix.score == pytest.approx(expected, abs=1e-4), "no price of unknown words"


def test_of_words_that_sound_alike_the_language_model_chooses(tmp_path: Path, geometry: FrameGeometry) -> None:
    tokenizer = phones()
    ids = [token for symbol in ("T", "UW", "▁", "AH") for token in (tokenizer.symbols.index(symbol), 0)]

    def heard(text: str | None) -> str:
        model = None if text is None else model_of(tmp_path, text, 3)
        reader = SearchReader.of(tokenizer, model=model, weights=FusionConfig(weight=1.0))
        reading = reader.read(peaked(ids, 5))
        path, score = reading.path, reading.score
        hypothesis = hypothesis_from_path(path, tokenizer, geometry, 1.0)
        assert hypothesis.text == " ".join(word.word for word in hypothesis.words)
        assert np.isfinite(score)
        return hypothesis.text

    assert heard(None) == "two a", "the words of the texts that the tokens were made from"
    assert heard("two a\nto oh\nto oh\n") == "to oh"
    assert heard("two a\ntwo a\nto oh\n") == "two a"


def test_letters_are_spelled_as_the_lexicon_says(geometry: FrameGeometry) -> None:
    tokenizer = characters("▁doctr")
    lexicon = lexicon_of("doctor d o c t o r\ndoctor d r\ntoo t o o\n")
    ids = [token for letter in "dr▁too" for token in (tokenizer.symbols.index(letter), 0)]
    path = SearchReader.of(tokenizer, lexicon=lexicon).read(peaked(ids, 7)).path
    assert hypothesis_from_path(path, tokenizer, geometry, 1.0).text == "doctor too"


def test_of_a_dictionary_of_phones_the_words_are_taken_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="asr")
    vocabulary = vocabulary_of(characters("▁abc"), lexicon_of("ab AE B\ncab K AE B\ndad D AE D\n"))
    assert vocabulary.words == vocabulary.spellings == ("ab", "cab")
    assert "a.dic: 'AE' is no letter of the model: words are spelled as they are written" in caplog.text
    assert "a.dic: 1 of 3 words left out, which the model cannot write: 'dad'" in caplog.text


def test_pieces_spell_the_words(geometry: FrameGeometry) -> None:
    tokenizer = train_sentencepiece(["abba cab", "cab abba bad", "bad cab"] * 20, Normalizer(), 12, "bpe")
    reader = SearchReader.of(tokenizer, EVERYTHING, lexicon=lexicon_of("bad\nab\n"))
    path = reader.read(random_log_probs(5, tokenizer.size, 1)).path
    words = hypothesis_from_path(path, tokenizer, geometry, 1.0).text.split()
    assert words
    assert set(words) <= {"bad", "ab"}


def test_where_the_audio_ends_within_a_word_the_words_before_it_are_read(geometry: FrameGeometry) -> None:
    tokenizer = characters("▁ab")
    ids = [tokenizer.symbols.index(letter) for letter in "a▁ab"] + [0]
    log_probs = peaked(ids, 4, 0.99999)
    reader = SearchReader.of(tokenizer, BeamConfig(beam=1), lexicon=lexicon_of("a\nabb\n"))
    reading = reader.read(log_probs)
    path, score = reading.path, reading.score
    assert hypothesis_from_path(path, tokenizer, geometry, 1.0).text == "a"
    assert path.warnings == (UNFINISHED,)
    assert score == pytest.approx(float(path.log_probs.sum()))
    path = SearchReader.of(tokenizer, BeamConfig(beam=1), lexicon=lexicon_of("aabb\n")).read(log_probs).path
    assert hypothesis_from_path(path, tokenizer, geometry, 1.0).text == ""
    path = reader.read(log_probs[:0]).path
    assert len(path.token_ids) == 0


def test_hotwords_sound_as_their_words() -> None:
    tokenizer = phones()
    log_probs = peaked([tokenizer.symbols.index(symbol) for symbol in ("T", "AH")], 5, 0.5)
    plain = SearchReader.of(tokenizer).read(log_probs).path
    assert plain.words == ("to",)
    loved = SearchReader.of(tokenizer, hotwords={"two": 2.0}).read(log_probs).path
    assert loved.words == ("two",), "T UW as well as T AH"
    with pytest.raises(DataError, match="hotword 'two ten' holds 'ten', which the lexicon lacks; add it there"):
        fuse(tokenizer, hotwords={"two ten": 1.0})


@pytest.mark.parametrize(
    ("lexicon", "message"),
    [
        ("two T UW\nten T EH N\n", r"a\.dic:2: 'ten': 'EH' is no phone of the model; it has AH T UW"),
        ("two\nten\n", r"a\.dic:1: 'two' has no pronunciation, which a model of phones needs; write its phones"),
    ],
)
def test_another_lexicon_of_a_model_of_phones_has_its_phones(lexicon: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        vocabulary_of(phones(), lexicon_of(lexicon))
    assert vocabulary_of(phones(), lexicon_of("tut T AH T\n")).words == ("tut",)


def test_a_lexicon_that_has_nothing_to_do_with_the_rest(tmp_path: Path) -> None:
    tokenizer = characters("▁ab")
    with pytest.raises(DataError, match=r"a\.dic: the model can write none of the words \('xy', \.\.\.\); see"):
        vocabulary_of(tokenizer, lexicon_of("xy\n"))
    with pytest.raises(DataError, match=r"has none of the lexicon's words \('ab', \.\.\.\); train it on texts of them"):
        fuse(tokenizer, model_of(tmp_path, "ba b\n"), vocabulary=vocabulary_of(tokenizer, lexicon_of("ab\n")))


def test_the_recogniser_says_words_of_the_lexicon_alone() -> None:
    model = tiny_model()
    words = {"a", "be", "jag", "chef", "dig", "high", "fa", "ja"}
    reader = SearchReader.of(model.tokenizer, BeamConfig(beam=50), lexicon=lexicon_of("\n".join(sorted(words))))
    transcript = Recognizer(model, reader=reader).transcribe(babble(6, seed=4), 16000)
    assert len(transcript.words) > 3
    assert {word.word for word in transcript.words} <= words
    assert transcript.text == " ".join(word.word for word in transcript.words)
