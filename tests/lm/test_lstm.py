"""The LSTM language model: exact sums, padding and parts that change nothing, files that are refused in one line."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from asr import store
from asr.errors import DataError
from asr.lm.lstm import BORDER, LstmConfig, LstmLanguageModel, LstmNotes, bordered
from asr.lm.lstm_perplexity import token_perplexity
from asr.lm.sentences import read_sentences
from asr.store import Storage
from asr.text.lexicon import parse_lexicon
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import Tokenizer, train_lexicon, train_sentencepiece
from tests.tiny_model import tiny_model

TEXTS = ["abba", "", "cab a bad cab", "j", "a b c d e f g h i j", "bad bad bad", "a"]


def letters(symbols: str = "▁abcdefghij") -> Tokenizer:
    return Tokenizer.from_state({"kind": "char", "normalizer": {"case": "lower"}, "symbols": ["<blank>", *symbols]})


def random_model(tokenizer: Tokenizer | None = None, *, width: int = 12, layers: int = 2) -> LstmLanguageModel:
    """Return a model with large weights, so that what it says depends on all that it has heard."""
    torch.manual_seed(3)
    model = LstmLanguageModel(LstmConfig(width=width, layers=layers), tokenizer or letters()).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2.0).add_(0.1 * torch.randn_like(weight))
    return model


def step_by_step(model: LstmLanguageModel, text: str) -> float:
    """Return the log-probability of a text, its tokens given one at a time, the state handed on."""
    total, state, previous = 0.0, None, BORDER
    for token in [*model.tokenizer.encode(text), BORDER]:
        with torch.inference_mode():
            log_probs, state = model.follow(torch.tensor([[previous]]), state)
        total += float(log_probs[0, 0, token])
        previous = token
    return total


def test_a_text_is_the_sum_of_its_steps() -> None:
    model = random_model()
    found = model.log_prob(TEXTS)
    assert found == pytest.approx([step_by_step(model, text) for text in TEXTS], abs=1e-5)
    assert len({round(value, 3) for value in found}) == len(TEXTS)


def test_padding_and_order_change_nothing() -> None:
    model = random_model()
    alone = [model.log_prob([text])[0] for text in TEXTS]
    assert model.log_prob(TEXTS) == pytest.approx(alone, abs=1e-5)
    assert model.log_prob(TEXTS[::-1]) == pytest.approx(alone[::-1], abs=1e-5)
    assert model.log_prob([*TEXTS, "abcdefghij" * 30])[:-1] == pytest.approx(alone, abs=1e-5)
    assert model.log_prob([]) == []


def test_long_texts_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model()
    whole = model.log_prob(TEXTS)
    monkeypatch.setattr("asr.lm.lstm._STEPS", 3)
    assert model.log_prob(TEXTS) == pytest.approx(whole, abs=1e-5)
    monkeypatch.setattr("asr.lm.lstm._MAX_VALUES", 1)
    assert model.log_prob(TEXTS) == pytest.approx(whole, abs=1e-5)


def test_all_sentences_together_have_the_probability_one() -> None:
    model = random_model(letters("ab"), width=5)
    sentences = [list(row) for length in range(4) for row in itertools.product((1, 2), repeat=length)]
    ended = sum(math.exp(value) for value in model.log_prob_of_ids(sentences))
    unended = 0.0
    for row in itertools.product((1, 2), repeat=4):
        with torch.inference_mode():
            log_probs, _ = model.follow(torch.tensor([[BORDER, *row[:-1]]]))
        unended += math.exp(float(log_probs[0, range(4), row].sum()))
    assert ended + unended == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("width", [12, 200])
def test_training_computes_the_same(width: int) -> None:
    """Above 192 cells the recurrence of a training step is our own."""
    model = random_model(width=width, layers=1 if width > 100 else 2)
    tokens, _ = bordered([model.tokenizer.encode(text) for text in TEXTS])
    expected, _ = model.follow(tokens)
    with torch.no_grad():
        plain = model(tokens)
    assert torch.allclose(model(tokens), expected, atol=1e-4)
    assert torch.allclose(plain, expected, atol=1e-5)


def test_dropout_is_for_training_alone() -> None:
    model = random_model()
    tokens, _ = bordered([[1, 2, 3]])
    assert not torch.equal(model.train()(tokens), model(tokens))
    with pytest.raises(AssertionError, match="eval"):
        model.log_prob(["a"])


@pytest.mark.parametrize(("storage", "tolerance"), [("float32", 0.0), ("float16", 0.05), ("int8", 0.5)])
def test_a_file_gives_the_model_back(tmp_path: Path, storage: Storage, tolerance: float) -> None:
    model = random_model(width=96)
    model.notes = LstmNotes(storage, {"weight": 0.3, "bonus": 1.0}, {"seed": 1})
    model.save(tmp_path / "lm.safetensors")
    loaded = LstmLanguageModel.load(tmp_path / "lm.safetensors")
    assert (loaded.config, loaded.notes) == (model.config, model.notes)
    assert loaded.tokenizer.state() == model.tokenizer.state()
    assert loaded.log_prob(TEXTS) == pytest.approx(model.log_prob(TEXTS), abs=tolerance)
    assert not loaded.training


def test_pieces_of_words(tmp_path: Path) -> None:
    tokenizer = train_sentencepiece(TEXTS * 3, Normalizer(NormalizerConfig()), 16, "unigram")
    model = random_model(tokenizer)
    model.save(tmp_path / "lm.safetensors")
    loaded = LstmLanguageModel.load(tmp_path / "lm.safetensors")
    assert loaded.log_prob(TEXTS) == model.log_prob(TEXTS)
    assert loaded.log_prob(["bad cab"]) == pytest.approx([step_by_step(model, "bad cab")], abs=1e-5)


def test_characters_outside_the_alphabet_are_refused() -> None:
    with pytest.raises(DataError, match=r"'é' \(U\+00E9\) is not in the alphabet"):
        random_model().log_prob(["a", "caf\u00e9"])


def rewritten(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> Path:
    """Write the file of a model with some tensors and keys of the header replaced."""
    random_model().save(path)
    had, said = store.load(path)
    store.save(path, {**had, **tensors}, {**said, **header})
    return path


@pytest.mark.parametrize(
    ("tensors", "header", "message"),
    [
        ({}, {"kind": "model"}, "holds a 'model', not an LSTM language model; make one with asr lm train --kind lstm"),
        ({}, {"lm": None}, "not an LSTM language model"),
        ({}, {"lm": {"width": 0}}, "width: input should be greater than or equal to 1, got 0"),
        ({}, {"lm": {"width": 12, "depth": 3}}, "depth: unknown key"),
        ({}, {"lm": {"width": 13}}, "where (52,) is needed; the file does not fit its own description"),
        ({}, {"lm": {"width": 12, "layers": 3}}, "missing tensor 'layers.2"),
        ({}, {"rescoring": {"weight": "much"}}, "'rescoring' is "),
        ({}, {"training": 3}, "'training' is '3' in its header"),
        ({}, {"storage": "bits"}, "'storage' is 'bits' in its header"),
        ({}, {"tokenizer": {"kind": "char"}}, "not a usable token list"),
        ({"more": torch.zeros(1)}, {}, "unknown tensor 'more'"),
        ({"bias": torch.full((12,), math.nan)}, {}, "tensor 'bias' holds NaN"),
        ({"bias": torch.zeros(12, dtype=torch.int64)}, {}, "tensor 'bias' is torch.int64"),
    ],
)
def test_other_files_are_refused_in_one_line(
    tmp_path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any], message: str
) -> None:
    header = {"tokenizer": letters().state()[0], **header}
    path = rewritten(tmp_path / "lm.safetensors", tensors, header)
    with pytest.raises(DataError) as caught:
        LstmLanguageModel.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_acoustic_model_and_a_cut_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lm.safetensors"
    tiny_model().save(path)
    with pytest.raises(DataError, match="holds a 'model'"):
        LstmLanguageModel.load(path)
    random_model().save(path)
    whole = path.read_bytes()
    for size in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="truncated"):
            LstmLanguageModel.load(path)


@pytest.mark.parametrize(
    ("symbols", "strange"), [("▁abcdefghij", ""), ("abc", ""), ("▁abz", "'z'"), ("▁ßa\u0301", "'ß', '\u0301'")]
)
def test_a_recogniser_of_other_tokens_is_refused(symbols: str, strange: str) -> None:
    model, other = random_model(), letters(symbols)
    if not strange:
        model.check_tokens(other, "lm")
        return
    with pytest.raises(DataError, match=f"lm: cannot spell what the recogniser writes: {strange}; train it"):
        model.check_tokens(other, "lm")


def test_phones_are_words_to_the_model() -> None:
    """A recogniser of phones writes the words of its lexicon, which models of its phones or of letters can rank."""
    lexicon = parse_lexicon(b"bad B AE D\ncab K AE B\n", Normalizer(), where="a.dic")
    recogniser = train_lexicon(["bad cab"], Normalizer(), lexicon)
    random_model(recogniser).check_tokens(recogniser, "lm")
    random_model().check_tokens(recogniser, "lm")
    with pytest.raises(DataError, match="lm: cannot spell what the recogniser writes: 'c'; train it"):
        random_model(letters("▁abd")).check_tokens(recogniser, "lm")


def test_a_model_without_spaces_cannot_rank_words() -> None:
    with pytest.raises(DataError, match="' '; train it"):
        random_model(letters("abcdefghij")).check_tokens(letters(), "lm")


def test_perplexity_counts_ends(tmp_path: Path) -> None:
    model = random_model()
    (tmp_path / "text").write_text("abba cab\n\nbad\n")
    found = token_perplexity(model, read_sentences(tmp_path / "text", model.tokenizer))
    total = sum(model.log_prob(["abba cab", "bad"]))
    assert (found.num_sentences, found.num_words, found.num_tokens) == (2, 3, 11)
    assert found.log_prob == pytest.approx(total)
    assert found.log10 == pytest.approx(total / math.log(10))
    assert found.per_token == pytest.approx(math.exp(-total / 13))
    assert found.per_word == pytest.approx(math.exp(-total / 5))
