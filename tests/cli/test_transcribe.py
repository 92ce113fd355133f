"""asr transcribe: what comes out where, and with which exit code."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from asr import recognizer as room
from asr.cli.main import main
from asr.recognizer import Recognizer
from tests.tiny_model import babble, tiny_model, write_wav


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_model().save(path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return [write_wav(tmp_path / f"{name}.wav", babble(1.0 + index, seed=index)) for index, name in enumerate("ab")]


def expected_texts(model: Path, files: list[Path]) -> list[str]:
    recognizer = Recognizer.load(model)
    return [recognizer.transcribe(file).text for file in files]


def transcribe(model: Path, *arguments: object) -> int:
    return main(["transcribe", "--model", str(model), *map(str, arguments)])


def test_one_file_prints_its_text_only(model, files, capsys) -> None:
    assert transcribe(model, files[0]) == 0
    out, err = capsys.readouterr()
    assert out == expected_texts(model, files[:1])[0] + "\n"
    assert out.strip()
    assert err == ""


def test_several_files_print_their_names_before_the_text_in_order(model, files, capsys) -> None:
    assert transcribe(model, files[1], files[0]) == 0
    texts = expected_texts(model, files)
    assert capsys.readouterr().out == f"{files[1]}\t{texts[1]}\n{files[0]}\t{texts[0]}\n"


def test_json_prints_one_object_a_line(model, files, capsys) -> None:
    assert transcribe(model, *files, "--format", "json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == [str(file) for file in files]
    assert [row["text"] for row in rows] == expected_texts(model, files)
    assert [row["duration"] for row in rows] == [1.0, 2.0]
    assert set(rows[0]) == {"file", "text", "confidence", "words", "score", "duration"}
    assert set(rows[0]["words"][0]) == {"word", "start", "end", "confidence"}


def test_bad_files_get_a_line_on_standard_error_and_the_others_come_out(model, files, tmp_path, capsys) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    not_audio = tmp_path / "text.wav"
    not_audio.write_text("hello", encoding="utf-8")
    no_samples = write_wav(tmp_path / "nothing.wav", np.zeros(0, np.float32))
    nan = tmp_path / "nan.wav"
    soundfile.write(nan, np.full(4000, np.nan, np.float32), 16000, subtype="FLOAT")
    bad = [tmp_path / "missing.wav", empty, not_audio, no_samples, nan]
    assert transcribe(model, bad[0], files[0], *bad[1:], files[1]) == 3
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == [str(file) for file in files]
    lines = err.splitlines()
    assert len(lines) == len(bad)
    for path, line in zip(bad, lines, strict=True):
        assert line.startswith(f"asr transcribe: {path}: ")


def test_srt_and_vtt_of_one_file(model, files, capsys) -> None:
    assert transcribe(model, files[0], "--format", "srt") == 0
    assert capsys.readouterr().out.startswith("1\n00:00:0")
    assert transcribe(model, files[0], "--format", "vtt") == 0
    assert capsys.readouterr().out.startswith("WEBVTT\n\n00:00:0")
    assert transcribe(model, *files, "--format", "srt") == 2
    assert "needs --out DIR" in capsys.readouterr().err


@pytest.mark.parametrize("style", ["txt", "json", "srt", "vtt"])
def test_out_holds_one_file_each_and_prints_nothing(model, files, tmp_path, capsys, style) -> None:
    out = tmp_path / "new" / "folder"
    assert transcribe(model, *files, "--out", out, "--format", style) == 0
    assert sorted(path.name for path in out.iterdir()) == [f"a.{style}", f"b.{style}"]
    if style == "txt":
        assert [(out / f"{name}.txt").read_text("utf-8").rstrip("\n") for name in "ab"] == expected_texts(model, files)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"2 transcripts in {out}" in printed.err


def test_two_inputs_never_write_one_output(model, files, tmp_path, capsys) -> None:
    other = tmp_path / "other"
    other.mkdir()
    same = write_wav(other / "A.wav", babble(0.5))
    assert transcribe(model, files[0], same, "--out", tmp_path / "out") == 2
    assert "would both be written to" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_channels_are_mixed_split_or_picked(model, tmp_path, capsys) -> None:
    channels = [babble(1.5, seed=seed) for seed in (1, 2)]
    stereo = write_wav(tmp_path / "call.wav", np.stack(channels, 1))
    single = [write_wav(tmp_path / f"{index}.wav", waveform) for index, waveform in enumerate(channels)]
    left, right = expected_texts(model, single)
    assert transcribe(model, stereo, "--channels", "split") == 0
    assert capsys.readouterr().out == f"{stereo}:0\t{left}\n{stereo}:1\t{right}\n"
    assert transcribe(model, stereo, "--channels", "split", "--format", "json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["file"], row["channel"], row["text"]) for row in rows] == [
        (str(stereo), 0, left),
        (str(stereo), 1, right),
    ]
    assert transcribe(model, stereo, "--channels", "1") == 0
    assert capsys.readouterr().out == right + "\n"
    assert transcribe(model, stereo, "--channels", "split", "--out", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["call.0.txt", "call.1.txt"]
    assert transcribe(model, stereo) == 0
    assert capsys.readouterr().out.strip() not in (left, right)


@pytest.mark.parametrize("channels", ["left", "-1", "1.5", ""])
def test_channels_that_are_none_are_wrong_usage(model, files, capsys, channels) -> None:
    assert transcribe(model, files[0], f"--channels={channels}") == 2
    assert "give mix, split or the number of a channel" in capsys.readouterr().err


def test_a_channel_that_a_file_lacks_is_that_files_error(model, files, capsys) -> None:
    assert transcribe(model, files[0], "--channels", "3") == 3
    assert f"{files[0]}: " in capsys.readouterr().err


def test_split_of_a_bad_file_is_one_line(model, files, tmp_path, capsys) -> None:
    assert transcribe(model, tmp_path / "missing.wav", files[0], "--channels", "split") == 3
    out, err = capsys.readouterr()
    assert out.startswith(f"{files[0]}:0\t")
    assert len(err.splitlines()) == 1


def test_standard_input_is_read(model, files, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(files[0].read_bytes())))
    assert transcribe(model, "-") == 0
    assert capsys.readouterr().out == expected_texts(model, files[:1])[0] + "\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"no audio")))
    assert transcribe(model, "-") == 3
    assert capsys.readouterr().err.startswith("asr transcribe: -: ")
    assert transcribe(model, "-", "-") == 2


def test_without_files_the_sample_is_transcribed_and_named(model, files, capsys, monkeypatch) -> None:
    monkeypatch.setattr(room, "bundled_sample", lambda: files[0])
    assert transcribe(model) == 0
    out, err = capsys.readouterr()
    assert out == expected_texts(model, files[:1])[0] + "\n"
    assert "no files given" in err
    assert str(files[0]) in err


def test_a_kind_of_file_that_is_resampled_is_said_once(model, tmp_path, capsys) -> None:
    # rates that no other test uses: each kind is said once in a process
    files = [write_wav(tmp_path / f"{index}.wav", babble(0.5, 11000, index), 11000) for index in range(3)]
    assert transcribe(model, *files) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("asr transcribe: ")
    assert "11000 Hz -> 16000 Hz; nothing above 5.5 kHz" in line


def test_a_transcript_that_looks_out_of_domain_is_flagged(files, tmp_path, capsys) -> None:
    doubtful = tmp_path / "doubtful.safetensors"
    tiny_model(domain={"min_confidence": 0.999}).save(doubtful)
    assert transcribe(doubtful, files[0]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert f"{files[0]}: looks unlike what this model knows (mean posterior" in err


def test_an_unknown_model_is_one_line(files, capsys) -> None:
    assert transcribe(Path("no-such-model"), files[0]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert transcribe(files[0], files[0]) == 3
    assert "not a model file" in capsys.readouterr().err


def test_a_folder_without_permission_is_refused(model, files, tmp_path, capsys, monkeypatch) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder)  # root may write everywhere
    assert transcribe(model, files[0], "--out", folder) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{folder}: cannot write: no permission" in line
    assert list(folder.iterdir()) == []


def test_an_output_folder_that_cannot_be_is_refused(model, files, capsys) -> None:
    assert transcribe(model, files[0], "--out", files[1] / "below-a-file") == 4
    assert "cannot write" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_half_written(model, files, tmp_path, capsys, monkeypatch) -> None:
    def full(path: Path, text: str, **options: object) -> int:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert transcribe(model, *files, "--out", tmp_path / "out") == 4
    line = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device; free some space" in line
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_standard_output_ends_with_4(model, files) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "asr", "transcribe", "--model", str(model), str(files[0])]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1


def test_the_start_imports_only_what_is_needed(model, files) -> None:
    """Each of these costs a tenth of a second and more before the first word."""
    code = (
        "import sys; from asr.cli.main import main; assert main(sys.argv[1:]) == 0;"
        "heavy = {'torchaudio', 'lightning', 'rich', 'sympy', 'torch._dynamo', 'asr.data', 'numba', 'scipy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "transcribe", "--model", str(model), str(files[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
