"""asr decode: a manifest -> hypotheses and a receipt."""

import hashlib
import json
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.data.manifest import Utterance, write_manifest
from asr.recognizer import Recognizer
from tests.tiny_model import babble, tiny_model, write_wav


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_model().save(path)
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    first = write_wav(tmp_path / "first.wav", babble(4.0, seed=1))
    second = write_wav(tmp_path / "second.wav", babble(1.2, seed=2))
    utterances = [
        Utterance("late", first, 2.0, 1.5, "a b"),
        Utterance("all-of-second", second, 0.0, 1.2),
        Utterance("early", first, 0.0, 0.7, "c"),
    ]
    path = tmp_path / "test.jsonl"
    write_manifest(path, utterances)
    return path


def decode(model: Path, manifest: Path, out: Path) -> int:
    return main(["decode", str(manifest), "--model", str(model), "--out", str(out)])


def test_hypotheses_follow_the_manifest(model: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "test.hyp.jsonl"
    assert decode(model, manifest, out) == 0
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["late", "all-of-second", "early"]
    assert [row["duration"] for row in rows] == [1.5, 1.2, 0.7]
    assert all(set(row) == {"id", "text", "confidence", "words", "score", "duration"} for row in rows)
    for row in rows:
        times = [time for word in row["words"] for time in (word["start"], word["end"])]
        assert times == sorted(times)
        assert all(0 <= time <= row["duration"] for time in times)
    alone = Recognizer.load(model).transcribe(babble(4.0, seed=1)[32000:56000], 16000)
    assert len(rows[0]["words"]) == len(alone.words)


def test_the_receipt_says_who_made_them(model: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "test.hyp.jsonl"
    decode(model, manifest, out)
    receipt = json.loads((tmp_path / "test.hyp.receipt.json").read_text("utf-8"))
    assert receipt["command"][:2] == ["asr", "decode"]
    assert receipt["utterances"] == 3
    assert receipt["audio_seconds"] == pytest.approx(3.4)
    assert receipt["inputs"] == {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in (manifest, model)}
    assert receipt["words"] == receipt["result"]["words"] > 0
    assert receipt["config"]["model"]["encoder"]["hidden"] == 16


def test_unreadable_utterances_are_named_and_nothing_is_written(
    model: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "second.wav").write_bytes(b"broken")
    out = tmp_path / "test.hyp.jsonl"
    assert decode(model, manifest, out) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asr decode: ")]
    assert lines[0].startswith("asr decode: utterance 'all-of-second': ")
    assert "1 of 3 utterances cannot be read, nothing is written" in lines[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.wav", "second.wav", "test.jsonl"]


def test_an_empty_manifest_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    assert decode(model, empty, tmp_path / "hyp.jsonl") == 3
    assert "holds no utterances" in capsys.readouterr().err


def test_a_folder_is_refused_before_the_work(
    model: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert decode(model, manifest, tmp_path) == 2
    assert capsys.readouterr().err == f"asr decode: --out {tmp_path}: is a folder; name the file to write\n"


def test_the_files_that_are_read_are_not_overwritten(
    model: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(manifest)
    for out in (manifest, tmp_path / "." / "test.jsonl", link, tmp_path / "first.wav", model):
        before = out.read_bytes()
        assert decode(model, manifest, out) == 2
        assert f"--out {out}: is one of the files to read" in capsys.readouterr().err
        assert out.read_bytes() == before
