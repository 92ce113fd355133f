"""Miniatures of the large corpora in their true layouts, oddities included; words are tones, as in miniature.py."""

import itertools
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from tests.recipes.miniature import word

SENTENCES = ("yes no", "no yes yes", "no", "yes no no yes")  # spoken in turn
_TSV = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale segment"
)


def say(text: str, rate: int, seed: int = 1) -> np.ndarray:
    """Return float64 samples of a text: a tone for each yes, another for every other word."""
    random = np.random.default_rng([seed, *text.encode()])
    return np.concatenate([word("1" if part.lower() == "yes" else "0", random, rate) for part in text.split()])


def write(path: Path, text: str, rate: int = 16000, seed: int = 1) -> None:
    """Write what a text sounds like, in the format of the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".sph": "NIST"}.get(path.suffix)
    soundfile.write(path, say(text, rate, seed), rate, subtype=None if path.suffix == ".mp3" else "PCM_16", format=kind)


def make_librispeech(folder: Path, parts: dict[str, int], chapters: int = 2) -> Path:
    """Return `folder`/LibriSpeech with parts of so many speakers, four utterances in each chapter."""
    root, speaker = folder / "LibriSpeech", 100
    for part, num_speakers in parts.items():
        for speaker in range(speaker + 1, speaker + 1 + num_speakers):  # noqa: B020 (goes on where it stopped)
            for chapter in range(900, 900 + chapters):
                place, lines = root / part / str(speaker) / str(chapter), []
                for number, text in enumerate(SENTENCES):
                    name = f"{speaker}-{chapter}-{number:04d}"
                    write(place / f"{name}.flac", text, seed=speaker + chapter)
                    lines.append(f"{name} {text.upper()}\n")
                (place / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    (root / "SPEAKERS.TXT").write_text(";ID |SEX| SUBSET |MINUTES| NAME\n1 | F | dev-clean | 8.02 | a name; odd\n")
    return root


def make_tedlium3(folder: Path, *, links: bool = True) -> Path:
    """Return `folder`/TEDLIUM_release-3: six talks to train on, to which legacy/ links, and one each to test."""
    root = folder / "TEDLIUM_release-3"
    for number in range(6):
        _make_talk(root / "data", f"AnnaB{number}_2009X", "<NA>")
    _make_talk(root / "legacy" / "dev", "CarlD_2010", "<o,f0,male>")
    _make_talk(root / "legacy" / "test", "EveF_2011", "<o,f0,female>")
    if links:
        (root / "legacy" / "train").mkdir(parents=True)
        for kind in ("sph", "stm"):
            (root / "legacy" / "train" / kind).symlink_to(Path("..") / ".." / "data" / kind)
    return root


def _make_talk(folder: Path, talk: str, label: str) -> None:
    """Write a talk of four sentences, with all that an STM file may hold beside them."""
    lines, samples, position = [";; a comment\n"], [], 0
    spoken = [*SENTENCES, "no no", "yes yes"]
    written = ["yes (2) no", "no yes(2) {NOISE} yes <sil>", "no", "yes no no 's yes", "<unk> no", "{SMACK} <sil>"]
    for text, words in zip(spoken, written, strict=True):
        waveform = say(text, 16000, seed=len(talk))
        start, position = position, position + len(waveform)
        samples.append(waveform)
        lines.append(f"{talk} 1 {talk} {start / 16000:.2f} {position / 16000:.2f} {label} {words}\n")
    end = position / 16000
    lines.append(f"{talk} 1 inter_segment_gap {end:.2f} {end + 2:.2f} <o,,unknown> ignore_time_segment_in_scoring\n")
    for kind in ("sph", "stm"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    (folder / "stm" / f"{talk}.stm").write_text("".join(lines))
    soundfile.write(folder / "sph" / f"{talk}.sph", np.concatenate(samples), 16000, format="NIST", subtype="PCM_16")


def make_common_voice(folder: Path, rows: dict[str, int] | None = None) -> Path:
    """Return `folder`, which holds a release in Czech: MP3 clips, unquoted TSVs, validated.tsv with all rows.

    Args: rows: of each TSV; every speaker has two.
    """
    root = folder / "cv-corpus-17.0-2024-03-15" / "cs"
    (root / "clips").mkdir(parents=True)
    everything, number = [], 0
    for first, (part, count) in enumerate((rows or {"train": 12, "dev": 4, "test": 4}).items()):
        lines = []
        for index, text in enumerate(_combinations()[first::3][:count]):  # no sentence in two parts
            name, number = f"common_voice_cs_{number:06d}.mp3", number + 1
            write(root / "clips" / name, text, 32000, seed=number)
            speaker = f"{part}{index // 2:03d}".encode().hex()
            sentence = f'{text.capitalize()}, "{"." if index % 2 else "“!"}'
            lines.append(f"{speaker}\t{name}\t{number:064x}\t{sentence}\t\t2\t0\t\t\t\t\tcs\t\n")
        everything += lines
        write_tsv(root / f"{part}.tsv", lines)
    write_tsv(root / "validated.tsv", everything)
    return folder


def _combinations() -> list[str]:
    """Return all sentences of two to six words, yes or no."""
    choices = [bits for length in range(2, 7) for bits in itertools.product(("no", "yes"), repeat=length)]
    return [" ".join(bits) for bits in choices]


def write_tsv(path: Path, lines: Sequence[str]) -> None:
    """Write a TSV of Common Voice: the columns of release 17, then the lines."""
    path.write_text("\t".join(_TSV.split()) + "\n" + "".join(lines), encoding="utf-8")


def make_ljspeech(folder: Path, num_files: int = 30) -> Path:
    """Return `folder`/LJSpeech-1.1: up to 1,000 files at 22 kHz, their text as printed and as spoken."""
    root, lines = folder / "LJSpeech-1.1", []
    (root / "wavs").mkdir(parents=True)
    waveform = say("no", 22050)  # the texts differ, as the split needs; what is heard does not
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for number in range(num_files):
        name = f"LJ{1 + number // 100:03d}-{number % 100 + 1:04d}"
        soundfile.write(root / "wavs" / f"{name}.wav", waveform, 22050, subtype="PCM_16")
        spoken = ", ".join(digits[int(digit)] for digit in f"{number:03d}")
        lines.append(f'{name}|No. {number} ("{number:03d}")|Number {spoken};\n')
    (root / "metadata.csv").write_text("".join(lines))
    return root


def make_aishell1(folder: Path, *, packed: bool = False) -> Path:
    """Return `folder`/data_aishell: two speakers to train on and one each to test; one file has no transcript.

    Args: packed: each speaker's audio in an archive, as published.
    """
    root, lines = folder / "data_aishell", []
    speakers = {"S0002": "train", "S0003": "train", "S0724": "dev", "S0764": "test"}
    for speaker, part in speakers.items():
        for number, text in enumerate(("而 对 楼市", "  ｔ恤   的  限 购", "的 对", "没有")):
            name = f"BAC009{speaker}W{122 + number:04d}"
            write(root / "wav" / part / speaker / f"{name}.wav", "yes no " + "no " * number)
            if text != "没有":
                lines.append(f"{name} {text}\n")
        if packed:
            with tarfile.open(root / "wav" / f"{speaker}.tar.gz", "w:gz") as tar:
                tar.add(root / "wav" / part / speaker, f"./{part}/{speaker}")
    if packed:
        for part in set(speakers.values()):
            shutil.rmtree(root / "wav" / part)
    (root / "transcript").mkdir(parents=True)
    (root / "transcript" / "aishell_transcript_v0.8.txt").write_text("".join(lines), encoding="utf-8")
    return root


def make_voxforge(folder: Path, num_speakers: int = 60) -> Path:
    """Return `folder` with a contribution of two files by each speaker, two more anonymous ones, and odd ones."""
    for number in range(num_speakers):
        _make_contribution(folder / f"user{number}-20080425-abc", f"user{number}", number)
    for name in ("anonymous-20080425-tgm", "anonymous-20090101-xyz"):
        _make_contribution(folder / name, "anonymous", len(name), kind="flac", prompts="prompts-original")
    (folder / "lonely-20100101-aaa" / "etc").mkdir(parents=True)
    return folder


def _make_contribution(folder: Path, user: str, seed: int, *, kind: str = "wav", prompts: str = "PROMPTS") -> None:
    texts = {"a0001": "YES, NO.", "b0042": "NO YES YES"}
    for name, text in texts.items():
        write(folder / kind / f"{name}.{kind}", text.replace(",", "").replace(".", ""), seed=seed)
    (folder / "etc").mkdir()
    lines = [f"{folder.name}/mfc/{name} {text}\n" for name, text in texts.items()]
    (folder / "etc" / prompts).write_text("".join(lines))
    (folder / "etc" / "README").write_text(f"User Name:{user}\n\nSpeaker Characteristics:\n\nGender: Male\n")
