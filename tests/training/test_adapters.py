"""Low-rank adapters: nothing at first, then a change of low rank that can be merged."""

import pytest
import torch

from asr.nn.chunks import WHOLE
from asr.training.adapters import TRAINED_WHOLE, Adapters
from tests.tiny_model import tiny_model

RANK = 2


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor([40, 23])
    features = torch.randn(2, 40, 16, generator=generator)
    features[1, 23:] = 0
    return features, lengths


@pytest.fixture
def trained() -> tuple:
    """An encoder and adapters that are no longer zero."""
    encoder = tiny_model().encoder
    torch.manual_seed(5)
    adapters = Adapters(encoder, RANK)
    with torch.no_grad():
        for up in adapters.up:
            up.normal_(0, 0.3)
    return encoder, adapters


def test_they_change_nothing_at_first() -> None:
    encoder = tiny_model().encoder
    before = encoder(*batch()).log_probs
    assert torch.equal(Adapters(encoder, RANK).encode(encoder, *batch(), WHOLE).log_probs, before)


def test_every_matrix_of_lstm_layers_has_one() -> None:
    encoder = tiny_model().encoder
    names = Adapters(encoder, RANK).names
    assert len(names) == 2 * 2 * 2  # layers, directions, input and recurrent
    assert all(encoder.get_parameter(name).ndim == 2 for name in names)


def test_merged_weights_say_the_same(trained: tuple) -> None:
    encoder, adapters = trained
    apart = adapters.encode(encoder, *batch(), WHOLE).log_probs
    before = encoder(*batch()).log_probs
    state = {**encoder.state_dict(), **{name: tensor.detach() for name, tensor in adapters.merged(encoder).items()}}
    encoder.load_state_dict(state)
    torch.testing.assert_close(encoder(*batch()).log_probs, apart)
    assert (apart - before).abs().max() > 0.01


def test_a_change_has_low_rank(trained: tuple) -> None:
    encoder, adapters = trained
    for name, matrix in adapters.merged(encoder).items():
        change = (matrix - encoder.get_parameter(name)).double()
        assert torch.linalg.matrix_rank(change, rtol=1e-4) == RANK


def test_gradients_reach_the_adapters_and_the_output_layers_alone(trained: tuple) -> None:
    encoder, adapters = trained
    adapters.encode(encoder, *batch(), WHOLE).log_probs.exp().square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == name.startswith(TRAINED_WHOLE), name
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in adapters.parameters())


def test_matrices_too_small_for_the_rank_are_left_alone() -> None:
    assert Adapters(tiny_model().encoder, 64).names == []
