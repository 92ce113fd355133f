"""lhotse cuts: supervisions become utterances; audio that is made, not read, is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from asr.data.manifest import Utterance
from asr.errors import DataError
from tests.data.importers.sources import imported, left, record, rows

# As lhotse 1.33 writes them (CutSet.to_file).
MONO = json.loads("""{"id": "r1-0", "start": 0, "duration": 4.0, "channel": 0, "supervisions": [
  {"id": "s1", "recording_id": "r1", "start": 0.5, "duration": 1.0, "channel": 0, "text": "hello", "language": "en",
   "speaker": "spk"},
  {"id": "s2", "recording_id": "r1", "start": 2.0, "duration": 1.0, "channel": 0, "text": "you"}],
  "recording": {"id": "r1", "sources": [{"type": "file", "channels": [0], "source": "m.wav"}], "sampling_rate": 16000,
  "num_samples": 64000, "duration": 4.0, "channel_ids": [0]}, "type": "MonoCut"}""")
MULTI = json.loads("""{"id": "r2-1", "start": 0, "duration": 4.0, "channel": [0, 1], "supervisions": [
  {"id": "s3", "recording_id": "r2", "start": 2.0, "duration": 1.0, "channel": [0, 1], "text": "both"},
  {"id": "s4", "recording_id": "r2", "start": 0.0, "duration": 1.0, "channel": 1, "text": "one"}],
  "recording": {"id": "r2", "sources": [{"type": "file", "channels": [0, 1], "source": "st.wav"}],
  "sampling_rate": 16000, "num_samples": 64000, "duration": 4.0, "channel_ids": [0, 1]}, "type": "MultiCut"}""")
TRIMMED = json.loads("""{"id": "s5", "start": 2.0, "duration": 1.0, "channel": 0, "supervisions": [
  {"id": "s5", "recording_id": "r1", "start": 0.0, "duration": 1.0, "channel": 0, "text": "you"}],
  "recording": {"id": "r1", "sources": [{"type": "file", "channels": [0], "source": "m.wav"}], "sampling_rate": 16000,
  "num_samples": 64000, "duration": 4.0, "channel_ids": [0]}, "type": "MonoCut"}""")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record(tmp_path / "m.wav", 4.0)
    record(tmp_path / "st.wav", 4.0, channels=2)
    return tmp_path


def cuts(folder: Path, *values: Any, name: str = "cuts.jsonl") -> Path:
    data = "".join(json.dumps(value) + "\n" for value in values).encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder / name


def with_source(**changes: Any) -> dict[str, Any]:
    """Return TRIMMED with another source of its recording."""
    source = {**TRIMMED["recording"]["sources"][0], **changes}
    return {**TRIMMED, "recording": {**TRIMMED["recording"], "sources": [source]}}


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_supervisions_become_utterances(folder: Path, name: str) -> None:
    mono, stereo = folder / "m.wav", folder / "st.wav"
    assert rows("lhotse", cuts(folder, MONO, MULTI, TRIMMED, name=name)) == [
        Utterance("s1", mono, 0.5, 1.0, "hello", "spk", None, "en"),
        Utterance("s2", mono, 2.0, 1.0, "you"),
        Utterance("s3", stereo, 2.0, 1.0, "both"),
        Utterance("s4", stereo, 0.0, 1.0, "one", channel=1),
        Utterance("s5", mono, 2.0, 1.0, "you"),
    ]


def test_a_cut_without_a_supervision_has_no_text(folder: Path) -> None:
    (row,) = rows("lhotse", cuts(folder, {**TRIMMED, "supervisions": []}))
    assert row == Utterance("s5", folder / "m.wav", 2.0, 1.0)


def test_one_file_for_each_channel(folder: Path) -> None:
    sources = [{"type": "file", "channels": [number], "source": f"{name}.wav"} for number, name in enumerate("lm")]
    cut = {**MULTI, "recording": {**MULTI["recording"], "sources": sources}, "supervisions": MULTI["supervisions"][1:]}
    (row,) = rows("lhotse", cuts(folder, cut))
    assert (row.audio.name, row.channel) == ("m.wav", None)


@pytest.mark.parametrize(
    ("cut", "detail"),
    [
        ({**MONO, "type": "MixedCut"}, 'a "MixedCut"'),
        ({**MONO, "type": "PaddingCut"}, 'a "PaddingCut"'),
        ({"id": "x"}, "no type"),
        ({**MONO, "recording": None}, "no recording"),
        (
            {**MONO, "recording": {**MONO["recording"], "transforms": [{"name": "Speed"}]}},
            "its recording is transformed",
        ),
        (with_source(type="command", source="touch mark"), 'its recording is a "command"'),
        (with_source(type="url"), 'its recording is a "url"'),
        (with_source(channels=[1]), "no single file holds just its channels 0"),
    ],
)
def test_audio_that_is_no_stretch_of_a_file_is_refused(folder: Path, cut: dict[str, Any], detail: str) -> None:
    before = left(folder)
    with pytest.raises(DataError) as caught:
        imported("lhotse", cuts(folder, cut))
    assert f"1 cut that is no stretch of an audio file: {cut['id']} ({detail}); in lhotse, write them to " in str(
        caught.value
    )
    assert left(folder) == {*before, "cuts.jsonl"}


@pytest.mark.parametrize(
    ("cut", "detail"),
    [
        ({**MONO, "start": "0"}, "'start' must be a number of seconds"),
        ({**MONO, "id": 5}, "'id' must be a string, found 5"),
        ({**MONO, "supervisions": [5]}, "'supervisions' must be a list of objects"),
        ({**MONO, "supervisions": [{**MONO["supervisions"][0], "text": 5}]}, "'text' must be a string, found 5"),
        ({**MONO, "supervisions": [{**MONO["supervisions"][0], "channel": {}}]}, "'channel' must be an integer"),
        ({**MONO, "recording": {"sources": 5}}, "'sources' of its recording must be a list"),
        (with_source(source=None), "a source of its recording names no file"),
    ],
)
def test_rows_that_are_wrong(folder: Path, cut: dict[str, Any], detail: str) -> None:
    with pytest.raises(DataError) as caught:
        imported("lhotse", cuts(folder, cut))
    assert f"(line 1: {detail}" in str(caught.value)


def test_a_gzip_file_that_is_cut_short(folder: Path) -> None:
    path = cuts(folder, MONO, MULTI, name="cuts.jsonl.gz")
    for data in (path.read_bytes()[:-20], b"no gzip", b""):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"not a whole gzip file; get it again|no utterances that can be imported"):
            imported("lhotse", path)
