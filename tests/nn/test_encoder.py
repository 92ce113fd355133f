"""The encoder: normalised outputs, options that do what they say, configuration."""

import pytest
import torch

from asr.config import parse
from asr.errors import UsageError
from asr.masking import time_mask
from asr.nn.encoder import Encoder, EncoderConfig

FEATURES = torch.randn(3, 40, 9, generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([40, 17, 1])


def encoder(**values: object) -> Encoder:
    small = {"subsampling_width": 16, "layers": 3, "hidden": 8, "dropout": 0.0}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Encoder(EncoderConfig.model_validate(small | values), 9, 5)


def features() -> torch.Tensor:
    return FEATURES * time_mask(LENGTHS, 40).unsqueeze(2)


def test_log_probs_are_normalised_float32_and_zero_beyond_the_end() -> None:
    output = encoder()(features(), LENGTHS)
    valid = time_mask(output.lengths, output.log_probs.shape[1])
    assert output.log_probs.dtype == torch.float32
    torch.testing.assert_close(output.log_probs.exp().sum(-1)[valid], torch.ones(int(valid.sum())))
    assert not output.log_probs[~valid].any()


def test_log_probs_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = encoder(intermediate=1).train()(features(), LENGTHS)
    assert output.log_probs.dtype == torch.float32
    assert output.intermediate is not None
    assert output.intermediate.dtype == torch.float32
    valid = time_mask(output.lengths, output.log_probs.shape[1])
    torch.testing.assert_close(output.log_probs.exp().sum(-1)[valid], torch.ones(int(valid.sum())))


def test_the_intermediate_head_speaks_in_training_only() -> None:
    network = encoder(intermediate=2)
    trained = network.train()(features(), LENGTHS)
    assert trained.intermediate is not None
    assert trained.intermediate.shape == trained.log_probs.shape
    assert network.eval()(features(), LENGTHS).intermediate is None
    assert torch.equal(network.eval()(features(), LENGTHS).log_probs, trained.log_probs), "the head changes nothing"


@pytest.mark.parametrize("option", ["residual", "layer_norm"])
def test_options_change_the_output(option: str) -> None:
    plain, changed = encoder(**{option: True}), encoder(**{option: False})
    changed.load_state_dict(plain.state_dict(), strict=False)
    outputs = [network.eval()(features(), LENGTHS).log_probs for network in (plain, changed)]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


def test_a_wider_front_end_than_the_layers_has_no_residual_there() -> None:
    output = encoder(subsampling_width=7)(features(), LENGTHS)
    assert output.log_probs.shape == (3, 10, 5)


def test_dropout_works_in_training_only() -> None:
    network = encoder(dropout=0.5)
    assert not torch.equal(
        network.train()(features(), LENGTHS).log_probs, network.train()(features(), LENGTHS).log_probs
    )
    assert torch.equal(network.eval()(features(), LENGTHS).log_probs, network.eval()(features(), LENGTHS).log_probs)


def test_every_parameter_learns() -> None:
    network = encoder(intermediate=1).train()
    output = network(features(), LENGTHS)
    assert output.intermediate is not None
    (output.log_probs[..., 1].sum() + output.intermediate[..., 2].sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"factor": 5}, "factor: input should be 1, 2, 3 or 4, got 5"),
        ({"layers": 0}, "layers: input should be greater than or equal to 1, got 0"),
        ({"dropout": 1}, "dropout: input should be less than 1, got 1"),
        ({"layers": 2, "intermediate": 2}, "intermediate must be below layers (2), got 2"),
        ({"subsampling": "cnn"}, "subsampling: 'cnn' is no choice; known: conv, vgg"),
        ({"subsampling_width": 10**18}, "subsampling_width: input should be less than or equal to 8192"),
        ({"hiden": 3}, "hiden: unknown key; did you mean 'hidden'?"),
    ],
)
def test_wrong_settings_are_refused_on_one_line(values: dict[str, object], fault: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(EncoderConfig, values, where="x.yaml")
    assert str(caught.value) == f"x.yaml: {fault}" or str(caught.value).startswith(f"x.yaml: {fault}")
    assert "\n" not in str(caught.value)
