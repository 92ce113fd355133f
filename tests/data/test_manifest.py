"""Manifests: what is read, what is refused with its line, and that written ones come back equal."""

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from asr.data.manifest import MAX_LINE_BYTES, Utterance, read_manifest, scan_manifest, write_manifest
from asr.errors import DataError, MachineError

ROW: dict[str, Any] = {"id": "a", "audio": "a.wav", "duration": 1.5}


def manifest(folder: Path, *rows: Any) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def fault(folder: Path, data: bytes) -> str:
    path = folder / "train.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}{os.sep}")


def test_defaults_and_absolute_audio(tmp_path: Path) -> None:
    (read,) = read_manifest(manifest(tmp_path, ROW))
    assert read == Utterance("a", tmp_path.resolve() / "a.wav", 0.0, 1.5)
    assert read.audio.is_absolute()


def test_round_trip_keeps_order_and_every_value(tmp_path: Path) -> None:
    rows = [
        Utterance("b", tmp_path / "wav" / "ü b.flac", 0.25, 1.0 / 3.0, "naïve \u2028 text", "s1", 1, "de"),
        Utterance("a", tmp_path / "wav" / "a.flac", 0.0, 2.0, "", None, 0, None),
        Utterance("c", tmp_path.parent / "elsewhere" / "c.flac", 1.0, 2.0, None),
    ]
    path = tmp_path / "data" / "x.jsonl"
    write_manifest(path, rows)
    assert read_manifest(path) == rows
    first = json.loads(path.read_text(encoding="utf-8").split("\n")[0])
    assert first["audio"] == "../wav/ü b.flac"


def test_a_moved_folder_still_reads(tmp_path: Path) -> None:
    write_manifest(tmp_path / "old" / "x.jsonl", [Utterance("a", tmp_path / "old" / "wav" / "a.wav", 0.0, 1.0)])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new" / "x.jsonl")[0].audio == tmp_path / "new" / "wav" / "a.wav"


def test_a_manifest_behind_a_link_finds_its_audio(tmp_path: Path) -> None:
    (tmp_path / "real" / "data").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "data")
    write_manifest(tmp_path / "link" / "x.jsonl", [Utterance("a", tmp_path / "real" / "a.wav", 0.0, 1.0)])
    assert read_manifest(tmp_path / "link" / "x.jsonl")[0].audio == tmp_path / "real" / "a.wav"


def test_bom_crlf_and_blank_lines_are_tolerated_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    row = json.dumps(ROW).encode()
    second = json.dumps({**ROW, "id": "b"}).encode()
    path.write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\r\n\n" + second)
    scan = scan_manifest(path)
    assert [utterance.id for utterance in read_manifest(path)] == ["a", "b"]
    assert (scan.bom_lines, scan.crlf_lines, scan.lines) == (1, 2, [1, 4])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"id": "a"\n', "not JSON at column 11: Expecting ',' delimiter"),
        (b"id,audio\n", "not JSON at column 1"),
        (b'{"id": "\xe9"}', "not UTF-8 at byte 9"),
        (b"[1, 2]", "expected an object {...}, found [1, 2]"),
        (b"[" * 100_000, "not JSON that a manifest could hold"),
        (b'{"id": ' + b"9" * 10_000 + b"}", "not JSON that a manifest could hold"),
        (b'{"id": "a", "audio": "a.wav", "duration": NaN}', "NaN is not a JSON number"),
        (b'{"id": "a", "audio": "a.wav", "duration": 1e999}', "'duration' must be a number of seconds, found Infinity"),
        (b'{"id": "a", "audio": "a.wav", "duration": 1' + b"0" * 400 + b"}", "'duration' must be a number"),
        (b'{"id": "a", "audio": "a.wav", "duration": 1, "id": "b"}', "a key appears twice"),
        (b'{"id": "a", "audio": "a.wav", "duration": 1, "text": "\\ud800"}', "'text' holds half of a surrogate pair"),
        (b'{"id": "a", "text": "' + b"x" * MAX_LINE_BYTES + b'"}', "the line is longer than 1000000 bytes"),
    ],
)
def test_unreadable_rows_say_the_line_and_why(tmp_path: Path, line: bytes, expected: str) -> None:
    good = json.dumps({**ROW, "id": "first"}).encode()
    assert fault(tmp_path, good + b"\n" + line).startswith("train.jsonl:2: " + expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"txt": "yes"}, "unknown key 'txt'; did you mean 'text'?"),
        ({"id": None}, "'id' is missing; every utterance needs id, audio, duration"),
        ({"duration": "1.5"}, "'duration' must be a number of seconds, found \"1.5\""),
        ({"duration": True}, "'duration' must be a number of seconds, found true"),
        ({"duration": 0}, "'duration' must be > 0, found 0; give the length in seconds"),
        ({"start": -0.1}, "'start' must be >= 0, found -0.1; count seconds from the file's start"),
        ({"start": []}, "'start' must be a number of seconds, found []"),
        ({"channel": 1.0}, "'channel' must be an integer from 0, or null, found 1.0"),
        ({"channel": -1}, "'channel' must be an integer from 0, or null, found -1"),
        ({"text": 5}, "'text' must be a string, found 5"),
        ({"id": "a b"}, "id 'a b' must be a name without whitespace or '/'; rename the utterance"),
        ({"id": "a/b"}, "id 'a/b' must be a name without whitespace or '/'; rename the utterance"),
        ({"id": ".."}, "id '..' must be a name without whitespace or '/'; rename the utterance"),
        ({"audio": "a\0.wav"}, "audio 'a\\x00.wav' is not a path; give the path of the audio file"),
    ],
)
def test_wrong_values_say_what_was_found(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    row = {**ROW, **change}
    assert fault(tmp_path, json.dumps(row).encode()) == f"train.jsonl:1: {expected}"


def test_a_repeated_id_names_both_lines(tmp_path: Path) -> None:
    found = fault(tmp_path, (json.dumps(ROW) + "\n" + json.dumps(ROW)).encode())
    assert found == "train.jsonl:2: id 'a' is already used on line 1; make it unique"


def test_reading_counts_the_other_faults_and_scanning_keeps_them(tmp_path: Path) -> None:
    path = manifest(tmp_path, ROW, [1], {"id": "b"}, {**ROW, "id": "c"}, ROW)
    with pytest.raises(DataError, match=r"train\.jsonl:2: .* \(2 more faulty rows; 'asr check' lists them all\)"):
        read_manifest(path)
    scan = scan_manifest(path)
    assert [(fault.line, fault.kind, fault.id) for fault in scan.faults] == [
        (2, "bad-row", None),
        (3, "bad-row", "b"),
        (5, "duplicate-id", "a"),
    ]
    assert [utterance.id for utterance in scan.utterances] == ["a", "c"]


def test_line_numbers_go_on_after_an_overlong_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"x" * (3 * MAX_LINE_BYTES) + b"\n" + json.dumps(ROW).encode())
    scan = scan_manifest(path)
    assert (scan.faults[0].line, scan.lines) == (1, [2])


def test_an_endless_line_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"x" * (20 * MAX_LINE_BYTES))
    tracemalloc.start()
    scan_manifest(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * MAX_LINE_BYTES


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_missing_manifest_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot read the manifest: .*; check the path$"):
        read_manifest(tmp_path / name)


def test_what_cannot_be_read_back_is_not_written(tmp_path: Path) -> None:
    good = Utterance("a", tmp_path / "a.wav", 0.0, 1.0)
    target = tmp_path / "x.jsonl"
    for wrong in (good, Utterance("b c", good.audio, 0.0, 1.0), Utterance("b", good.audio, 0.0, float("nan"))):
        with pytest.raises(DataError, match="cannot write utterance"):
            write_manifest(target, [good, wrong])
    assert not target.exists()


def test_a_folder_in_the_way_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(MachineError, match="cannot write"):
        write_manifest(tmp_path / "x.jsonl", [])
