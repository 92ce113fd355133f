"""tools/gpu-check: its parts on the CPU with tiny settings, what happens to parts that fail, and exit code 4."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.errors import MachineError, UsageError
from asr.nn.cells import CELL_NAMES
from tests.tools.benchmarks import ROOT, TINY, benchmark, prepared_an4

gpu_check = benchmark("gpu_check")


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return prepared_an4(tmp_path_factory.mktemp("an4"))


@pytest.fixture
def task(manifests: dict[str, Path], tmp_path: Path) -> Any:
    overrides = (*TINY, "train.epochs=2", "train.validate_every=1")
    return gpu_check.Task(manifests, tmp_path, overrides, device="cpu", scale=gpu_check.TINY)


def test_matrix(task: Any) -> None:
    rates = gpu_check.matrix(task)["tflop_per_second"]
    assert set(rates) == {"float32", "tf32", "bf16"}
    assert all(rate > 0 for sizes in rates.values() for rate in sizes.values())
    assert torch.get_float32_matmul_precision() == "highest"


def test_agreement(task: Any) -> None:
    result = gpu_check.agreement(task)
    assert result["passed"]
    assert result["largest_difference"] == {"float32": 0, "tf32": 0}
    assert result["utterances"] == 2


def test_cells(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    result = gpu_check.cells(task)
    assert result["passed"]
    assert result["steps_by"] == "numba"
    assert set(result["cpu_to_gpu"]) == set(result["ratio_to_cudnn"]) == set(CELL_NAMES)
    assert all(ratios["2"] > 0 for ratios in result["ratio_to_cudnn"].values())
    monkeypatch.setattr(gpu_check, "_apart", lambda name, device: 0.01 if name == "gru" else 0.0)
    assert not gpu_check.cells(task)["passed"]


@pytest.mark.parametrize("fault", ["log_probs", "masks"])
def test_agreement_does_not_pass_what_differs(task: Any, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "masks":
        monkeypatch.setattr(gpu_check, "_same_masks", lambda device: False)
    else:
        model = gpu_check._model(task)
        calls = iter(range(10))
        monkeypatch.setattr(
            model.encoder.output, "forward", lambda hidden: hidden[..., : model.tokenizer.size] + next(calls)
        )
        monkeypatch.setattr(model.encoder.output, "forward", drifting(model.encoder.output.forward))
        monkeypatch.setattr(gpu_check, "_model", lambda task: model)
    assert not gpu_check.agreement(task)["passed"]


def drifting(function: Any) -> Any:
    """Return a function whose results change a little from call to call."""
    calls = iter(range(1000))

    def changed(hidden: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = function(hidden)
        return logits * (1 + 1e-2 * next(calls))

    return changed


def test_an4_reports_when_the_figure_was_reached(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "FIGURE", 1000.0)
    result = gpu_check.an4(task)
    assert result["passed"]
    assert result["finished"]
    assert len(result["validations"]) == 2
    assert result["minutes_to_figure"] == result["validations"][0]["minutes"] <= result["minutes"]
    assert result["audio_seconds_seen"] > 0
    monkeypatch.setattr(gpu_check, "FIGURE", -1.0)
    other = gpu_check.an4(replaced_out(task, "other"))
    assert (other["passed"], other["minutes_to_figure"]) == (False, None)


def test_a_second_run_replaces_the_trainings_of_the_first(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_check.an4(task)
    result = gpu_check.an4(task)
    assert result["finished"]
    checkpoint = task.out / "an4" / "checkpoints" / "last.safetensors"
    trained: list[str] = []

    def train_twin(task: Any, name: str, *more: str, backend: str | None = None) -> None:
        target = task.out / "twins" / name / "checkpoints" / checkpoint.name
        assert not target.exists()
        target.parent.mkdir(parents=True)
        shutil.copy(checkpoint, target)
        trained.append(name)

    monkeypatch.setattr(gpu_check, "_train_twin", train_twin)
    for _ in range(2):
        assert gpu_check.nccl(task)["passed"]
    assert trained == ["nccl", "nccl-alone", "nccl-again"] * 2


def test_a_training_of_somebody_else_is_left_alone(task: Any) -> None:
    foreign = task.out / "an4" / "checkpoints" / "last.safetensors"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"theirs")
    for _ in range(2):
        with pytest.raises(UsageError, match="this folder holds a run"):
            gpu_check.an4(task)
    assert foreign.read_bytes() == b"theirs"


def replaced_out(task: Any, name: str) -> Any:
    return gpu_check.replace(task, out=task.out / name)


def test_an4_stops_when_its_time_is_over(task: Any) -> None:
    result = gpu_check.an4(gpu_check.replace(task, seconds=gpu_check.SCORING_SECONDS))
    assert (result["passed"], result["finished"], result["validations"]) == (False, False, [])


def test_training_compares_precisions(task: Any) -> None:
    long = gpu_check.replace(task, overrides=(*TINY, "train.epochs=1000"))
    result = gpu_check.training(long)
    assert result["float32"]["steps_trained"] == result["bf16"]["steps_trained"]
    assert result["bf16_loss_to_float32"] == pytest.approx(1, abs=0.05)
    assert result["bare_with_2_times_the_batch"]["audio_seconds_per_second"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("part", ["gloo", "nccl"])
def test_twins(task: Any, part: str, tmp_path: Path) -> None:
    # in a process of its own: process groups and spawned children are not for the process of all tests
    shutil.copytree(task.manifests["train"].parent, tmp_path / "data")
    for manifest in task.manifests.values():  # their audio lies relative to the manifest
        (tmp_path / "data" / manifest.name).write_text(absolute(manifest))
    command = [sys.executable, ROOT / "tools" / "benchmarks" / "gpu_check.py", "--part", part, "--corpus", "unread"]
    command += ["--out", tmp_path, "--device", "cpu", "--tiny", "--seconds", "300", *TINY]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / f"{part}.json").read_bytes())["result"]
    assert result["passed"]
    assert result["apart"] < 1e-3
    assert result["apart_by_chance"] == 0
    assert result["same_audio"]


def absolute(manifest: Path) -> str:
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows:
        row["audio"] = str((manifest.parent / row["audio"]).resolve())
    return "".join(json.dumps(row) + "\n" for row in rows)


def arguments(out: Path, **changes: Any) -> Namespace:
    values = {"corpus": Path("unread"), "out": out, "overrides": [], "device": "cpu", "tiny": True, "part": None}
    return Namespace(**{**values, "seconds": 60.0, "parts": "matrix", "accept": "any", **changes})


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import sys; print('x', file=sys.stderr); sys.exit('it hurts here')", "exit code 1 after .*: it hurts here"),
        ("pass", "exit code 0 after .*: it said nothing"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "exit code -11"),
    ],
)
def test_a_part_that_dies_says_why(script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "_child_command", lambda *_: [sys.executable, "-c", script])
    (tmp_path / "matrix.json").write_text("what an earlier run left")
    assert not gpu_check._start_part("matrix", 60.0, arguments(tmp_path))
    result = json.loads((tmp_path / "matrix.json").read_bytes())["result"]
    assert (result["part"], result["passed"]) == ("matrix", False)
    assert re.search(why, result["why"])


def test_a_part_that_takes_too_long_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(2.5); pathlib.Path({str(mark)!r}).touch()"
    script = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    monkeypatch.setattr(gpu_check, "_child_command", lambda *_: [sys.executable, "-c", script])
    assert not gpu_check._start_part("an4", 1.5, arguments(tmp_path))
    assert "stopped after its 2 s" in json.loads((tmp_path / "an4.json").read_bytes())["result"]["why"]
    time.sleep(2)
    assert not mark.exists()


def test_without_time_a_part_is_not_started(tmp_path: Path) -> None:
    assert not gpu_check._start_part("an4", -1.0, arguments(tmp_path))
    assert json.loads((tmp_path / "an4.json").read_bytes())["result"]["why"] == "no time was left"


def test_after_a_failed_part_the_next_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(gpu_check, "_start_part", lambda name, *_: started.append(name) or name != "agreement")
    monkeypatch.setattr(gpu_check, "prepare_an4", lambda *_, **__: {})
    assert gpu_check.check(arguments(tmp_path, parts="matrix,agreement,nccl")) == 1
    assert started == ["matrix", "agreement", "nccl"]
    assert gpu_check.check(arguments(tmp_path, parts="matrix,nccl")) == 0


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = gpu_check.importlib.util.find_spec

    def without(name: str) -> Any:
        if name == "ruamel.yaml":
            raise ModuleNotFoundError("No module named 'ruamel'")
        return None if name == "soundfile" else find(name)

    monkeypatch.setattr(gpu_check.importlib.util, "find_spec", without)
    with pytest.raises(MachineError, match=r"has no soundfile, ruamel\.yaml; install"):
        gpu_check.check(arguments(tmp_path))


def test_its_parts_fit_into_nine_minutes() -> None:
    assert gpu_check.TOTAL_SECONDS <= 540
    assert max(limit for _, limit in gpu_check.PARTS.values()) < gpu_check.TOTAL_SECONDS


def run_command(*more: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [ROOT / "tools" / "gpu-check", *more],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_is_one_line_and_exit_4(tmp_path: Path) -> None:
    done = run_command("--corpus", str(tmp_path), "--out", str(tmp_path / "out"), PYTHON=sys.executable)
    assert (done.returncode, done.stdout) == (4, "")
    assert len(done.stderr.splitlines()) == 1
    assert "no GPU" in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_the_named_python_it_is_one_line_and_exit_4() -> None:
    done = run_command("--corpus", ".", PYTHON="/absent/python3")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (4, "", 1)


@pytest.mark.parametrize(("venv", "named"), [(False, False), (True, False), (True, True)])
def test_which_python_runs(tmp_path: Path, venv: bool, named: bool) -> None:
    clone = tmp_path / "a clone"
    (clone / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "gpu-check", clone / "tools")
    in_venv, own = clone / ".venv" / "bin" / "python", tmp_path / "own"
    places = {"path": tmp_path / "bin" / "python3", "venv": in_venv, "named": own}
    for name, place in places.items():
        if name == "venv" and not venv:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f'#!/bin/sh\necho {name} "$PYTHONPATH" "$@"\n')
        place.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": "before"}
    if named:
        environment["PYTHON"] = str(own)
    done = subprocess.run(
        [clone / "tools" / "gpu-check", "--corpus", "x"], env=environment, capture_output=True, text=True, check=True
    )
    expected = "named" if named else "venv" if venv else "path"
    script = clone / "tools" / "benchmarks" / "gpu_check.py"
    assert done.stdout == f"{expected} {clone}:before {script} --corpus x\n"
