"""What is exported and imported again is the same."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.audio.files import read_audio
from asr.data.exporters import export_manifest
from asr.data.importers import import_manifest
from asr.data.importers.kaldi_pipes import decoded_file, parse_pipe, run_pipe
from asr.data.importers.task import ImportOptions
from asr.data.manifest import Utterance, read_manifest, write_manifest
from tests.data.importers.sources import record

# file, seconds, channels
RECORDINGS = (("a.wav", 3.0, 1), ("b.flac", 2.0, 1), ("c.wav", 2.5, 2), ("d.ogg", 2.0, 1), ("x/a.wav", 2.0, 1))
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<#"), max_size=12)
NAME = st.text("abcxyz019-_.é", min_size=1, max_size=6).filter(lambda name: name.strip(".") != "")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for seed, (name, seconds, channels) in enumerate(RECORDINGS):
        record(folder / name, seconds, channels=channels, seed=seed)
    return folder


@st.composite
def utterances(draw: st.DrawFn) -> list[Utterance]:
    """Draw rows of the recordings (their paths are relative): whole files or parts, with and without names."""
    rows = []
    for name in draw(st.lists(NAME, min_size=1, max_size=5, unique=True)):
        file, seconds, channels = draw(st.sampled_from(RECORDINGS))
        start = draw(st.integers(0, 1000)) / 1000
        duration = draw(st.integers(1, round((seconds - start) * 1000))) / 1000
        if draw(st.booleans()):
            start, duration = 0.0, seconds
        channel = draw(st.sampled_from([None, *range(channels)])) if channels > 1 else None
        speaker = draw(st.none() | st.text("abc019", min_size=1, max_size=3))
        language = draw(st.sampled_from([None, "en", "de"]))
        rows.append(Utterance(name, Path(file), start, duration, draw(TEXT), speaker, channel, language))
    return rows


def through(kind: str, folder: Path, rows: list[Utterance], **options: object) -> list[Utterance]:
    """Return what comes back."""
    write_manifest(folder / "in.jsonl", rows)
    export_manifest(kind, folder / "in.jsonl", folder / "out")
    import_manifest(kind, folder / "out", folder / "back.jsonl", ImportOptions(**options))
    return read_manifest(folder / "back.jsonl")


def placed(rows: list[Utterance], folder: Path) -> list[Utterance]:
    return [Utterance(row.id, folder / row.audio, *_rest(row)) for row in rows]


def _rest(row: Utterance) -> tuple[float, float, str | None, str | None, int | None, str | None]:
    return row.start, row.duration, row.text, row.speaker, row.channel, row.language


@given(rows=utterances())
@settings(max_examples=60, deadline=None)
def test_nemo(recordings: Path, rows: list[Utterance]) -> None:
    rows = placed(rows, recordings)
    with TemporaryDirectory() as folder:
        assert through("nemo", Path(folder), rows) == rows


@given(rows=utterances())
@settings(max_examples=60, deadline=None)
def test_kaldi(recordings: Path, rows: list[Utterance]) -> None:
    """Kaldi has one kind of white space, wants a speaker for each id, in front of it, and languages for all or none."""
    rows = placed(rows, recordings)
    languages = all(row.language for row in rows)
    expected = sorted(
        (str(row.audio), row.start, row.duration, " ".join((row.text or "").split()), row.channel)
        + ((row.language,) if languages else ())
        for row in rows
    )
    with TemporaryDirectory() as folder:
        found = through("kaldi", Path(folder), rows, allow_pipes=True)
    assert expected == sorted(
        (str(row.audio), row.start, row.duration, row.text, row.channel) + ((row.language,) if languages else ())
        for row in found
    )
    for row in rows:
        (back,) = [other for other in found if other.id in (row.id, f"{row.speaker}-{row.id}")]
        assert back.speaker == (row.speaker or row.id)


def test_rows_that_kaldi_can_hold_come_back_equal(recordings: Path, tmp_path: Path) -> None:
    rows = [
        Utterance("s1-a", recordings / "a.wav", 0.25, 1 / 4, "good morning", "s1", None, "en"),
        Utterance("s1-b", recordings / "c.wav", 0.0, 2.5, "", "s1", 1, "en"),
        Utterance("s2-a", recordings / "b.flac", 1.001, 0.999, "naïve", "s2", None, "de"),
    ]
    assert through("kaldi", tmp_path, rows, allow_pipes=True) == rows


@pytest.mark.skipif(not shutil.which("sox") or not shutil.which("cat"), reason="sox is not installed")
@pytest.mark.parametrize(("file", "channel"), [("c.wav", 1), ("c.wav", None), ("d.ogg", None), ("a.wav", None)])
def test_the_pipes_print_what_importing_takes_them_for(
    recordings: Path, tmp_path: Path, file: str, channel: int | None
) -> None:
    """What is read directly, without running the pipe, is what the pipe would have printed."""
    write_manifest(tmp_path / "in.jsonl", [Utterance("u", recordings / file, 0.0, 1.0, channel=channel)])
    export_manifest("kaldi", tmp_path / "in.jsonl", tmp_path / "out")
    entry = (tmp_path / "out" / "wav.scp").read_text("utf-8").strip().partition(" ")[2]
    if not entry.endswith("|"):
        assert entry == str(recordings / file)
        return
    stages = parse_pipe(entry)
    run_pipe(stages, str(tmp_path), str(tmp_path / "printed"))
    printed = read_audio(tmp_path / "printed")[0]
    path, taken = decoded_file(stages[0]) or ("", None)
    direct = read_audio(path, channel=taken)[0]
    assert len(printed) == len(direct)
    # sox mixes and decodes in 32 bits and rounds, or dithers, to 16
    np.testing.assert_allclose(printed, direct, atol=3 / 32768)
