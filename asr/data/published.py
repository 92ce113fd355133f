"""What the recipes of published corpora share: to fetch a corpus, find its files, and write manifests of it."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from asr.audio.files import RawFormat, audio_info, read_audio, write_audio
from asr.data.corpus import CorpusSignature, verify
from asr.data.download import download, extract_tar
from asr.data.manifest import Utterance, write_manifest
from asr.errors import DataError

AUDIO_SUFFIXES = (".flac", ".wav", ".sph", ".raw")  # of the distributions seen; the first one found is taken
Progress = Callable[[int, int | None], None]  # pieces so far, pieces in all where known


@dataclass(frozen=True)
class PublishedCorpus:
    """A corpus that anybody can get.

    Attributes:
        name: for messages.
        urls: http or https addresses of its tar archive, tried in order.
        top: the folder that the archive holds.
        landmark: a file or a pattern of files, in `top`, by which the corpus is known.
        signatures: of its parts, by which a corpus is accepted, whatever its distribution.
        archive_sha256, archive_md5: of the archive, where it is known.
        wanted: which files of the archive to unpack, by their path in it; None: all.
    """

    name: str
    urls: Sequence[str]
    top: str
    landmark: str
    signatures: Mapping[str, CorpusSignature]
    archive_sha256: str | None = None
    archive_md5: str | None = None
    wanted: Callable[[str], bool] | None = None

    def fetch(self, folder: Path, progress: Progress | None = None, archive: Path | None = None) -> Path:
        """Return `folder`, downloaded and unpacked unless it is there.

        Args: archive: where to keep the archive; default: beside the folder.
        Raises: DataError with the way to get the archive by hand; MachineError if it cannot be written.
        """
        if folder.exists():
            return folder
        archive = archive or folder.with_name(f"{folder.name}.tar.gz")
        download(self.urls, archive, sha256=self.archive_sha256, md5=self.archive_md5, progress=progress)
        return extract_tar(archive, folder, wanted=self.wanted)

    def root(self, folder: Path) -> Path:
        """Return the folder that holds the corpus: `folder`, or the one that its archive makes there.

        Raises: DataError if neither is the corpus.
        """
        root = self.find(folder)
        if root is None:
            raise DataError(
                f"{folder}: not the corpus {self.name}, as it has no {self.landmark}; give the folder that holds it"
            )
        return root

    def find(self, folder: Path) -> Path | None:
        """Return the folder that `root` returns, or None if neither is the corpus."""
        roots = (folder, folder / self.top)
        return next((root for root in roots if next(root.glob(self.landmark), None) is not None), None)

    def accept(self, part: str, utterances: Sequence[Utterance], progress: Progress | None = None) -> None:
        """Return if a part is the one that was published.  Raises: DataError saying what differs."""
        cure = f"get it again from {self.urls[0]}, or use --accept any: its numbers then compare with nothing"
        verify(f"{self.name} {part}", utterances, self.signatures[part], cure=cure, progress=progress)


@dataclass(frozen=True)
class CorpusInParts:
    """A corpus published as several archives, of which one need not have all.

    Each is unpacked to a folder of its own, so that what is there is always whole.
    """

    parts: Mapping[str, PublishedCorpus]

    def only(self, names: Iterable[str]) -> "CorpusInParts":
        """Return the corpus that has these parts alone."""
        return replace(self, parts={name: self.parts[name] for name in names})

    def fetch(self, folder: Path, progress: Progress | None = None) -> Path:
        """Return `folder`, the parts that it lacks downloaded and unpacked below it.  Raises: as PublishedCorpus.fetch.

        The archives lie beside the folder: deleting them changes nothing in it.
        """
        for name, part in self.parts.items():
            if self.find(folder, name) is None:
                part.fetch(folder / name, progress, folder.with_name(f"{folder.name}-{name}.tar.gz"))
        return folder

    def find(self, folder: Path, name: str) -> Path | None:
        """Return the folder that holds a part, as `fetch` or anybody else unpacks it; None if it is not there."""
        return self.parts[name].find(folder / name) or self.parts[name].find(folder)

    def root(self, folder: Path, name: str) -> Path:
        """Return the folder that holds a part.  Raises: DataError if it is not there."""
        return self.find(folder, name) or self.parts[name].root(folder)


def audio_files(folder: Path, suffixes: Sequence[str] = AUDIO_SUFFIXES) -> dict[str, str]:
    """Return name without suffix -> path of a folder's audio files; of several with one name the first suffix counts.

    Raises: DataError if the folder cannot be read.
    """
    try:
        files = os.listdir(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot read: {error.strerror}; get the corpus again") from None
    found: dict[str, str] = {}
    for suffix in reversed(suffixes):
        found |= {file.removesuffix(suffix): os.path.join(folder, file) for file in files if file.endswith(suffix)}
    return found


def take_audio(audio: dict[str, str], name: str, where: str) -> str:
    """Return the file of a transcript, and take it out of `audio`.

    Args: where: the transcript, for the message.
    Raises: DataError if there is none, or another transcript took it.
    """
    if name not in audio:
        raise DataError(f"{where}: '{name}' has no audio file, or a second transcript; get the corpus again")
    return audio.pop(name)


def refuse_untaken(audio: Mapping[str, str], transcripts: Path) -> None:
    """Raise DataError if there is audio that no transcript took."""
    if audio:
        raise DataError(f"{min(audio.values())}: has no line in {transcripts}; get the corpus again")


def whole_file(stem: Path, converted: Path, *, text: str, speaker: str, language: str) -> Utterance:
    """Return the utterance that is one whole audio file, in whatever distribution: `stem` plus a suffix.

    A headerless file of 16-bit samples at 16 kHz, which no manifest can point to, is written again as WAV.

    Args: stem: the file's path without suffix; its name becomes the utterance's id.
        converted: the folder for the written ones.
    Raises: DataError if there is no such file or it cannot be read.
    """
    audio = next((path for suffix in AUDIO_SUFFIXES if (path := Path(f"{stem}{suffix}")).is_file()), None)
    if audio is None:
        raise DataError(f"{stem}: no such audio file with {', '.join(AUDIO_SUFFIXES)}; get the corpus again")
    if audio.suffix == ".raw":
        audio = _written_as_wav(audio, converted / f"{stem.name}.wav")
    duration = audio_info(audio).duration
    return Utterance(stem.name, audio, 0.0, duration, text=text, speaker=speaker, language=language)


def read_text(path: Path, max_bytes: int = 1_000_000) -> str:
    """Return the text of a small UTF-8 file.  Raises: DataError if it cannot be read, or is larger or no text."""
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise DataError(f"{path}: more than {max_bytes} bytes, too many for a text; get the corpus again")
        return data.decode()
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}; get the corpus again") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; get the corpus again") from None


def held_out(names: Sequence[str], count: int) -> set[str]:
    """Return `count` of the distinct names, chosen by the SHA-256 of each, so that everybody holds out the same."""
    return set(sorted(set(names), key=lambda name: sha256(name.encode()).hexdigest())[:count])


def sample(utterances: Sequence[Utterance], count: int) -> list[Utterance]:
    """Return `count` of the utterances in their order, chosen by the SHA-256 of their ids."""
    ids = held_out([utterance.id for utterance in utterances], count)
    return [utterance for utterance in utterances if utterance.id in ids]


def hold_out_speakers(utterances: Sequence[Utterance], count: int) -> dict[str, list[Utterance]]:
    """Return train, train_all and valid: `valid` has `count` speakers, train the others, train_all everybody."""
    speakers = held_out([str(utterance.speaker) for utterance in utterances], count)
    return {
        "train": [utterance for utterance in utterances if utterance.speaker not in speakers],
        "train_all": list(utterances),
        "valid": [utterance for utterance in utterances if utterance.speaker in speakers],
    }


def write_manifests(folder: Path, parts: Mapping[str, Sequence[Utterance]]) -> None:
    """Write `folder/PART.jsonl` for every part.  Raises: MachineError."""
    for part, utterances in parts.items():
        write_manifest(folder / f"{part}.jsonl", utterances)


def _written_as_wav(raw: Path, target: Path) -> Path:
    """Write a headerless file as WAV, in the byte order in which it is smooth, as sound is, and not noise."""
    rate = RawFormat().sample_rate
    readings = [read_audio(raw, raw=RawFormat(byte_order=order))[0] for order in ("little", "big")]
    write_audio(target, min(readings, key=lambda waveform: float(np.abs(np.diff(waveform)).sum())), rate)
    return target
