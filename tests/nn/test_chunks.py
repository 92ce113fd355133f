"""Chunks as rows of one batch = one chunk after another, in values and gradients."""

import pytest
import torch
from torch import Tensor, nn

from asr.nn import recurrence
from asr.nn.cells import CELL_NAMES, CellName
from asr.nn.chunks import WHOLE, ChunkPlan, Context
from asr.nn.encoder import Encoder, EncoderConfig
from tests.oracles.chunks import hidden_of

LENGTHS = torch.tensor([40, 17, 1, 33, 12])
CONTEXTS = [
    WHOLE,
    Context(1, 0),
    Context(4, 0),
    Context(4, 2),
    Context(4, 4),
    Context(3, 7),
    Context(50, 3),
    Context(4, 2, carried=False),
    Context(4, 0, carried=False),
]


WITH_GRADIENTS: tuple[CellName, ...] = ("lstm", "lstm_layernorm", "lstm_projected", "gru", "mingru")


def encoder_of(cell: CellName = "lstm", **values: object) -> Encoder:
    torch.manual_seed(1)
    config = EncoderConfig.model_validate(
        {"subsampling_width": 16, "layers": 3, "hidden": 8, "factor": 3, "cell": cell} | values
    )
    return Encoder(config, 9, 5).eval()


def batch() -> Tensor:
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randn(length, 9, generator=generator) for length in LENGTHS.tolist()]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("cell", WITH_GRADIENTS)
@pytest.mark.parametrize("double", [True, False])
def test_a_batch_of_chunks_is_one_chunk_after_another(
    context: Context, cell: CellName, double: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64 by torch's LSTM or the plain loops, in float32 by compiled steps, to the rounding of each."""
    monkeypatch.setattr(recurrence, "SMALL", 0)  # above it, training is by our steps
    dtype, tolerance = (torch.float64, 1e-11) if double else (torch.float32, 2e-5)
    encoder = encoder_of(cell).to(dtype)
    features = batch().to(dtype)
    output = encoder(features, LENGTHS, context)
    weight = torch.randn(output.log_probs.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    (output.log_probs * weight).sum().backward()
    found = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    encoder.zero_grad()

    total = torch.zeros((), dtype=dtype)
    for row, length in enumerate(LENGTHS.tolist()):
        frames, _ = encoder.subsampling(features[row : row + 1, :length], LENGTHS[row : row + 1])
        hidden = hidden_of(encoder, frames[0], context)
        log_probs = encoder.log_probs(hidden.unsqueeze(1))[0]
        torch.testing.assert_close(
            output.log_probs[row, : len(log_probs)].double(), log_probs.double(), atol=max(tolerance, 3e-7), rtol=0
        )
        total = total + (log_probs * weight[row, : len(log_probs)]).sum()
    total.backward()
    for name, parameter in encoder.named_parameters():
        error = (parameter.grad - found[name]).norm() / found[name].norm().clamp_min(1e-12)
        assert error < max(20 * tolerance, 1e-5), name


@pytest.mark.parametrize("cell", sorted(set(CELL_NAMES) - set(WITH_GRADIENTS)))
def test_chunks_of_other_cells(cell: CellName) -> None:
    encoder, context = encoder_of(cell), Context(4, 2)
    with torch.no_grad():
        output = encoder(batch(), LENGTHS, context)
        for row, length in enumerate(LENGTHS.tolist()):
            frames, _ = encoder.subsampling(batch()[row : row + 1, :length], LENGTHS[row : row + 1])
            log_probs = encoder.log_probs(hidden_of(encoder, frames[0], context).unsqueeze(1))[0]
            torch.testing.assert_close(output.log_probs[row, : len(log_probs)], log_probs, atol=1e-5, rtol=0)


def test_a_chunk_that_holds_all_is_the_whole() -> None:
    encoder = encoder_of()
    with torch.no_grad():
        whole = encoder(batch(), LENGTHS).log_probs
        torch.testing.assert_close(encoder(batch(), LENGTHS, Context(14, 0)).log_probs, whole, atol=1e-6, rtol=0)
        assert (encoder(batch(), LENGTHS, Context(13, 0)).log_probs - whole).abs().max() > 1e-3


def test_frames_see_their_chunk_and_its_right_context_and_nothing_behind() -> None:
    """Where a change of one encoder frame can be seen: in its chunk, later, and where it is right context."""
    encoder, context = encoder_of(factor=1), Context(4, 2)
    features, lengths = torch.randn(1, 20, 9, generator=torch.Generator().manual_seed(4)), torch.tensor([20])
    changed = features.clone()
    changed[0, 11] += 1  # the convolution of 3 takes it to the frames 10, 11 and 12
    with torch.no_grad():
        differences = [encoder(values, lengths, context).log_probs[0] for values in (features, changed)]
    seen = (differences[0] - differences[1]).abs().amax(1) > 0
    assert seen.tolist() == [False] * 8 + [True] * 12  # the chunk 4 to 7 sees 8 and 9
    changed = features.clone()
    changed[0, 10] += 1  # now 9 is changed, which the chunk 4 to 7 sees
    with torch.no_grad():
        other = encoder(changed, lengths, context).log_probs[0]
    assert ((other - differences[0]).abs().amax(1) > 0).tolist() == [False] * 4 + [True] * 16


def test_rows_are_put_back() -> None:
    plan = ChunkPlan(Context(4, 3), torch.tensor([11, 6]), 11)
    own = torch.randn(11, 2, 5)
    frames = plan.frames(own)
    back = plan.from_rows(plan.rows(frames))
    assert torch.equal(back.own, own)
    assert torch.equal(back.right, frames.right)
    assert frames.right.shape == (3, 3 * 2, 5)
    assert torch.equal(frames.right[:, 1 * 2 + 1], torch.cat([own[8:11, 1]]))
