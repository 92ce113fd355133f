"""The commands of docs/lstm.md make its pictures, its numbers come out, and the code that it names is there."""

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import soundfile

from asr.cli.main import main
from asr.nn.cells import CELL_NAMES
from asr.recognizer import Recognizer
from tests.tiny_model import babble, tiny_model

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGE = (DOCS / "lstm.md").read_text("utf-8")
MAX_BYTES = 200_000  # of a picture: every clone carries them


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def size_of(png: Path) -> tuple[int, int]:
    """Return width and height in dots, from a PNG's header."""
    header = png.read_bytes()[:24]
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


@pytest.mark.slow
def test_the_commands_make_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    (tmp_path / "asr").symlink_to(ROOT / "asr")
    monkeypatch.chdir(tmp_path)
    for line in "".join(blocks("sh")).splitlines():
        assert main(shlex.split(line)[1:]) == 0, line
    made = sorted(path.name for path in (tmp_path / "docs" / "pictures").iterdir())
    assert made == sorted(re.findall(r"\(pictures/([\w-]+\.png)\)", PAGE))
    for name in made:
        committed = DOCS / "pictures" / name
        assert size_of(committed) == size_of(tmp_path / "docs" / "pictures" / name)
        assert committed.stat().st_size < MAX_BYTES


def test_the_numbers_come_out(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [block for block in blocks("python") if "# ->" in block]
    exec(compile(block, "docs/lstm.md", "exec"), {})
    said, expected = ([line.split() for line in text.splitlines()] for text in (capsys.readouterr().out, _says(block)))
    assert len(said) == len(expected) == 2
    for (way, *found), (expected_way, *numbers) in zip(said, expected, strict=True):
        assert way == expected_way
        assert list(map(float, found)) == pytest.approx(list(map(float, numbers)), abs=0.011)  # rounded elsewhere


def test_the_stream_of_the_page_hears_a_file(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("python") if "LiveRecognizer" in block]
    defined: dict[str, Any] = {}
    exec(compile(block, "docs/lstm.md", "exec"), defined)
    model, waveform = tiny_model(normalization="running", chunk_ms=160, right_context_ms=80), babble(1.0)
    model.save(tmp_path / "model.safetensors")
    soundfile.write(tmp_path / "a.wav", waveform, 16000, subtype="FLOAT")
    whole = Recognizer(model).transcribe(waveform, 16000).text
    assert defined["follow"](str(tmp_path / "model.safetensors"), str(tmp_path / "a.wav")) == [whole]


def _says(block: str) -> str:
    return "\n".join(re.findall(r"^# -> (.*)$", block, re.MULTILINE))


def test_the_code_that_is_named_is_there() -> None:
    for path in re.findall(r"`((?:asr|docs|recipes|tests)/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path
    named = re.findall(r"`(asr/[\w/]+)\.py`[,\s(]+`([A-Za-z_.]+)`", PAGE)
    assert len(named) > 10
    for module, place in named:
        found = importlib.import_module(module.replace("/", "."))
        for part in place.split("."):
            found = getattr(found, part)


def test_every_cell_has_its_row() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(CELL_NAMES)
