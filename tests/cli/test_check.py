"""`asr check`: exit codes, JSON, the cleaned manifest, and what a configuration or tokens add."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.cli.main import main
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import train_char
from tests.tiny_model import tiny_model

RATE = 16000


def make(folder: Path, name: str, texts: list[str], *, seconds: float = 1.0, rate: int = RATE, seed: int = 0) -> str:
    """Write a manifest and its audio; return its path."""
    rows = []
    for index, text in enumerate(texts):
        audio = folder / "wav" / f"{name}{index}.wav"
        audio.parent.mkdir(exist_ok=True)
        samples = np.random.default_rng([seed, index]).integers(-8000, 8000, round(seconds * rate)).astype(np.int16)
        soundfile.write(audio, samples, rate)
        rows.append(Utterance(f"{name}{index}", audio, 0.0, seconds, text, f"{name}-speaker"))
    write_manifest(folder / f"{name}.jsonl", rows)
    return str(folder / f"{name}.jsonl")


@pytest.fixture
def good(tmp_path: Path) -> str:
    return make(tmp_path, "train", ["YES", "NO"])


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    train_char(["YES NO"], Normalizer()).save(tmp_path / "tokens.json")
    return str(tmp_path / "tokens.json")


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "conf.yaml").write_text("model: {}\n", encoding="utf-8")
    return str(tmp_path / "conf.yaml")


def test_good_data_ends_with_0(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", good, "--strict"]) == 0
    assert capsys.readouterr().out == f"{good}: 2 utterances, 0.00 hours, 1 speaker\n\nnothing wrong\n"


def test_errors_end_with_3(good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wav" / "train1.wav").unlink()
    assert main(["check", good]) == 3
    assert "missing-audio: 1 utterance" in capsys.readouterr().out


def test_warnings_end_with_3_only_with_strict(good: str, tmp_path: Path) -> None:
    test = make(tmp_path, "test", ["YES"], seed=1)
    assert main(["check", good, test]) == 0
    assert main(["check", good, test, "--strict"]) == 3


def test_json_is_all_that_standard_output_holds(good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wav" / "train1.wav").write_bytes(b"")
    assert main(["check", good, "--json", "--fix", str(tmp_path / "clean.jsonl")]) == 3
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["manifests"] == {good: {"utterances": 2, "hours": 0.0006, "speakers": 1}}
    assert [finding["kind"] for finding in report["errors"]] == ["empty-audio"]
    assert "clean.jsonl: 1 utterances" in captured.err


def test_fix_writes_a_manifest_that_passes(good: str, tmp_path: Path) -> None:
    (tmp_path / "wav" / "train0.wav").unlink()
    out = tmp_path / "other" / "clean.jsonl"
    assert main(["check", good, "--fix", str(out)]) == 3
    assert [row.id for row in read_manifest(out)] == ["train1"]
    dropped = (tmp_path / "other" / "clean.dropped.tsv").read_text(encoding="utf-8")
    assert dropped == "id\tkind\tmessage\ntrain0\tmissing-audio\twav/train0.wav: no such file\n"
    assert main(["check", str(out), "--strict"]) == 0


def test_tokens_find_characters_outside(tmp_path: Path, tokens: str, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = make(tmp_path, "train", ["YES", "NÖ"])
    assert main(["check", manifest, "--tokens", tokens]) == 3
    assert f"{manifest}:2: 'Ö' (U+00D6) is not in the alphabet" in capsys.readouterr().out


def test_a_configuration_and_tokens_find_what_ctc_cannot_spell(
    tmp_path: Path, tokens: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make(tmp_path, "train", ["YES", "NO" * 99], seconds=0.5)
    assert main(["check", manifest, "--tokens", tokens, "--config", config]) == 3
    assert "needed (198 labels + 0 repeats)" in capsys.readouterr().out
    assert main(["check", manifest, "--config", config]) == 0


def test_a_model_brings_all_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.safetensors"
    tiny_model(sample_rate=8000).save(model)
    manifest = make(tmp_path, "train", ["abc", "xa", "ab" * 99], seconds=0.5)
    assert main(["check", manifest, "--model", str(model)]) == 3
    out = capsys.readouterr().out
    assert ":2: 'x' (U+0078) is not in the alphabet" in out
    assert "needed (198 labels + 0 repeats)" in out
    assert "16000 Hz; the model takes 8000 Hz" in out


def test_a_configuration_brings_the_sample_rate(
    tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make(tmp_path, "train", ["YES"], rate=8000)
    assert main(["check", manifest, "--config", config, "--strict"]) == 3
    assert "8000 Hz; the model takes 16000 Hz" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{good}", "{good}"], "given twice; name each manifest once"),
        (["{good}", "--jobs", "0"], "--jobs 0: must be at least 1"),
        (["{good}", "other.jsonl", "--fix", "x.jsonl"], "--fix cleans one manifest, 2 are given"),
        (["{good}", "--fix", "{good}"], "is one of the files to read"),
        (["{good}", "--model", "m", "--config", "c"], "--model holds its own configuration"),
        ([], "the following arguments are required: MANIFEST"),
    ],
)
def test_wrong_usage_ends_with_2(
    good: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *[argument.format(good=good) for argument in arguments]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("asr check: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("option", ["--tokens", "--config", "--model"])
def test_a_missing_file_ends_with_3(good: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", good, option, "/nowhere/x"]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_manifest_ends_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none.jsonl")]) == 3
    assert "cannot read the manifest" in capsys.readouterr().err


def test_values_of_the_configuration_can_be_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe's own overrides must reach the check, or its advice ("less subsampling") leads nowhere."""
    config, tokens = tmp_path / "conf.yaml", tmp_path / "tokens.json"
    config.write_text("model: {encoder: {factor: 4}}\n")
    manifest = make(tmp_path, "m", ["ab" * 8], seconds=0.2)
    train_char(["ab"], Normalizer(NormalizerConfig())).save(tokens)
    check = ["check", "--config", str(config), "--tokens", str(tokens), manifest]
    assert main(check) == 3
    assert "less subsampling" in capsys.readouterr().out
    assert main([*check, "model.encoder.factor=1"]) == 0
    assert main(["check", manifest, "model.encoder.factor=1"]) == 2
    assert "name that with --config" in capsys.readouterr().err
