"""Data sets of Hugging Face on disk: real ones, Parquet files, and what is refused."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from asr.audio.files import read_audio
from asr.data.manifest import Utterance
from asr.errors import DataError, MachineError, UsageError
from tests.data.importers.sources import imported, left, record, rows

# Written by datasets 5.2.0: a DatasetDict with the parts train (3 rows) and test (1 row), saved with save_to_disk,
# and the former with to_parquet.  The columns: id, audio (Audio), text, speaker_id (int64), lang (ClassLabel).
SAVED = Path(__file__).parent / "saved_dataset"
PARQUET = SAVED.with_suffix(".parquet")
SOUND = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAVED, tmp_path / "saved"))


def parquet(path: Path, audio: list[Any], **columns: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"audio": pyarrow.array(audio, SOUND), **columns})
    pyarrow.parquet.write_table(table, path)
    return path


def sound(path: Path, **options: Any) -> dict[str, Any]:
    """Return the cell of a recording that exists only inside of the table."""
    data = record(path, **options).read_bytes()
    path.unlink()
    return {"bytes": data, "path": path.name}


@pytest.mark.parametrize("kind", ["folder", "parquet", "arrow"])
def test_a_real_data_set(tmp_path: Path, saved: Path, kind: str) -> None:
    source = saved
    if kind == "parquet":
        source = Path(shutil.copy(PARQUET, tmp_path))
    elif kind == "arrow":
        source = saved / "train" / "data-00000-of-00001.arrow"
        source = Path(shutil.copy(source, tmp_path))
    found, said = imported("huggingface", source, split="train" if kind == "folder" else None)
    audio = tmp_path / "out.audio"
    assert found == [
        Utterance("a", audio / "a.wav", 0.0, 0.02, "yes", "1", None, "en"),
        Utterance("b", audio / "b.wav", 0.0, 0.01, "no", "2", None, "de"),
        Utterance("c", audio / "c.wav", 0.0, 0.015, None, "1", None, "en"),
    ]
    assert said.notes == ()
    assert [len(read_audio(row.audio)[0]) for row in found] == [160, 80, 120]


def test_a_part_is_chosen(saved: Path) -> None:
    assert [row.id for row in rows("huggingface", saved, split="test")] == ["b"]
    shutil.rmtree(saved.parent / "out.audio")
    with pytest.raises(UsageError, match=r"it has several splits \(train, test\); choose with --split NAME"):
        imported("huggingface", saved)
    with pytest.raises(UsageError, match=r"^--split dev: .* has splits train, test; name one of them"):
        imported("huggingface", saved, split="dev")
    with pytest.raises(UsageError, match=r"^--split train: .* has splits that are not named"):
        imported("huggingface", saved / "train", split="train")


@pytest.mark.parametrize(
    "name",
    ["a/train-00000-of-00002.parquet", "x/train-00001-of-00002-0a1b.parquet", "train/0000.parquet", "train.parquet"],
)
def test_parts_of_parquet_files(tmp_path: Path, name: str) -> None:
    cell = sound(tmp_path / "a.wav")
    parquet(tmp_path / "set" / name, [cell])
    parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet", [cell, cell])
    assert len(rows("huggingface", tmp_path / "set", split="train")) == 1
    shutil.rmtree(tmp_path / "out.audio")
    assert [row.id for row in rows("huggingface", tmp_path / "set", split="test")] == ["a", "a-2"]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    cells = [sound(tmp_path / f"a.{suffix}") for suffix in ("flac", "wav", "ogg", "mp3", "sph")]
    source = parquet(tmp_path / "s.parquet", [{**cell, "path": None} for cell in cells], id=[*"vw/./x"[:5]])
    found = rows("huggingface", source)
    assert [row.audio.read_bytes() for row in found] == [cell["bytes"] for cell in cells]
    assert [row.audio.name for row in found] == ["v.flac", "w.wav", "_.ogg", "._.mp3", "_.sph"]


def test_paths_are_taken_from_the_root(tmp_path: Path) -> None:
    record(tmp_path / "wav" / "a.wav")
    source = parquet(tmp_path / "s.parquet", [{"bytes": None, "path": "a.wav"}], sentence=["yes"])
    (row,) = rows("huggingface", source, audio_root=tmp_path / "wav")
    assert (row.audio, row.text) == (tmp_path / "wav" / "a.wav", "yes")
    assert left(tmp_path) == {"wav", "s.parquet", "out.jsonl"}


def test_columns(tmp_path: Path) -> None:
    cell = sound(tmp_path / "a.wav")
    source = parquet(tmp_path / "s.parquet", [cell], file=["x"], raw=["yes"], duration=[7.0], begin_time=[3.0])
    found, said = imported("huggingface", source, columns={"text": "raw"})
    assert (found[0].text, found[0].start, found[0].duration) == ("yes", 0.0, 1.0)
    assert said.notes == ("3 columns not used: file, duration, begin_time",)
    with pytest.raises(
        UsageError, match=r"^--column start=\.\.\.: rows are whole recordings; keys are id, audio, text"
    ):
        imported("huggingface", source, columns={"start": "begin_time"})


def test_rows_that_are_wrong(tmp_path: Path) -> None:
    good = sound(tmp_path / "a.wav")
    cells = [
        good,
        None,
        {"bytes": b"\x00text", "path": "a.wav"},
        {"bytes": None, "path": None},
        {"bytes": b"", "path": "x"},
    ]
    cells += [{"bytes": good["bytes"][:-9], "path": "cut.wav"}]
    source = parquet(tmp_path / "s.parquet", cells)
    with pytest.raises(
        DataError, match=r"4 rows that cannot be read: row 2 \(no audio; .*1 unusable audio file: cut \("
    ):
        imported("huggingface", source)
    assert left(tmp_path) == {"s.parquet"}
    found, said = imported("huggingface", source, skip_faulty=True)
    assert [row.id for row in found] == ["a"]
    assert len(said.skipped) == 5
    numbers = parquet(tmp_path / "n.parquet", [good], text=[5])
    with pytest.raises(DataError, match=r"row 1 \(text .*; expected a text"):
        imported("huggingface", numbers)


@pytest.mark.parametrize("name", ["../train/data-00000-of-00001.arrow", "/etc/passwd", "..", "", 5, None])
def test_names_that_leave_the_folder_are_refused(saved: Path, name: object) -> None:
    state = saved / "train" / "state.json"
    state.write_text(json.dumps({"_data_files": [{"filename": name}]}), "utf-8")
    with pytest.raises(DataError, match="is no name of a file or folder in it; save the data set again"):
        imported("huggingface", saved, split="train")
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": [name]}), "utf-8")
    with pytest.raises(DataError, match="is no name of a file or folder in it"):
        imported("huggingface", saved)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dataset_dict.json", "{", "not JSON; save the data set again"),
        ("dataset_dict.json", "[]", r"expected an object, found \[\]"),
        ("dataset_dict.json", "{}", "it lists no splits"),
        ("train/state.json", "{}", "it lists no files"),
        ("train/state.json", '{"_indices_data_files": [{}], "_data_files": []}', "in another order than its files"),
        ("train/data-00000-of-00001.arrow", "no table", "cannot read the table: .*; get or save it again"),
    ],
)
def test_folders_that_are_damaged(saved: Path, file: str, text: str, message: str) -> None:
    (saved / file).write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        imported("huggingface", saved, split="train")
    assert left(saved.parent) == {"saved"}


def test_a_parquet_file_that_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "s.parquet").write_bytes(PARQUET.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"s\.parquet: cannot read the table: "):
        imported("huggingface", tmp_path / "s.parquet")


def test_a_folder_without_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none"):
        with pytest.raises(DataError, match="no data set in it"):
            imported("huggingface", tmp_path / name)


def test_without_pyarrow_the_cure_is_told(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError, match=r"^the package pyarrow is missing, .* -m pip install pyarrow$"):
        imported("huggingface", saved, split="train")
