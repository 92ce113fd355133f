"""What one core to 64 GPUs would do, and what is used up first: computed from what has been measured.

    tools/bench scaling [--receipts DIR]

Prints the tables of docs/scaling.md.  Measured inputs come from receipts, all others are assumptions and stand in the
first table as such.  A receipt that is not there leaves its cells open.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import ROOT, run

from asr.cli.main import Parser
from asr.errors import EXIT_DONE

# Assumptions: what a GPU reaches of its arithmetic in recurrent layers, and what surrounds it.
GPU_FLOPS = 10e12  # of a training step, sustained: 1 % of what an H100's data sheet says for bf16
CORES_A_GPU = 8
GPUS_A_NODE = 8
NETWORK_BYTES = 3.1e9  # a second, of each node: 25 Gbit/s
GRADIENT_BYTES = 4  # a parameter
SECONDS_A_GPU = 320.0  # of audio in a GPU's part of a step
GPUS = (1, 2, 4, 8, 16, 32, 64)
CORES = (1, 2, 8, 64)
HEADER = ("on", "audio h/h", "which is", "decode", "reading", "network", "first used up", "held to")


@dataclass(frozen=True)
class Measured:
    """What receipts hold; None where there is none.

    Attributes:
        train: audio seconds a second of the AN4 recipe in bf16, on `train_cores`.
        flop: of a training step for a second of audio.
        parameters: of the AN4 recipe's model.
        transcribe: audio seconds a second of `Recognizer.transcribe_files`, on `transcribe_cores`.
        worker: audio seconds a second of one of Ray's workers, with one thread.
        decode: audio seconds a second that one process reads from cold shards, checks and decodes.
        disk: bytes a second that it reads from cold shards and checks, without decoding.
        audio_bytes: of a second of audio in these shards.
    """

    train: float | None
    train_cores: int | None
    flop: float | None
    parameters: int
    transcribe: float | None
    transcribe_cores: int | None
    worker: float | None
    decode: float | None
    disk: float | None
    audio_bytes: float | None


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    default = ROOT / "docs" / "receipts"
    found.add_argument("--receipts", type=Path, default=default, metavar="DIR", help="default: docs/receipts")
    return found


def bench(args: argparse.Namespace) -> int:
    """Print the tables and return the exit code."""
    print(tables(measured(args.receipts)), end="")
    return EXIT_DONE


def measured(folder: Path) -> Measured:
    """Return what the receipts of a folder hold."""
    train, transcribe, archive, shards = (
        _receipt(folder, name) for name in ("train", "transcribe", "archive", "shards")
    )
    bf16 = train["result"]["bf16"] if train else None
    decode = shards["result"]["decoded_shards_audio_seconds_per_second"][1] if shards else None
    return Measured(
        train=bf16["audio_seconds_per_second"] if bf16 else None,
        train_cores=train["host"]["threads"] if train else None,
        flop=bf16["step_gflop"] * 1e9 * bf16["steps"] / bf16["audio_seconds"] if bf16 else None,
        parameters=9_201_656,  # recipes/an4/receipts/seed1.train.receipt.json
        transcribe=1 / transcribe["result"]["real_time_factor"][1] if transcribe else None,
        transcribe_cores=transcribe["host"]["threads"] if transcribe else None,
        worker=archive["result"]["ray_audio_hours_per_hour"][1] / archive["result"]["workers"] if archive else None,
        decode=decode,
        disk=shards["result"]["shards_mb_per_second"][1] * 1e6 if shards else None,
        audio_bytes=shards["result"]["decoded_shards_mb_per_second"][1] * 1e6 / decode if shards and decode else None,
    )


def _receipt(folder: Path, name: str) -> Any:
    path = folder / f"{name}.receipt.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def tables(found: Measured) -> str:
    """Return the inputs, then training and transcription, as Markdown."""
    parts = [("Inputs", _inputs(found)), ("Training", _training(found)), ("Transcription", _transcription(found))]
    return "\n".join(f"## {title}\n\n{_markdown(rows)}" for title, rows in parts)


def _inputs(found: Measured) -> list[Sequence[str]]:
    per_core = _over(found.train, found.train_cores)
    return [
        ("name", "value", "what", "from"),
        (
            "t",
            _number(per_core),
            "training, audio s/s of a core (AN4 recipe, bf16)",
            "measured: train.receipt.json / cores",
        ),
        (
            "f",
            _number(found.flop, 1e9),
            "GFLOP of a training step for a second of audio",
            "measured: train.receipt.json",
        ),
        ("p", f"{found.parameters / 1e6:.2f} M", "parameters of the AN4 recipe's model", "counted"),
        (
            "r",
            _number(_over(found.transcribe, found.transcribe_cores)),
            "transcription, audio s/s of a core",
            "measured: transcribe.receipt.json / cores",
        ),
        ("w", _number(found.worker), "the same of a Ray worker", "measured: archive.receipt.json"),
        (
            "d",
            _number(found.decode),
            "audio s/s that a process reads cold and decodes, a second thread checking hashes",
            "measured: shards.receipt.json",
        ),
        ("b", _number(found.disk, 1e6), "MB/s from the cold disk, checked", "measured: shards.receipt.json"),
        ("a", _number(found.audio_bytes, 1e3), "kB of a second of audio in shards", "measured: shards.receipt.json"),
        (
            "g",
            _number(_over(GPU_FLOPS, found.flop)),
            "training, audio s/s of a GPU",
            f"assumed: {GPU_FLOPS / 1e12:g} TFLOP/s / f",
        ),
        ("", f"{CORES_A_GPU}, {GPUS_A_NODE}", "cores a GPU, GPUs a node", "assumed"),
        ("n", _number(NETWORK_BYTES, 1e9), "GB/s of network a node", "assumed: 25 Gbit/s"),
        ("s", f"{SECONDS_A_GPU:g}", "audio seconds of a GPU's part of a step", "chosen"),
    ]


def _training(found: Measured) -> list[Sequence[str]]:
    per_core, per_gpu = _over(found.train, found.train_cores), _over(GPU_FLOPS, found.flop)
    rows: list[Sequence[str]] = [HEADER]
    for cores in CORES:
        kind = "measured" if cores == found.train_cores else "computed: cores x t"
        decode = None if not per_core or not found.decode else per_core / found.decode
        rows.append(_row(_counted(cores, "core"), per_core, cores, kind, decode, None, found))
    for gpus in GPUS:
        decode = None if not per_gpu or not found.decode else per_gpu / (CORES_A_GPU * found.decode)
        rows.append(
            _row(
                _counted(gpus, "GPU"),
                per_gpu,
                gpus,
                "computed: GPUs x g",
                decode,
                _network(per_gpu, gpus, found),
                found,
            )
        )
    return rows


def _network(speed: float | None, gpus: int, found: Measured) -> float | None:
    """Return the share of a node's network that a ring of nodes takes for the gradients; None within one node."""
    nodes = gpus // GPUS_A_NODE
    if nodes <= 1 or speed is None:
        return None
    sent = 2 * (nodes - 1) / nodes * found.parameters * GRADIENT_BYTES  # by each node, in each step
    return sent * speed / SECONDS_A_GPU / NETWORK_BYTES


def _transcription(found: Measured) -> list[Sequence[str]]:
    per_core = found.worker or _over(found.transcribe, found.transcribe_cores)
    rows: list[Sequence[str]] = [HEADER]
    for cores in CORES:
        computed = "computed: cores x w" if found.worker else "computed: cores x r"
        kind = "measured" if cores == found.transcribe_cores else computed
        rows.append(_row(_counted(cores, "worker"), per_core, cores, kind, None, None, found))
    return rows


def _row(
    on: str, each: float | None, count: int, kind: str, decode: float | None, network: float | None, found: Measured
) -> Sequence[str]:
    """Return a row: the speed if nothing held it, what share of each resource that takes, and what it is held to."""
    if each is None:
        return (on, "open", kind, "", "", "", "", "")
    reading = each * count * found.audio_bytes / found.disk if found.disk and found.audio_bytes else None
    shares = {"decode": decode, "reading": reading, "network": network}
    known = {name: share for name, share in shares.items() if share is not None}
    first = "open" if reading is None else max(known, key=lambda name: known[name])
    held = None if reading is None else each * count / max(1.0, *known.values())
    return (on, f"{each * count:,.0f}", kind, *map(_share, shares.values()), first, _number(held))


def _over(value: float | None, by: float | None) -> float | None:
    return None if value is None or by is None else value / by


def _number(value: float | None, unit: float = 1.0) -> str:
    if value is None:
        return "open"
    return f"{value / unit:,.0f}" if value / unit >= 100 else f"{value / unit:.3g}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count > 1 else "")


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3g} %"


def _markdown(rows: Iterable[Sequence[str]]) -> str:
    header, *body = rows
    lines = [header, ["---"] * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(run("tools/bench scaling", parser(), bench))
