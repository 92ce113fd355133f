"""No command of decoding writes over what it reads: the model, its tokens, a lexicon, a recording."""

import shutil
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.recognizer import bundled_models, bundled_sample


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(bundled_sample(), "a.flac")
    shutil.copy(bundled_models()["an4"], "m.safetensors")
    Path("d.jsonl").write_text('{"id": "u", "audio": "a.flac", "duration": 4.0, "text": "four one"}\n')
    Path("h.jsonl").write_text('{"id": "u", "text": "four one"}\n')
    Path("words").write_text("four one\nsix\n")
    assert main(["lm", "train", "words", "--out", "t.lm"]) == 0
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "lm train words --model m.safetensors --out m.safetensors",
        "lm tune t.lm d.jsonl --model m.safetensors --out m.safetensors",
        "lm tune t.lm d.jsonl --model m.safetensors --out a.flac",
        "score d.jsonl h.jsonl --report a.flac",
        "calibrate d.jsonl --model m.safetensors --lexicon words --out words",
    ],
)
def test_what_is_read_is_never_written(folder: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert main(command.split()) == 2
    assert "is one of the files to read" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("out", ["there.png", ""])
@pytest.mark.parametrize(
    "command",
    [
        "lm train words --out",
        "score d.jsonl h.jsonl --out",
        "score d.jsonl h.jsonl --report",
        "score d.jsonl h.jsonl --html",
        "compare d.jsonl h.jsonl h.jsonl --out",
        "calibrate d.jsonl --model m.safetensors --out c.safetensors --plot",
    ],
)
def test_a_folder_is_refused_before_the_work(
    folder: Path, command: str, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty name is the folder itself: it ended in a traceback."""
    (folder / "there.png").mkdir()
    before = sorted(path.name for path in folder.iterdir())
    capsys.readouterr()
    assert main([*command.split(), out]) == 2
    error = capsys.readouterr().err
    assert "is a folder; name the file to write" in error or "end it in .png" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before
