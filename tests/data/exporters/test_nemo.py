"""NeMo manifests that are written."""

import json
from pathlib import Path

from asr.data.exporters import export_manifest
from asr.data.manifest import Utterance, write_manifest


def test_keys_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    rows = [
        Utterance("a", tmp_path / "a b.wav", 0.0, 1.5, "naïve", "s", None, "fr"),
        Utterance("b", tmp_path / "x" / "b.wav", 0.5, 2.0, None, None, 1, None),
    ]
    write_manifest(tmp_path / "in.jsonl", rows)
    said = export_manifest("nemo", tmp_path / "in.jsonl", tmp_path / "out" / "train.json")
    lines = (tmp_path / "out" / "train.json").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "audio_filepath": f"{tmp_path}/a b.wav",
            "duration": 1.5,
            "text": "naïve",
            "speaker": "s",
            "lang": "fr",
            "id": "a",
        },
        {"audio_filepath": f"{tmp_path}/x/b.wav", "duration": 2.0, "offset": 0.5, "channel": 1, "id": "b"},
    ]
    assert said.notes == (
        "1 utterance of one channel: NeMo has no key for it, set its channel_selector",
        "1 utterance without a text",
    )
