"""recipes/cells: equal parameters, runs that are done stay done, one table; with a false `asr`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from pathlib import Path

import pytest

from asr.errors import UsageError
from asr.nn.cells import CELL_NAMES
from asr.nn.encoder import EncoderConfig
from asr.text.tokenizer import Tokenizer
from asr.training.module import BROKEN_DOWN
from recipes.cells import compare

CONFIG = "model:\n  encoder:\n    subsampling_width: 32\n    layers: 2\n"


@pytest.fixture
def options(tmp_path: Path) -> Namespace:
    (tmp_path / "cells.yaml").write_text(CONFIG)
    (tmp_path / "data").mkdir()
    for part in ("train", "valid"):
        (tmp_path / "data" / f"{part}.jsonl").write_text("{}\n")
    Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", "▁", "a"]}).save(
        tmp_path / "tokens.json"
    )
    return Namespace(
        config=tmp_path / "cells.yaml",
        data=tmp_path / "data",
        tokens=tmp_path / "tokens.json",
        out=tmp_path / "out",
        cells="rnn,lstm",
        seeds=2,
        parameters=50_000,
        jobs=2,
        device="cpu",
        overrides=["train.epochs=3"],
    )


class FalseAsr:
    """Stands in for the subcommands: writes what they would, and keeps what was asked."""

    def __init__(self, fails: str = "", says: str = "") -> None:
        self.calls: list[str] = []
        self.fails, self.says = fails, says

    def __call__(self, *words: object, log: Path) -> None:
        line = " ".join(map(str, words))
        self.calls.append(line)
        folder = log.with_suffix("")
        folder.mkdir(parents=True, exist_ok=True)
        if self.fails and self.fails in line:
            log.write_text(f"train: 3/14 epochs\n{self.says}\n")
            raise UsageError("asr train ended with code 2")
        if words[0] == "train":
            (folder / "checkpoints").mkdir(exist_ok=True)
            receipt = {"audio_seconds_seen": 40.0, "wall_seconds": 2.0, "commit": "abc"}
            (folder / "train.receipt.json").write_text(json.dumps(receipt))
        if words[0] == "score":
            rate = 0.5 if "rnn" in line else 0.25
            (folder / "valid.score.json").write_text(
                json.dumps({"words": {"rate": rate}, "characters": {"rate": rate / 2}})
            )


@pytest.mark.parametrize("cell", CELL_NAMES)
def test_the_width_makes_up_for_the_gates(cell: str) -> None:
    config = EncoderConfig(subsampling_width=320)
    hidden, parameters = compare.fitting(config, cell, 80, 28, 2_500_000)
    assert abs(parameters / 2_500_000 - 1) < 0.06
    assert hidden % 8 == 0


def test_all_runs_are_made_once_and_give_one_table(
    options: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "asr", asr := FalseAsr())
    assert compare.compare(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["`lstm`", "`rnn`"], "the best first"
    assert "25.00 % | 25.00, 25.00 | 12.50 %" in lines[2]
    trained = [call for call in asr.calls if call.startswith("train")]
    assert len(trained) == 4
    assert sum("model.encoder.cell=lstm model.encoder.hidden=" in call for call in trained) == 2
    receipt = json.loads((options.out / "cells.receipt.json").read_text())
    assert [row["wers"] for row in receipt["result"]["cells"]] == [[25.0, 25.0], [50.0, 50.0]]
    asr.calls.clear()
    compare.compare(options)
    assert asr.calls == []


def test_overrides_reach_the_trainings_and_no_other_run_is_taken_for_one_with_them(
    options: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "asr", asr := FalseAsr())
    options.overrides = ["train.epochs=3", "model.encoder.layers=1"]
    compare.compare(options)
    trained = [call for call in asr.calls if call.startswith("train")]
    assert all("--device cpu train.epochs=3 model.encoder.layers=1 model.encoder.cell=" in call for call in trained)
    options.overrides = ["train.epochs=4", "model.encoder.layers=1"]
    with pytest.raises(UsageError, match=r"result.json: overrides .*epochs=3.* there and .*epochs=4.* here"):
        compare.compare(options)
    options.overrides = ["model.encoder.hidden=8"]
    with pytest.raises(UsageError, match="--parameters how wide"):
        compare.compare(options)


def test_a_run_in_progress_is_resumed(options: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "asr", asr := FalseAsr())
    (options.out / "rnn-1" / "checkpoints").mkdir(parents=True)
    compare.compare(options)
    resumed = [call for call in asr.calls if "--resume" in call]
    assert [str(options.out / "rnn-1") in call for call in resumed] == [True]


def test_a_training_that_breaks_down_is_a_result_and_stops_no_other(
    options: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    says = f"asr train: step 60: {BROKEN_DOWN} 20 steps; lower train.optimizer.learning_rate (now 0.002)"
    monkeypatch.setattr(compare, "asr", FalseAsr(fails="rnn-2 --seed 2", says=says))
    compare.compare(options)
    out = capsys.readouterr().out
    assert "| 50.00 % | 50.00, broke down | 25.00 % |" in out
    assert "| 25.00 % | 25.00, 25.00 | 12.50 % |" in out


def test_a_training_that_ends_otherwise_is_no_result(options: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "asr", FalseAsr(fails="model.encoder.cell=rnn", says="asr train: interrupted"))
    with pytest.raises(UsageError, match="ended with code 2"):
        compare.compare(options)
    assert not list(options.out.glob("rnn-*/result.json"))


def test_when_it_is_ended_its_trainings_end(
    options: Namespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    started = compare._running
    ended = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def end() -> None:
        while len(started) < options.jobs:
            time.sleep(0.01)
        children.extend(started)
        os.kill(os.getpid(), signal.SIGTERM)

    children: list[subprocess.Popen[bytes]] = []
    killer = threading.Thread(target=end, daemon=True)
    killer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            compare.compare(options)
    finally:
        signal.signal(signal.SIGTERM, ended)
    assert [child.wait(timeout=10) for child in children] == [-signal.SIGTERM] * options.jobs
    assert not list(options.out.glob("*/result.json"))


def test_a_cell_that_does_not_exist_is_refused() -> None:
    root = Path(compare.__file__).parents[2]
    words = ["--config", "conf/cells.yaml", "--data", "x", "--tokens", "x", "--out", "x", "--cells", "lstn"]
    done = subprocess.run(
        [sys.executable, "recipes/cells/compare.py", *words], cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (
        2,
        "recipes/cells/compare.py: --cells: 'lstn' is no cell; did you mean 'lstm'?\n",
    )
