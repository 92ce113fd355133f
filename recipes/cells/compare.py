"""Train every cell on the same audio at the same number of parameters, and put what they hear into one table."""

import argparse
import json
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

STEP = 8  # cells: widths are multiples of it, as products like them


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
    return guarded("recipes/cells/compare.py", lambda: compare(parser.parse_args()))


def compare(options: argparse.Namespace) -> int:
    """Train what is not trained yet, a seed of all cells before the next; write the table."""
    started = time.time()
    planned = list(plan(options))
    with ThreadPoolExecutor(options.jobs) as threads:
        results = list(threads.map(lambda run: finished(run, options), planned))
    table = summary(planned, results)
    print(as_text(table))
    inputs = [options.config, options.tokens, options.data / "train.jsonl", options.data / "valid.jsonl"]
    receipt = collect(
        sys.argv, config=None, seed=None, inputs=inputs, result={"cells": table}, wall_seconds=time.time() - started
    )
    write(options.out / "cells.receipt.json", receipt)
    return 0


def plan(options: argparse.Namespace) -> Iterator[Run]:
    """Yield the runs.  Raises: UsageError for a cell that does not exist."""
    experiment = load_config(ExperimentConfig, options.config)
    num_tokens = Tokenizer.load(options.tokens).size
    names = options.cells.split(",")
    for name in names:
        if name not in CELL_NAMES:
            raise UsageError(f"--cells: '{name}' is no cell{did_you_mean(name, CELL_NAMES)}")
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


def finished(run: Run, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a run hears of the speakers held out, trained now if it is not yet."""
    result = run.folder / "result.json"
    if not result.is_file():
        train(run, options)
        write_json(result, hear(run, options))
        print(f"{run.cell} {run.seed}: {json.loads(result.read_text())['wer']} %", file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def train(run: Run, options: argparse.Namespace) -> None:
    """Train a run, or go on with it."""
    resume = ["--resume"] if (run.folder / "checkpoints").is_dir() else []
    asr(
        *("train", options.config, "--train", options.data / "train.jsonl", "--valid", options.data / "valid.jsonl"),
        *("--tokens", options.tokens, "--out", run.folder, "--seed", run.seed, *resume),
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
    asr("decode", valid, "--model", model, "--out", hypotheses, log=log)
    asr("score", valid, hypotheses, "--tokens", options.tokens, "--case", "lower", "--out", score, log=log)
    receipt = json.loads((run.folder / "train.receipt.json").read_text())
    scored = json.loads(score.read_text())
    return {
        "cell": run.cell,
        "seed": run.seed,
        "hidden": run.hidden,
        "parameters": run.parameters,
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
        code = subprocess.run([sys.executable, "-m", "asr", *map(str, words)], stdout=lines, stderr=lines).returncode
    if code:
        raise UsageError(f"asr {words[0]} ended with code {code}; the last lines of {log} say why")


def summary(runs: Sequence[Run], results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each cell, the best first."""
    rows = []
    for cell in dict.fromkeys(run.cell for run in runs):
        own = [result for result in results if result["cell"] == cell]
        rows.append(
            {
                "cell": cell,
                "hidden": own[0]["hidden"],
                "parameters": own[0]["parameters"],
                "wer": round(fmean(result["wer"] for result in own), 2),
                "wers": [result["wer"] for result in own],
                "cer": round(fmean(result["cer"] for result in own), 2),
                "audio_seconds": round(fmean(result["audio_seconds"] for result in own)),
                "training_seconds": round(fmean(result["training_seconds"] for result in own)),
            }
        )
    return sorted(rows, key=lambda row: row["wer"])


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| cell | cells a direction | parameters | WER | of the seeds | CER |", "|---|---|---|---|---|---|"]
    for row in rows:
        wers = ", ".join(f"{wer:.2f}" for wer in row["wers"])
        size = f"{row['parameters'] / 1e6:.2f} M"
        lines.append(
            f"| `{row['cell']}` | {row['hidden']} | {size} | {row['wer']:.2f} % | {wers} | {row['cer']:.2f} % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
