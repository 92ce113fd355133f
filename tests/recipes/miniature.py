"""Miniature corpora in the true layouts: words are tones, so that a network can learn them in seconds."""

from pathlib import Path

import numpy as np
import soundfile

_PITCHES = {"0": (300.0, 450.0), "1": (900.0, 1500.0)}  # Hz at the start and at the end of a word


def make_yesno(folder: Path, num_files: int = 60) -> Path:
    """Return `folder`, filled with files named and spoken as in yesno: 8 kHz, eight words each, 1 is yes."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    numbers = random.choice(256, num_files, replace=False)
    for number in numbers:
        bits = f"{number:08b}"
        waveform = np.concatenate([word(bit, random, 8000) for bit in bits])
        soundfile.write(folder / f"{'_'.join(bits)}.wav", waveform, 8000, subtype="PCM_16")
    return folder


def make_an4(folder: Path, suffix: str = ".flac", num_speakers: int = 10) -> Path:
    """Return `folder`, laid out as AN4: two utterances by each of `num_speakers` speakers, and two to test."""
    speakers = [f"m{number:03d}" for number in range(num_speakers)]
    _write_an4_part(folder, "train", "an4_clstk", speakers, "<s> {} </s>", suffix)
    _write_an4_part(folder, "test", "an4test_clstk", ["ftst"], "{}", suffix)
    return folder


FSDD_SPEAKERS = ("george", "jackson", "theo")


def make_fsdd(folder: Path, indices: range = range(8)) -> Path:
    """Return `folder`, laid out as FSDD: digits 0 and 1 by three speakers, at 8 kHz."""
    (folder / "recordings").mkdir(parents=True)
    random = np.random.default_rng(2)
    for digit in "01":
        for speaker in FSDD_SPEAKERS:
            for index in indices:
                path = folder / "recordings" / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, word(digit, random, 8000), 8000, subtype="PCM_16")
    return folder


def an4_samples(name: str) -> np.ndarray:
    """Return the int16 samples of a miniature AN4 utterance, which depend on its name alone."""
    random = np.random.default_rng(list(name.encode()))
    return (np.concatenate([word(bit, random, 16000) for bit in "01"]) * 32767).astype(np.int16)


def _write_an4_part(folder: Path, part: str, top: str, speakers: list[str], line: str, suffix: str) -> None:
    file_ids, transcripts = [], []
    for speaker in speakers:
        for text, kind in (("YES", "an1"), ("O'HARE NINE", "cen2")):
            name = f"{kind}-{speaker}-b"
            file_ids.append(f"{top}/{speaker}/{name}")
            transcripts.append(f"{line.format(text)} ({name})")
            _write_audio(folder / "wav" / top / speaker / f"{name}{suffix}", an4_samples(name))
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc" / f"an4_{part}.fileids").write_text("\n".join(file_ids) + "\n")
    (folder / "etc" / f"an4_{part}.transcription").write_text("\n".join(transcripts) + "\n")


def _write_audio(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".raw":
        samples.astype(">i2").tofile(path)
    elif path.suffix == ".sph":
        soundfile.write(path, samples, 16000, format="NIST", subtype="PCM_16")
    else:
        soundfile.write(path, samples, 16000)


def word(bit: str, random: np.random.Generator, rate: int) -> np.ndarray:
    """Return a gliding tone of 0.25 to 0.35 s in faint noise, a pause of 0.2 s after it."""
    low, high = _PITCHES[bit]
    length = int(rate * random.uniform(0.25, 0.35))
    phase = 2 * np.pi * np.cumsum(np.linspace(low, high, length) * random.uniform(0.95, 1.05)) / rate
    tone = np.concatenate([0.3 * np.sin(phase) * np.hanning(length), np.zeros(rate // 5)])
    return np.asarray(tone + random.normal(0, 0.002, len(tone)))
