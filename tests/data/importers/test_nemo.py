"""NeMo manifests: the keys that are read, those that are not, and rows that are wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from asr.data.manifest import Utterance
from asr.errors import DataError
from tests.data.importers.sources import imported, left, record, rows


def manifest(folder: Path, *values: Any) -> Path:
    path = folder / "train.json"
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def test_what_is_read(tmp_path: Path) -> None:
    audio = record(tmp_path / "wav" / "a b.wav", 3.0)
    path = manifest(
        tmp_path,
        {"audio_filepath": "wav/a b.wav", "duration": 3.0, "text": "yes"},
        {"audio_filepath": str(audio), "duration": 1, "offset": 1.5, "text": "no", "speaker": 7, "lang": "en"},
        {"audio_filename": "wav/a b.wav", "duration": None, "id": "x", "channel": 0, "language": "de", "offset": 1},
    )
    assert rows("nemo", path) == [
        Utterance("a_b", audio, 0.0, 3.0, "yes"),
        Utterance("a_b-2", audio, 1.5, 1.0, "no", "7", None, "en"),
        Utterance("x", audio, 1.0, 2.0, None, None, 0, "de"),
    ]


def test_other_keys_are_counted_and_changed_ids_named(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    row = {"audio_filepath": "a.wav", "duration": 1.0}
    _, said = imported("nemo", manifest(tmp_path, {**row, "pnc": "yes"}, {**row, "pnc": 1, "task": "asr"}))
    assert said.notes == (
        'keys that are not used: "pnc" (2 rows), "task" (1 row)',
        "1 id made legal or unique: 'a' -> a-2",
    )


def test_rows_that_are_wrong_are_told_together(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    row = {"audio_filepath": "a.wav", "duration": 1.0}
    path = manifest(
        tmp_path,
        {**row, "duration": "1.0"},
        [1],
        {**row, "text": 5},
        {**row, "offset": True},
        {"duration": 1},
        {**row, "audio_filepath": ["a.wav"]},
        {**row, "speaker": {}},
        {**row, "channel": 0.5},
        {**row, "duration": float("nan")},
        row,
    )
    with path.open("ab") as file:
        file.write(b'{"audio_filepath"\n{"audio_filepath": "\xe9"}\n' + b"[" * 100_000 + b"\n" + b"9" * 10_000 + b"\n")
    with pytest.raises(
        DataError, match=r"^[^\n]*: 13 rows that cannot be read: line 1 \(duration must be a number of "
    ):
        imported("nemo", path)
    assert left(tmp_path) == {"a.wav", "train.json"}
    _, said = imported("nemo", path, skip_faulty=True)
    assert [problem.detail.partition(",")[0] for problem in said.skipped[1:]] == [
        "expected an object {...}",
        "text must be a string",
        "start must be a number of seconds",
        "no 'audio_filepath'",
        "audio must be a string",
        "a name was expected",
        "channel must be an integer",
        "duration must be a number of seconds",
        "not JSON at column 18: Expecting ':' delimiter",
        "not UTF-8",
        "not JSON that a list could hold",
        "not JSON that a list could hold",
    ]


def test_files_that_are_missing_or_no_audio(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"text")
    path = manifest(tmp_path, *({"audio_filepath": f"{name}.wav", "duration": 1} for name in ("no", "bad", "no")))
    with pytest.raises(DataError) as caught:
        imported("nemo", path)
    message = str(caught.value)
    assert "2 utterances without their audio file: no, line 1 (no file " in message
    assert "--audio-root DIR; 1 unusable audio file: bad, line 2 (" in message


def test_a_manifest_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: cannot read: No such file or directory; check the path"):
        imported("nemo", tmp_path / "none.json")
