"""LSTMs in training on CPU = torch's: values and gradients, in float32 and bfloat16, on one thread and several."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asr.nn import recurrent
from asr.nn.kernels import lstm_cell
from asr.nn.lstm import train_lstms
from asr.nn.recurrent import BidirectionalLSTM, initialize_lstm
from asr.nn.reversal import reversal_index

STEPS, BATCH, WIDTH, SIZE = 23, 5, 24, 32


@pytest.fixture
def threads() -> Iterator[None]:
    """Put the number of torch's threads back after the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def two_lstms() -> list[nn.LSTM]:
    torch.manual_seed(1)
    lstms = [nn.LSTM(WIDTH, SIZE), nn.LSTM(WIDTH, SIZE)]
    for lstm in lstms:
        initialize_lstm(lstm)
    return lstms


def values_and_gradients(run: Callable[[list[nn.LSTM], list[Tensor]], tuple[Tensor, ...]]) -> list[Tensor]:
    """Return outputs, gradients of inputs and gradients of parameters of two LSTMs run by `run`."""
    lstms = two_lstms()
    inputs = [torch.randn(STEPS, BATCH, WIDTH).mul_(2).requires_grad_() for _ in lstms]
    weights = [torch.randn(STEPS, BATCH, SIZE) for _ in lstms]
    outputs = run(lstms, inputs)
    sum((output.float() * weight).sum() for output, weight in zip(outputs, weights, strict=True)).backward()
    gradients = [tensor.grad for tensor in inputs] + [p.grad for lstm in lstms for p in lstm.parameters()]
    return [output.detach().float() for output in outputs] + gradients


def torchs_own(lstms: list[nn.LSTM], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return tuple(lstm(values)[0] for lstm, values in zip(lstms, inputs, strict=True))


def in_bfloat16(lstms: list[nn.LSTM], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    with torch.autocast("cpu", torch.bfloat16):
        return train_lstms(lstms, inputs)


def distances(ours: list[Tensor], theirs: list[Tensor]) -> list[float]:
    """Return the largest difference of each pair, in parts of the largest value."""
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True)]


def test_values_and_gradients_are_torchs_to_float32_rounding() -> None:
    assert max(distances(values_and_gradients(train_lstms), values_and_gradients(torchs_own))) < 5e-6


def test_bfloat16_products_move_nothing_by_more_than_their_rounding() -> None:
    assert max(distances(values_and_gradients(in_bfloat16), values_and_gradients(torchs_own))) < 0.02


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("run", [train_lstms, in_bfloat16])
def test_one_thread_and_several_give_the_same_bits(
    run: Callable[[list[nn.LSTM], list[Tensor]], tuple[Tensor, ...]],
) -> None:
    torch.set_num_threads(1)
    alone = values_and_gradients(run)
    torch.set_num_threads(4)
    shared = values_and_gradients(run)
    with ThreadPoolExecutor(1) as fresh:
        assert (torch.get_num_threads(), fresh.submit(torch.get_num_threads).result()) == (4, 4)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_huge_sums_saturate_and_a_nan_stays_one() -> None:
    lstms = two_lstms()
    huge, poisoned = torch.full((3, 1, WIDTH), 1e30), torch.zeros(3, 1, WIDTH)
    poisoned[1, 0, 0] = torch.nan
    saturated, spoilt = train_lstms(lstms, [huge, poisoned])
    assert saturated.isfinite().all()
    assert spoilt[0].isfinite().all()
    assert spoilt[1:].isnan().all()


@pytest.mark.parametrize("size", [recurrent.SMALL, recurrent.SMALL - 1])
def test_a_layer_in_training_says_what_it_says_without_gradients(size: int) -> None:
    torch.manual_seed(2)
    layer = BidirectionalLSTM(WIDTH, size)
    inputs, index = torch.randn(7, 3, WIDTH), reversal_index(torch.tensor([7, 2, 5]), 7)
    trained = layer(inputs, index)
    with torch.inference_mode():
        torch.testing.assert_close(trained.detach(), layer(inputs, index), atol=1e-6, rtol=0)
    assert ("_Steps" in str(trained.grad_fn.next_functions)) == (size >= recurrent.SMALL)


def test_kernels_run_where_compiled_code_can_be_kept_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose file system is read-only: numba refuses to cache, which is no reason not to train."""

    def njit(*, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function 'triple': no locator available")
        return numba.njit(**options)

    monkeypatch.setattr(lstm_cell, "njit", njit)

    def triple(values: Any) -> None:
        values *= 3

    array = np.ones(2, np.float32)
    lstm_cell.compiled(triple)(array)
    assert array.tolist() == [3, 3]
