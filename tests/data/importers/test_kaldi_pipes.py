"""Pipes of wav.scp: which are understood, which are run, and what stops them."""

import shlex
import shutil
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.audio.files import read_audio
from asr.data.importers.kaldi_pipes import PipeError, decoded_file, parse_pipe, run_pipe
from asr.errors import DataError, MachineError
from tests.data.importers.sources import files, imported, left, record

PYTHON = sys.executable


def script(folder: Path, text: str) -> str:
    """Write a Python script and return the words that start it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.py").write_text(text, "utf-8")
    return f"{PYTHON} {folder / 'script.py'}"


@pytest.mark.parametrize(
    ("entry", "stages"),
    [
        ("flac -c -d -s a.flac |", [["flac", "-c", "-d", "-s", "a.flac"]]),
        (
            " cat  'a b.wav'|sox -t wav - \"-t\" wav - |",
            [["cat", "a b.wav"], ["sox", "-t", "wav", "-", "-t", "wav", "-"]],
        ),
        ("sox a.wav -t wav - gain -3 |", [["sox", "a.wav", "-t", "wav", "-", "gain", "-3"]]),
        ("p 'a'\"b\"c '' |", [["p", "abc", ""]]),
        ("p 'a;b' \"c d'e\" |", [["p", "a;b", "c d'e"]]),
        ("cat a\u00a0b.wav\t|", [["cat", "a\u00a0b.wav"]]),
    ],
)
def test_plain_words_are_understood(entry: str, stages: list[list[str]]) -> None:
    assert parse_pipe(entry) == stages


@pytest.mark.parametrize(
    "entry",
    [
        *("cat a.wav; rm -rf b |", "cat a.wav && b |", "cat a.wav & |", "cat < a.wav |", "cat a.wav > b |"),
        *("cat $HOME/a.wav |", 'cat "$HOME/a.wav" |', "cat `b` |", "cat $(b) |", "cat *.wav |", "cat ~/a.wav |"),
        *("cat a?.wav |", "cat [ab].wav |", "cat {a,b}.wav |", "(cat a.wav) |", "cat a.wav # b |", "! cat a |"),
        *("A=1 cat a.wav |", "cat 'a |", 'cat "a |', "cat a\\ b |", "| cat |", "cat a || b |", "|", "cat a\nb |"),
        "'' a |",
    ],
)
def test_whatever_needs_a_shell_is_refused(entry: str) -> None:
    with pytest.raises(PipeError):
        parse_pipe(entry)


@given(st.text("ab -'\"|$;\\/=\t", max_size=12))
def test_what_is_understood_is_what_a_shell_understands(text: str) -> None:
    try:
        stages = parse_pipe(text + "|")
    except PipeError:
        return
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|")
    lexer.whitespace_split = True
    words = [word for stage in stages for word in (*stage, "|")][:-1]
    if not any("|" in word and word != "|" for word in words):  # shlex forgets which were quoted
        assert list(lexer) == words


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("flac -c -d -s a.flac", ("a.flac", None)),
        ("/usr/bin/flac -cds a.flac", ("a.flac", None)),
        ("flac --decode --stdout --silent a.flac", ("a.flac", None)),
        ("flac -c -d --skip=100 a.flac", None),
        ("flac -d a.flac", None),
        ("flac -c -d a.flac b.flac", None),
        ("sph2pipe -f wav -p a.sph", ("a.sph", None)),
        ("tools/sph2pipe -f wav -p -c 2 a.sph", ("a.sph", 1)),
        ("sph2pipe -f rif a.sph", ("a.sph", None)),
        ("sph2pipe -p a.sph", None),
        ("sph2pipe -f wav -c 3 a.sph", None),
        ("sph2pipe -f wav -t 1:2 a.sph", None),
        ("cat a.wav", ("a.wav", None)),
        ("cat a.wav b.wav", None),
        ("cat -", None),
        ("sox a.ogg -t wav -b 16 -", ("a.ogg", None)),
        ("sox a.ogg -t wav -b 16 - remix 2", ("a.ogg", 1)),
        ("sox a.ogg -t wav -b 16 - remix -", ("a.ogg", None)),
        ("sox a.ogg -t wav -b 16 - remix 1,2", None),
        ("sox a.ogg -t wav -b 16 - gain 2", None),
        ("sox a.ogg -r 8000 -t wav -", None),
        ("wav-copy a.wav -", None),
    ],
)
def test_commands_that_only_decode_a_file_are_known(command: str, file: tuple[str, int | None] | None) -> None:
    assert decoded_file(command.split()) == file


def folder_of(tmp_path: Path, **entries: str) -> Path:
    return files(tmp_path / "data", wav__scp="".join(f"{name} {entry}\n" for name, entry in entries.items()))


def test_a_pipe_that_only_decodes_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # so that nothing could be run
    for name in ("a.flac", "c.wav"):
        record(tmp_path / "data" / name)
    record(tmp_path / "data" / "b.sph", channels=2)
    folder = folder_of(tmp_path, a="flac -c -d -s a.flac |", b="sph2pipe -f wav -p -c 2 b.sph |", c="cat c.wav |")
    found, said = imported("kaldi", folder, allow_pipes=True)
    assert [(row.audio.name, row.channel) for row in found] == [("a.flac", None), ("b.sph", 1), ("c.wav", None)]
    assert said.notes[0] == "3 pipes not run: they only decode files that are read directly"
    assert left(tmp_path) == {"data", "out.jsonl"}


def test_what_a_pipe_prints_becomes_a_wav_file_beside_the_manifest(tmp_path: Path) -> None:
    audio = record(tmp_path / "data" / "a b.wav", 0.5)
    half = script(tmp_path / "data", "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data)")
    folder = folder_of(tmp_path, r1=f"cat 'a b.wav' | {half} | cat |", r2="cat -- 'a b.wav' |")
    found, said = imported("kaldi", folder, allow_pipes=True)
    assert [row.audio for row in found] == [tmp_path / "out.audio" / "r1.wav", tmp_path / "out.audio" / "r2.wav"]
    assert (read_audio(found[0].audio)[0] == read_audio(audio)[0]).all()
    assert left(tmp_path / "out.audio") == {"r1.wav", "r2.wav"}
    assert said.notes[0].startswith("2 pipes run (")


@pytest.mark.skipif(shutil.which("sox") is None, reason="sox is not installed")
def test_sox_whose_header_says_no_length_and_all_channels_stay(tmp_path: Path) -> None:
    audio = record(tmp_path / "data" / "a.wav", 0.5, channels=2)
    folder = folder_of(tmp_path, r="sox a.wav -t wav - vol 1 |")
    (row,), _ = imported("kaldi", folder, allow_pipes=True)
    for channel in (0, 1):
        assert (read_audio(row.audio, channel=channel)[0] == read_audio(audio, channel=channel)[0]).all()


def test_pipes_that_fail_are_told_and_nothing_stays(tmp_path: Path) -> None:
    record(tmp_path / "data" / "a.wav")
    fails = script(tmp_path / "data", "import sys; sys.exit('first\\nno such dial tone')")
    folder = folder_of(
        tmp_path, r1=f"{fails} |", r2=f"{fails} | cat |", r3=f"{PYTHON} --version |", r4="cat -- a.wav |"
    )
    with pytest.raises(DataError) as caught:
        imported("kaldi", folder, allow_pipes=True)
    assert "3 unusable audio files: r1 (its pipe ended with 1: no such dial tone), r2, r3; " in str(caught.value)
    assert left(tmp_path) == {"data"}
    found, said = imported("kaldi", folder, allow_pipes=True, skip_faulty=True)
    assert [row.id for row in found] == ["r4"]
    assert "prints no audio: not audio that can be read" in said.skipped[2].detail
    assert left(tmp_path / "out.audio") == {"r4.wav"}


def test_a_pipe_that_needs_a_shell_is_told_and_no_other_is_run(tmp_path: Path) -> None:
    mark = script(tmp_path / "data", "open('mark', 'w')")
    folder = folder_of(tmp_path, r1=f"{mark} |", r2="cat a.wav > b.wav |")
    with pytest.raises(DataError, match=r"1 pipe that is more than programs with plain words: r2 \('>' has a meaning"):
        imported("kaldi", folder, allow_pipes=True)
    assert not (folder / "mark").exists()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, r="no-such-decoder a.shn |")
    with pytest.raises(
        MachineError, match=r"^no-such-decoder: cannot run it, and a pipe in wav.scp needs it: .*install"
    ):
        imported("kaldi", folder, allow_pipes=True)
    assert left(tmp_path) == {"data"}


def test_a_pipe_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    start = time.monotonic()
    with pytest.raises(PipeError, match=r"^was ended after 0\.5 s$"):
        run_pipe([[PYTHON, "-c", child], ["cat"]], str(tmp_path), str(tmp_path / "out"), max_seconds=0.5)
    assert time.monotonic() - start < 30


def test_a_pipe_that_prints_too_much_is_ended(tmp_path: Path) -> None:
    with pytest.raises(PipeError, match=r"^prints more than 1000 bytes$"):
        run_pipe([["cat", "/dev/zero"]], str(tmp_path), str(tmp_path / "out"), max_bytes=1000)


def test_a_reader_that_has_enough_is_no_fault(tmp_path: Path) -> None:
    endless = "import sys\nwhile True: sys.stdout.buffer.write(b'x' * 65536)"
    run_pipe([["cat", "/dev/zero"], ["head", "-c", "10"]], str(tmp_path), str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == bytes(10)
    with pytest.raises(PipeError, match="ended with"):  # Python says that its pipe broke: that is a failure
        run_pipe([[PYTHON, "-c", endless], ["head", "-c", "10"]], str(tmp_path), str(tmp_path / "out"))


def test_a_folder_of_audio_that_is_there_is_not_touched(tmp_path: Path) -> None:
    record(tmp_path / "data" / "a.wav")
    record(tmp_path / "out.audio" / "mine.wav")
    with pytest.raises(ValueError, match="it is there already; delete it, or choose another name for the manifest"):
        imported("kaldi", folder_of(tmp_path, r="cat -- a.wav |"), allow_pipes=True)
    assert left(tmp_path) == {"data", "out.audio"}
    assert left(tmp_path / "out.audio") == {"mine.wav"}
