"""The best phrase of a grammar: against every phrase aligned by itself; phones, pieces, and grammars that cannot be."""

import math
from itertools import groupby, pairwise, product
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.decoding.alignment import best_alignment
from asr.decoding.automaton import Automaton
from asr.decoding.grammar import GrammarReader
from asr.decoding.greedy import hypothesis_from_path
from asr.decoding.searching import NO_PHRASE
from asr.errors import DataError
from asr.recognizer import Recognizer, Transcript
from asr.text.grammar import parse_grammar
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import Tokenizer, train_char, train_sentencepiece
from asr.units import FrameGeometry
from tests.decoding.test_beam import random_log_probs
from tests.decoding.test_lexicon import lexicon_of, peaked, phones
from tests.decoding.test_scorer import characters
from tests.tiny_model import babble, tiny_model, write_wav

HEADER = "#JSGF V1.0;\n"
# A grammar with a few phrases, and all of them.
GRAMMARS = {
    "list": ("ab\nb a\nab\nab ab\n", {"ab", "b a", "ab ab"}),
    "star.regex": ("a (b | aa)* b?", {"a", "a b", "a b b", "a aa"}),
    "times.regex": ("a{2,3} [b]", {"a a", "a a a", "a a b", "a a a b"}),
    "maybe.regex": ("[ab] [b]", {"", "ab", "b", "ab b"}),
    "right.jsgf": (f"{HEADER}public <x> = a <x> | b;", {"b", "a b", "a a b", "a a a b"}),
    "tail.jsgf": (f"{HEADER}public <x> = a [b <x>];", {"a", "a b a", "a b a b a"}),
    "rules.jsgf": (
        f"{HEADER}public <x> = <y> b <y>; <y> = /3/ a {{tag}} | <NULL> | <VOID>; public <z> = (aa)+;",
        {"a b a", "b a", "a b", "b", "aa", "aa aa"},
    ),
}


def reader_of(text: str, tokenizer: Tokenizer, name: str = "list", lexicon: str = "") -> GrammarReader:
    grammar = parse_grammar(text, tokenizer.normalizer, where=name)
    return GrammarReader(grammar, tokenizer, lexicon_of(lexicon) if lexicon else None)


def phrases_of(automaton: Automaton, most: int) -> set[tuple[int, ...]]:
    """Return the token sequences of up to `most` tokens that an automaton accepts."""
    found, waiting = set(), [((), 0)]
    for ids, state in waiting:
        if automaton.ends[state]:
            found.add(ids)
        for arc in range(automaton.firsts[state], automaton.firsts[state + 1]):
            if len(ids) < most:
                waiting.append(((*ids, int(automaton.tokens[arc])), int(automaton.nexts[arc])))
    return found


@pytest.mark.parametrize("name", GRAMMARS)
def test_the_automaton_says_the_phrases_of_the_grammar_and_no_others(name: str) -> None:
    text, phrases = GRAMMARS[name]
    tokenizer = characters("▁ab")
    reader = reader_of(text, tokenizer, name)
    longest = max(map(len, phrases)) if "star" not in name else 5
    expected = {tuple(tokenizer.encode(phrase)) for phrase in phrases if len(phrase) <= longest}
    assert {ids for ids in phrases_of(reader.automaton, longest) if len(ids) <= longest} == expected
    sources = [reader.automaton.sources[arc] for arc in range(len(reader.automaton.tokens))]
    assert sources == sorted(sources)


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("seed", range(3))
def test_the_best_phrase_is_that_of_all_aligned_one_by_one(name: str, seed: int, geometry: FrameGeometry) -> None:
    text, _ = GRAMMARS[name]
    tokenizer = characters("▁ab")
    reader = reader_of(text, tokenizer, name)
    for frames in (1, 2, 5, 9):
        log_probs = random_log_probs(frames, 4, seed)
        scores = {}
        for ids in phrases_of(reader.automaton, frames):
            if len(ids) + sum(a == b for a, b in pairwise(ids)) <= frames:
                scores[ids] = float(best_alignment(log_probs, ids).log_probs.sum(dtype=np.float64))
        reading = reader.read(log_probs)
        path, score = reading.path, reading.score
        if not scores:
            assert path.warnings == (NO_PHRASE,)
            assert hypothesis_from_path(path, tokenizer, geometry, 1.0).text == ""
            continue
        ids = tuple(token for token, _ in groupby(path.token_ids.tolist()) if token)
        assert score == pytest.approx(max(scores.values()), abs=1e-5)
        assert scores[ids] == pytest.approx(score, abs=1e-5)
        assert math.isfinite(score)


def test_a_long_recording_is_read_as_a_short_one() -> None:
    tokenizer = characters("▁ab")
    reader = reader_of("(ab | ba b)*", tokenizer, "a.regex")
    log_probs = random_log_probs(1000, 4, 5)
    reading = reader.read(log_probs)
    path, score = reading.path, reading.score
    ids = [token for token, _ in groupby(path.token_ids.tolist()) if token]
    assert score == pytest.approx(float(best_alignment(log_probs, ids).log_probs.sum(dtype=np.float64)))
    text = tokenizer.decode(ids).replace("ba b", "ab")
    assert set(text.split()) == {"ab"}
    heard = reader.hear(torch.from_numpy(log_probs)[None], torch.tensor([1000]))
    again = reader.read(reader.join([heard[0][:300], heard[0][300:]])).path
    assert np.array_equal(again.token_ids, path.token_ids)


def test_pieces_spell_the_phrases() -> None:
    tokenizer = train_sentencepiece(["abba cab", "cab abba bad", "bad cab"] * 20, Normalizer(), 12, "bpe")
    reader = reader_of("abba cab\nbad\n", tokenizer)
    for frames, seed in product((8, 12), range(2)):
        log_probs = random_log_probs(frames, tokenizer.size, seed)
        reading = reader.read(log_probs)
        path, score = reading.path, reading.score
        ids = [token for token, _ in groupby(path.token_ids.tolist()) if token]
        assert tokenizer.decode(ids) in ("abba cab", "bad")
        for phrase in ("abba cab", "bad"):
            assert score >= float(best_alignment(log_probs, tokenizer.encode(phrase)).log_probs.sum()) - 1e-5


def test_scripts_without_spaces_run_on() -> None:
    tokenizer = train_char(["你好世界"], Normalizer())
    for lexicon in ("", "你好\n世界\n"):
        reader = reader_of("你好 世界\n", tokenizer, lexicon=lexicon)
        assert phrases_of(reader.automaton, 9) == {tuple(tokenizer.encode("你好世界"))}
        path = reader.read(random_log_probs(9, 5, 1)).path
        assert path.words is None


def test_of_words_that_sound_alike_the_grammar_s_is_said(geometry: FrameGeometry) -> None:
    tokenizer = phones("two oh two")
    ids = [token for symbol in ("T", "UW", "▁", "AH") for token in (tokenizer.symbols.index(symbol), 0)]

    def heard(text: str, lexicon: str = "") -> str:
        path = reader_of(text, tokenizer, "a.regex", lexicon).read(peaked(ids, 5)).path
        return hypothesis_from_path(path, tokenizer, geometry, 1.0).text

    assert heard("to a | two ut") == "to a"
    assert heard("(a | two)*") == "two a"
    assert heard("(oh | two | ut)*") == "two oh"
    assert heard("hue a", "hue T UW\na AH\n") == "hue a", "another lexicon of the same phones"
    with pytest.raises(DataError, match=r"a\.regex:1: 'ten' is not in the lexicon; add it with its pronunciation"):
        heard("to ten")


def test_the_recogniser_reads_phrases(tmp_path: Path) -> None:
    model = tiny_model()
    recognizer = Recognizer(model, reader=reader_of("gbd igb\nbad dig\na\n", model.tokenizer))
    write_wav(tmp_path / "a.wav", babble(3, seed=4))
    write_wav(tmp_path / "short.wav", babble(0.01, seed=5))
    long, short = recognizer.transcribe_files([tmp_path / "a.wav", tmp_path / "short.wav"])
    assert isinstance(long, Transcript)
    assert isinstance(short, Transcript)
    assert long.text in ("gbd igb", "bad dig", "a")
    assert [word.word for word in long.words] == long.text.split()
    recognizer = Recognizer(model, reader=reader_of("gbd igb gbd igb gbd igb\n", model.tokenizer))
    (short,) = recognizer.transcribe_files([tmp_path / "short.wav"])
    assert isinstance(short, Transcript)
    assert (short.text, short.words, short.warnings) == ("", (), (NO_PHRASE,))
    assert math.isfinite(short.score)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a", "ab\nabc d\n", "a:2: 'abc' holds 'c' (U+0063), which the model cannot write; spell it in letters of the"),
        ("a", "ab\n(a|b)\n", "an expression with ( | ) is read from a file named *.regex"),
        ("a.jsgf", f"{HEADER}public <x> = a <VOID>;", "a.jsgf: allows no phrase at all; give it a rule that words can"),
        ("a.jsgf", f"{HEADER}public <x> = a <x>;", "a.jsgf: allows no phrase at all"),
        (
            "a.jsgf",
            f"{HEADER}public <x> = <x> a | b;",
            "a.jsgf:2: <x> refers to itself before its end, which no automaton",
        ),
        ("a.jsgf", f"{HEADER}public <x> = (a <x>)* | b;", "a.jsgf:2: <x> refers to itself before its end"),
    ],
)
def test_grammars_that_cannot_be_are_one_line(name: str, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        reader_of(text, characters("▁ab"), name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("limit", "most", "text"),
    [
        ("automaton.MAX_STATES", 1000, "(a | b)* a (a | b){20}"),
        ("automaton.MAX_SIZE", 1000, "(a | b)* a (a | b){20}"),
        ("network.MAX_STATES", 1000, "((a{9999}){9999}){9}"),
        ("network.MAX_REACHED", 1000, "[a] " * 100),
    ],
)
def test_states_are_limited(monkeypatch: pytest.MonkeyPatch, limit: str, most: int, text: str) -> None:
    monkeypatch.setattr(f"asr.decoding.{limit}", most)
    with pytest.raises(DataError, match=r"a\.regex: its phrases need more than \d+ states; repeat less, or list fewer"):
        reader_of(text, characters("▁ab"), "a.regex")


def test_words_are_normalised() -> None:
    tokenizer = Tokenizer(["<blank>", *"▁ab"], Normalizer(NormalizerConfig(case="lower")))
    assert phrases_of(reader_of("AB a\n", tokenizer).automaton, 9) == {tuple(tokenizer.encode("ab a"))}
