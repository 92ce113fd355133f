"""The commands of docs/your-own-data.md run in their order, on miniature recordings and from a tiny model."""

import csv
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from asr.audio.files import write_audio
from asr.cli.main import main
from tests.recipes.miniature import word
from tests.tiny_model import tiny_model

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "your-own-data.md").read_text("utf-8")
TEXTS = ("bad cafe", "dig a bed", "a big fig", "chief", "beach")  # letters that the tiny model knows
RATE = 16000


def commands() -> list[list[str]]:
    """Return the commands of the page, word by word."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with recordings and their list, conf/, a model, and old recordings."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    random = np.random.default_rng(3)
    rows = []
    for number in range(170):
        name = f"take-{number:03d}.wav"
        waveform = np.concatenate([word(bit, random, RATE) for bit in f"{number % 4:02b}"])
        write_audio(recordings / name, waveform.astype(np.float32), RATE)
        rows.append({"file": name, "text": TEXTS[number % len(TEXTS)], "speaker": "anna"})
    with open(recordings / "list.csv", "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    tiny_model(normalization="utterance").save(tmp_path / "tiny.safetensors")
    return tmp_path


def on_this_machine(words: list[str], folder: Path) -> list[str]:
    """Return a command with the tiny model for the bundled one, and a training of two epochs."""
    words = [str(folder / "tiny.safetensors") if word == "an4" else word for word in words]
    training = words[:2] in (["asr", "train"], ["asr", "curve"]) or "recipes/finetune/run.sh" in words
    return [*words, "train.epochs=1", "train.validate_every=1", "train.threads=1"] if training else words


@pytest.mark.slow
def test_the_commands_run_in_the_order_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    ran = []
    for given in commands():
        words = on_this_machine(given, folder)
        if given[0] == "asr":
            assert main(words[1:]) == 0, " ".join(words)
            ran.append(given[1])
        else:
            paths = [str(folder / word) if word.startswith(("recordings", "runs/")) else word for word in words]
            done = subprocess.run(paths, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
            ran.append(given[0])
        if given[0].startswith("recipes/"):
            _old_recordings(folder)
    assert ran == ["import", "check", "recipes/finetune/run.sh", "tools/transcribe", "train", "average", "curve"]
    assert (folder / "runs" / "mine" / "curve" / "curve.png").is_file()
    for name in re.findall(r"`(runs/[\w./]+\.json)`", PAGE):
        assert json.loads((folder / name).read_bytes())


def _old_recordings(folder: Path) -> None:
    """Stand in for what the AN4 recipe leaves: the same recordings as old ones."""
    target = folder / "runs" / "an4" / "data"
    target.mkdir(parents=True)
    for part in ("train", "valid"):
        text = (folder / "runs" / "mine" / "data" / f"{part}.jsonl").read_text("utf-8")
        (target / f"{part}.jsonl").write_text(text, "utf-8")


def test_the_settings_that_the_page_names_are_known() -> None:
    from asr.config import load_config
    from asr.training.config import ExperimentConfig

    settings = re.findall(r"`((?:finetune|train|model)\.[\w.]+=[^`]+)`", PAGE)
    assert len(settings) > 3
    for setting in settings:
        (word,) = shlex.split(setting)
        load_config(ExperimentConfig, ROOT / "conf" / "finetune.yaml", [word])
