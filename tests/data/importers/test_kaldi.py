"""Kaldi data folders: what is read, and that files which disagree are told together."""

from pathlib import Path

import pytest

from asr.data.importers import import_manifest
from asr.data.manifest import Utterance
from asr.errors import DataError
from tests.data.importers.sources import files, imported, left, record, rows

PLAIN = {
    "wav__scp": "s-a wav/a.wav\ns-b wav/b.wav\n",
    "text": "s-a good  morning\ns-b yes\n",
    "utt2spk": "s-a s\ns-b s\n",
}


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    for seed, name in enumerate("ab"):
        record(tmp_path / "data" / "wav" / f"{name}.wav", 1.0 + seed, seed=seed)
    return tmp_path / "data" / "wav"


def fault(folder: Path, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        imported("kaldi", folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert left(folder.parent) == {folder.name}, "nothing half-written stays"
    return message.removeprefix(f"{folder}: ")


def test_whole_recordings_with_texts_and_speakers(tmp_path: Path, wav: Path) -> None:
    folder = files(tmp_path / "data", **PLAIN, utt2lang="s-a en\ns-b en\n")
    assert rows("kaldi", folder) == [
        Utterance("s-a", wav / "a.wav", 0.0, 1.0, "good  morning", "s", None, "en"),
        Utterance("s-b", wav / "b.wav", 0.0, 2.0, "yes", "s", None, "en"),
    ]


def test_segments_to_the_end_and_of_a_channel(tmp_path: Path, wav: Path) -> None:
    record(wav / "two.wav", 2.0, channels=2)
    folder = files(
        tmp_path / "data",
        wav__scp="a wav/a.wav\nb wav/b.wav\ntwo wav/two.wav\n",
        segments="u1 a 0.1 0.7\nu2 b 0.5 -1\nu3 two 0 1 1\n",
    )
    assert rows("kaldi", folder) == [
        Utterance("u1", wav / "a.wav", 0.1, 0.6),
        Utterance("u2", wav / "b.wav", 0.5, 1.5),
        Utterance("u3", wav / "two.wav", 0.0, 1.0, channel=1),
    ]


def test_no_order_is_asked_and_tabs_blanks_and_crlf_pass(tmp_path: Path, wav: Path) -> None:
    folder = files(
        tmp_path / "data",
        wav__scp="\ufeffb\twav/b.wav\r\n\r\n  a   wav/a.wav  \r\n",
        text="a\t\u00a0x\u2028y \r\nb\r\n",
    )
    assert [(row.id, row.text) for row in rows("kaldi", folder)] == [("b", ""), ("a", "\u00a0x\u2028y")]


def test_a_file_whose_length_is_told_is_not_opened(tmp_path: Path) -> None:
    wav = tmp_path / "data" / "wav"
    wav.mkdir(parents=True)
    (wav / "a.wav").write_bytes(b"no audio")
    (wav / "b.wav").write_bytes(b"no audio")
    for name in ("reco2dur", "utt2dur"):
        folder = files(tmp_path / "data", **PLAIN, **{name: "s-a 3.21\ns-b 7\n"})
        assert [row.duration for row in rows("kaldi", folder)] == [3.21, 7.0]
        (folder / name).unlink()
    (tmp_path / "out.jsonl").unlink()
    assert "2 unusable audio files: s-a (" in fault(files(tmp_path / "data", **PLAIN))


def test_a_file_whose_length_is_told_must_be_there(tmp_path: Path, wav: Path) -> None:
    (wav / "b.wav").unlink()
    folder = files(tmp_path / "data", **PLAIN, reco2dur="s-a 1\ns-b 2\n")
    assert fault(folder).startswith(f"1 utterance without its audio file: s-b (no file {wav / 'b.wav'}); correct")


def test_all_disagreements_are_told_at_once_with_counts_ids_and_the_cure(tmp_path: Path, wav: Path) -> None:
    folder = files(
        tmp_path / "data",
        wav__scp="a wav/a.wav\nb wav/b.wav\n",
        segments="u1 a 0 1\nu2 b 0 1\nu3 c 0 1\nu4 b 0 1\nu5 b 2 1 0 7 x\nu6 \u00a0\n",
        text="u1 x\nu4 x\n" + "".join(f"v{n} x\n" for n in range(7)),
        utt2spk="u1 s\nu2 s\n",
    )
    assert fault(folder) == (
        "1 segment of a recording that is not in wav.scp: u3 (c); "
        "7 utterances in text but not in segments: v0, v1, v2, v3, v4, ...; "
        "1 utterance in segments but not in text: u2; "
        "1 utterance in segments but not in utt2spk: u4; "
        "make the files agree, as Kaldi's utils/fix_data_dir.sh does; "
        '2 rows that cannot be read: u5 (segments: "b 2 1 0 7 x"; expected: recording start end [channel]), u6; '
        "correct them; or leave them out with --skip-faulty"
    )


def test_what_is_faulty_can_be_left_out_and_is_listed(tmp_path: Path, wav: Path) -> None:
    folder = files(tmp_path / "data", **{**PLAIN, "text": "s-a x\ns-c y\n"})
    found, said = imported("kaldi", folder, skip_faulty=True)
    assert [row.id for row in found] == ["s-a"]
    assert [problem.name for problem in said.skipped] == ["s-c", "s-b"]
    assert (tmp_path / "out.dropped.tsv").read_text("utf-8") == (
        "id\tkind\tmessage\n"
        "s-c\tnot-in-wav.scp\tutterance in text but not in wav.scp\n"
        "s-b\tnot-in-text\tutterance in wav.scp but not in text\n"
    )


def test_ids_given_twice_and_lines_without_a_value(tmp_path: Path, wav: Path) -> None:
    folder = files(tmp_path / "data", **{**PLAIN, "wav__scp": "s-a wav/a.wav\ns-b wav/b.wav\ns-a wav/b.wav\ns-c\n"})
    message = fault(folder)
    assert "1 id given twice: s-a (wav.scp:3); keep one row for each" in message
    assert "s-c (wav.scp:4: nothing follows the id)" in message


def test_segments_that_leave_their_recording(tmp_path: Path, wav: Path) -> None:
    segments = "u1 a 0 1.4\nu2 a 0 1.7\nu3 a 1.2 1.3\nu4 a 0.5 0.5\nu5 a 0.9 0.2\nu6 a 0 x\n"
    folder = files(tmp_path / "data", wav__scp="a wav/a.wav\n", segments=segments)
    assert fault(folder).startswith(
        '1 row that cannot be read: u6 (segments: "x" is no time; write seconds, as 1.5, or 1:02:03.5); '
    )
    found, said = imported("kaldi", folder, skip_faulty=True)
    assert [(row.id, row.duration) for row in found] == [("u1", 1.0)]
    assert "1 utterance cut at the end of the recording: u1" in said.notes
    assert [f"{problem}" for problem in said.skipped][1:] == [
        "u2 (it spans [0.00, 1.70) s of 1.00 s)",
        "u3 (it spans [1.20, 1.30) s of 1.00 s)",
        "u4 (it spans [0.50, 0.50) s of 1.00 s)",
        "u5 (it spans [0.90, 0.20) s of 1.00 s)",
    ]


def test_recordings_that_no_segment_names_are_told(tmp_path: Path, wav: Path) -> None:
    folder = files(tmp_path / "data", wav__scp="a wav/a.wav\nb wav/b.wav\n", segments="u a 0 1\n")
    _, said = imported("kaldi", folder)
    assert said.notes == (
        "1 recording without a segment: b",
        "no file text: utterances have none, which is enough for decoding",
    )


def test_channels_count_only_where_the_file_has_several(tmp_path: Path, wav: Path) -> None:
    record(wav / "two.wav", channels=2)
    folder = files(
        tmp_path / "data",
        wav__scp="a-A wav/a.wav\na-B wav/a.wav\nt-A wav/two.wav\nt-B wav/two.wav\n",
        reco2file_and_channel="a-A a A\na-B a B\nt-A two A\nt-B two B\n",
        reco2dur="a-A 1\na-B 1\nt-A 1\nt-B 1\n",
    )
    assert [row.channel for row in rows("kaldi", folder)] == [None, None, 0, 1]


def test_archives_and_pipes_are_refused_and_never_executed(tmp_path: Path, wav: Path) -> None:
    entries = f"s-a touch {tmp_path}/data/run; cat wav/a.wav |\ns-b audio.ark:17\n"
    folder = files(tmp_path / "data", **{**PLAIN, "wav__scp": entries})
    message = fault(folder)
    assert "1 pipe in wav.scp: s-a (touch " in message
    assert "with --allow-pipes; 1 recording inside of an archive: s-b (audio.ark:17); write them to files" in message
    assert not (folder / "run").exists()


def test_paths_start_from_the_root_that_is_named(tmp_path: Path, wav: Path) -> None:
    folder = files(tmp_path / "elsewhere", **{**PLAIN, "wav__scp": f"s-a wav/a.wav\ns-b {wav}/b.wav\n"})
    found = rows("kaldi", folder, audio_root=tmp_path / "data", speaker="nobody", language="de")
    assert [(row.audio, row.speaker, row.language) for row in found] == [
        (wav / "a.wav", "s", "de"),
        (wav / "b.wav", "s", "de"),
    ]


@pytest.mark.parametrize("name", ["wav.scp", "text", "segments"])
def test_bytes_that_are_no_utf8_say_the_line(tmp_path: Path, wav: Path, name: str) -> None:
    folder = files(tmp_path / "data", **PLAIN)
    (folder / name).write_bytes(b"s-a x\ns-b caf\xe9\n")
    assert fault(folder) == f"{folder / name}:2: not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize(
    ("source", "message"),
    [("wav/a.wav", "not a folder"), ("wav", "no wav.scp in it"), ("none", "not a folder; give the one that holds")],
)
def test_what_is_no_data_folder(tmp_path: Path, wav: Path, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        import_manifest("kaldi", tmp_path / "data" / source, tmp_path / "out.jsonl")


def test_an_empty_folder_is_no_manifest(tmp_path: Path) -> None:
    folder = files(tmp_path / "data", wav__scp="")
    assert fault(folder) == "no utterances that can be imported; is this the right source?"
