"""Two LSTMs side by side by steps = torch's: on one thread and several, in bfloat16, at the edges of what can come."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asr import native
from asr.nn import recurrence
from asr.nn.cells import CELL_NAMES, CellName, make_cell
from asr.nn.cells.lstm import Lstm
from asr.nn.chunks import WHOLE, ChunkPlan
from asr.nn.recurrent import BidirectionalLayer
from asr.nn.steps import run_steps

STEPS, BATCH, WIDTH, SIZE = 23, 5, 24, 30


@pytest.fixture
def threads() -> Iterator[None]:
    """Put the number of torch's threads back after the test."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def two_lstms(size: int = SIZE) -> list[Lstm]:
    torch.manual_seed(1)
    lstms = [Lstm(WIDTH, size), Lstm(WIDTH, size)]
    for lstm in lstms:
        lstm.reset_parameters()  # torch's start: the orthogonal one depends on the number of threads
    return lstms


def train_lstms(lstms: list[Lstm], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    starts = [lstm.initial_state(values.shape[1]) for lstm, values in zip(lstms, inputs, strict=True)]
    return tuple(hidden for hidden, _ in run_steps(lstms, inputs, starts))


def values_and_gradients(
    run: Callable[[list[Lstm], list[Tensor]], tuple[Tensor, ...]], size: int = SIZE
) -> list[Tensor]:
    """Return outputs, gradients of inputs and gradients of parameters of two LSTMs run by `run`."""
    lstms = two_lstms(size)
    inputs = [torch.randn(STEPS, BATCH, WIDTH).mul_(2).requires_grad_() for _ in lstms]
    weights = [torch.randn(STEPS, BATCH, size) for _ in lstms]
    outputs = run(lstms, inputs)
    sum((output.float() * weight).sum() for output, weight in zip(outputs, weights, strict=True)).backward()
    gradients = [tensor.grad for tensor in inputs] + [p.grad for lstm in lstms for p in lstm.parameters()]
    return [output.detach().float() for output in outputs] + gradients


def torchs_own(lstms: list[Lstm], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    return tuple(nn.LSTM.forward(lstm, values)[0] for lstm, values in zip(lstms, inputs, strict=True))


def in_bfloat16(lstms: list[Lstm], inputs: list[Tensor]) -> tuple[Tensor, ...]:
    with torch.autocast("cpu", torch.bfloat16):
        return train_lstms(lstms, inputs)


def distances(ours: list[Tensor], theirs: list[Tensor]) -> list[float]:
    """Return the largest difference of each pair, in parts of the largest value."""
    return [float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, theirs, strict=True)]


def test_values_and_gradients_are_torchs_to_float32_rounding() -> None:
    assert max(distances(values_and_gradients(train_lstms), values_and_gradients(torchs_own))) < 5e-6


def test_bfloat16_products_move_nothing_by_more_than_their_rounding() -> None:
    assert max(distances(values_and_gradients(in_bfloat16), values_and_gradients(torchs_own))) < 0.02


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (1, 4), (6, 1), (3, 0)])
def test_the_smallest_inputs(steps: int, batch: int) -> None:
    lstms = two_lstms()
    inputs = [torch.randn(steps, batch, WIDTH, requires_grad=True) for _ in lstms]
    found, _ = train_lstms(lstms, inputs)
    torch.testing.assert_close(found, nn.LSTM.forward(lstms[0], inputs[0])[0], atol=1e-6, rtol=0)
    found.sum().backward()  # the other output is not used
    assert inputs[0].grad.isfinite().all()
    assert not inputs[1].grad.any()


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("name", CELL_NAMES)
def test_a_row_alone_says_what_it_says_in_a_batch(name: CellName, bfloat16: bool) -> None:
    """Its recurrent product is taken inside the kernel, all steps in one call; that of a batch outside of it."""
    torch.manual_seed(3)
    cell, inputs = make_cell(name, WIDTH, SIZE), torch.randn(STEPS, BATCH, WIDTH)  # SIZE is no multiple of four
    weight = torch.randn(STEPS, 1, cell.output_size)

    def run(values: Tensor) -> tuple[Tensor, ...]:
        values = values.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            ((hidden, memory),) = run_steps([cell], [values], [cell.initial_state(values.shape[1])])
        (hidden[:, :1] * weight).sum().backward()
        assert values.grad is not None
        return hidden[:, :1].detach().float(), memory[:, :1].detach(), values.grad[:, :1]

    pairs = zip(run(inputs[:, :1]), run(inputs), strict=True)
    assert max(float((a - b).norm() / b.norm()) for a, b in pairs if a.numel()) < (0.02 if bfloat16 else 2e-6)


def test_a_relu_that_stays_shut_leaves_no_numbers_that_a_cpu_is_slow_at() -> None:
    """LiGRU's memory decays to 0 where its candidate is 0: numbers below 1e-38 took four times as long."""
    cell = make_cell("ligru", WIDTH, SIZE)
    with torch.no_grad():
        cell.get_parameter("bias")[SIZE:] = -100
    start = torch.ones(1, SIZE), torch.ones(1, SIZE)
    ((_, memory),) = run_steps([cell], [torch.randn(600, 1, WIDTH)], [start])
    assert (memory[0] > 0.5).any()
    assert not memory[-1].any()
    assert memory[memory > 0].min() > 1e-21


def test_frozen_weights_get_no_gradient() -> None:
    lstms = two_lstms()
    lstms[0].requires_grad_(False)
    inputs = [torch.randn(4, 2, WIDTH) for _ in lstms]
    sum(output.sum() for output in train_lstms(lstms, inputs)).backward()
    assert all(p.grad is None for p in lstms[0].parameters())
    assert all(p.grad.any() for p in lstms[1].parameters())


def test_a_backward_pass_inside_autocast_is_as_exact_as_its_forward_pass() -> None:
    def gradients(dtype: torch.dtype | None) -> list[Tensor]:
        lstms, inputs = two_lstms(), [torch.randn(4, 2, WIDTH) for _ in range(2)]
        loss = sum(output.sum() for output in train_lstms(lstms, inputs))
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            loss.backward()
        return [p.grad for lstm in lstms for p in lstm.parameters()]

    for dtype in (torch.bfloat16, torch.float16):
        assert all(torch.equal(a, b) for a, b in zip(gradients(None), gradients(dtype), strict=True))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("run", [train_lstms, in_bfloat16])
def test_one_thread_and_two_give_the_same_bits(
    run: Callable[[list[Lstm], list[Tensor]], tuple[Tensor, ...]],
) -> None:
    torch.set_num_threads(1)
    alone = values_and_gradients(run, size=200)
    torch.set_num_threads(2)
    shared = values_and_gradients(run, size=200)
    with ThreadPoolExecutor(1) as fresh:
        assert (torch.get_num_threads(), fresh.submit(torch.get_num_threads).result()) == (2, 2)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_a_cpu_without_bfloat16_products_trains_in_float32() -> None:
    """oneDNN is told to know no more than AVX2, where it refuses to reorder a bfloat16 matrix."""
    script = """if True:
        import torch
        from asr.nn.chunks import WHOLE, ChunkPlan
        from asr.nn.recurrence import SMALL
        from asr.nn.recurrent import BidirectionalLayer
        layer, inputs = BidirectionalLayer("lstm", 8, SMALL), torch.randn(3, 2, 8)
        with torch.autocast("cpu", torch.bfloat16):
            plan = ChunkPlan(WHOLE, torch.tensor([3, 2]), 3)
            outputs = layer(plan.frames(inputs), plan)[0].own
        outputs.float().sum().backward()
        print(outputs.dtype, all(p.grad.isfinite().all() for p in layer.parameters()))
        """
    old = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, **old}, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("torch.float32 True\n", 0), done.stderr


def test_huge_sums_saturate_and_a_nan_stays_one() -> None:
    lstms = two_lstms()
    huge, poisoned = torch.full((3, 1, WIDTH), 1e30), torch.zeros(3, 1, WIDTH)
    poisoned[1, 0, 0] = torch.nan
    saturated, spoilt = train_lstms(lstms, [huge, poisoned])
    assert saturated.isfinite().all()
    assert spoilt[0].isfinite().all()
    assert spoilt[1:].isnan().all()


@pytest.mark.parametrize("size", [recurrence.SMALL, recurrence.SMALL - 1])
def test_a_layer_in_training_says_what_it_says_without_gradients(size: int) -> None:
    torch.manual_seed(2)
    layer = BidirectionalLayer("lstm", WIDTH, size)
    plan = ChunkPlan(WHOLE, torch.tensor([7, 2, 5]), 7)
    frames = plan.frames(torch.randn(7, 3, WIDTH))
    trained = layer(frames, plan)[0].own
    with torch.inference_mode():
        torch.testing.assert_close(trained.detach(), layer(frames, plan)[0].own, atol=1e-6, rtol=0)
    assert ("_Steps" in str(trained.grad_fn.next_functions)) == (size >= recurrence.SMALL)


@pytest.mark.parametrize("refusal", [RuntimeError("no locator available"), OSError(28, "No space left on device")])
def test_kernels_run_where_compiled_code_cannot_be_kept(monkeypatch: pytest.MonkeyPatch, refusal: Exception) -> None:
    """A read-only file system makes numba refuse at once, a full one at the first call: no reasons not to train."""

    def njit(*, cache: bool = False, **options: Any) -> Any:
        if cache and isinstance(refusal, RuntimeError):
            raise refusal

        def fails(*_: Any) -> None:
            raise refusal

        return (lambda function: fails) if cache else numba.njit(**options)

    monkeypatch.setattr(native, "njit", njit)

    def triple(values: Any) -> None:
        values *= 3

    array = np.ones(2, np.float32)
    native.compiled(triple)(array)
    assert array.tolist() == [3, 3]
