"""Recordings measured by their headers; what is left out is counted and named."""

import logging
from pathlib import Path

import numpy as np
import pytest

from asr.audio.files import write_audio
from asr.data.manifest import read_manifest
from asr.data.recordings import LeftOut, Recording, durations, measured, write_parts
from asr.errors import DataError


def recordings(folder: Path, *seconds: float) -> list[Recording]:
    found = []
    for number, length in enumerate(seconds):
        path = folder / f"{folder.name}-{number}.wav"
        path.parent.mkdir(exist_ok=True)
        write_audio(path, np.zeros(int(8000 * length), np.float32), 8000)
        found.append(Recording(path.stem, str(path), "yes", "her"))
    return found


def test_utterances_keep_their_parts_and_order_whatever_thread_reads_them(tmp_path: Path) -> None:
    lengths = [0.01 * (1 + number % 7) for number in range(300)]  # several chunks
    train, test = recordings(tmp_path / "train", *lengths), recordings(tmp_path / "test", 1.0, 2.0)
    seen: list[tuple[int, int | None, float]] = []
    parts, left_out = measured(
        {"train": train, "test": test}, "en", progress=lambda done, total, audio: seen.append((done, total, audio))
    )
    assert [row.id for row in parts["train"]] == [row.id for row in train]
    assert [row.duration for row in parts["train"]] == pytest.approx(lengths)
    assert [row.duration for row in parts["test"]] == [1.0, 2.0]
    assert left_out == {"train": [], "test": []}
    assert seen[-1][:2] == (302, 302)
    assert seen[-1][2] == pytest.approx(sum(lengths) + 3)


def test_audio_that_cannot_be_read_is_an_error_or_left_out(tmp_path: Path) -> None:
    rows = recordings(tmp_path / "train", 1.0, 1.0, 1.0)
    Path(rows[1].audio).write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"train-1\.wav: not audio that can be read"):
        measured({"train": rows}, "en")
    known = LeftOut("x", "no-text", "")
    parts, left_out = measured({"train": [rows[0], known, *rows[1:]]}, "en", strict=False)
    assert [row.id for row in parts["train"]] == ["train-0", "train-2"]
    assert [(one.id, one.kind) for one in left_out["train"]] == [("x", "no-text"), ("train-1", "unreadable-audio")]


def test_measuring_may_stop_early(tmp_path: Path) -> None:
    files = [row.audio for row in recordings(tmp_path / "train", 1.0)] * 10_000
    lengths = durations(files)
    assert next(lengths) == 1.0
    lengths.close()


def test_what_is_left_out_is_told_and_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts, _ = measured({"train": recordings(tmp_path / "train", 1.0)}, "en")
    left_out = [LeftOut(f"{number}", "no-text", "a\tb") for number in range(4)]
    with caplog.at_level(logging.INFO, "asr"):
        write_parts(tmp_path, parts, {"train": [*left_out, LeftOut("z", "missing-audio", "gone")]})
    path = tmp_path / "train.dropped.tsv"
    told = f"train: 5 of 6 left out: no-text 4 (0, 1, 2, …), missing-audio 1 (z); all named in {path}"
    assert caplog.messages == [told]
    assert path.read_text().splitlines()[::5] == ["id\tkind\tmessage", "z\tmissing-audio\tgone"]
    assert path.read_text().splitlines()[1] == "0\tno-text\ta b"
    assert len(read_manifest(tmp_path / "train.jsonl")) == 1
    write_parts(tmp_path, parts, {"train": []})
    assert path.read_text() == "id\tkind\tmessage\n", "nothing of an earlier time stays"


def test_a_part_of_nothing_is_not_written(tmp_path: Path) -> None:
    parts, _ = measured({"train": recordings(tmp_path / "train", 1.0), "test": []}, "en")
    with pytest.raises(DataError, match=r"test\.jsonl: no utterances are left for it \(the corpus has none; look at"):
        write_parts(tmp_path / "out", parts)
    with pytest.raises(DataError, match=r"no utterances are left for it \(no-text 1 \(a\)\)"):
        write_parts(tmp_path / "out", parts, {"test": [LeftOut("a", "no-text", "")]})
    assert not (tmp_path / "out").exists()
