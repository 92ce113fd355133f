"""The moving average, and the mean of checkpoints."""

from pathlib import Path

import pytest
import torch

from asr.errors import DataError, UsageError
from asr.model import AcousticModel
from asr.text.normalize import Normalizer
from asr.text.tokenizer import Tokenizer
from asr.training.alphabet import with_alphabet
from asr.training.averaging import MovingAverage, average_models, blend_old
from tests.tiny_model import LETTERS, tiny_model


def test_the_moving_average_follows_its_formula() -> None:
    weights = {"w": torch.tensor([1.0]), "count": torch.tensor([3])}
    average = MovingAverage(0.5, weights)
    expected = 1.0
    for step in range(1, 12):
        weights["w"] = torch.tensor([float(step)])
        average.update(weights, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert float(average.average["w"]) == pytest.approx(expected)
    assert decay == 0.5, "the end of the short averages must be part of the test"
    assert average.average["count"].tolist() == [3]


def test_the_moving_average_is_no_alias_of_the_weights() -> None:
    weights = {"w": torch.ones(2)}
    average = MovingAverage(0.9, weights)
    weights["w"].zero_()
    assert average.average["w"].tolist() == [1.0, 1.0]


def test_the_moving_average_follows_the_weights_to_their_device() -> None:
    average = MovingAverage(0.9, {"w": torch.ones(2)})
    average.update({"w": torch.ones(2, device="meta")}, 1)
    assert average.average["w"].device.type == "meta"


def test_the_mean_of_models_is_that_of_their_weights(tmp_path: Path) -> None:
    models = [tiny_model() for _ in range(3)]
    for number, model in enumerate(models):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + number)  # 1, 2 and 3 times: twice on average
        model.save(tmp_path / f"{number}.safetensors")
    mean = average_models([tmp_path / f"{number}.safetensors" for number in range(3)])
    original = dict(tiny_model().named_parameters())
    for name, parameter in mean.named_parameters():
        torch.testing.assert_close(parameter, 2 * original[name])


def test_the_mean_of_one_model_is_itself(tmp_path: Path) -> None:
    model = tiny_model()
    model.save(tmp_path / "a.safetensors")
    for name, tensor in average_models([tmp_path / "a.safetensors"]).state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_models_of_different_shapes_have_no_mean(tmp_path: Path) -> None:
    tiny_model().save(tmp_path / "a.safetensors")
    tiny_model(sample_rate=8000).save(tmp_path / "b.safetensors")
    with pytest.raises(DataError, match=r"b\.safetensors: its configuration or tokens differ from .*a\.safetensors"):
        average_models([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])


def test_the_mean_is_a_model(tmp_path: Path) -> None:
    tiny_model().save(tmp_path / "a.safetensors")
    assert isinstance(average_models([tmp_path / "a.safetensors"] * 2), AcousticModel)


def changed(model: AcousticModel) -> AcousticModel:
    """Return the model with every weight three times as large."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def test_a_blend_lies_between_the_new_weights_and_the_old() -> None:
    old = dict(tiny_model().named_parameters())
    for share in (0.0, 0.25, 1.0):
        model = changed(tiny_model())
        blend_old(model, tiny_model(), share)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, old[name] * (3 - 2 * share))
    assert len(old) > 10


def test_a_blend_goes_by_symbol_and_leaves_new_symbols_and_statistics_alone() -> None:
    symbols = ["x", *reversed(LETTERS), "y"]
    old = tiny_model()
    model = changed(with_alphabet(old, Tokenizer(["<blank>", *symbols], Normalizer()), old.config))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.frontend.normalizer.set_statistics(torch.full((16,), 5.0), torch.ones(16))
    blend_old(model, old, 1.0)
    rows = [0, *(old.tokenizer.symbols.index(letter) for letter in reversed(LETTERS))]
    for kind in ("weight", "bias"):
        after, known = getattr(model.encoder.output, kind), getattr(old.encoder.output, kind)
        torch.testing.assert_close(after[[0, *range(2, 2 + len(LETTERS))]], known[rows])
        assert torch.equal(after[[1, -1]], before[f"encoder.output.{kind}"][[1, -1]])
    assert model.state_dict()["frontend.normalizer.mean"].eq(5).all()


def test_models_that_hear_other_features_do_not_blend() -> None:
    message = "features.normalization is 'utterance' in the model and 'global' in the old one: no blend of them; fine-t"
    with pytest.raises(UsageError, match=message):
        blend_old(tiny_model(normalization="utterance"), tiny_model(), 0.5)
