"""Steps on a GPU = the plain way, without a GPU: by Triton's interpreter, and by its compiler; and who takes them."""

import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from asr.nn import gpu_steps, recurrence
from asr.nn.cells import CELL_NAMES, CellName, make_cell
from asr.nn.cells.cell import StepKernel
from asr.nn.triton_kernels.launch import launcher
from tests.nn.gpu_steps_cases import CASES

ROOT = Path(__file__).resolve().parents[2]
CARD = torch.device("cuda", 0)
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="no triton here, which torch brings on Linux"
)


def told_by(module: str, **environment: str) -> Any:
    """Return the JSON that a module writes in a process of its own."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TRITON_")}
    done = subprocess.run(
        [sys.executable, "-m", module], cwd=ROOT, env=inherited | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted() -> Any:
    return told_by("tests.nn.gpu_steps_interpreted", TRITON_INTERPRET="1")


@pytest.fixture
def unchecked() -> Any:
    """Forget what is known of devices, before the test and after it."""
    gpu_steps.works_on.cache_clear()
    yield
    gpu_steps.works_on.cache_clear()


def test_a_lack_of_memory_is_not_remembered(unchecked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(device: torch.device, dtype: torch.dtype) -> bool:
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr(gpu_steps, "_right_on", lacks)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        gpu_steps.works_on(CARD, torch.float32)
    monkeypatch.setattr(gpu_steps, "_right_on", lambda device, dtype: True)
    assert gpu_steps.works_on(CARD, torch.float32)


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", CELL_NAMES)
def test_values_and_gradients_are_those_of_the_plain_way(interpreted: Any, name: CellName, case: str) -> None:
    """In float32 to its rounding; in bfloat16 to its eight bits, as the steps on CPU.

    The slope of a ReLU jumps at 0, where rounding decides: there bfloat16 is five times less exact, on CPU as well.
    """
    apart, tolerance = interpreted["apart"][f"{name}, {case}"], CASES[case].tolerance
    if CASES[case].bfloat16 and name in ("rnn_relu", "ligru"):
        tolerance *= 5
    assert len(apart) > 10
    assert {key: value for key, value in apart.items() if not value < tolerance} == {}


@needs_triton
@pytest.mark.slow
def test_the_check_of_a_device_sees_wrong_kernels(interpreted: Any) -> None:
    verdicts = interpreted["works"]
    wrong = {"wrong forward", "wrong backward"}
    assert {key for key, works in verdicts.items() if not works} == wrong
    assert len(verdicts) == len(wrong) + 3


@needs_triton
@pytest.mark.slow
def test_kernels_are_machine_code_where_there_is_no_gpu(tmp_path: Path) -> None:
    sizes = told_by("tests.nn.gpu_steps_compiled", TRITON_CACHE_DIR=str(tmp_path))
    assert len(sizes) == 3 * len(CELL_NAMES)
    assert all(len(pair) == 2 and min(pair) > 1000 for pair in sizes.values())


@pytest.mark.usefixtures("unchecked")
def test_without_triton_cells_take_the_plain_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for module in [name for name in sys.modules if name.startswith("asr.nn.triton_kernels.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "triton", None)
    with caplog.at_level(logging.WARNING, "asr"):
        assert not gpu_steps.works_on(torch.device("cpu"), torch.float32)
        assert not gpu_steps.works_on(torch.device("cpu"), torch.float32)
    assert len(caplog.messages) == 1, "one line, once"
    assert re.search("import of triton halted|No module named 'triton", caplog.messages[0])
    assert ran_on_a_card("gru") == "plain"
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_triton_does_not_work() -> None:
    assert not gpu_steps.works_on(torch.device("cpu"), torch.float32)
    assert not gpu_steps.works_on(CARD, torch.float32)


def test_a_launch_hands_out_what_the_first_look_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Triton's own launch does: pointers and numbers in the order of the arguments, constants among them."""
    stream, launches = object(), []

    class Compiled:
        def warmup(self, *arguments: Any, **options: Any) -> Any:
            self.seen, self.options = arguments, options
            return self

        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            return lambda *arguments, stream: launches.append((grid, arguments, stream))

    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=stream))
    function, kernel = Compiled(), StepKernel(len, len)
    gates, inner = torch.zeros(2, 5, 3, 4), torch.zeros(2, 6, 3, 130)  # two directions, five steps, three rows
    launch = launcher(kernel, function, (gates, inner), inner, True)
    assert function.seen == (0, gates, inner, 5, 3, 130, 128, True)
    assert function.options["grid"] == (6, 2, 1)
    launch(3)
    launch(4)
    arguments = (gates.data_ptr(), inner.data_ptr(), 5, 3, 130, 128, True)
    assert launches == [((6, 2, 1), (step, *arguments), stream) for step in (3, 4)]
    launcher(replace(kernel, whole_rows=True), function, (gates, inner), inner)
    assert function.seen[-1] == 256
    assert function.options["grid"] == (6, 1, 1)


def ran_on_a_card(name: CellName) -> str:
    """Return which way a cell took on a GPU, which torch only imagines."""
    with FakeTensorMode(), torch.device(CARD):
        cell, inputs = make_cell(name, 4, 6), torch.zeros(3, 2, 4)
        ((outputs, _),) = recurrence.run_cells([cell], [inputs])
        assert outputs.shape == (3, 2, cell.output_size)
    return "triton" if "_Steps" in str(outputs.grad_fn) else "plain"


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("name", ["gru", "lstm_projected"])
def test_cells_take_the_steps_where_triton_works(monkeypatch: pytest.MonkeyPatch, name: CellName, works: bool) -> None:
    monkeypatch.setattr(gpu_steps, "works_on", lambda device, dtype: works and (device, dtype) == (CARD, torch.float32))
    taken = []
    monkeypatch.setattr(gpu_steps, "run_steps", lambda cells, *rest: taken.append(cells) or ran(cells, *rest))
    assert ran_on_a_card(name) == "plain"  # the stand-in below
    assert len(taken) == works


def ran(cells: Any, inputs: Any, states: Any) -> Any:
    return [recurrence.run_plain(*job) for job in zip(cells, inputs, states, strict=True)]


def test_half_weights_and_float64_take_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_steps, "works_on", lambda device, dtype: True)
    cell = make_cell("gru", 4, 6)
    with FakeTensorMode(), torch.device(CARD):
        inputs = torch.zeros(3, 2, 4)
    assert recurrence.can_step([cell], inputs)
    assert not recurrence.can_step([cell.double()], inputs)
    assert not recurrence.can_step([cell.half()], inputs)


def test_cudnn_keeps_the_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for a history of its memory, which cuDNN does not hand out."""
    monkeypatch.setattr(gpu_steps, "works_on", lambda device, dtype: True)
    cell = make_cell("lstm", 4, recurrence.SMALL)
    assert not recurrence._is_torchs([cell], [torch.zeros(3, 2, 4)], False)  # type: ignore[list-item]
    with FakeTensorMode(), torch.device(CARD):
        inputs = torch.zeros(3, 2, 4)
    assert recurrence._is_torchs([cell], [inputs], False)  # type: ignore[list-item]
    assert not recurrence._is_torchs([cell], [inputs[:0]], False)  # type: ignore[list-item]
    assert recurrence.can_step([cell], inputs)
