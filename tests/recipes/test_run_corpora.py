"""run.sh of the large corpora on miniatures: with false commands what is asked of them, and one recipe to its score."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.data.manifest import read_manifest
from recipes.librispeech.prepare import DEV, TEST, TRAIN
from tests.recipes import corpora as make
from tests.recipes.test_run import Checkout

ANY = ("--accept", "any")
PARTS = dict.fromkeys([*TRAIN["960"], *DEV, *TEST], 1)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("recipes") / "a checkout")


def start(checkout: Checkout, recipe: str, *arguments: str) -> list[str]:
    """Return the calls that a recipe made."""
    done = checkout.start(*arguments, recipe=recipe)
    assert done.returncode == 0, done.stderr
    return checkout.calls()


def names(folder: Path, manifests: str) -> str:
    """Return the paths of manifests as the calls name them."""
    return " ".join(f"{folder}/{name}.jsonl" for name in manifests.split())


@pytest.mark.parametrize(
    ("recipe", "maker", "arguments", "tokens", "checked"),
    [
        (
            "librispeech",
            lambda folder: make.make_librispeech(folder, PARTS, chapters=1),
            [*ANY, "--hours", "100"],
            "unigram --size 256",
            "train dev-clean dev-other test-clean test-other",
        ),
        (
            "mini_librispeech",
            lambda folder: make.make_librispeech(folder, {"train-clean-5": 4, "dev-clean-2": 1}, chapters=1),
            ANY,
            "char",
            "train valid test",
        ),
        ("tedlium3", make.make_tedlium3, ANY, "unigram --size 512", "valid test"),
        ("common_voice", make.make_common_voice, ["--language", "cs"], "char", "dev test"),
        ("ljspeech", lambda folder: make.make_ljspeech(folder, 830), ANY, "char", "valid test"),
        ("aishell1", lambda folder: make.make_aishell1(folder, packed=True), ANY, "char", "dev test"),
        ("voxforge", make.make_voxforge, [], "char", "valid test"),
    ],
)
def test_from_the_corpus_to_the_check(
    checkout: Checkout, recipe: str, maker: Callable[[Path], Path], arguments: list[str], tokens: str, checked: str
) -> None:
    corpus = maker(checkout.root / "corpora" / recipe)
    calls = start(checkout, recipe, "--corpus", str(corpus), *arguments, "--stop", "check")
    language = {"common_voice": "-cs", "voxforge": "-en"}.get(recipe, "")
    data = checkout.root / "runs" / f"{recipe}{language}" / "data"
    config = "librispeech-100" if recipe == "librispeech" else recipe
    assert calls[0].startswith(f"tokens --config conf/{config}.yaml {data}/train.jsonl --kind {tokens} --out ")
    assert calls[-1].startswith(f"check --config conf/{config}.yaml")
    assert calls[-1].endswith(names(data, checked)), calls[-1]
    if not checked.startswith("train"):
        assert calls[1].endswith(f"{data}/train.jsonl --fix {data}/clean.jsonl"), calls[1]
    assert {file.stem for file in data.glob("*.jsonl")} >= {"train", "valid", *checked.split()}
    assert read_manifest(data / "valid.jsonl")


def test_all_test_sets_of_librispeech_are_decoded_and_scored_on_the_device_asked_for(checkout: Checkout) -> None:
    corpus = make.make_librispeech(checkout.root / "corpora" / "all", PARTS, chapters=1)
    out = checkout.root / "runs" / "all"
    calls = start(checkout, "librispeech", "--corpus", str(corpus), "--out", str(out), *ANY, "--device", "cuda")
    parts = [*DEV, *TEST]
    assert [call.split()[0] for call in calls] == [
        "tokens",
        "check",
        "train",
        "average",
        *["decode"] * 4,
        *["score"] * 4,
    ]
    assert "--kind unigram --size 1024 " in calls[0]
    assert calls[2].startswith(f"train conf/librispeech.yaml --train {out}/data/train.jsonl")
    assert calls[2].endswith(" --device cuda")
    for part, decoded, scored in zip(parts, calls[4:8], calls[8:], strict=True):
        assert decoded.startswith(f"decode {out}/data/{part}.jsonl --model {out}/model.safetensors")
        assert decoded.endswith(f"--out {out}/{part}.hyp.jsonl --device cuda")
        assert f"--out {out}/{part}.score.json" in scored
    assert start(checkout, "librispeech", "--corpus", str(corpus), "--out", str(out), *ANY, "--device", "cuda") == []


def test_training_data_of_which_too_much_is_faulty_is_refused(checkout: Checkout) -> None:
    corpus = make.make_common_voice(checkout.root / "corpora" / "faulty")
    arguments = ("--corpus", str(corpus), "--out", "runs/faulty", "--language", "cs")
    checkout.write("bad-data", "")
    done = checkout.start(*arguments, recipe="common_voice")
    assert done.returncode == 3
    assert "1 of 12 utterances are without faults" in done.stderr.splitlines()[-1]
    (checkout.root / "bad-data").unlink()
    calls = start(checkout, "common_voice", *arguments, "--stop", "train")
    assert [call.split()[0] for call in calls] == ["check", "check", "train"]
    assert "data/clean.jsonl" in calls[-1]


@pytest.mark.parametrize(
    ("recipe", "arguments", "code", "message"),
    [
        (
            "common_voice",
            ["--language", "cs"],
            2,
            "--corpus is missing; no program can download it: get it by hand here: h",
        ),
        ("voxforge", [], 2, "get it by hand here: http://www.repository.voxforge1.org"),
        (
            "common_voice",
            ["--corpus", "corpora"],
            2,
            "--language is missing; give its code in Common Voice, such as cs",
        ),
        (
            "common_voice",
            ["--corpus", "corpora", "--language", "cs"],
            3,
            "no Common Voice in 'cs', as it has no test.tsv",
        ),
        ("librispeech", ["--corpus", "corpora", "--hours", "360"], 2, "--hours must be 100 or 960, got '360'"),
        ("librispeech", ["--corpus", "corpora"], 3, "not the corpus LibriSpeech, as it has no train-clean-100/*/*/*"),
        (
            "mini_librispeech",
            ["--corpus", "corpora", "--train", "all"],
            2,
            "--train must be train or train_all, got 'all'",
        ),
        ("tedlium3", ["--corpus", "corpora"], 3, "not the corpus TED-LIUM 3, as it has no legacy/test/stm/*.stm"),
        ("ljspeech", ["--corpus", "corpora"], 3, "not the corpus LJ Speech, as it has no metadata.csv"),
        (
            "aishell1",
            ["--corpus", "corpora"],
            3,
            "not the corpus AISHELL-1, as it has no transcript/aishell_transcript",
        ),
        ("voxforge", ["--corpus", "corpora"], 3, "corpora: no folders with etc/PROMPTS; get it by hand here: http"),
        ("voxforge", ["--corpus", "corpora", "--accept", "any"], 2, "unknown option '--accept'; see --help"),
    ],
)
def test_wrong_usage_is_said(checkout: Checkout, recipe: str, arguments: list[str], code: int, message: str) -> None:
    done = checkout.start("--out", f"runs/wrong-{recipe}", *arguments, recipe=recipe)
    assert done.returncode == code, done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert checkout.calls() == []


# A network of 20,000 cells, and as much data as it can learn from in seconds.
TINY = """
    model.encoder.subsampling_width=32 model.encoder.layers=1 model.encoder.hidden=48 model.encoder.intermediate=0
    model.encoder.dropout=0 model.features.num_bins=20 augment.spectrum.frequency_masks=0
    augment.spectrum.time_masks_per_second=0 train.epochs=10 train.validate_every=5 train.ema_decay=0
    train.loader.batch_seconds=8 train.loader.max_seconds=8 train.loader.workers=0 train.precision=float32
    train.optimizer.learning_rate=0.01 train.optimizer.warmup_steps=5 train.threads=1
"""


@pytest.mark.slow
def test_common_voice_from_clips_to_a_score(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "a checkout")
    command = f'PYTHONPATH="{checkout.root}" exec "{sys.executable}" -m asr'
    checkout.write(".venv/bin/asr", f'#!/usr/bin/env bash\n{command} "$@"\n', executable=True)
    corpus = make.make_common_voice(tmp_path / "corpus", {"train": 24, "dev": 6, "test": 6})
    run = [checkout.root / "recipes" / "common_voice" / "run.sh", "--corpus", corpus, "--language", "cs", *TINY.split()]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # beside other work, threads that wait for each other take minutes
    done = subprocess.run(run, cwd=checkout.root, env=alone, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    out = checkout.root / "runs" / "common_voice-cs"
    assert "WER" in done.stdout
    for part in ("dev", "test"):
        score = json.loads((out / f"{part}.score.json").read_bytes())
        assert score["words"]["rate"] < 0.1, done.stdout
    assert json.loads((out / "test.score.receipt.json").read_bytes())["utterances"] == 6
