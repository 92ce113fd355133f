"""Audio files of every kind, made on the spot."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16000
KINDS = {  # name: (suffix, container, coding)
    "wav": (".wav", "WAV", "PCM_16"),
    "wav24": (".wav", "WAV", "PCM_24"),
    "wavfloat": (".wav", "WAV", "FLOAT"),
    "wavulaw": (".wav", "WAV", "ULAW"),
    "wavadpcm": (".wav", "WAV", "IMA_ADPCM"),
    "gsm": (".wav", "WAV", "GSM610"),
    "flac": (".flac", "FLAC", "PCM_16"),
    "vorbis": (".ogg", "OGG", "VORBIS"),
    "opus": (".opus", "OGG", "OPUS"),
    "mp3": (".mp3", "MP3", "MPEG_LAYER_III"),
    "sphere": (".sph", "NIST", "PCM_16"),
    "sphereulaw": (".sph", "NIST", "ULAW"),
}


def speechlike(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Return bursts of coloured noise and tones with pauses, (S,) float32: hard for codecs with a memory."""
    rng = np.random.default_rng(seed)
    num_samples = int(seconds * rate)
    time = np.arange(num_samples) / rate
    envelope = np.clip(np.sin(2 * np.pi * 3.1 * time) + 0.3 * np.sin(2 * np.pi * 0.7 * time), 0, 1)
    tones = sum(np.sin(2 * np.pi * f * time + 3 * np.sin(2 * np.pi * 2 * time)) for f in (150, 450, 1900)) / 3
    hiss = np.convolve(rng.standard_normal(num_samples), [0.5, 0.3, 0.2], "same")
    return (envelope * (0.5 * tones + 0.2 * hiss) * 0.6).astype(np.float32)


def write(path: Path, waveform: np.ndarray, kind: str, rate: int = RATE, **options: object) -> Path:
    """Write (S,) or (S, channels) as one of KINDS, in blocks (libsndfile crashes on long Vorbis in one piece)."""
    _, container, coding = KINDS[kind]
    channels = 1 if waveform.ndim == 1 else waveform.shape[1]
    with soundfile.SoundFile(path, "w", rate, channels, coding, format=container, **options) as file:
        for first in range(0, len(waveform), 1 << 15):
            file.write(waveform[first : first + (1 << 15)])
    return path


@pytest.fixture
def tone() -> np.ndarray:
    """Three seconds, (S,) float32 at RATE."""
    return speechlike(3.0)
