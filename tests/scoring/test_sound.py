"""Sounds and pictures of a page: what lies in the bytes, and what is left out with a reason."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

import asr.scoring.sound as sound
from asr.audio.files import write_audio
from asr.scoring.texts import Text

RATE = 8000


def _tone(seconds: float = 0.5, hertz: float = 1000.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def _texts(*names: str, **keys: object) -> dict[str, Text]:
    return {name: Text("", None, {"audio": f"{name}.flac", **keys}, "m.jsonl:1") for name in names}


def _pixels(png: bytes) -> np.ndarray:
    """Return the shades of a PNG of 4 bits, read chunk by chunk, checksums checked."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, place = {}, 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        assert struct.unpack(">I", png[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        place += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [4, 0, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return np.stack([lines[:, 1:] >> 4, lines[:, 1:] & 15], axis=2).reshape(height, -1)[:, :width]


@pytest.mark.parametrize("width", [1, 6, 7])
def test_png_holds_the_shades(width: int) -> None:
    shades = np.random.default_rng(0).integers(0, 16, (5, width)).astype(np.uint8)
    assert (_pixels(sound.grey_png(shades)) == shades).all()


def test_a_tone_is_a_dark_line_at_its_height_and_time() -> None:
    silence = np.random.default_rng(0).normal(0, 1e-5, RATE // 2).astype(np.float32)
    painter = sound.Painter()
    png = painter.png(np.concatenate([silence, _tone()]), RATE)
    low = painter.png(np.concatenate([silence, _tone(hertz=300)]), RATE)
    assert png is not None
    assert low is not None
    pixels = _pixels(png)
    assert pixels.shape == (48, 98)  # 1 s in frames of 25 ms every 10 ms
    assert pixels[:, :40].min() == 15
    assert pixels[:, 60:].min() == 0
    assert _pixels(low)[:, 70].argmin() > pixels[:, 70].argmin()  # low tones at the bottom


def test_short_and_long_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    painter = sound.Painter()
    assert painter.png(_tone()[:10], RATE) is None
    monkeypatch.setattr(sound, "MAX_COLUMNS", 20)
    png = painter.png(_tone(), RATE)
    assert png is not None
    assert _pixels(png).shape == (48, 16)  # 48 frames, three together


def test_the_sound_is_the_utterance(tmp_path: Path) -> None:
    waveform = np.concatenate([_tone(), 0.5 * _tone()])
    write_audio(tmp_path / "a.flac", waveform, RATE)
    texts = {"a": Text("", 0.25, {"audio": "a.flac", "start": 0.5}, "m.jsonl:1")}
    found = sound.sounds(["a"], texts, tmp_path / "m.jsonl")
    samples, rate = soundfile.read(io.BytesIO(found.of["a"].flac), dtype="float32")
    assert (rate, found.of["a"].duration, found.notes) == (RATE, 0.25, ())
    assert samples == pytest.approx(waveform[RATE // 2 : RATE * 3 // 4], abs=1 / 32768)


def test_what_is_left_out_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abcd":
        write_audio(tmp_path / f"{name}.flac", _tone(1.0 if name == "b" else 0.5), RATE)
    texts = _texts("a", "none", "b", "c", "d")
    ids, manifest = list(texts), tmp_path / "m.jsonl"
    whole = sound.sounds(ids, texts, manifest)
    assert list(whole.of) == ["a", "b", "c", "d"]
    assert len(whole.notes) == 1
    assert whole.notes[0].startswith("1 of 5 utterances are without sound, the first: ")
    assert whole.notes[0].endswith("none.flac: there is no such audio file; check the path")
    monkeypatch.setattr(sound, "MAX_SECONDS", 0.75)
    size = len(whole.of["a"].flac) + len(whole.of["a"].png or b"")
    monkeypatch.setattr(sound, "MAX_BYTES", size + 1)
    part = sound.sounds(ids, texts, manifest)
    assert list(part.of) == ["a"]
    assert part.notes[1:] == (
        "1 of 5 utterances are without sound: longer than 1 s; cut them in the manifest",
        "2 of 5 utterances are without sound: the page holds 0 MB, those with most errors first; score a part of the"
        " manifest to hear the others",
    )
