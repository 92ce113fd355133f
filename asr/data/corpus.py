"""Acceptance of a corpus: is this the corpus that the published numbers were made on?

A corpus is known by the number of its files, by their decoded samples and by their transcripts; never by the
bytes of the files, so any lossless distribution of it (SPHERE, WAV, FLAC) passes; only what is published in a lossy
coding is known by its bytes.

    SIGNATURES = {"test": CorpusSignature(num_files=130, samples_sha256="8b2d…", transcripts_sha256="c33b…")}
    verify("an4 test", utterances, SIGNATURES["test"], cure="fetch it again from ...")
"""

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.audio.files import read_audio
from asr.data.manifest import Utterance
from asr.errors import DataError

LOSSY_SUFFIXES = (".ogg", ".opus", ".mp3")
Progress = Callable[[int, int | None], None]  # files so far, files in all


@dataclass(frozen=True, slots=True)
class CorpusSignature:
    """What a corpus, or one part of it, is known by; what is None is not known, and then not compared.

    Attributes:
        num_files: distinct audio files.
        samples_sha256: over the samples of the whole files as little-endian 16-bit integers at their own rate,
            one file after another in the order of their names (`corpus_name`).  Of lossy files, which decoders need
            not round alike, the bytes count instead.
        transcripts_sha256: over the lines "NAME text", in the same order; of the text, neither case nor the
            width of spaces counts, so that manifests in lower and in upper case are the same corpus.
    """

    num_files: int
    samples_sha256: str | None = None
    transcripts_sha256: str | None = None


def corpus_name(utterance: Utterance) -> str:
    """Return the name that the corpus gives an utterance: its file's name without folder and suffix.

    It is the same in every distribution of a corpus, whatever ids our manifests use.
    """
    return utterance.audio.stem


def corpus_signature(utterances: Sequence[Utterance], progress: Progress | None = None) -> CorpusSignature:
    """Return the signature of the utterances, whose order does not matter.

    Raises: DataError if an audio file cannot be read.
    """
    ordered = sorted(utterances, key=_order)
    files = list(dict.fromkeys(utterance.audio for utterance in ordered))
    samples = hashlib.sha256()
    for count, audio in enumerate(files, start=1):
        samples.update(_read(audio) if audio.suffix.lower() in LOSSY_SUFFIXES else _pcm(audio))
        if progress is not None:
            progress(count, len(files))
    lines = [f"{corpus_name(utterance)} {_plain(utterance.text or '')}\n" for utterance in ordered]
    transcripts = hashlib.sha256("".join(lines).encode())
    return CorpusSignature(len(files), samples.hexdigest(), transcripts.hexdigest())


def verify(
    name: str,
    utterances: Sequence[Utterance],
    expected: CorpusSignature,
    *,
    cure: str = "get the corpus again",
    progress: Progress | None = None,
) -> None:
    """Return if the utterances are the corpus that `expected` describes.

    Args: cure: what to do if they are not, for the message.
    Raises: DataError saying which part differs: the number of files, the samples or the transcripts.
    """
    num_files = len({utterance.audio for utterance in utterances})
    if num_files != expected.num_files:  # found without reading any audio
        raise DataError(f"{name}: {num_files} audio files, expected {expected.num_files}; {cure}")
    if expected.samples_sha256 is None and expected.transcripts_sha256 is None:
        return
    found = corpus_signature(utterances, progress)
    compared = (
        ("decoded samples", found.samples_sha256, expected.samples_sha256),
        ("transcripts", found.transcripts_sha256, expected.transcripts_sha256),
    )
    faults = [_differs(what, str(digest), known) for what, digest, known in compared if known not in (None, digest)]
    if faults:
        raise DataError(f"{name}: {' and '.join(faults)}; {cure}")


def _order(utterance: Utterance) -> tuple[str, float, str]:
    return corpus_name(utterance), utterance.start, utterance.id


def _read(audio: Path) -> bytes:
    try:
        return audio.read_bytes()
    except OSError as error:
        raise DataError(f"{audio}: cannot read: {error.strerror or error}; check the path") from None


def _pcm(audio: Path) -> bytes:
    """Return the samples of a 16-bit file as they were before they became float32: the scaling is exact."""
    waveform, _ = read_audio(audio)
    scaled = np.rint(waveform.astype(np.float64) * 32768)
    return np.clip(scaled, -32768, 32767).astype("<i2").tobytes()


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _differs(what: str, found: str, expected: str | None) -> str:
    return f"the {what} differ (SHA-256 {found[:12]}…, expected {str(expected)[:12]}…)"
