"""tools/bench archive and scaling: the manifest they repeat, what they compute, and the page that shows it."""

import json
import re
from pathlib import Path

import pytest

from asr.data.manifest import read_manifest
from asr.errors import DataError
from tests.tiny_model import babble, write_wav
from tests.tools.benchmarks import ROOT, benchmark

archive, scaling = benchmark("archive"), benchmark("scaling")


def test_the_recordings_are_repeated_until_there_is_enough(tmp_path: Path) -> None:
    for name, seconds in (("a", 1.0), ("b", 2.0)):
        write_wav(tmp_path / f"{name}.wav", babble(seconds))
    (tmp_path / "c.wav").write_text("no audio")
    assert archive.write_manifest(tmp_path, tmp_path / "m.jsonl", 6.5) == 5
    rows = read_manifest(tmp_path / "m.jsonl")
    assert [row.audio.stem for row in rows] == ["a", "b", "a", "b", "a"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "c.wav").write_text("no audio")
    with pytest.raises(DataError, match="holds no recording that can be read"):
        archive.write_manifest(tmp_path / "empty", tmp_path / "n.jsonl", 1.0)


def test_texts_are_compared_and_not_scores() -> None:
    one = b'{"text": "a", "score": 1}\n{"text": "b", "score": 1}\n'
    other = b'{"text": "a", "score": 2}\n{"text": "c", "score": 1}\n'
    assert archive._differing(one, other) == 1


def write_receipts(folder: Path) -> Path:
    bf16 = {"audio_seconds_per_second": 200.0, "step_gflop": 100.0, "steps": 10, "audio_seconds": 500.0}
    shards = {
        "decoded_shards_audio_seconds_per_second": [0, 1000.0, 0],
        "decoded_shards_mb_per_second": [0, 20.0, 0],
        "shards_mb_per_second": [0, 100.0, 0],
    }
    found = {
        "train": {"result": {"bf16": bf16}, "host": {"threads": 2}},
        "transcribe": {"result": {"real_time_factor": [0, 0.004, 0]}, "host": {"threads": 2}},
        "archive": {"result": {"ray_audio_hours_per_hour": [0, 240.0, 0], "workers": 2}},
        "shards": {"result": shards},
    }
    for name, receipt in found.items():
        (folder / f"{name}.receipt.json").write_text(json.dumps(receipt), "utf-8")
    return folder


def test_rows_by_hand(tmp_path: Path) -> None:
    """2 GFLOP a second of audio: a GPU of 10 TFLOP/s trains on 5,000; 20 kB a second of audio, 100 MB/s read."""
    text = scaling.tables(scaling.measured(write_receipts(tmp_path)))
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert rows["2 cores"] == "| 2 cores | 200 | measured | 10 % | 4 % |  | decode | 200 |"
    assert rows["8 cores"] == "| 8 cores | 800 | computed: cores x t | 10 % | 16 % |  | reading | 800 |"
    # 8 cores decode 8,000 for the 5,000 of a GPU; each process reads all 40,000 x 20 kB = 800 MB a second
    assert rows["8 GPUs"] == "| 8 GPUs | 40,000 | computed: GPUs x g | 62.5 % | 800 % |  | reading | 5,000 |"
    # each of 8 nodes sends 2 x 7/8 x 36.88 MB in each of 5000/320 steps a second: 1.008 GB of 3.1 GB
    assert " | 32.5 % | reading | 5,000 |" in rows["64 GPUs"]
    assert rows["8 workers"] == "| 8 workers | 960 | computed: cores x w |  | 19.2 % |  | reading | 960 |"


def test_what_has_no_receipt_is_open(tmp_path: Path) -> None:
    text = scaling.tables(scaling.measured(tmp_path))
    assert "| 64 GPUs | open |" in text
    assert "| 2 workers | open |" in text


def test_the_page_shows_what_the_receipts_say() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    shown = page[page.index("## Inputs") : page.index("## What it says")].strip()
    now = scaling.tables(scaling.measured(ROOT / "docs" / "receipts")).strip()
    assert shown == now, "docs/scaling.md is not what tools/bench scaling prints; paste it anew"


def test_the_page_names_the_parameters_of_the_recipes_model() -> None:
    """The one number of the page that is counted and not read."""
    from asr.config import load_config
    from asr.nn.encoder import Encoder
    from asr.training.config import ExperimentConfig

    model = load_config(ExperimentConfig, ROOT / "conf" / "an4.yaml", []).model
    symbols = 31  # of AN4's tokens, blank included, give or take: 321 parameters each and head
    count = sum(weight.numel() for weight in Encoder(model.encoder, model.features.num_bins, symbols).parameters())
    assert count == pytest.approx(scaling.measured(ROOT / "docs" / "receipts").parameters, rel=0.02)
    assert re.search(r"\| p \| \d", (ROOT / "docs" / "scaling.md").read_text("utf-8"))
