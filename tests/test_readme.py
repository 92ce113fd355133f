"""The commands of README.md run, word by word, on miniature corpora; what they name exists."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from asr.audio.files import write_audio
from asr.cli.main import COMMANDS, main
from recipes.an4.prepare import prepare
from tests.recipes.miniature import make_an4
from tests.tools.benchmarks import TINY

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def lines_of(language: str) -> list[str]:
    """Return the lines of the README's code blocks in a language, comments taken off."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the commands name: conf/, manifests of a miniature AN4, recordings."""
    folder = tmp_path_factory.mktemp("readme")
    prepare(make_an4(folder / "corpus", num_speakers=14), folder, accept=False)
    shutil.copytree(ROOT / "conf", folder / "conf")
    (folder / "recordings").mkdir()
    (folder / "recordings" / "list.csv").write_text("file,text\n../a.wav,yes\n")
    for name in ("texts.txt", "names.txt", "commands.txt", "words.txt"):
        (folder / name).write_text("yes\nno\nyes no\n" if name == "texts.txt" else "yes\nno\n")
    assert main(["lm", "train", str(folder / "texts.txt"), "--model", "an4", "--out", str(folder / "an4.lm")]) == 0
    write_audio(folder / "a.wav", np.random.default_rng(1).normal(0, 0.05, 16000).astype(np.float32), 16000)
    return folder


def test_the_commands_run_in_the_order_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [shlex.split(line)[1:] for line in lines_of("sh") if line.startswith("asr ")]
    assert [words[0] for words in commands] == [
        *("check", "tokens", "train", "train", "train", "average", "decode", "score"),
        *("lm", "lm", "transcribe", "transcribe", "transcribe", "align", "decode", "score", "compare", "import"),
    ]  # fmt: skip
    monkeypatch.chdir(folder)
    for words in commands:
        if "--overfit" in words:  # learns eight utterances by heart: tests/training/test_fit.py
            continue
        tiny = [*TINY, "train.epochs=1", "train.validate_every=1"] if words[0] == "train" else []
        assert main([*words, *tiny]) == 0, " ".join(words)


def test_the_python_lines_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 3
    defined = {"piece": np.zeros(8000, np.float32)}
    exec(compile("".join(blocks), "README.md", "exec"), defined)  # each goes on with the names of those before
    assert defined["events"] == []


def test_the_scripts_are_there_and_may_be_started() -> None:
    scripts = {shlex.split(line)[0] for line in lines_of("sh") if not line.startswith("asr ")}
    assert {"tools/transcribe", "tools/test", "recipes/an4/run.sh", "recipes/yesno/run.sh"} <= scripts
    for script in scripts:
        assert (ROOT / script).stat().st_mode & 0o111, script


def test_every_command_and_every_file_named_is_there() -> None:
    assert set(COMMANDS) <= set(re.findall(r"`asr (\w+)`", README))
    for path in re.findall(r"`((?:docs|conf|tests|tools|recipes|asr)/[\w./-]*)`", README):
        assert (ROOT / path).exists() or "CORPUS" in path, path
