"""Runs of recipes inside a benchmark: each in a folder of its own, what is done not done again."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import ROOT

from asr.errors import DataError

Score = dict[str, Any]  # as `asr score --out` writes it


def run_recipe(recipe: str, out: Path, options: Sequence[str]) -> None:
    """Run `recipes/RECIPE/run.sh` with the run folder `out`.  Raises: DataError; the lines in `out/log` say why."""
    _run([str(ROOT / "recipes" / recipe / "run.sh"), "--out", str(out), *options], out)


def score_of(out: Path, part: str) -> Score:
    """Return the score of one part of the data in a run folder."""
    found: Score = json.loads((out / f"{part}.score.json").read_bytes())
    return found


def decoded(manifest: Path, model: str | Path, out: Path, name: str) -> Score:
    """Return the score of a model on a manifest; hypotheses and score are kept in `out` as `name`.

    Raises: DataError if it cannot be decoded; the lines in `out/log` say why.
    """
    hypotheses, score = out / f"{name}.hyp.jsonl", out / f"{name}.score.json"
    asr = str(ROOT / ".venv" / "bin" / "asr")
    _run([asr, "decode", str(manifest), "--model", str(model), "--out", str(hypotheses)], out)
    tokens = ["--tokens", str(file)] if (file := Path(model) / "tokens.json").is_file() else []
    _run([asr, "score", str(manifest), str(hypotheses), *tokens, "--case", "lower", "--out", str(score)], out)
    return score_of(out, name)


def _run(command: Sequence[str], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "log", "ab") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise DataError(f"{out / 'log'}: ended with exit code {done.returncode}; its last lines say why")
