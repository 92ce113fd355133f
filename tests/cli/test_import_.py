"""`asr import`: exit codes, what is said, and that nothing half-written stays."""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from asr.cli.main import main
from asr.data.importers import FORMATS
from asr.data.manifest import read_manifest
from asr.errors import MachineError
from tests.data.importers.sources import files, left, record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder that is at once a Kaldi folder, a folder of texts, and the root of a table."""
    for name in "ab":
        record(tmp_path / "data" / f"{name}.wav")
    return files(
        tmp_path / "data",
        wav__scp="a a.wav\nb b.wav\n",
        text="a yes\nb no\n",
        a__txt="yes",
        b__txt="no",
        t__tsv="path\tsentence\na.wav\tyes\nb.wav\tno\n",
        broken__tsv='path\tsentence\na.wav\t"yes\nb.wav\tno\n',
        r__ctm="a 1 0 0.4 yes\n",
        a__TextGrid='"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "t" 0 1 1 0 1 "yes"',
        n__json='{"audio_filepath": "a.wav", "duration": 1, "text": "yes"}\n',
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    def run_import(*arguments: object) -> int:
        return main(["import", *map(str, arguments), "--out", str(tmp_path / "out" / "train.jsonl")])

    return run_import


@pytest.mark.parametrize(
    ("name", "source", "texts"),
    [
        ("kaldi", ".", ["yes", "no"]),
        ("nemo", "n.json", ["yes"]),
        ("table", "t.tsv", ["yes", "no"]),
        ("folder", ".", ["yes", "no"]),
        ("textgrid", ".", ["yes"]),
        ("ctm", "r.ctm", ["yes"]),
    ],
)
def test_formats(
    data: Path, run: Callable[..., int], name: str, source: str, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, data / source, "--language", "en", "--speaker", "me") == 0
    found = read_manifest(data.parent / "out" / "train.jsonl")
    assert [(row.text, row.language, row.speaker) for row in found] == [(text, "en", "me") for text in texts]
    (line,) = capsys.readouterr().out.splitlines()
    number = f"{len(texts)} utterance{'s' * (len(texts) > 1)}"
    assert line == f"wrote {data.parent / 'out' / 'train.jsonl'}: {number}, 0.00 hours, 1 speaker"


def test_every_format_is_a_file_and_every_file_a_format() -> None:
    files = {path.stem for path in (ROOT / "asr" / "data" / "importers").glob("*.py")}
    readers = {name for name in files if "\ndef read(task: Task)" in _source(name)}
    assert readers == set(FORMATS)


def _source(name: str) -> str:
    return (ROOT / "asr" / "data" / "importers" / f"{name}.py").read_text("utf-8")


def test_files_that_disagree_end_with_3_and_nothing_is_written(
    data: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    files(data, text="a yes\nc no\n")
    before = left(data)
    assert run("kaldi", data) == 3
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == (
        f"asr import: {data}: 1 utterance in text but not in wav.scp: c; 1 utterance in wav.scp but not in text: b; "
        "make the files agree, as Kaldi's utils/fix_data_dir.sh does; or leave them out with --skip-faulty"
    )
    assert left(data) == before
    assert left(data.parent) == {"data"}


def test_a_quote_that_never_closes_ends_with_3(
    data: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("table", data / "broken.tsv") == 3
    assert capsys.readouterr().err == (
        f"asr import: {data / 'broken.tsv'}:2: a quote opens here and never closes; close it, double the quotes inside "
        "a cell, or use --no-quotes if quotes are characters like others here\n"
    )
    assert left(data.parent) == {"data"}
    assert run("table", data / "broken.tsv", "--no-quotes") == 0


def test_what_is_left_out_is_said(data: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    (data / "b.wav").write_bytes(b"")
    assert run("kaldi", data, "--skip-faulty") == 0
    captured = capsys.readouterr()
    assert f"asr import: 1 problem left out, listed in {data.parent}/out/train.dropped.tsv\n" in captured.err
    assert captured.out.endswith("1 utterance, 0.00 hours, speakers not given\n")
    assert "b\tbad-audio\t" in (data.parent / "out" / "train.dropped.tsv").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kald", "."], "'kald': no format that is read; did you mean 'kaldi'?"),
        (["table", ".", "--tier", "x"], "--tier: an option of textgrid, not of table; leave it out"),
        (["nemo", ".", "--column", "a=b"], "--column: an option of table and huggingface, not of nemo; leave it out"),
        (["nemo", ".", "--allow-pipes"], "--allow-pipes: an option of kaldi, not of nemo"),
        (["nemo", ".", "--no-quotes"], "--no-quotes: an option of table, not of nemo"),
        (["table", ".", "--column", "text"], "--column text: expected KEY=NAME, for example text=Transcript"),
        (["ctm", ".", "--max-gap", "-1"], "--max-gap -1: must be 0 seconds or more"),
        (["ctm", ".", "--max-gap", "nan"], "--max-gap nan: must be 0 seconds or more"),
        (["ctm"], "the following arguments are required: SOURCE"),
    ],
)
def test_wrong_usage_ends_with_2(
    run: Callable[..., int], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"asr import: {message}")
    assert error.count("\n") == 1


def test_neither_the_source_nor_a_folder_is_overwritten(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (data / "n.json").read_bytes()
    assert main(["import", "nemo", str(data / "n.json"), "--out", str(data / "n.json")]) == 2
    assert main(["import", "nemo", str(data / "n.json"), "--out", str(data)]) == 2
    assert "is one of the files to read" in capsys.readouterr().err
    assert (data / "n.json").read_bytes() == before


def test_a_disk_that_is_full_leaves_nothing(
    data: Path, run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audio that a pipe has printed is there already when the manifest cannot be written."""
    files(data, wav__scp="a cat -- a.wav |\nb b.wav\n")
    (data.parent / "out" / "train.jsonl").mkdir(parents=True)
    assert run("kaldi", data, "--allow-pipes") == 2  # a folder is in the way
    (data.parent / "out" / "train.jsonl").rmdir()

    def full(path: Path) -> NoReturn:
        raise MachineError(f"{path}: cannot write: No space left on device; free some space")

    monkeypatch.setattr("asr.data.manifest.replacing", full)
    assert run("kaldi", data, "--allow-pipes") == 4
    assert left(data.parent / "out") == set()


def test_a_progress_of_files_is_shown(data: Path, run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("kaldi", data) == 0
    assert capsys.readouterr().err.startswith("import: 2/2 files")
