"""The bidirectional layer = nn.LSTM on a packed sequence, in values and gradients; the start of an LSTM."""

import pytest
import torch
from torch import Tensor, nn

from asr.nn.cells.cell import KEEP_BIAS
from asr.nn.cells.lstm import initialize_lstm
from asr.nn.chunks import WHOLE, ChunkPlan
from asr.nn.recurrent import BidirectionalLayer
from asr.nn.reversal import reversal_index, reverse

LENGTHS = torch.tensor([5, 1, 9, 2, 9, 7])
GATES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def inputs(width: int) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(9, len(LENGTHS), width, generator=generator, dtype=torch.float64)


def outputs_of(layer: BidirectionalLayer, values: Tensor) -> Tensor:
    plan = ChunkPlan(WHOLE, LENGTHS, len(values))
    outputs: Tensor = layer(plan.frames(values), plan)[0].own
    return outputs


def packed_twin(layer: BidirectionalLayer, width: int, hidden: int) -> nn.LSTM:
    """Return torch's bidirectional layer with the same weights."""
    twin = nn.LSTM(width, hidden, bidirectional=True).double()
    with torch.no_grad():
        for name in GATES:
            getattr(twin, name).copy_(getattr(layer.forwards, name))
            getattr(twin, name + "_reverse").copy_(getattr(layer.backwards, name))
    return twin


def test_values_and_gradients_equal_torchs_packed_layer() -> None:
    layer = BidirectionalLayer("lstm", 4, 3).double()
    twin = packed_twin(layer, 4, 3)
    values, packed_values = inputs(4).requires_grad_(), inputs(4).requires_grad_()
    outputs = outputs_of(layer, values)
    packed = nn.utils.rnn.pack_padded_sequence(packed_values, LENGTHS, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(twin(packed)[0])
    valid = (torch.arange(9)[:, None] < LENGTHS).unsqueeze(2)
    torch.testing.assert_close(outputs * valid, expected, atol=1e-12, rtol=0)

    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    (outputs * weight * valid).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(values.grad, packed_values.grad, atol=1e-12, rtol=0)
    for name in GATES:
        for direction, suffix in ((layer.forwards, ""), (layer.backwards, "_reverse")):
            torch.testing.assert_close(
                getattr(direction, name).grad, getattr(twin, name + suffix).grad, atol=1e-11, rtol=0
            )


def test_what_lies_in_the_padding_reaches_no_valid_frame() -> None:
    layer = BidirectionalLayer("lstm", 4, 3).double()
    valid = (torch.arange(9)[:, None] < LENGTHS).unsqueeze(2)
    clean = outputs_of(layer, inputs(4) * valid)
    dirty = outputs_of(layer, torch.where(valid, inputs(4), 50.0))
    assert torch.equal(clean * valid, dirty * valid)


def test_reversal_is_its_own_inverse_and_keeps_the_padding_in_place() -> None:
    index = reversal_index(LENGTHS, 9)
    assert torch.equal(index[index], torch.arange(9 * len(LENGTHS)))
    sequences = inputs(2)
    reversed_once = reverse(sequences, index)
    assert torch.equal(reverse(reversed_once, index), sequences)
    for row, length in enumerate(LENGTHS.tolist()):
        assert torch.equal(reversed_once[:length, row], sequences[:length, row].flip(0))
        assert torch.equal(reversed_once[length:, row], sequences[length:, row])


def test_the_gradient_of_a_reversal_is_the_reversed_gradient() -> None:
    index = reversal_index(torch.tensor([3, 1]), 4)
    sequences = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: reverse(values, index), (sequences,))


@pytest.mark.parametrize("direction", ["forwards", "backwards"])
def test_the_forget_gate_starts_open(direction: str) -> None:
    hidden = 6
    lstm = getattr(BidirectionalLayer("lstm", 5, hidden), direction)
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    expected = torch.zeros(4 * hidden)
    expected[hidden : 2 * hidden] = KEEP_BIAS
    assert KEEP_BIAS == 1.0
    assert torch.equal(bias, expected)


def test_the_second_quarter_is_the_forget_gate() -> None:
    """The claim about torch's order of gates that the bias rests on: a closed second gate forgets the cell."""
    lstm = nn.LSTM(1, 2)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.bias_ih_l0[2:4] = -50.0
    cell = torch.full((1, 1, 2), 9.0)
    _, (_, after) = lstm(torch.zeros(1, 1, 1), (torch.zeros(1, 1, 2), cell))
    assert after.abs().max() < 1e-6


def test_recurrent_weights_start_orthogonal() -> None:
    lstm = nn.LSTM(5, 6)
    initialize_lstm(lstm)
    for gate in lstm.weight_hh_l0.split(6):
        torch.testing.assert_close(gate @ gate.T, 0.25 * torch.eye(6), atol=1e-5, rtol=0)
