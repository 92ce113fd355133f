"""Every measurement that needs a GPU, in one command of at most 9 minutes.

    tools/gpu-check --corpus DIR [--out DIR] [key.path=value ...]

Each part runs in a process of its own and writes OUT/PART.json as it ends; a part that fails or takes too long
says why there, and the next goes on.  The parts:

    matrix     products of square matrices in float32, tf32 and bf16, TFLOP/s
    agreement  CPU = GPU: the log-probs of real utterances, and the random numbers of augmentation
    an4        the AN4 recipe: error rate on the test part after each validation, and when the figure was reached
    cells      a training step of every cell against cuDNN's LSTM of the same size; CPU = GPU in values and gradients
    training   its speed through the real path, bare, and as a share of the matrix rate; bf16 against float32
    gloo       two processes on this one card train as one process does
    nccl       one process that speaks NCCL trains as one without

Exit code: 0 all parts passed, 1 one did not, 4 there is no GPU or a package is missing.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import prepare_an4, run, say, table

from asr.cli.main import Parser
from asr.errors import EXIT_DEFECT, EXIT_DONE, MachineError, UsageError, writing

if TYPE_CHECKING:
    import torch

    from asr.model import AcousticModel
    from asr.training.request import Request

# Modules that the parts import, and the packages that bring them where the names differ.
NEEDED = ("torch", "lightning", "numpy", "soundfile", "pydantic", "ruamel.yaml", "safetensors", "kaldialign")
FIGURE = 8.5  # % of the test words: what the recipe must reach
LOG_PROB_TOLERANCE = 1e-4
CELL_TOLERANCE = 1e-4
TWIN_TOLERANCE = 0.02  # how far two trainings may part, as a share of how far they came, or 3 times what chance does
TOTAL_SECONDS = 530.0
MARK = ".gpu-check"  # lies in the run folders that are ours to remove
SCORING_SECONDS = 40.0  # left for scoring the checkpoints after the training of an4


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        matrix_sizes: of square matrices.
        utterances: of which CPU and GPU must agree.
        steps, block: of the speed of training, for each precision.
        product_size: of the matrices whose product they are compared with.
        bulk: how many times the recipe's batch the largest batch is.
        cell_sizes: (layers, cells, frames) of the networks that cells are compared in.
        cell_rows: rows of a batch of them.
        twins: utterances that the twin trainings of gloo and nccl see, for `twin_epochs`.
    """

    matrix_sizes: tuple[int, ...] = (4096, 8192)
    utterances: int = 16
    steps: int = 120
    block: int = 20
    product_size: int = 4096
    bulk: int = 8
    cell_sizes: tuple[int, int, int] = (4, 320, 250)
    cell_rows: tuple[int, ...] = (16, 32)
    twins: int = 200
    twin_epochs: int = 2


TINY = Scale(
    matrix_sizes=(64,),
    utterances=2,
    steps=2,
    block=1,
    product_size=64,
    bulk=2,
    cell_sizes=(1, 8, 5),
    cell_rows=(2,),
    twins=8,
    twin_epochs=1,
)


@dataclass(frozen=True)
class Task:
    """What a part is given.

    Attributes:
        manifests: of AN4, by part.
        overrides: key.path=value over conf/an4.yaml.
        seconds: that the part may take.
    """

    manifests: Mapping[str, Path]
    out: Path
    overrides: Sequence[str] = ()
    device: str = "cuda"
    seconds: float = TOTAL_SECONDS
    scale: Scale = Scale()

    def request(self, part: str, *more: str) -> "Request":
        """Return the recipe's training on a manifest, with further overrides."""
        from train import recipe_request

        found: Request = recipe_request(self.manifests[part], [*self.overrides, *more], device=self.device)
        return found


def matrix(task: Task) -> dict[str, Any]:
    """Return TFLOP/s of matrix products, the best of three for each type and size."""
    import torch
    from _arithmetic import product_rate

    device, rates = torch.device(task.device), {}
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bf16", torch.bfloat16, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        rates[name] = {
            str(size): round(max(product_rate(size, dtype, device, repeats=10) for _ in range(3)) / 1e12, 4)
            for size in task.scale.matrix_sizes
        }
    torch.set_float32_matmul_precision("highest")
    return {"tflop_per_second": rates}


def agreement(task: Task) -> dict[str, Any]:
    """Return how far the GPU's log-probs are from the CPU's, and whether their random numbers are the same."""
    import torch

    model = _model(task)
    waveform, lengths = _batch(task, model.sample_rate)
    device = torch.device(task.device)
    with torch.inference_mode():
        reference, frames = model(waveform, lengths)
        model = model.to(device)
        found = {}
        for name, allowed in (("float32", False), ("tf32", True)):
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=allowed):
                log_probs, gpu_frames = model(waveform.to(device), lengths.to(device))
            found[name] = float((log_probs.cpu() - reference).abs().max())
    same_lengths = bool((gpu_frames.cpu() == frames).all())
    same_masks = _same_masks(device)
    return {
        "passed": found["float32"] <= LOG_PROB_TOLERANCE and same_lengths and same_masks,
        "largest_difference": found,
        "tolerance": LOG_PROB_TOLERANCE,
        "same_lengths": same_lengths,
        "same_masks": same_masks,
        "utterances": len(lengths),
    }


def cells(task: Task) -> dict[str, Any]:
    """Return the seconds of a training step of each cell, its ratio to cuDNN's LSTM, and how far CPU and GPU part."""
    import torch

    from asr.nn.cells import CELL_NAMES

    device, (_, size, frames) = torch.device(task.device), task.scale.cell_sizes
    found: dict[str, Any] = {}
    for rows in task.scale.cell_rows:
        inputs = torch.randn(frames, rows, size, device=device)
        reference = _step_seconds(_cudnn(task.scale, device), inputs)
        found[f"cudnn_ms_batch_{rows}"] = round(1000 * reference, 3)
        for name in CELL_NAMES:
            ratio = _step_seconds(_stacked(task.scale, name, device), inputs) / reference
            found.setdefault("ratio_to_cudnn", {}).setdefault(name, {})[str(rows)] = round(ratio, 2)
    apart = {name: _apart(name, device) for name in CELL_NAMES}
    passed = max(apart.values()) < CELL_TOLERANCE
    return {"passed": passed, "steps_by": _compiler(device), "cpu_to_gpu": apart, **found}


def _compiler(device: "torch.device") -> str:
    """Return what has compiled the steps of cells on the device, or "plain" where they are a loop in torch."""
    import torch

    from asr.nn.cells import make_cell
    from asr.nn.recurrence import can_step

    if not can_step([make_cell("gru", 1, 1)], torch.empty(1, 1, 1, device=device)):
        return "plain"
    return "numba" if device.type == "cpu" else "triton"


def _cudnn(scale: Scale, device: "torch.device") -> "Callable[[torch.Tensor], torch.Tensor]":
    import torch

    layers, size, _ = scale.cell_sizes
    network = torch.nn.LSTM(size, size, layers).to(device)
    return lambda inputs: network(inputs)[0]


def _stacked(scale: Scale, name: Any, device: "torch.device") -> "Callable[[torch.Tensor], torch.Tensor]":
    """Return layers of a cell, one on top of the other; the projected one puts out as many values as it has cells."""
    from asr.nn.cells import make_cell
    from asr.nn.recurrence import run_cells

    layers, size, _ = scale.cell_sizes
    network = [make_cell(name, size, size, projection=size).to(device) for _ in range(layers)]

    def run(inputs: "torch.Tensor") -> "torch.Tensor":
        for cell in network:
            ((inputs, _),) = run_cells([cell], [inputs])
        return inputs

    return run


def _step_seconds(network: "Callable[[torch.Tensor], torch.Tensor]", inputs: "torch.Tensor") -> float:
    """Return the least seconds of three training steps, after one that warms up."""
    from _arithmetic import synchronize

    seconds = []
    for _ in range(4):
        synchronize(inputs.device)
        started = time.perf_counter()
        network(inputs).sum().backward()
        synchronize(inputs.device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def _apart(name: Any, device: "torch.device") -> float:
    """Return how far two directions of a cell on the device are from those on the CPU, as a share.

    Compared are outputs, and gradients that come from them and from the memory at the end.
    """
    import torch

    from asr.nn.cells import make_cells
    from asr.nn.recurrence import run_cells

    torch.manual_seed(1)
    cells, inputs = torch.nn.ModuleList(make_cells(2, name, 16, 24)), torch.randn(20, 3, 16)
    results = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for place in (torch.device("cpu"), device):
            moved = cells.to(place)
            moved.zero_grad()
            found = run_cells(list(moved), [inputs.to(place), inputs.flip(0).to(place)])
            sum(outputs.square().sum() + memory.sum() for outputs, (_, memory) in found).backward()
            gradients = [weight.grad.cpu().clone() for weight in moved.parameters() if weight.grad is not None]
            results.append([*(outputs.detach().cpu() for outputs, _ in found), *gradients])
    return max(float((a - b).norm() / a.norm()) for a, b in zip(*results, strict=True))


def an4(task: Task) -> dict[str, Any]:
    """Return the recipe's error rate on the test part over the minutes of its training."""
    from asr.data.manifest import read_manifest
    from asr.training.fit import fit

    workers = min(8, os.cpu_count() or 1)
    request = task.request("train_all", f"train.loader.workers={workers}", "train.keep_last=1000000")
    request = replace(request, valid=read_manifest(task.manifests["valid"]), out=fresh_run(task.out / "an4"))
    started, audio, deadline = time.time(), [0.0], time.monotonic() + task.seconds - SCORING_SECONDS

    def progress(done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
        audio[0] = audio_seconds
        if time.monotonic() > deadline:
            raise OutOfTimeError

    waiting = None
    try:
        waiting = fit(request, say=say, progress=progress).waiting_share
    except OutOfTimeError:
        say(f"an4: stopped after {task.seconds - SCORING_SECONDS:.0f} s")
    minutes = (time.time() - started) / 60
    scores = list(_scores(task, request.out / "checkpoints", started))
    reached = [score["minutes"] for score in scores if score["test_wer"] <= FIGURE]
    return {
        "passed": bool(reached),
        "figure_wer": FIGURE,
        "minutes_to_figure": reached[0] if reached else None,
        "finished": waiting is not None,
        "minutes": round(minutes, 3),
        "test_wer": scores[-1]["test_wer"] if scores else None,
        "audio_seconds_seen": round(audio[0]),
        "audio_hours_per_hour": round(audio[0] / 60 / minutes, 1),
        "waiting_share": waiting,
        "validations": scores,
    }


def training(task: Task) -> dict[str, Any]:
    """Return the speed of training in float32 and bf16, real and bare, and their losses after equal steps."""
    import torch
    from _steps import measure
    from train import with_precision

    scale = task.scale
    request = task.request("train", f"train.loader.workers={min(8, os.cpu_count() or 1)}")
    found: dict[str, Any] = {
        name: measure(
            with_precision(request, name),
            steps=scale.steps,
            block=scale.block,
            say=say,
            product_size=scale.product_size,
        )
        for name in ("float32", "bf16")
    }
    full, half = found["float32"], found["bf16"]
    bulk = _bulk(with_precision(request, "bf16"), torch.device(task.device), scale)
    return {
        **found,
        "bf16_speed_to_float32": round(half["audio_seconds_per_second"] / full["audio_seconds_per_second"], 3),
        "bf16_loss_to_float32": round(half["loss_of_last_quarter"] / full["loss_of_last_quarter"], 4),
        f"bare_with_{scale.bulk}_times_the_batch": bulk,
    }


def gloo(task: Task) -> dict[str, Any]:
    """Return how far two processes on one card come from one process, after equal steps in float32 without dropout."""
    twin = fresh_run(task.out / "twins" / "gloo")
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    context = multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=_rank, args=(task, {**environment, "NODE_RANK": str(rank)}), daemon=False)
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(task.seconds)
    codes = [process.exitcode for process in ranks]
    if codes != [0, 0]:
        for process in ranks:
            process.kill()
        return {"passed": False, "why": f"the two processes ended with the exit codes {codes}; their log tells more"}
    return _compared(task, twin)


def nccl(task: Task) -> dict[str, Any]:
    """Return how far a training through NCCL at world size 1 comes from one without."""
    twin = fresh_run(task.out / "twins" / "nccl")
    _train_twin(task, "nccl", backend="nccl" if task.device == "cuda" else "gloo")
    return _compared(task, twin)


def fresh_run(folder: Path) -> Path:
    """Return a run folder without what an earlier gpu-check left there.  A training of somebody else's stays.

    Raises: MachineError if it cannot be removed or made.
    """
    with writing(folder):
        if (folder / MARK).is_file():
            shutil.rmtree(folder)
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / MARK).touch()
    return folder


PARTS: dict[str, tuple[Callable[[Task], dict[str, Any]], float]] = {  # with the seconds that each may take
    "matrix": (matrix, 45),
    "agreement": (agreement, 60),
    "cells": (cells, 45),
    "an4": (an4, 270),
    "training": (training, 110),
    "gloo": (gloo, 75),
    "nccl": (nccl, 60),
}


class OutOfTimeError(Exception):
    """The training has had its time."""


def _model(task: Task) -> "AcousticModel":
    """Return the bundled model, or a random one of the recipe's shape where there is none."""
    import torch

    from asr.model import AcousticModel
    from asr.recognizer import bundled_models

    if "an4" in bundled_models():
        return AcousticModel.load(bundled_models()["an4"])
    request = task.request("train")
    torch.manual_seed(1)
    return AcousticModel(request.experiment.model, request.tokenizer).eval()


def _batch(task: Task, sample_rate: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return (waveform (B, S), lengths (B,)) of test utterances, from the shortest to the longest."""
    import torch

    from asr.audio.files import read_audio
    from asr.data.manifest import read_manifest

    utterances = sorted(read_manifest(task.manifests["test"]), key=lambda utterance: utterance.duration)
    chosen = utterances[:: max(1, len(utterances) // task.scale.utterances)]
    rows = [torch.from_numpy(read_audio(item.audio, sample_rate=sample_rate)[0]) for item in chosen]
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths


def _same_masks(device: "torch.device") -> bool:
    import torch

    from asr.features.specaugment import SpecAugmentConfig, specaugment_mask

    config = SpecAugmentConfig(frequency_masks=2, time_masks_per_second=2.0, time_share=0.2)
    seeds, lengths = torch.arange(100) * 987654321, torch.arange(100) * 5 + 10
    masks = [
        specaugment_mask(config, seeds.to(place), lengths.to(place), (520, 80), frames_per_second=100).cpu()
        for place in (torch.device("cpu"), device)
    ]
    return bool((masks[0] == masks[1]).all())


def _scores(task: Task, checkpoints: Path, started: float) -> Iterator[dict[str, Any]]:
    """Yield step, minutes since the start and test error rate of each kept checkpoint, in order."""
    from asr.data.manifest import read_manifest
    from asr.model import AcousticModel
    from asr.training.checkpoint import kept_checkpoints
    from asr.training.validation import Validator

    validator = None
    for step, path in kept_checkpoints(checkpoints).items():
        model = AcousticModel.load(path).to(task.device)
        validator = validator or Validator(read_manifest(task.manifests["test"]), model, batch_seconds=400.0)
        yield {
            "step": step,
            "minutes": round((path.stat().st_mtime - started) / 60, 3),
            "test_wer": round(validator.run(model).wer, 3),
        }


def _bulk(request: "Request", device: "torch.device", scale: Scale) -> dict[str, float]:
    """Return the speed of bare steps on much larger batches than the recipe's: what the card could do."""
    from _arithmetic import product_rate
    from _steps import DTYPES, BareTraining, StepShape

    frames, labels = 300, 20  # 3 s an utterance, as in AN4
    count = scale.bulk * max(1, int(request.experiment.train.loader.batch_seconds / 3))
    shape = StepShape([frames] * count, [labels] * count, 3.0 * count)
    bare = BareTraining(request.experiment, request.tokenizer.size, device)
    seconds = bare.seconds([shape] * scale.block)
    product = product_rate(scale.product_size, DTYPES["bf16"], device, repeats=10)
    flop = scale.block * shape.flop(request.experiment.model, request.tokenizer.size, bare.views)
    return {
        "audio_seconds_per_second": round(scale.block * bare.views * shape.audio_seconds / seconds, 1),
        "tflop_per_second": round(flop / seconds / 1e12, 4),
        "arithmetic_to_bf16_product": round(flop / seconds / product, 4),
    }


def _rank(task: Task, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    _train_twin(task, "gloo", "train.num_nodes=2", backend="gloo")


def _train_twin(task: Task, name: str, *more: str, backend: str | None = None) -> None:
    """Train on a few utterances in float32 without dropout, `backend` joining the processes."""
    from unittest import mock

    from lightning.pytorch import Trainer
    from lightning.pytorch.strategies import DDPStrategy

    from asr.training import fit as fitting

    calm = ("train.precision=float32", "model.encoder.dropout=0", f"train.epochs={task.scale.twin_epochs}")
    request = task.request("train", *calm, "train.loader.workers=0", *more)
    request = replace(request, train=request.train[: task.scale.twins], out=task.out / "twins" / name)

    def trainer(**settings: Any) -> Trainer:
        # `ddp` on a GPU means NCCL, which refuses two processes on one card
        strategy = DDPStrategy(process_group_backend=backend) if backend else settings["strategy"]
        return Trainer(**{**settings, "strategy": strategy})

    with mock.patch.object(fitting, "Trainer", trainer):
        fitting.fit(request, say=say, progress=_no_progress)


def _no_progress(done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
    pass


def _compared(task: Task, twin: Path) -> dict[str, Any]:
    """Return how far a training and one in a single plain process part, as a share of how far they came.

    The same is measured of two single processes: what a GPU's order of additions alone does.
    """
    import torch

    from asr.model import AcousticModel
    from asr.training.checkpoint import load_state

    runs = [fresh_run(twin.with_name(f"{twin.name}-{name}")) for name in ("alone", "again")]
    for run_folder in runs:
        _train_twin(task, run_folder.name)
    files = [run / "checkpoints" / "last.safetensors" for run in (twin, *runs)]
    ends = [_weights(AcousticModel.load(file)) for file in files]
    request = task.request("train")
    torch.manual_seed(request.seed)
    start = _weights(AcousticModel(request.experiment.model, request.tokenizer))
    way = float((ends[1] - start).norm())
    positions = [load_state(file).position for file in files]
    apart = float((ends[0] - ends[1]).norm()) / way
    chance = float((ends[2] - ends[1]).norm()) / way
    same_steps = positions[0].step == positions[1].step
    return {
        "passed": apart <= max(TWIN_TOLERANCE, 3 * chance) and same_steps,
        "apart": apart,
        "apart_by_chance": chance,
        "tolerance": TWIN_TOLERANCE,
        "steps": positions[0].step,
        "same_steps": same_steps,
        "same_audio": abs(positions[0].audio_seconds - positions[1].audio_seconds) < 1e-3,
    }


def _weights(model: "AcousticModel") -> "torch.Tensor":
    """Return all weights of a model as one vector."""
    import torch

    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/gpu-check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("overrides", nargs="*", metavar="key.path=value", help="over the values of conf/an4.yaml")
    found.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="AN4")
    found.add_argument(
        "--out", type=Path, default=Path("runs/gpu-check"), metavar="DIR", help="default: runs/gpu-check"
    )
    found.add_argument("--parts", default=",".join(PARTS), metavar="PART,...", help="which parts (default: all)")
    found.add_argument("--seconds", type=float, default=TOTAL_SECONDS, help=f"for all (default: {TOTAL_SECONDS:g})")
    found.add_argument(
        "--accept", choices=("published", "any"), default="published", help="any: even a corpus not as published"
    )
    # for trying this command where there is no GPU, and for the processes that it starts
    found.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help=argparse.SUPPRESS)
    found.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    found.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return found


def check(args: argparse.Namespace) -> int:
    """Run the parts, or as a child of ours one of them; return the exit code."""
    _require_packages()
    if args.part:
        return _run_part(args)
    names = args.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise UsageError(f"--parts: '{unknown[0]}' is none of {', '.join(PARTS)}")
    _require_device(args.device)
    until = time.monotonic() + args.seconds
    prepare_an4(args.corpus, args.out / "data", accept=args.accept == "published")
    share = args.seconds / TOTAL_SECONDS
    passed = [_start_part(name, min(share * PARTS[name][1], until - time.monotonic()), args) for name in names]
    say(f"tools/gpu-check: {sum(passed)} of {len(passed)} parts passed; all is in {args.out}")
    return EXIT_DONE if all(passed) else EXIT_DEFECT


def _require_packages() -> None:
    missing = [name for name in NEEDED if not _is_there(name)]
    if missing:
        raise MachineError(
            f"{sys.executable} has no {', '.join(missing)}; install them there, or name another interpreter: PYTHON=..."
        )


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package around it is missing
        return False


def _require_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise MachineError("torch sees no GPU here; run this on a machine with one (asr doctor says more)")


def _run_part(args: argparse.Namespace) -> int:
    """Do one part in this process and write its JSON."""
    from asr import receipts

    started = time.monotonic()
    manifests = {name: args.out / "data" / f"{name}.jsonl" for name in ("train", "train_all", "valid", "test")}
    scale = TINY if args.tiny else Scale()
    task = Task(manifests, args.out, args.overrides, args.device, args.seconds, scale)
    result = {"part": args.part, "passed": True, **PARTS[args.part][0](task)}
    receipt = receipts.collect(
        ["tools/gpu-check", "--part", args.part, *args.overrides],
        config=task.request("train").experiment,
        seed=1,
        inputs=manifests.values(),
        result=result,
        wall_seconds=time.monotonic() - started,
    )
    receipts.write(args.out / f"{args.part}.json", receipt)
    print(table(f"{args.part}: {'passed' if result['passed'] else 'NOT PASSED'}", result), flush=True)
    return EXIT_DONE if result["passed"] else EXIT_DEFECT


def _start_part(name: str, seconds: float, args: argparse.Namespace) -> bool:
    """Run a part in a process of its own; return whether it passed.  If it dies, its JSON says why."""
    from asr.store import write_json

    target, log = args.out / f"{name}.json", args.out / f"{name}.log"
    target.unlink(missing_ok=True)
    why = "no time was left" if seconds <= 0 else None
    if why is None:
        code, seconds_taken = _guarded_child(_child_command(name, seconds, args), log, seconds)
        if target.exists():  # whatever happened after it was written
            return bool(json.loads(target.read_bytes())["result"]["passed"])
        why = f"ended with exit code {code} after {seconds_taken:.0f} s: {_last_line(log)}"
        if code == -signal.SIGKILL and seconds_taken >= seconds:
            why = f"stopped after its {seconds:.0f} s: {_last_line(log)}"
    write_json(target, {"result": {"part": name, "passed": False, "why": why}})
    say(f"{name}: NOT PASSED: {why}")
    return False


def _child_command(name: str, seconds: float, args: argparse.Namespace) -> list[str]:
    command = [sys.executable, __file__, "--part", name, "--corpus", str(args.corpus), "--out", str(args.out)]
    command += ["--seconds", f"{seconds:.1f}", "--device", args.device, *(["--tiny"] if args.tiny else [])]
    return [*command, *args.overrides]


def _guarded_child(command: Sequence[str], log: Path, seconds: float) -> tuple[int, float]:
    """Return (exit code, seconds) of a command, killed with all it started after `seconds`."""
    started = time.monotonic()
    with open(log, "wb") as errors:
        child = subprocess.Popen(command, stderr=errors, start_new_session=True)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
    return child.wait(), time.monotonic() - started


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


if __name__ == "__main__":
    sys.exit(run("tools/gpu-check", parser(), check))
