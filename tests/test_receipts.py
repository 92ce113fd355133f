"""Receipts: the keys of docs/formats.md, what git says, and nothing private."""

import hashlib
import json
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from asr import receipts
from asr.config import Config
from asr.errors import DataError, MachineError

FORMATS = Path(__file__).parents[1] / "docs" / "formats.md"


def _collect(**changes: object) -> receipts.Receipt:
    arguments: dict[str, object] = {"config": None, "seed": None, "inputs": [], "result": {}}
    return receipts.collect(["/home/me/.venv/bin/asr", "score"], **(arguments | changes))  # type: ignore[arg-type]


def test_keys_are_those_of_the_formats_page() -> None:
    section = FORMATS.read_text(encoding="utf-8").split("## Receipt")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert {field.name for field in fields(receipts.Receipt)} == documented


def test_written_receipt_reads_back(tmp_path: Path) -> None:
    class TinyConfig(Config):
        depth: int = 2

    source = tmp_path / "in.jsonl"
    source.write_bytes(b"hello\n")
    receipt = _collect(config=TinyConfig(), seed=7, inputs=[source], result={"wer": 0.5}, words=3)
    receipts.write(tmp_path / "a.receipt.json", receipt)
    values = json.loads((tmp_path / "a.receipt.json").read_text(encoding="utf-8"))
    assert values["config"] == {"depth": 2}
    assert values["inputs"] == {str(source): hashlib.sha256(b"hello\n").hexdigest()}
    assert (values["seed"], values["words"], values["utterances"], values["result"]) == (7, 3, None, {"wer": 0.5})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", values["date"])


def test_command_and_host_name_no_person_and_no_machine() -> None:
    receipt = _collect()
    assert receipt.command == ["asr", "score"]
    assert socket.gethostname() not in [str(value) for value in receipt.host.values()]
    assert set(receipt.host) == {"processor", "cores", "threads", "gpu"}
    assert receipts.collect(["/x/asr/__main__.py"], config={}, seed=None, inputs=[], result={}).command == ["asr"]


def test_inputs_keep_the_path_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert list(_collect(inputs=["./a.txt"]).inputs) == ["./a.txt"]


def test_missing_input_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: cannot read: No such file"):
        _collect(inputs=[tmp_path / "absent"])


def test_write_over_a_folder_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "a.receipt.json").mkdir()
    with pytest.raises(MachineError, match="cannot write"):
        receipts.write(tmp_path / "a.receipt.json", _collect())
    assert [path.name for path in tmp_path.iterdir()] == ["a.receipt.json"]


def test_receipt_path() -> None:
    assert receipts.receipt_path("runs/an4/test.score.json") == Path("runs/an4/test.score.receipt.json")
    assert receipts.receipt_path("model.safetensors") == Path("model.receipt.json")


def test_versions_name_absent_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "_VERSIONED", ("no-such-package-at-all",))
    assert receipts.versions()["no-such-package-at-all"] is None
    assert receipts.versions()["python"] == ".".join(map(str, sys.version_info[:3]))


def test_threads_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    host = receipts.host()
    assert (host["threads"], host["gpu"]) == (1, None)


def test_processor_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "system_value", lambda *_: None)
    assert receipts.processor()


def test_system_value(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Fast: 9\nmodel name\t: Other\n", encoding="utf-8")
    assert receipts.system_value(path, "model name") == "Fast: 9"
    assert receipts.system_value(path, "flags") is None
    assert receipts.system_value(tmp_path / "absent", "flags") is None


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with one commit in which a copy of receipts.py believes to lie."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    (tmp_path / "asr").mkdir()
    (tmp_path / "asr" / "receipts.py").write_text("old\n", encoding="utf-8")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "one")
    monkeypatch.setattr(receipts, "__file__", str(tmp_path / "asr" / "receipts.py"))
    return tmp_path


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_and_changed_files(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = _git(checkout, "rev-parse", "HEAD")
    (checkout / "untracked.txt").write_text("", encoding="utf-8")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as inside a git hook: another repository's settings do not count
    assert receipts.checkout() == (head, False)
    (checkout / "asr" / "receipts.py").write_text("new\n", encoding="utf-8")
    assert receipts.checkout() == (head, True)


def test_installed_inside_somebody_elses_repository_has_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "__file__", str(checkout / ".venv" / "asr" / "receipts.py"))
    (checkout / ".venv" / "asr").mkdir(parents=True)
    assert receipts.checkout() == (None, None)


def test_no_git_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert receipts.checkout() == (None, None)


def test_paths_below_the_working_directory_are_told_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside, outside = tmp_path / "runs" / "a.jsonl", tmp_path.parent / "b.jsonl"
    inside.parent.mkdir()
    for path in (inside, outside):
        path.write_text("x", encoding="utf-8")
    command = ["asr", "score", str(inside), str(outside)]
    receipt = receipts.collect(command, config=None, seed=None, inputs=[inside, outside], result={})
    assert receipt.command == ["asr", "score", "runs/a.jsonl", str(outside)]
    assert list(receipt.inputs) == ["runs/a.jsonl", str(outside)]
