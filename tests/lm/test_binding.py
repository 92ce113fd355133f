"""A language model and the recogniser that it belongs to: what fits is kept with it, what does not is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asr.errors import DataError
from asr.lm.binding import TunedWeights, bind, binding_of, check_fits, check_writable, spelling_of, tuned_of
from asr.lm.files import load_ngram, save_ngram
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram
from asr.text.lexicon import parse_lexicon
from asr.text.normalize import Normalizer
from asr.text.tokenizer import Tokenizer, train_lexicon

WEIGHTS = TunedWeights(
    weight=0.4, bonus=1.5, unknown=-8, blank_penalty=0.5, manifest="dev.jsonl", words=20, errors=3, greedy_errors=5
)
SOME_FOREIGN = (
    "".join(f"{left} {right}\n" for left in ("bad", "cab", "fed", "jig") for right in ("ace", "bee", "dig")) + "zoo\n"
)


def tokens(letters: str = "abcdefghij", case: str = "lower") -> Tokenizer:
    return Tokenizer.from_state(
        {"kind": "char", "normalizer": {"case": case}, "symbols": ["<blank>", "▁", *letters]},
    )


def trained(folder: Path, text: str) -> NgramModel:
    (folder / "text").write_text(text)
    return train_ngram(folder / "text", 2).model


@pytest.fixture
def model(tmp_path: Path) -> NgramModel:
    return trained(tmp_path, "bad cab\nfed jig\nbad jig\n")


def test_a_binding_and_its_weights_come_back_from_the_file(model: NgramModel, tmp_path: Path) -> None:
    assert binding_of(model) is tuned_of(model) is spelling_of(model) is None
    for weights in (None, WEIGHTS):
        save_ngram(tmp_path / "lm", bind(model, tokens(), weights))
        back = load_ngram(tmp_path / "lm")
        binding = binding_of(back)
        assert binding is not None
        assert binding.alphabet == "abcdefghij"
        assert binding.tuned == tuned_of(back) == weights
        spelling = spelling_of(back)
        assert spelling is not None
        assert spelling("BAD Cab") == "bad cab"
        check_fits(back, tokens(), "lm")
    assert WEIGHTS.described == "0.4 of the language model, 1.5 a word, -8 an unknown one, blank penalty 0.5"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            tokens("abcdefghik"),
            "lm: made for another alphabet: the model cannot write 'j', and the language model does not know 'k';"
            " train one for this model: asr lm train TEXT --model MODEL",
        ),
        (tokens("abcdefghijxyz"), "the language model does not know 'x', 'y', 'z';"),
        (tokens("abcdefghij", case="keep"), "made for a model that spells otherwise: text.case 'lower' in place of"),
    ],
)
def test_a_bound_model_fits_no_other_recogniser(model: NgramModel, other: Tokenizer, message: str) -> None:
    with pytest.raises(DataError) as caught:
        check_fits(bind(model, tokens()), other, "lm")
    assert message in str(caught.value)


def test_an_unbound_model_fits_if_nearly_all_of_its_text_can_be_written(tmp_path: Path) -> None:
    check_fits(trained(tmp_path, SOME_FOREIGN), tokens(), "lm")
    with pytest.raises(DataError, match=r"lm: 100 % of the words hold what the model cannot write: 'A', 'B', 'C', 'D'"):
        check_fits(trained(tmp_path, "BAD CAB\n" * 50), tokens(), "lm")


def test_many_foreign_letters_are_listed_in_part(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'к', 'л' and 21 more; train one") as caught:
        check_fits(trained(tmp_path, "абвгдежзийклмнопрстуфхцчшщъыьэюяё\n"), tokens(), "lm")
    assert "\n" not in str(caught.value)


def test_words_that_can_never_be_found_are_told_and_a_foreign_text_is_refused(tmp_path: Path) -> None:
    assert check_writable(trained(tmp_path, "bad cab\n"), tokens(), "text") == ""
    some = check_writable(trained(tmp_path, SOME_FOREIGN), tokens(), "text")
    assert some.endswith(" % of the words hold what the model cannot write: 'o', 'z'; they are never found")
    assert 0 < float(some.split()[0]) < 10
    with pytest.raises(DataError, match=r"text: 100 % of the words .* 'м', 'р'; write the text as the recogniser's"):
        check_writable(trained(tmp_path, "мир\n"), tokens(), "text")


def test_phones_can_spell_any_word(tmp_path: Path) -> None:
    lexicon = parse_lexicon(b"two T UW\nto T UW\n", Normalizer(), where="a.dic")
    recogniser = train_lexicon(["two to"], Normalizer(), lexicon)
    model = trained(tmp_path, "two to\nzebra to\n")
    check_fits(model, recogniser, "lm")
    check_fits(bind(model, recogniser), recogniser, "lm")
    said = check_writable(model, recogniser, "text")
    assert (
        said == "1 words are not in the model's lexicon: 'zebra'; they are found only with --lexicon FILE that has them"
    )
    assert check_writable(trained(tmp_path, "two to\n"), recogniser, "text") == ""
    with pytest.raises(DataError, match="made for another alphabet: the model cannot write 'a', 'b'"):
        check_fits(bind(model, tokens(case="keep")), recogniser, "lm")


def test_a_model_over_tokens_fits(tmp_path: Path) -> None:
    check_fits(trained(tmp_path, "▁ a b c d e f g h i j\n"), tokens(), "lm")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alphabet": 3}, "alphabet"),
        ({"alphabets": "ab"}, "alphabets: unknown key; did you mean 'alphabet'?"),
        ({"tuned": {"weight": -1}}, "tuned"),
    ],
)
def test_a_binding_that_is_none_is_a_broken_file(
    model: NgramModel, changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    bound = bind(model, tokens())
    broken = replace(bound, binding={**(bound.binding or {}), **changed})
    with pytest.raises(DataError, match=r"^binding of the language model: "):
        binding_of(broken)
    save_ngram(tmp_path / "lm", broken)
    with pytest.raises(DataError) as caught:
        load_ngram(tmp_path / "lm")
    assert str(caught.value).startswith(f"{tmp_path / 'lm'}: binding of the language model: ")
    assert message in str(caught.value)
    assert str(caught.value).endswith("get the file again or make it anew")
    assert "\n" not in str(caught.value)
