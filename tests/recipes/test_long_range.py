"""The cell laboratory: its tasks, its runs, its gradients, and what is found again when it is started again."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr.nn.cells import CELL_NAMES
from asr.nn.recurrence import run_plain
from recipes.long_range import laboratory
from recipes.long_range.tasks import BLANK, NOW, TASKS, copy_baseline, draw_adding, draw_copy
from recipes.long_range.training import Network, Run, gradient_norms, is_solved, run_alone

ROOT = Path(__file__).resolve().parents[2]
SHORT = Run("adding", "gru", 4, seed=1, steps=400, width=8, check_every=20)


@pytest.fixture(autouse=True)
def torch_as_before() -> Any:
    """A run takes one thread of its process and flushes the smallest numbers to 0; other tests do not."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def generator() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize("length", [2, 7, 100])
def test_adding_marks_one_number_in_each_half(length: int) -> None:
    inputs, sums = draw_adding(length, 500, generator())
    assert (inputs.shape, sums.shape) == ((length, 500, 2), (1, 500))
    numbers, marks = inputs.unbind(-1)
    assert (marks[: length // 2].sum(0) == 1).all()
    assert (marks[length // 2 :].sum(0) == 1).all()
    torch.testing.assert_close((numbers * marks).sum(0), sums[0])
    assert float(((sums - 1) ** 2).mean()) == pytest.approx(TASKS["adding"].baseline(length), rel=0.2)


def test_copy_is_laid_out_as_in_the_paper() -> None:
    inputs, said = draw_copy(5, 3, generator())
    shown = inputs.argmax(-1)
    assert (inputs.sum(-1) == 1).all()
    assert shown.shape == said.shape == (25, 3)
    assert (shown[:10] < 8).all()
    assert torch.equal(said[-10:], shown[:10])
    assert (shown[10:14] == BLANK).all()
    assert (shown[14] == NOW).all()
    assert (shown[15:] == BLANK).all()
    assert (said[:-10] == BLANK).all()


def test_the_baseline_of_copy_is_the_loss_of_a_guess_at_the_right_time() -> None:
    _, said = draw_copy(5, 200, generator())
    outputs = torch.full((25, 200, 9), -1e9)
    outputs[:15, :, BLANK] = 0
    outputs[15:, :, :8] = 0
    assert float(TASKS["copy"].loss(outputs, said)) == pytest.approx(copy_baseline(5))


def test_a_task_is_solved_by_several_checks_in_a_row() -> None:
    assert is_solved([0.5, 0.009, 0.009, 0.009], 0.01)
    assert not is_solved([0.009, 0.009], 0.01)
    assert not is_solved([0.009, 0.009, 0.5, 0.009], 0.01)
    assert not is_solved([0.009, 0.009, None], 0.01)


def test_a_run_stops_once_solved_and_is_the_same_again() -> None:
    run = replace(SHORT, steps=40_000)
    result = run_alone(run)
    assert result["solved"]
    assert result["updates"] == 20 * len(result["errors"]) < 10_000
    assert max(result["errors"][-3:]) < 0.01 <= result["errors"][-4]
    again = run_alone(run)
    assert {**again, "cpu_seconds": 0} == {**result, "cpu_seconds": 0}


def test_a_run_that_solves_nothing_ends_with_its_steps() -> None:
    result = run_alone(replace(SHORT, task="copy", steps=990))
    assert (result["solved"], result["updates"], len(result["errors"])) == (False, 41, 3)  # of 24 steps each
    assert len(result["gradient_after"]) == 24


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_gradients_are_those_of_small_changes_of_the_state(cell: Any) -> None:
    """The state after each step is moved a little, and the loss of what follows is looked at."""
    torch.manual_seed(1)
    run, length = replace(SHORT, cell=cell, width=3), 5
    network, task = Network(run), TASKS["adding"]
    batch = task.draw(length, 2, generator())
    found = gradient_norms(network, task, batch)
    network = network.double()
    inputs, targets = batch[0].double(), batch[1].double()

    def loss(start: tuple[torch.Tensor, torch.Tensor], step: int) -> float:
        hidden = start[0] if step == length - 1 else run_plain(network.cell, inputs[step + 1 :], start)[0][-1]
        return float(task.loss(network.readout(hidden).unsqueeze(0), targets).detach())

    norms = []
    for step in range(length):
        states = run_plain(network.cell, inputs[: step + 1], network.cell.initial_state(2))
        state = (states[0][-1].detach(), states[1][-1].detach())
        squares = 0.0
        for part in (0, 1):
            for place in range(state[part].numel()):
                losses = []
                for change in (1e-6, -1e-6):
                    moved = [tensor.clone() for tensor in state]
                    moved[part].view(-1)[place] += change
                    losses.append(loss((moved[0], moved[1]), step))
                squares += ((losses[0] - losses[1]) / 2e-6) ** 2
        norms.append(math.sqrt(squares))
    assert [norm / norms[-1] for norm in reversed(norms)] == pytest.approx(found, rel=2e-3)


def start(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    words = ["--out", str(folder), "--cells", "rnn,gru", "--tasks", "adding", "--steps", "400", *arguments]
    monkeypatch.setattr(sys, "argv", ["laboratory.py", *words])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return laboratory.main()


def test_a_start_makes_table_receipt_and_pictures_and_another_makes_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(laboratory, "finished", lambda runs, options: [made(run, options) for run in runs])
    assert start(tmp_path, monkeypatch, "--lengths", "6,4") == 0
    table, said = capsys.readouterr()
    assert table.splitlines()[0] == "| task | cell | T = 4 | T = 6 |"
    assert [line.split("|")[2].strip() for line in table.splitlines()[2:]] == ["`rnn`", "`gru`"]
    assert said.count("adding") == 4
    receipt = json.loads((tmp_path / "long_range.receipt.json").read_text())
    assert [row["run"]["length"] for row in receipt["result"]["runs"]] == [4, 4, 6, 6]
    assert {path.name for path in tmp_path.iterdir()} == {
        "runs",
        "long_range.receipt.json",
        "reach.png",
        "gradients.png",
    }
    (tmp_path / "runs" / "adding-4-rnn-1.json").unlink()
    assert start(tmp_path, monkeypatch, "--lengths", "4,6") == 0
    again = capsys.readouterr()
    assert again.out == table
    assert again.err.split(":")[0] == "adding 4 rnn"
    assert start(tmp_path, monkeypatch, "--lengths", "4,6", "--steps", "200") == 0
    assert capsys.readouterr().err.count("adding") == 4, "with other settings it is another run"


def made(run: Run, options: Any) -> dict[str, Any]:
    """Stands for a process: numpy, numba and torch need seconds to start in a new one."""
    return laboratory.result_of(run, options.out / "runs" / f"{run.name}.json")


def test_runs_in_processes_are_those_of_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    assert start(tmp_path, monkeypatch, "--lengths", "4", "--jobs", "2") == 0
    found = json.loads((tmp_path / "runs" / "adding-4-gru-1.json").read_text())
    assert {**found, "cpu_seconds": 0} == {**run_alone(Run("adding", "gru", 4, 1, 400)), "cpu_seconds": 0}


def test_only_who_solves_a_thousand_steps_goes_on_to_two_thousand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    asked: list[tuple[str, int]] = []

    def solved(runs: list[Run], options: Any) -> list[dict[str, Any]]:
        asked.extend((run.cell, run.length) for run in runs)
        curves = {"gradient_at_start": [1.0, 0.1], "gradient_after": [1.0, None]}
        numbers = {"updates": 5, "error": None, "baseline": 1.0, "errors": [None], **curves}
        return [{"run": vars(run), "solved": run.cell == "gru", **numbers} for run in runs]

    monkeypatch.setattr(laboratory, "finished", solved)
    assert start(tmp_path, monkeypatch, "--lengths", "300,1000") == 0
    assert asked == [("rnn", 300), ("gru", 300), ("rnn", 1000), ("gru", 1000), ("gru", 2000)]


def test_without_matplotlib_the_numbers_stay_and_the_cure_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(laboratory, "finished", lambda runs, options: [made(run, options) for run in runs])
    assert start(tmp_path, monkeypatch, "--lengths", "4") == 4
    table, said = capsys.readouterr()
    assert table.startswith("| task | cell | T = 4 |")
    assert (tmp_path / "long_range.receipt.json").is_file()
    assert said.splitlines()[-1].startswith("recipes/long_range: the package matplotlib is missing")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cells", "lstn"], "--cells: 'lstn' is none; did you mean 'lstm'?"),
        (["--tasks", "add"], "--tasks: 'add' is none; did you mean 'adding'?"),
        (["--lengths", "1"], "--lengths: '1' is no length; give whole numbers from 2, such as 100,300"),
        (["--lengths", "100,"], "--lengths: '' is no length; give whole numbers from 2, such as 100,300"),
        (["--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["--steps", "-1"], "--steps must be at least 1, got -1"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--sede", "1"], "unrecognized arguments: --sede 1; see recipes/long_range/run.sh --help"),
    ],
)
def test_wrong_usage_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert start(tmp_path / "out", monkeypatch, *arguments) == 2
    assert capsys.readouterr().err == f"recipes/long_range: {message}\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_said_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(laboratory, "finished", None)
    (tmp_path / "out").write_text("a file")
    assert start(tmp_path / "out", monkeypatch) == 4
    assert "out: cannot write: Not a directory; check the path" in capsys.readouterr().err


def test_run_sh_sets_up_and_hands_its_options_on(tmp_path: Path) -> None:
    root = tmp_path / "a checkout"
    (root / "recipes" / "long_range").mkdir(parents=True)
    script = Path(shutil.copy(ROOT / "recipes" / "long_range" / "run.sh", root / "recipes" / "long_range"))
    for name, text in (("tools/setup", "echo set up"), (".venv/bin/python", 'echo "$PYTHONPATH:" "$@"')):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (root / name).chmod(0o755)
    done = subprocess.run([script, "--jobs", "3"], cwd=tmp_path, capture_output=True, text=True, check=True)
    called = f"{root}{os.pathsep}" if not os.environ.get("PYTHONPATH") else f"{root}:{os.environ['PYTHONPATH']}:"
    assert done.stdout.splitlines() == ["set up", f"{called} -m recipes.long_range.laboratory --jobs 3"]
