"""A model's output rows follow their symbols into another alphabet."""

import pytest
import torch

from asr.model import AcousticModel, ModelConfig
from asr.text.normalize import Normalizer
from asr.text.tokenizer import SPACE, Tokenizer, train_sentencepiece
from asr.training.alphabet import alphabet_change, with_alphabet
from tests.tiny_model import LETTERS, babble, tiny_model

BLANK = "<blank>"


def characters(symbols: str) -> Tokenizer:
    return Tokenizer([BLANK, *symbols], Normalizer())


def log_probs(model: AcousticModel) -> torch.Tensor:
    waveform = torch.from_numpy(babble(3, model.sample_rate))[None]
    with torch.inference_mode():
        return model.eval()(waveform, torch.tensor([waveform.shape[1]]))[0]


def test_a_permuted_alphabet_says_the_same() -> None:
    model = tiny_model()
    order = torch.randperm(len(LETTERS), generator=torch.Generator().manual_seed(3)).tolist()
    permuted = characters("".join(LETTERS[index] for index in order))
    made = with_alphabet(model, permuted, model.config)
    before, after = log_probs(model), log_probs(made)
    torch.testing.assert_close(after[..., 1:], before[..., 1:][..., order])
    texts = [
        tokens.decode(torch.unique_consecutive(found.argmax(-1)[0]).tolist())
        for tokens, found in ((model.tokenizer, before), (permuted, after))
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) > 10


def test_what_is_kept_new_and_dropped_is_counted() -> None:
    change = alphabet_change(characters(SPACE + "abcdef"), characters(SPACE + "cdefxyz"))
    assert str(change) == "kept 5, new 3, dropped 2, blank kept"
    assert (change.new, change.dropped) == (("x", "y", "z"), ("a", "b"))


def test_known_rows_are_copied_and_new_ones_drawn_from_the_seed() -> None:
    model = tiny_model()
    wider = characters(LETTERS + "xy")
    torch.manual_seed(1)
    one = with_alphabet(model, wider, model.config).encoder.output
    torch.manual_seed(1)
    same = with_alphabet(model, wider, model.config).encoder.output
    other = with_alphabet(model, wider, model.config).encoder.output
    known = model.tokenizer.size
    for layer in (one, other):
        assert torch.equal(layer.weight[:known], model.encoder.output.weight)
        assert torch.equal(layer.bias[:known], model.encoder.output.bias)
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight[known:], other.weight[known:])


def test_the_given_model_is_left_as_it_is() -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    made = with_alphabet(model, characters("ab"), model.config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def pieces(*, size: int = 18) -> Tokenizer:
    texts = ["abba cadaf", "deaf bead", "a bed fed a cab", "cab cab dab", "faced bead abba"] * 8
    return train_sentencepiece(texts, Normalizer(), size, "unigram", False)


def test_a_piece_starts_from_the_mean_of_its_characters() -> None:
    model, target = tiny_model(), pieces()
    made = with_alphabet(model, target, model.config).encoder.output
    long = [symbol for symbol in target.symbols[1:] if len(symbol.removeprefix(SPACE)) > 1]
    assert len(long) > 3
    for symbol in long:
        rows = [model.tokenizer.symbols.index(character) for character in symbol.removeprefix(SPACE)]
        row = target.symbols.index(symbol)
        torch.testing.assert_close(made.weight[row], model.encoder.output.weight[rows].mean(0))
        torch.testing.assert_close(made.bias[row], model.encoder.output.bias[rows].mean())
    change = alphabet_change(model.tokenizer, target)
    assert set(long) <= set(change.spelled)
    assert f", spelled {len(change.spelled)}, new" in str(change)


def test_pieces_to_other_pieces_and_back_to_characters() -> None:
    model = tiny_model()
    fine = with_alphabet(model, pieces(size=18), model.config)
    coarse = with_alphabet(fine, pieces(size=14), model.config)
    for symbol in set(fine.tokenizer.symbols) & set(coarse.tokenizer.symbols):
        old, new = fine.tokenizer.symbols.index(symbol), coarse.tokenizer.symbols.index(symbol)
        assert torch.equal(coarse.encoder.output.weight[new], fine.encoder.output.weight[old])
    back = with_alphabet(coarse, characters(SPACE + "abcdef"), model.config)
    shared = [symbol for symbol in "abcdef" if symbol in coarse.tokenizer.symbols]
    assert shared
    for symbol in shared:
        row = model.encoder.output.weight[model.tokenizer.symbols.index(symbol)]
        assert torch.equal(back.encoder.output.weight[back.tokenizer.symbols.index(symbol)], row)


def test_names_of_bytes_are_not_spelled_by_their_letters() -> None:
    target = train_sentencepiece(["abba cab"] * 9, Normalizer(), 263, "unigram", True)
    change = alphabet_change(characters(SPACE + "abcx0"), target)
    assert not [symbol for symbol in change.spelled if symbol.startswith("<0x")]
    assert len([symbol for symbol in change.new if symbol.startswith("<0x")]) == 256


@pytest.mark.parametrize(
    ("symbols", "nothing"), [(SPACE + "xyz", True), ("xyz", True), (SPACE + "axy", False)], ids=["space", "none", "a"]
)
def test_a_shared_space_is_nothing_shared(symbols: str, nothing: bool) -> None:
    assert alphabet_change(characters(SPACE + "abc"), characters(symbols)).shares_nothing == nothing


def test_a_second_head_starts_as_the_first() -> None:
    model = tiny_model()
    encoder = model.config.encoder.model_copy(update={"intermediate": 1})
    config = ModelConfig(features=model.config.features, encoder=encoder)
    made = with_alphabet(model, characters("ab"), config)
    assert made.encoder.intermediate_output is not None
    assert torch.equal(made.encoder.intermediate_output.weight, made.encoder.output.weight)
    plain = with_alphabet(made, made.tokenizer, model.config)
    assert plain.encoder.intermediate_output is None
