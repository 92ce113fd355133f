"""Train every cell on the same audio at the same number of parameters, and put what they hear into one table."""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from asr.cli.main import Parser, guarded
from asr.config import load_config
from asr.errors import UsageError, did_you_mean
from asr.nn.cells import CELL_NAMES, CellName
from asr.nn.encoder import Encoder, EncoderConfig
from asr.receipts import collect, write
from asr.store import write_json
from asr.text.tokenizer import Tokenizer
from asr.training.config import ExperimentConfig
from asr.training.module import BROKEN_DOWN

STEP = 8  # cells: widths are multiples of it, as products like them
_running: set["subprocess.Popen[bytes]"] = set()  # to be ended with this one


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        parameters: of the encoder.
        folder: where it stands; `result.json` there is its end.
    """

    cell: CellName
    seed: int
    hidden: int
    parameters: int
    folder: Path


def main() -> int:
    """Return the exit code."""
    parser = Parser(prog="recipes/cells/compare.py", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the training, but for cell and width")
    parser.add_argument("--data", type=Path, required=True, help="the folder of train.jsonl and valid.jsonl")
    parser.add_argument("--tokens", type=Path, required=True, help="tokens.json")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the runs and of the table")
    parser.add_argument("--cells", default=",".join(CELL_NAMES), help="which, with commas (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each cell (default: 3)")
    parser.add_argument("--parameters", type=int, default=2_500_000, help="of each encoder (default: 2500000)")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, to train and decode on (default: cpu)")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="overrides the configuration")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it ends as Ctrl-C does
    return guarded("recipes/cells/compare.py", lambda: compare(parser.parse_args()))


def compare(options: argparse.Namespace) -> int:
    """Train what is not trained yet, a seed of all cells before the next; write the table."""
    started = time.time()
    planned = list(plan(options))
    results = all_finished(planned, options)
    table = summary(planned, results)
    print(as_text(table))
    inputs = [options.config, options.tokens, options.data / "train.jsonl", options.data / "valid.jsonl"]
    receipt = collect(
        sys.argv, config=None, seed=None, inputs=inputs, result={"cells": table}, wall_seconds=time.time() - started
    )
    write(options.out / "cells.receipt.json", receipt)
    return 0


def plan(options: argparse.Namespace) -> Iterator[Run]:
    """Yield the runs.  Raises: UsageError for a cell that does not exist, or a configuration that is none."""
    names = options.cells.split(",")
    for name in names:
        if name not in CELL_NAMES:
            raise UsageError(f"--cells: '{name}' is no cell{did_you_mean(name, CELL_NAMES)}")
    for override in options.overrides:
        if override.partition("=")[0] in ("model.encoder.cell", "model.encoder.hidden"):
            raise UsageError(f"'{override}': --cells says which cells, and --parameters how wide they are")
    experiment = load_config(ExperimentConfig, options.config, options.overrides)
    num_tokens = Tokenizer.load(options.tokens).size
    features = experiment.model.features.num_features
    sizes = {name: fitting(experiment.model.encoder, name, features, num_tokens, options.parameters) for name in names}
    for seed in range(1, options.seeds + 1):
        for name in names:
            yield Run(name, seed, *sizes[name], options.out / f"{name}-{seed}")


def fitting(config: EncoderConfig, cell: CellName, features: int, tokens: int, wanted: int) -> tuple[int, int]:
    """Return (width, parameters) of the encoder with this cell that comes closest to the wanted parameters."""
    found = []
    for hidden in range(STEP, 2048, STEP):
        with torch.device("meta"):
            encoder = Encoder(config.model_copy(update={"cell": cell, "hidden": hidden}), features, tokens)
        parameters = sum(weight.numel() for weight in encoder.parameters())
        found.append((abs(parameters - wanted), hidden, parameters))
        if parameters > wanted:
            break
    _, hidden, parameters = min(found)
    return hidden, parameters


def all_finished(runs: Sequence[Run], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what the runs hear.  Where one fails or this is interrupted, all stop, to be resumed."""
    threads = ThreadPoolExecutor(options.jobs)
    try:
        return list(threads.map(lambda run: finished(run, options), runs))
    except BaseException:
        for process in list(_running):
            process.terminate()  # a training saves its state first
        raise
    finally:
        threads.shutdown(cancel_futures=True)


def finished(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a run hears of the speakers held out, trained now if it is not yet.

    A training that breaks down (its weights run away) is a result, too: its rates are None.
    Raises: UsageError for whatever else ends it.
    """
    result = run.folder / "result.json"
    described = description(run, options)
    if not result.is_file():
        try:
            train(run, options)
            found = hear(run, options)
        except UsageError as error:
            if not broke_down(run.folder.with_suffix(".log")):
                raise
            print(f"{run.cell} {run.seed}: {error}", file=sys.stderr, flush=True)
            found = {**described, "wer": None, "cer": None, "audio_seconds": None, "training_seconds": None}
        write_json(result, found)
        print(f"{run.cell} {run.seed}: {found['wer']} %", file=sys.stderr, flush=True)
    kept: dict[str, Any] = {"overrides": [], **json.loads(result.read_text())}
    for name, value in described.items():
        if kept[name] != value:
            raise UsageError(f"{result}: {name} {kept[name]} there and {value} here; give another --out")
    return kept


def broke_down(log: Path) -> bool:
    """Return whether a training's last words are that its gradient was not finite again and again."""
    return log.is_file() and BROKEN_DOWN in log.read_text("utf-8").rstrip().rpartition("\n")[2]


def description(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a run is of."""
    size = {"hidden": run.hidden, "parameters": run.parameters}
    return {"cell": run.cell, "seed": run.seed, **size, "overrides": options.overrides}


def train(run: Run, options: argparse.Namespace) -> None:
    """Train a run, or go on with it."""
    resume = ["--resume"] if (run.folder / "checkpoints").is_dir() else []
    asr(
        *("train", options.config, "--train", options.data / "train.jsonl", "--valid", options.data / "valid.jsonl"),
        *("--tokens", options.tokens, "--out", run.folder, "--seed", run.seed, *resume),
        *("--device", options.device, *options.overrides),
        *(f"model.encoder.cell={run.cell}", f"model.encoder.hidden={run.hidden}"),
        log=run.folder.with_suffix(".log"),
    )


def hear(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Return the result of a trained run."""
    model, hypotheses, score = (
        run.folder / name for name in ("model.safetensors", "valid.hyp.jsonl", "valid.score.json")
    )
    log, valid = run.folder.with_suffix(".log"), options.data / "valid.jsonl"
    asr("average", run.folder, "--out", model, log=log)
    asr("decode", valid, "--model", model, "--out", hypotheses, "--device", options.device, log=log)
    asr("score", valid, hypotheses, "--tokens", options.tokens, "--case", "lower", "--out", score, log=log)
    receipt = json.loads((run.folder / "train.receipt.json").read_text())
    scored = json.loads(score.read_text())
    return {
        **description(run, options),
        "audio_seconds": receipt["audio_seconds_seen"],
        "training_seconds": receipt["wall_seconds"],
        "commit": receipt["commit"],
        "wer": round(100 * scored["words"]["rate"], 2),
        "cer": round(100 * scored["characters"]["rate"], 2),
    }


def asr(*words: object, log: Path) -> None:
    """Run a subcommand, its output in a log.  Raises: UsageError if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as lines:
        process = subprocess.Popen([sys.executable, "-m", "asr", *map(str, words)], stdout=lines, stderr=lines)
        _running.add(process)
        try:
            code = process.wait()
        finally:
            _running.discard(process)
    if code:
        raise UsageError(f"asr {words[0]} ended with code {code}; the last lines of {log} say why")


def summary(runs: Sequence[Run], results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each cell, the best first; means are over the runs that did not break down."""
    rows = []
    for cell in dict.fromkeys(run.cell for run in runs):
        own = [result for result in results if result["cell"] == cell]
        means = {
            key: _mean([result[key] for result in own]) for key in ("wer", "cer", "audio_seconds", "training_seconds")
        }
        sizes = {key: own[0][key] for key in ("hidden", "parameters")}
        rows.append({"cell": cell, **sizes, **means, "wers": [result["wer"] for result in own]})
    return sorted(rows, key=lambda row: float("inf") if row["wer"] is None else row["wer"])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(fmean(known), 2) if known else None


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| cell | cells a direction | parameters | WER | of the seeds | CER |", "|---|---|---|---|---|---|"]
    for row in rows:
        wers = ", ".join("broke down" if wer is None else f"{wer:.2f}" for wer in row["wers"])
        means = [" " if row[key] is None else f"{row[key]:.2f} %" for key in ("wer", "cer")]
        size = f"{row['parameters'] / 1e6:.2f} M"
        lines.append(f"| `{row['cell']}` | {row['hidden']} | {size} | {means[0]} | {wers} | {means[1]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
