"""Checkpoints: model files that also hold a training's state, and no pickle."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr.errors import DataError
from asr.model import AcousticModel, ModelNotes
from asr.store import load, save
from asr.training.checkpoint import (
    Position,
    TrainingState,
    kept_checkpoints,
    kept_path,
    load_state,
    optimizer_tensors,
    remove_unfinished,
    restore_optimizer,
    save_checkpoint,
)
from tests.tiny_model import tiny_model

POSITION = Position(7, 2, 1, 12.5, 3.0, [(10.0, 4), (12.5, 6)], 1, 2, 3, {"bad": 4})
SCALER = {"scale": 1024.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 5}


def trained(*, fused: bool) -> tuple[AcousticModel, torch.optim.Optimizer]:
    model = tiny_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("fused", [False, True])
def test_a_state_comes_back_bit_equal(tmp_path: Path, fused: bool) -> None:
    model, optimizer = trained(fused=fused)
    raw = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    run = {"seed": 3, "config": {"a": [1, None]}}
    state = TrainingState(POSITION, raw, optimizer_tensors(optimizer, dict(model.named_parameters())), SCALER, run)
    save_checkpoint(tmp_path / "c.safetensors", model, ModelNotes(), state)
    found = load_state(tmp_path / "c.safetensors")
    assert (found.position, found.scaler, found.run) == (POSITION, SCALER, run)
    assert all(torch.equal(found.raw[name], raw[name]) for name in raw)

    other = tiny_model()
    fresh = torch.optim.AdamW(other.parameters(), lr=0.1, fused=fused)
    restore_optimizer(fresh, dict(other.named_parameters()), found.optimizer)
    other.load_state_dict(AcousticModel.load(tmp_path / "c.safetensors").state_dict())
    for parameters, opt in ((model.parameters(), optimizer), (other.parameters(), fresh)):
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 0.5)
        opt.step()
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize(("fused", "step_device"), [(False, "cpu"), (True, "meta")])
def test_restored_tensors_lie_where_the_optimizer_wants_them(fused: bool, step_device: str) -> None:
    """A fused AdamW keeps its step counter beside the weights, any other on the CPU."""
    model, optimizer = trained(fused=False)
    tensors = optimizer_tensors(optimizer, dict(model.named_parameters()))
    moved = model.to("meta")
    other = torch.optim.AdamW(moved.parameters())
    other.defaults["fused"] = fused  # torch would refuse it for this stand-in of a GPU
    restore_optimizer(other, dict(moved.named_parameters()), tensors)
    for state in other.state.values():
        assert state["exp_avg"].device.type == "meta"
        assert state["step"].device.type == step_device


def test_a_checkpoint_with_a_state_is_a_model_file(tmp_path: Path) -> None:
    model, optimizer = trained(fused=True)
    state = TrainingState(POSITION, {}, optimizer_tensors(optimizer, dict(model.named_parameters())), {}, {})
    save_checkpoint(tmp_path / "c.safetensors", model, ModelNotes(), state)
    found = AcousticModel.load(tmp_path / "c.safetensors")
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in found.state_dict().items())


def test_a_model_without_a_state_cannot_be_resumed(tmp_path: Path) -> None:
    tiny_model().save(tmp_path / "m.safetensors")
    with pytest.raises(DataError, match="a model without the state of a training; start a new run"):
        load_state(tmp_path / "m.safetensors")


@pytest.mark.parametrize("state", [{}, {"position": {"epochs": 3}}, {"position": {"best": [3]}}, {"position": 3}])
def test_a_state_of_another_version_is_refused(tmp_path: Path, state: dict[str, object]) -> None:
    save(tmp_path / "c.safetensors", {"w": torch.ones(1)}, {"kind": "model", "state": state})
    with pytest.raises(DataError, match="of another version"):
        load_state(tmp_path / "c.safetensors")


class Bomb:
    """What a malicious pickle does: it writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["last.safetensors", "last.ckpt"])
def test_a_malicious_pickle_does_nothing_but_fail(tmp_path: Path, name: str) -> None:
    with open(tmp_path / name, "wb") as file:
        pickle.dump(Bomb(tmp_path / "harm"), file)
    torch.save({"a": torch.ones(1)}, tmp_path / f"torch-{name}")
    for path in (tmp_path / name, tmp_path / f"torch-{name}"):
        with pytest.raises(DataError, match="not a model file"):
            load_state(path)
    assert not (tmp_path / "harm").exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    dead = ended_process()
    names = ("config.yaml", "tokens.json", "last.safetensors", "step-0000100.safetensors", "step-12345678.safetensors")
    for name in names:
        (tmp_path / f".{name}.{dead}.tmp").write_bytes(b"half")
    (tmp_path / f".last.safetensors.{os.getpid()}.tmp").write_bytes(b"of an earlier process of our number")
    (tmp_path / "last.safetensors").write_bytes(b"whole")
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]
    remove_unfinished(tmp_path / "nothing-here")


def test_unfinished_files_of_others_stay(tmp_path: Path) -> None:
    dead = ended_process()
    foreign = (
        ".notes.tmp",
        f".notes.txt.{dead}.tmp",
        f".step-0000100-int8.safetensors.{dead}.tmp",
        ".last.safetensors.x.tmp",
    )
    running = (f".last.safetensors.{os.getppid()}.tmp", ".config.yaml.1.tmp")
    for name in (*foreign, *running):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*foreign, *running}


def ended_process() -> int:
    """Return the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_kept_checkpoints_are_in_order_and_no_other_files(tmp_path: Path) -> None:
    steps = (12345678, 100, 9999999)
    for step in steps:
        kept_path(tmp_path, step).touch()
    for name in ("step-0000200-int8.safetensors", "step-300.safetensors", "step-00000400.safetensors", "step-0000500"):
        (tmp_path / name).touch()
    assert kept_checkpoints(tmp_path) == {step: kept_path(tmp_path, step) for step in sorted(steps)}
    assert list(kept_checkpoints(tmp_path)) == sorted(steps)


def test_the_header_holds_only_json(tmp_path: Path) -> None:
    model, optimizer = trained(fused=True)
    state = TrainingState(POSITION, {}, optimizer_tensors(optimizer, dict(model.named_parameters())), SCALER, {})
    save_checkpoint(tmp_path / "c.safetensors", model, ModelNotes(), state)
    assert load(tmp_path / "c.safetensors")[1]["state"]["scaler"] == SCALER
