"""A corpus that a network of a thousand cells learns in seconds: every letter is a tone."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.cli.main import main
from asr.config import parse
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import Tokenizer, train_char
from asr.training.config import ExperimentConfig

RATE = 8000
PITCHES = {"a": 400.0, "b": 900.0, "c": 1500.0, "d": 2400.0}  # Hz
ROOT = Path(__file__).resolve().parents[2]

CONFIG: dict[str, Any] = {
    "model": {
        "features": {"sample_rate": RATE, "num_bins": 16},
        "encoder": {"factor": 2, "subsampling_width": 16, "layers": 1, "hidden": 16, "dropout": 0.0},
    },
    "train": {
        "epochs": 2,
        "threads": 1,
        "ema_decay": 0.0,
        "loader": {"batch_seconds": 4.0, "max_seconds": 4.0, "workers": 0},
        "optimizer": {"learning_rate": 0.02, "warmup_steps": 5, "weight_decay": 0.0},
    },
}

# everything that draws random numbers or carries a state from step to step
ALL_ON = (
    "model.encoder.dropout=0.2",
    "augment.waveform.speed_factors=[0.9, 1.0, 1.1]",
    "augment.waveform.gain_db=[-6, 6]",
    "augment.mixing.probability=0.3",
    "augment.spectrum.frequency_masks=1",
    "augment.spectrum.frequency_width=4",
    "augment.spectrum.time_masks_per_second=2",
    "model.features.dither=1.0",
    "model.encoder.chunk_ms=160",
    "model.encoder.right_context_ms=80",
    "train.contexts_ms=[[0, 0], [160, 80], [320, 0]]",
    "train.ema_decay=0.9",
    "train.loader.accumulate=2",
    "train.loader.workers=2",
)


@dataclass(frozen=True)
class Corpus:
    """Where a miniature corpus lies, and how to train on it."""

    folder: Path

    @property
    def train(self) -> Path:
        return self.folder / "train.jsonl"

    @property
    def valid(self) -> Path:
        return self.folder / "valid.jsonl"

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens.json"

    @property
    def config(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def utterances(self) -> list[Utterance]:
        return read_manifest(self.train)

    @property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.load(self.tokens)

    def arguments(self, out: Path, *more: str, valid: bool = True) -> list[str]:
        """Return the arguments of `asr`, for a training into `out`."""
        held_out = ["--valid", str(self.valid)] if valid else []
        paths = ["--train", str(self.train), *held_out, "--tokens", str(self.tokens), "--out", str(out)]
        return ["train", str(self.config), *paths, *more]


def make_corpus(
    folder: Path, *, num_train: int = 12, num_valid: int = 4, pitches: Mapping[str, float] = PITCHES, seed: int = 5
) -> Corpus:
    """Write the corpus: utterances of 0.5 to 1.5 s, manifests, tokens and a configuration (JSON is YAML)."""
    corpus = Corpus(folder)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    utterances = [_utterance(folder, f"u{number:02d}", random, pitches) for number in range(num_train + num_valid)]
    write_manifest(corpus.train, utterances[:num_train])
    write_manifest(corpus.valid, utterances[num_train:])
    texts = [utterance.text or "" for utterance in utterances]
    train_char(texts, Normalizer(NormalizerConfig())).save(corpus.tokens)
    corpus.config.write_text(json.dumps(CONFIG), "utf-8")
    return corpus


def _utterance(folder: Path, name: str, random: np.random.Generator, pitches: Mapping[str, float]) -> Utterance:
    text = "".join(random.choice(list(pitches), random.integers(2, 7)))
    waveform = np.concatenate([np.zeros(RATE // 10), *(_tone(pitches[letter], random) for letter in text)])
    waveform += random.normal(0, 0.002, len(waveform))
    path = folder / f"{name}.wav"
    soundfile.write(path, waveform, RATE, subtype="PCM_16")
    return Utterance(name, path, 0.0, len(waveform) / RATE, text)


def _tone(pitch: float, random: np.random.Generator) -> np.ndarray:
    """Return 0.11 to 0.17 s of a tone and 0.05 s of silence."""
    length = int(RATE * random.uniform(0.11, 0.17))
    tone = 0.3 * np.sin(2 * np.pi * pitch * np.arange(length) / RATE) * np.hanning(length)
    return np.concatenate([tone, np.zeros(RATE // 20)])


def experiment(**changes: Any) -> ExperimentConfig:
    """Return the tiny configuration with `train__loader__workers=2` and the like replaced."""
    values = json.loads(json.dumps(CONFIG))
    for path, value in changes.items():
        *groups, key = path.split("__")
        group = values
        for name in groups:
            group = group.setdefault(name, {})
        group[key] = value
    return parse(ExperimentConfig, values, where="test")


def train(corpus: Corpus, out: Path, *more: str, valid: bool = True) -> int:
    """Train in this process and return the exit code."""
    return main(corpus.arguments(out, *more, valid=valid))


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (or minus its signal), how long it took, what it wrote."""

    code: int
    seconds: float
    stderr: str


class Processes:
    """Runs `asr` in processes of their own, each with its accident (tests/training/accidents.py)."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.training.accidents"]
        self.server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, arguments: list[str], folder: Path, **accident: Any) -> Ended:
        """Run `asr` with the arguments, its output going to a log in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"{len(list(folder.glob('*.log')))}.log"
        job = {"arguments": arguments, "accident": accident, "log": str(log)}
        assert self.server.stdin
        assert self.server.stdout
        print(json.dumps(job), file=self.server.stdin, flush=True)
        answer = self.server.stdout.readline()
        assert answer, "the process that starts processes has died"
        return Ended(*json.loads(answer), log.read_text("utf-8"))

    def close(self) -> None:
        """End the process that starts processes."""
        self.server.communicate(timeout=60)
