"""The moving average, and the mean of checkpoints."""

from pathlib import Path

import pytest
import torch

from asr.errors import DataError
from asr.model import AcousticModel
from asr.training.averaging import MovingAverage, average_models
from tests.tiny_model import tiny_model


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
