"""Kaldi data folders that are written: their order, their names, their pipes, and what Kaldi cannot hold."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr.data.exporters import export_manifest
from asr.data.exporters.kaldi import _Row, _sorted_by_speaker
from asr.data.manifest import Utterance, write_manifest
from asr.errors import DataError, MachineError, UsageError
from tests.data.importers.sources import left, record


def exported(folder: Path, *utterances: Utterance) -> dict[str, list[str]]:
    """Export to Kaldi; return the lines of each file, what was said as the file "notes"."""
    write_manifest(folder / "in.jsonl", utterances)
    said = export_manifest("kaldi", folder / "in.jsonl", folder / "kaldi")
    return {path.name: path.read_text("utf-8").splitlines() for path in (folder / "kaldi").iterdir()} | {
        "notes": list(said.notes)
    }


def refused(folder: Path, *utterances: Utterance) -> str:
    with pytest.raises(DataError) as caught:
        exported(folder, *utterances)
    assert not (folder / "kaldi").exists()
    assert not [name for name in left(folder) if name.endswith(".tmp")]
    return str(caught.value)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    return record(tmp_path / "a.wav")


def test_whole_recordings(tmp_path: Path, wav: Path) -> None:
    other = record(tmp_path / "b.wav", 0.5)
    found = exported(
        tmp_path,
        Utterance("s2-b", other, 0.0, 0.5, "x  y\tz", "s2", language="en"),
        Utterance("a", wav, 0.0, 1.0, "", "s10", language="de"),
    )
    assert found == {
        "wav.scp": [f"s10-a {wav}", f"s2-b {other}"],
        "reco2dur": ["s10-a 1.0", "s2-b 0.5"],
        "text": ["s10-a", "s2-b x y z"],
        "utt2spk": ["s10-a s10", "s2-b s2"],
        "spk2utt": ["s10 s10-a", "s2 s2-b"],
        "utt2lang": ["s10-a de", "s2-b en"],
        "notes": ["white space made plain in 1 text: s2-b", "1 id with the speaker put in front: s10-a"],
    }


def test_parts_of_recordings_are_segments(tmp_path: Path, wav: Path) -> None:
    found = exported(
        tmp_path,
        Utterance("u2", wav, 0.1, 0.2, "x", language="en"),
        Utterance("u1", wav, 0.0, 1.0, "y"),
    )
    assert found == {
        "wav.scp": [f"a {wav}"],
        "reco2dur": ["a 1.0"],
        "segments": ["u1 a 0.0 1.0", "u2 a 0.1 0.3"],
        "text": ["u1 y", "u2 x"],
        "utt2spk": ["u1 u1", "u2 u2"],
        "spk2utt": ["u1 u1", "u2 u2"],
        "notes": ["languages are not written, as some utterances have none"],
    }


def test_the_first_half_of_a_recording_is_a_segment(tmp_path: Path, wav: Path) -> None:
    assert exported(tmp_path, Utterance("u", wav, 0.0, 0.5, "x"))["segments"] == ["u a 0.0 0.5"]


def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_manifest(tmp_path / "in.jsonl", [Utterance("u", wav, 0.0, 1.0, "x")])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(MachineError, match="kaldi: cannot write: No space left on device; free some space"):
        export_manifest("kaldi", tmp_path / "in.jsonl", tmp_path / "kaldi")
    assert left(tmp_path) == {"a.wav", "in.jsonl"}


def test_recordings_that_kaldi_cannot_read_become_pipes_that_it_can(tmp_path: Path) -> None:
    names = ("a.flac", "b.ogg", "c.sph", "d.wav", "e.wav", "f.wav", "g.flac", "h:1")
    flac, ogg, sph, float_wav, stereo, both, deep, colon = (tmp_path / name for name in names)
    for path in (flac, ogg, sph):
        record(path)
    record(stereo, channels=2)
    record(both, channels=2)
    soundfile.write(float_wav, [0.1] * 8000, 8000, subtype="FLOAT")
    soundfile.write(deep, [0.1] * 8000, 8000, subtype="PCM_24")
    record(tmp_path / "h.wav").rename(colon)
    rows = [Utterance(path.name, path, 0.0, 1.0) for path in (flac, ogg, sph, float_wav, both, deep, colon)]
    found = exported(tmp_path, *rows, Utterance("e1", stereo, 0.0, 1.0, channel=1))
    assert found["wav.scp"] == [
        f"a.flac flac -c -d -s {flac} |",
        f"b.ogg sox {ogg} -t wav -b 16 - |",
        f"c.sph sox {sph} -t wav -b 16 - |",
        f"d.wav sox {float_wav} -t wav -b 16 - |",
        f"e1 sox {stereo} -t wav -b 16 - remix 2 |",
        f"f.wav sox {both} -t wav -b 16 - remix - |",
        f"g.flac sox {deep} -t wav -b 16 - |",
        f"h:1 cat {colon} |",
    ]
    assert "text" not in found


def test_speakers_that_are_no_names(tmp_path: Path, wav: Path) -> None:
    found = exported(tmp_path, Utterance("a", wav, 0.0, 1.0, speaker="A B"))
    assert found["utt2spk"] == ["A_B-a A_B"]
    assert "1 speaker renamed: 'A B' -> A_B" in found["notes"]


def rows_of(*pairs: tuple[str, str]) -> list[_Row]:
    return [_Row(name, speaker, "r", Utterance(name, Path("/a.wav"), 0.0, 1.0)) for name, speaker in pairs]


@given(
    st.lists(st.tuples(st.text("ab-_1", min_size=1, max_size=4), st.text("ab_1", min_size=1, max_size=3)), max_size=8)
)
def test_the_order_by_id_is_that_by_speaker(pairs: list[tuple[str, str]]) -> None:
    """As `sort -k2 utt2spk` demands; speakers without a letter below "-" can always be put so."""
    rows = _sorted_by_speaker(rows_of(*dict(pairs).items()))
    assert [row.id for row in rows] == sorted({row.id for row in rows})
    assert [(row.speaker, row.id) for row in rows] == sorted((row.speaker, row.id) for row in rows)
    assert {row.utterance.id for row in rows} == {name for name, _ in pairs}
    assert all(row.id.startswith(row.speaker) for row in rows)


def test_ids_change_only_where_they_must() -> None:
    assert [row.id for row in _sorted_by_speaker(rows_of(("1_b", "1"), ("10_x", "10"), ("2", "2")))] == [
        "1-1_b",
        "10-10_x",
        "2",
    ]
    assert [row.id for row in _sorted_by_speaker(rows_of(("s-b", "s"), ("a", "s")))] == ["s-a", "s-b"]


def test_speakers_that_cannot_be_put_in_order(tmp_path: Path, wav: Path) -> None:
    rows = [Utterance(name, wav, 0.0, 0.5, speaker=speaker) for name, speaker in (("x", "a"), ("y", "a-b"))]
    assert refused(tmp_path, *rows) == (
        "Kaldi wants utterances in one order by id and by speaker, and 'a-b-y' of 'a-b' and 'a-x' of 'a' cannot be "
        "(1 such pair); rename these speakers"
    )


def test_what_kaldi_cannot_hold(tmp_path: Path, wav: Path) -> None:
    one = Utterance("u1", wav, 0.0, 0.5, "yes")
    two = replace(one, id="u2", start=0.5)
    assert refused(tmp_path, one, replace(two, text=None)).startswith(
        "1 utterance without a text beside others with one"
    )
    assert refused(tmp_path, one, replace(two, text="</s> no")).startswith("1 text with #0, </s>, <s>, which mean some")
    assert refused(tmp_path, replace(one, channel=1)) == "1 utterance of a channel that there is not: u1"
    spaced = record(tmp_path / "a b" / "c.wav")
    assert refused(tmp_path, replace(one, audio=spaced)) == (
        f"{spaced}: Kaldi cannot read paths with spaces; rename the file or folder"
    )
    special = record(tmp_path / "$(touch mark).flac".replace(" ", "_"))
    assert "means something to the shell that Kaldi starts for it" in refused(tmp_path, replace(one, audio=special))
    assert refused(tmp_path, replace(one, audio=tmp_path / "no.wav")).startswith("1 audio file cannot be read: ")


def test_a_folder_in_use_is_not_touched(tmp_path: Path, wav: Path) -> None:
    row = Utterance("u1", wav, 0.0, 1.0)
    (tmp_path / "kaldi").mkdir()
    assert "wav.scp" in exported(tmp_path, row)
    with pytest.raises(UsageError, match="is there already; choose a new folder"):
        exported(tmp_path, row)
    with pytest.raises(DataError, match="no utterances to export"):
        exported(tmp_path)
    with pytest.raises(UsageError, match="'kaldy': no format that is written; did you mean 'kaldi'"):
        export_manifest("kaldy", tmp_path / "in.jsonl", tmp_path / "x")


def test_the_order_is_that_of_the_c_locale(tmp_path: Path, wav: Path) -> None:
    ids = ["é", "z", "Z", "a-1", "a_1", "a1", "😀", "\uffee"]
    rows = [Utterance(name, wav, 0.0, 0.5, "x") for name in ids]
    lines = exported(tmp_path, *rows)["text"]
    text = (tmp_path / "kaldi" / "text").read_bytes()
    done = subprocess.run(
        ["sort"], input=text, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, capture_output=True, check=True
    )
    assert done.stdout == text
    assert len(lines) == len(ids)
