"""Folders of recordings and texts: partners by name, what has none, and recordings without any text."""

from pathlib import Path

import pytest

from asr.data.manifest import Utterance
from asr.errors import DataError
from tests.data.importers.sources import files, imported, left, record, rows


def test_texts_of_the_same_name_at_any_depth(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    record(folder / "x" / "b c.WAV", 0.5)
    record(folder / "a.flac", 1.0)
    files(folder, a__txt="\ufeff good\r\nmorning \r\n")
    (folder / "x" / "b c.lab").write_bytes("ja".encode("utf-16"))
    assert rows("folder", folder, speaker="me", language="de") == [
        Utterance("a", folder / "a.flac", 0.0, 1.0, "good\r\nmorning", "me", None, "de"),
        Utterance("x-b_c", folder / "x" / "b c.WAV", 0.0, 0.5, "ja", "me", None, "de"),
    ]


def test_partners_that_are_missing_are_counted_and_named(tmp_path: Path) -> None:
    folder = files(tmp_path / "data", a__txt="yes", README__txt="about", x__txt="old")
    for name in ("a.wav", "b.wav", "sub/c.wav"):
        record(folder / name)
    with pytest.raises(DataError) as caught:
        imported("folder", folder)
    assert str(caught.value) == (
        f"{folder}: 2 recordings without a text: b.wav, sub/c.wav; write the missing texts; "
        "or leave them out with --skip-faulty"
    )
    assert left(tmp_path) == {"data"}
    found, said = imported("folder", folder, skip_faulty=True)
    assert [row.id for row in found] == ["a"]
    assert said.notes == ("2 texts without a recording: README.txt, x.txt",)


def test_recordings_alone_are_imported_without_texts(tmp_path: Path) -> None:
    record(tmp_path / "data" / "a.wav")
    found, said = imported("folder", tmp_path / "data")
    assert found[0].text is None
    assert said.notes == ("no recording has a text of its name (.txt, .lab): utterances have none",)


def test_names_of_several_files(tmp_path: Path) -> None:
    folder = files(tmp_path / "data", a__txt="x", b__txt="x", b__lab="x")
    for name in ("a.wav", "a.flac", "b.wav"):
        record(folder / name)
    with pytest.raises(
        DataError, match=r"2 names of several files: a \(a\.flac, a\.wav, a\.txt\), b; keep one file of"
    ):
        imported("folder", folder)


def test_texts_and_audio_that_cannot_be_read(tmp_path: Path) -> None:
    folder = files(tmp_path / "data", b__txt="x", c__txt="x" * 1_000_001, d__txt="fine")
    (folder / "a.txt").write_bytes(b"caf\xe9")
    for name in "acd":
        record(folder / f"{name}.wav")
    (folder / "b.wav").write_bytes(b"")
    found, said = imported("folder", folder, skip_faulty=True)
    assert [row.id for row in found] == ["d"]
    assert [problem.detail.removeprefix(f"{folder}/") for problem in said.skipped] == [
        "a.txt:1: not UTF-8; save the file as UTF-8",
        "c.txt: longer than 1000000 bytes; is this the right file?",
        "b.wav: the file is empty (0 bytes); get it again or leave it out",
    ]


def test_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    record(folder / "a.wav").rename(folder / "\udcff.wav")
    with pytest.raises(DataError, match=r"1 unusable audio file: .*its name is not UTF-8; rename the file"):
        imported("folder", folder)


def test_texts_in_another_folder_than_the_recordings(tmp_path: Path) -> None:
    record(tmp_path / "wav" / "x" / "a.wav")
    files(tmp_path / "txt" / "x", a__txt="yes")
    (row,) = rows("folder", tmp_path / "txt", audio_root=tmp_path / "wav")
    assert (row.id, row.text) == ("x-a", "yes")


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    record(tmp_path / "disk" / "a.wav")
    (tmp_path / "data" / "x").mkdir(parents=True)
    for name in ("speaker", "x/again"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "up").symlink_to(tmp_path / "data")
    assert [row.id for row in rows("folder", tmp_path / "data")] == ["speaker-a"]


@pytest.mark.parametrize("source", ["none", "file.txt"])
def test_what_is_no_folder(tmp_path: Path, source: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(DataError, match="not a folder; give the one that holds the recordings"):
        imported("folder", tmp_path / source)
