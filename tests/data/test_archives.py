"""What an archive holds, in which order, and what is left out of it and told."""

import os
from pathlib import Path

import pytest

from asr.data.archives import FolderArchive, ManifestArchive, ShardArchive, open_archive
from asr.data.manifest import Utterance, write_manifest
from asr.data.sharding import write_shards
from asr.errors import DataError
from tests.tiny_model import babble, write_wav


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "folder"
    for name in ("b.wav", "a/z.wav", "a.WAV", "a/y/x.wav"):
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(found / name, babble(0.5)) if name != "a.WAV" else (found / name).touch()
    return found


def test_a_folder_holds_its_audio_by_path_and_tells_the_rest(folder: Path) -> None:
    (folder / "._b.wav").touch()
    (folder / ".git").mkdir()
    (folder / ".git" / "c.wav").touch()
    (folder / "README").touch()
    (folder / "cover.jpg").touch()
    os.mkfifo(folder / "pipe.wav")
    (folder / "loop").symlink_to(folder)
    archive = open_archive(str(folder))
    assert isinstance(archive, FolderArchive)
    assert list(archive.paths) == ["a.WAV", "a/y/x.wav", "a/z.wav", "b.wav"]
    assert archive.seconds.tolist() == [0.0, 0.5, 0.5, 0.5]  # the first is empty: its turn will tell
    left_out, links = archive.notes
    assert left_out.endswith("left out, as by name no audio: .jpg 1, .wav 1, hidden 2, without suffix 1")
    assert "1 links to folders are not followed" in links


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no audio files"):
        open_archive(str(tmp_path))


def test_the_identity_of_a_folder_is_its_paths_and_lengths(folder: Path) -> None:
    before = open_archive(str(folder)).identity()
    moved = folder.rename(folder.with_name("moved"))
    assert open_archive(str(moved)).identity() == before
    write_wav(moved / "b.wav", babble(0.6))
    assert open_archive(str(moved)).identity() != before


def manifest(folder: Path) -> Path:
    write_wav(folder / "a.wav", babble(3.0))
    rows = [Utterance(f"u{number}", folder / "a.wav", 0.5 * number, 0.5 + 0.1 * number) for number in range(4)]
    write_manifest(folder / "m.jsonl", rows)
    return folder / "m.jsonl"


def test_a_manifest_holds_its_rows(tmp_path: Path) -> None:
    archive = open_archive(str(manifest(tmp_path)))
    assert isinstance(archive, ManifestArchive)
    assert archive.seconds.tolist() == pytest.approx([0.5, 0.6, 0.7, 0.8])
    lot = archive.lot(1, 3)
    assert list(lot.names) == ["u1", "u2"]
    assert list(lot.part(1).names) == ["u2"]
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="holds no utterances"):
        open_archive(str(tmp_path / "empty.jsonl"))


def test_a_lot_of_shards_carries_only_the_shards_it_needs(tmp_path: Path) -> None:
    from asr.data.manifest import read_manifest

    write_shards(read_manifest(manifest(tmp_path)), tmp_path / "shards", shard_bytes=30_000)
    archive = open_archive(str(tmp_path / "shards"))
    assert isinstance(archive, ShardArchive)
    groups = archive.groups.tolist()
    assert len(groups) == 4
    assert groups[-1] >= 1
    lot = archive.lot(3, 4)
    assert len(lot.index.shards) == 1  # type: ignore[attr-defined]
    assert list(lot.names) == [f"shard-{groups[3]:06d}.tar:{groups[:3].count(groups[3])}"]
