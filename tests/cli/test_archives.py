"""asr transcribe ARCHIVE: the command line, its exit codes, and workers on Ray from start to end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asr.cli.archives import is_archive
from asr.cli.main import main
from tests.tiny_model import babble, tiny_model, write_wav
from tests.training.test_resume import session_members, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_model().save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files with speech, one without, and something else."""
    found = tmp_path / "folder"
    (found / "sub").mkdir(parents=True)
    write_wav(found / "sub" / "a.wav", babble(1.0, seed=1))
    write_wav(found / "z.wav", babble(2.0, seed=2))
    (found / "bad.mp3").write_text("no audio")
    (found / "notes.txt").write_text("hello")
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.wav", False), ("-", False), ("m.jsonl", True), ("s3://bucket/shards", True), ("a/shards.json", True)],
)
def test_what_is_meant_as_an_archive(name: str, expected: bool) -> None:
    assert is_archive(name) == expected


def transcribe(model: Path, *arguments: object) -> int:
    return main(["transcribe", "--model", str(model), *map(str, arguments)])


def test_a_folder_gives_one_file_of_transcripts_and_says_what_failed(model, folder, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    assert transcribe(model, folder, "--out", out) == 3
    rows = [json.loads(line) for line in (out / "transcripts.jsonl").read_text("utf-8").splitlines()]
    assert [row["file"] for row in rows] == ["sub/a.wav", "z.wav"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "left out, as by name no audio: .txt 1" in printed.err
    assert f"asr transcribe: {folder}/bad.mp3: not audio" in printed.err
    assert f"2 transcripts in {out}/transcripts.jsonl; 1 recordings failed" in printed.err
    receipt = json.loads((out / "transcripts.receipt.json").read_text("utf-8"))
    assert (receipt["utterances"], receipt["audio_seconds"], receipt["result"]["failed"]) == (2, 3.0, 1)
    single = [main(["transcribe", "--model", str(model), str(folder / row["file"])]) for row in rows]
    assert single == [0, 0]
    assert capsys.readouterr().out.splitlines() == [row["text"] for row in rows]
    transcripts = (out / "transcripts.jsonl").read_bytes()
    assert transcribe(model, folder, "--out", out) == 3  # what failed is tried again, and told again
    assert (out / "transcripts.jsonl").read_bytes() == transcripts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FOLDER"], "needs --out DIR"),
        (["FOLDER", "FOLDER/z.wav", "--out", "OUT"], "transcribed by itself, but 2 names"),
        (["FOLDER", "--out", "OUT", "--format", "srt"], "--format and --channels are for single files"),
        (["FOLDER", "--out", "OUT", "--workers", "2"], "--workers goes with --ray"),
        (["FOLDER", "--out", "OUT", "--ray", "auto", "--workers", "0"], "must be at least 1"),
        (["FOLDER/z.wav", "--ray", "auto"], "are for an archive"),
        (["FOLDER", "--out", "OUT", "--ray", "here"], "give auto, local, HOST:PORT"),
    ],
)
def test_what_does_not_go_together(model, folder, tmp_path, capsys, arguments, message) -> None:
    names = {"FOLDER": str(folder), "FOLDER/z.wav": str(folder / "z.wav"), "OUT": str(tmp_path / "out")}
    if "here" in arguments:
        pytest.importorskip("ray")
    assert transcribe(model, *(names.get(argument, argument) for argument in arguments)) == 2
    assert message in capsys.readouterr().err


def test_without_ray_the_exit_code_is_4(model, folder, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert transcribe(model, folder, "--out", tmp_path / "out", "--ray", "auto") == 4
    assert "-m pip install ray" in capsys.readouterr().err
    assert not (tmp_path / "out" / "transcripts.jsonl").exists()


def start(model: Path, archive: Path, out: Path, log: Path) -> "subprocess.Popen[bytes]":
    """Start asr transcribe --ray auto in a session of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "asr", "transcribe", "--model", model, archive, "--out", out]
    command += ["--ray", "auto", "--workers", "2"]
    with open(log, "wb") as file:
        return subprocess.Popen(
            list(map(str, command)),
            stdout=file,
            stderr=file,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.mark.slow
def test_ray_from_the_command_line_is_interrupted_and_goes_on(model, tmp_path) -> None:
    pytest.importorskip("ray")
    folder, out, log = tmp_path / "folder", tmp_path / "out", tmp_path / "log"
    folder.mkdir()
    for number in range(6):  # a piece each
        write_wav(folder / f"{number}.wav", babble(400.0, 8000, seed=number), 8000)
    process = start(model, folder, out, log)
    wait_until(lambda: list((out / "parts").glob("*.jsonl")) or process.poll() is not None, 180)
    assert process.poll() is None, log.read_text("utf-8")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130, log.read_text("utf-8")
    text = log.read_text("utf-8")
    assert "Traceback" not in text, text
    assert "the same command goes on" in text
    wait_until(lambda: not session_members(process.pid), 30)
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.jsonl")}
    assert 1 <= len(kept) < 6
    assert start(model, folder, out, log).wait(300) == 0, log.read_text("utf-8")
    receipt = json.loads((out / "transcripts.receipt.json").read_text("utf-8"))
    assert receipt["result"]["pieces_done_before"] == len(kept)
    alone = tmp_path / "alone"
    assert transcribe(model, folder, "--out", alone) == 0
    assert (alone / "transcripts.jsonl").read_bytes() == (out / "transcripts.jsonl").read_bytes()
