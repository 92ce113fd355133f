"""Checkpoints: model files that also hold where the training stood.  No pickle, no framework inside."""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr import store
from asr.errors import DataError
from asr.model import STATE_PREFIX, AcousticModel, ModelNotes

LAST = "last.safetensors"
_KEPT = re.compile(r"step-([0-9]{7}|[1-9][0-9]{7,})\.safetensors")  # and no copy beside it, whatever its ending
# what asr.store.replacing leaves of the files of a run if it is killed: their name, and its process
_UNFINISHED = re.compile(
    rf"\.(?:config\.yaml|tokens\.json|{re.escape(LAST)}|{_KEPT.pattern})\.(?P<process>[0-9]{{1,9}})\.tmp"
)
_RAW, _OPTIMIZER = STATE_PREFIX + "raw/", STATE_PREFIX + "optimizer/"


@dataclass
class Position:
    """How far a training has come.

    Attributes:
        step: optimiser steps done.
        epoch, step_in_epoch: the next step's place in the batch plan.
        audio_seconds: audio seen, every view counted, after speed perturbation.
        wall_seconds: spent so far, over all starts.
        best: (word error rate, its mean with the guard's if there is one; step) of the kept checkpoints, best first.
        worse: validations since the best one.
        all_blank: validations in a row whose output was nearly all blank.
        skipped: steps without a finite gradient.
        left_out: ids of utterances whose loss was infeasible or not finite -> in how many steps.
        guard_start: of a fine-tuning, the guard's word error rate before the first step.
        guard_fell: whether it has been said that the guard has fallen.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0
    best: list[tuple[float, int]] = field(default_factory=list)
    worse: int = 0
    all_blank: int = 0
    skipped: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    guard_start: float | None = None
    guard_fell: bool = False


@dataclass(frozen=True)
class TrainingState:
    """What a checkpoint holds beside the model.

    Attributes:
        position: how far the training has come.
        raw: the weights that the optimiser works on (the model's own are their moving average).
        optimizer: per parameter name, its state tensors.
        scaler: of the fp16 loss scaler, or empty.
        run: seed, configuration and manifest hash, to refuse resuming another run.
    """

    position: Position
    raw: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    scaler: dict[str, Any]
    run: dict[str, Any]


def save_checkpoint(path: Path, model: AcousticModel, notes: ModelNotes, state: TrainingState | None) -> None:
    """Write a model file, with the training's state if given.  Raises: MachineError."""
    tensors, header = model.packed(notes)
    if state is not None:
        tensors |= {_RAW + name: tensor for name, tensor in state.raw.items()}
        for name, values in state.optimizer.items():
            tensors |= {f"{_OPTIMIZER}{name}/{key}": tensor for key, tensor in values.items()}
        header["state"] = {"position": asdict(state.position), "scaler": state.scaler, "run": state.run}
    store.save(path, tensors, header)


def load_state(path: Path) -> TrainingState:
    """Return the training's state in a checkpoint.  Raises: DataError if there is none."""
    tensors, header = store.load(path)
    described = header.get("state")
    if not isinstance(described, dict):
        raise DataError(f"{path}: a model without the state of a training; start a new run from it with --from")
    try:
        position = Position(**described["position"])
        position.best = [(float(rate), int(step)) for rate, step in position.best]
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{path}: the state of the training is of another version; start a new run") from None
    optimizer: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            parameter, _, key = name.removeprefix(_OPTIMIZER).rpartition("/")
            optimizer.setdefault(parameter, {})[key] = tensor
    raw = {name.removeprefix(_RAW): tensor for name, tensor in tensors.items() if name.startswith(_RAW)}
    return TrainingState(position, raw, optimizer, described.get("scaler", {}), described.get("run", {}))


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, weights: Mapping[str, nn.Parameter]
) -> dict[str, dict[str, Tensor]]:
    """Return the optimiser's state by the weight's name."""
    return {
        name: dict(optimizer.state[parameter]) for name, parameter in weights.items() if parameter in optimizer.state
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    weights: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Put saved state back into an optimiser over `weights`."""
    # moments lie beside their parameter; so does the step counter of a fused optimiser, others keep it on the CPU
    fused = bool(optimizer.defaults.get("fused"))
    for name, parameter in weights.items():
        if name in tensors:
            optimizer.state[parameter] = {
                key: tensor.clone() if key == "step" and not fused else tensor.to(parameter.device, copy=True)
                for key, tensor in tensors[name].items()
            }


def kept_path(folder: Path, step: int) -> Path:
    """Return the file of the checkpoint kept after a step."""
    return folder / f"step-{step:07d}.safetensors"


def kept_checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints kept in a folder by their step, in order; files of any other name are not ours."""
    found = {int(match[1]): path for path in folder.glob("step-*") if (match := _KEPT.fullmatch(path.name))}
    return dict(sorted(found.items()))


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed training left of the files that it was writing in a folder of its run.

    Call it before the first of them is written: what bears this process's number is of an earlier one's.
    """
    for path in folder.glob(".*.tmp"):
        match = _UNFINISHED.fullmatch(path.name)
        if match and not _runs_elsewhere(int(match["process"])):
            path.unlink(missing_ok=True)


def _runs_elsewhere(process: int) -> bool:
    """Return whether a process number is in use, but not by us: in containers a number often comes again."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # there is one, of somebody else
        return True
    return True
