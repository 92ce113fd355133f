"""The commands of docs/decoding.md run in their order, on the bundled model, and print what the page says."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from asr.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "decoding.md").read_text("utf-8")
SAYS = re.compile(r"  # (?:-> )?")
QUICKER = {"--kind lstm": ["train.epochs=1"]}  # what is added to commands that hold this


def blocks() -> Iterator[tuple[str, str]]:
    """Yield (language, text) of each block of code on the page."""
    for match in re.finditer(r"```(sh|python)\n(.*?)```", PAGE, re.DOTALL):
        yield match[1], match[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has what the page takes from the checkout."""
    shutil.copytree(ROOT / "tests" / "samples", tmp_path / "tests" / "samples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_commands_run_and_print_what_the_page_says(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    for language, text in blocks():
        if language == "python":
            exec(compile(text, "docs/decoding.md", "exec"), {})
            continue
        for line in text.splitlines():
            command, *rest = SAYS.split(line, maxsplit=1)
            if command.startswith("cd "):
                monkeypatch.chdir(command.removeprefix("cd "))
            elif not command.startswith("asr "):
                subprocess.run(["bash", "-c", command], check=True, timeout=60)
            else:
                more = [word for part, words in QUICKER.items() if part in command for word in words]
                capsys.readouterr()
                assert main([*shlex.split(command)[1:], *more]) == 0, (command, capsys.readouterr().err)
                printed = capsys.readouterr().out
                assert "  # -> " not in line or printed.strip() == rest[0], command
                ran.append(command.split()[1])
    assert Path(os.getcwd()) == checkout / "runs" / "guide"
    assert set(ran) == {"import", "transcribe", "lm", "decode", "tokens", "align", "calibrate", "score", "compare"}
    assert Path("page.html").is_file()
    assert sorted(path.name for path in Path("grids").iterdir()) == [f"sample-{n:02d}.TextGrid" for n in range(1, 11)]


def test_what_the_page_says_is_refused_is_refused(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "commands.txt").write_text("repeat\n", "utf-8")
    sample = "tests/samples/sample-08.flac"
    for words in (
        ["--beam", "9"],
        ["--hotwords", "commands.txt"],
        ["--lm", "tuned.lm"],
        ["--rescore", "lstm.safetensors"],
    ):
        assert main(["transcribe", "--grammar", "commands.txt", *words, sample]) == 2
        assert "is no use with --grammar" in capsys.readouterr().err
        assert main(["transcribe", "tests/samples", "--out", "out", "--ray", "local", *words]) == 2
        assert "workers of Ray read the best path" in capsys.readouterr().err
    for words in (
        ["train", "a.txt", "--model", "an4", "--out", "a.arpa"],
        ["tune", "a.lm", "a.jsonl", "--model", "an4", "--out", "a.arpa"],
    ):
        assert main(["lm", *words]) == 2
        assert "ARPA" in capsys.readouterr().err
