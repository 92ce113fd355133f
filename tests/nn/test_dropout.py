"""Dropout by the byte: the right share, the right mean, nothing in evaluation."""

import pytest
import torch

from asr.nn.dropout import Dropout


@pytest.mark.parametrize("probability", [0.1, 0.2, 0.5])
def test_share_and_mean(probability: float) -> None:
    layer = Dropout(probability)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        output = layer(torch.ones(1000, 333))
    dropped = (output == 0).float().mean().item()
    assert dropped == pytest.approx(round(probability * 256) / 256, abs=0.003)
    assert output.mean().item() == pytest.approx(1, abs=0.005)
    assert output.unique().numel() == 2


def test_neighbours_are_independent() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        kept = (Dropout(0.5)(torch.ones(400_001)) > 0).double()
    for distance in (1, 2, 4, 8, 64):
        both = (kept[distance:] * kept[:-distance]).mean().item()
        assert both == pytest.approx(0.25, abs=0.005)


@pytest.mark.parametrize("probability", [0.0, 0.001])
def test_nothing_is_dropped_where_the_share_rounds_to_nothing(probability: float) -> None:
    values = torch.randn(3, 4)
    assert Dropout(probability)(values) is values


def test_evaluation_changes_nothing() -> None:
    values = torch.randn(3, 4)
    assert Dropout(0.5).eval()(values) is values


def test_the_largest_share_that_a_configuration_allows() -> None:
    """0.999 was once rounded to 1, and dividing by what was kept failed."""
    output = Dropout(0.999)(torch.ones(10_000))
    assert output.isfinite().all()


def test_the_global_generator_decides() -> None:
    layer, values = Dropout(0.3), torch.ones(77)
    outputs = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(5)
            outputs.append(layer(values))
    assert torch.equal(*outputs)


def test_gradients_pass_where_values_do() -> None:
    values = torch.ones(1000, requires_grad=True)
    output = Dropout(0.4)(values)
    output.sum().backward()
    assert torch.equal(values.grad, output.detach())
