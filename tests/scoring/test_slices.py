"""Slices add up to the whole, stand in order, and have their own intervals."""

from pathlib import Path

import numpy as np
import pytest

from asr.audio.files import write_audio
from asr.errors import DataError
from asr.scoring.bootstrap import bootstrap_interval
from asr.scoring.error_rate import Pair, Score, score
from asr.scoring.labels import labels
from asr.scoring.slices import in_bins, interval_over_slices, slices
from asr.scoring.texts import Text

MANIFEST = "m.jsonl"


def _score() -> Score:
    texts = {"a": ("one two", "one"), "b": ("three", "three"), "c": ("", "oh"), "d": ("x y z", "x z z")}
    return score(Pair(name, reference, hypothesis) for name, (reference, hypothesis) in texts.items())


def _texts(**rows: dict[str, object]) -> dict[str, Text]:
    return {name: Text("", row.pop("duration", None), row, f"{MANIFEST}:1") for name, row in rows.items()}  # type: ignore[arg-type]


def test_slices_add_up_and_keep_the_order_of_the_labels() -> None:
    whole = _score()
    parts = slices(whole, {"d": "q", "a": "p", "b": "p", "c": "r"}, seed=0)
    assert [part.name for part in parts] == ["q", "p", "r"]
    assert [len(part.utterances) for part in parts] == [1, 2, 1]
    assert [part.sentence_errors for part in parts] == [1, 1, 1]
    for field in ("reference", "errors", "insertions", "deletions", "substitutions"):
        assert sum(getattr(part.words, field) for part in parts) == getattr(whole.words, field)
    assert parts[1].interval == bootstrap_interval([item.words for item in parts[1].utterances], seed=0)
    assert parts[0].interval is None  # one utterance


def test_bins() -> None:
    values = {"e": 4.0, "a": 0.5, "n": None, "m": 3.9, "z": 9.0, "l": -1.0}
    assert list(in_bins(values, (0, 2, 4, 8), "s").items()) == [
        ("l", "below 0 s"),
        ("a", "0 to 2 s"),
        ("m", "2 to 4 s"),
        ("e", "4 to 8 s"),
        ("z", "from 8 s"),
        ("n", "unknown"),
    ]
    counts = {"a": 0.0, "b": 3.0, "c": 4.0, "d": 5.0}
    assert list(in_bins(counts, (0, 1, 3, 5), "words", whole=True).values()) == [
        *("0 words", "3 to 4 words", "3 to 4 words", "from 5 words")
    ]  # fmt: skip


def test_interval_over_speakers_draws_speakers() -> None:
    pairs = [Pair(f"{who}{n}", "w", "w" if who == "a" else "v") for who in "ab" for n in range(50)]
    parts = slices(score(pairs), {pair.id: pair.id[0] for pair in pairs}, seed=0)
    interval = interval_over_slices(parts, seed=0)
    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 1.0)  # one of two speakers twice: a quarter of the draws each
    assert interval_over_slices(parts[:1], seed=0) is None


def test_labels_of_each_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    burst = np.repeat([0.0, 1.0, 0.0, 1.0], 4000) * rng.normal(0, 0.1, 16000)
    write_audio(tmp_path / "x.flac", (burst + rng.normal(0, 0.01, 16000)).astype(np.float32), 16000)
    row = {"speaker": "s", "audio": "x.flac", "duration": 1.0}
    texts = _texts(a={**row}, b={**row, "speaker": "t"}, c={**row, "duration": 0.4}, d={**row})
    manifest = tmp_path / MANIFEST
    assert labels("speaker", _score(), texts, manifest) == {"a": "s", "b": "t", "c": "s", "d": "s"}
    assert labels("length", _score(), texts, manifest) == {
        "c": "0 to 1 s",
        "a": "1 to 2 s",
        "b": "1 to 2 s",
        "d": "1 to 2 s",
    }
    assert labels("words", _score(), texts, manifest)["d"] == "3 to 4 words"
    told: list[tuple[int, int | None, float]] = []
    found = labels("snr", _score(), texts, manifest, lambda *done: told.append(done))
    assert set(found.values()) == {"20 to 25 dB"}  # 20 dB by construction; the loudest frames stand out a little more
    assert told[-1] == (4, 4, pytest.approx(3.4))


@pytest.mark.parametrize(
    ("way", "rows", "message"),
    [
        ("speaker", {"a": {}}, r"m.jsonl: 1 of 1 utterances have no 'speaker', the first is 'a'; name them"),
        ("speaker", {"a": {"speaker": 7}}, r"m.jsonl:1: utterance 'a': 'speaker' must be a printable text, got 7"),
        ("speaker", {"a": {"speaker": "\ud800"}}, r"'speaker' must be a printable text, got \"\\ud800\""),
        ("length", {"a": {}}, r"m.jsonl: 1 of 1 utterances have no 'duration'"),
        ("snr", {"a": {}}, r"m.jsonl:1: utterance 'a' names no 'audio'; score against the manifest"),
        ("snr", {"a": {"audio": "none.wav"}}, r"m.jsonl:1: utterance 'a': .*none.wav: there is no such audio file"),
        ("snr", {"a": {"audio": ["x"]}}, r"'audio' must be a printable text, got \[\"x\"\]"),
        ("snr", {"a": {"audio": "x", "start": -1}}, r"'start' must be seconds from 0, got -1"),
        ("snr", {"a": {"audio": "x", "channel": "0"}}, r"'channel' must count from 0, got \"0\""),
    ],
)
def test_what_a_manifest_lacks_is_said(way: str, rows: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        labels(way, _score(), _texts(**{name: {**row} for name, row in rows.items()}), MANIFEST)
    assert "\n" not in str(caught.value)
