"""The layout of LibriSpeech and of the corpora cut from it: PART/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NNNN.flac.

Beside the audio of a chapter lies SPEAKER-CHAPTER.trans.txt with a line "SPEAKER-CHAPTER-NNNN TEXT" for each file,
the text in capitals.  SPEAKERS.TXT and the other lists above the parts are not read.
Source: Panayotov et al. 2015 (LibriSpeech).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from asr.data.corpus import CorpusSignature
from asr.data.lines import numbered_lines
from asr.data.published import PublishedCorpus, audio_files, refuse_untaken, take_audio
from asr.data.recordings import Recording
from asr.errors import DataError

_LINE = re.compile(r"(?P<id>(?P<chapter>\d+-\d+)-\d+) (?P<text>\S.*)")


def librispeech_part(name: str, url: str, num_files: int, *, sha256: str = "", md5: str = "") -> PublishedCorpus:
    """Return a part, which is an archive of its own.  Args: url: of the folder that holds the archive."""
    return PublishedCorpus(
        name="LibriSpeech",
        urls=[f"{url}/{name}.tar.gz"],
        top="LibriSpeech",
        landmark=f"{name}/*/*/*.trans.txt",
        signatures={name: CorpusSignature(num_files)},  # neither samples nor transcripts have been hashed here
        archive_sha256=sha256 or None,
        archive_md5=md5 or None,
    )


def librispeech_recordings(part: Path) -> Iterator[Recording]:
    """Yield the recordings of a part's folder by speaker, chapter and number.

    Raises: DataError for a transcript without audio, audio without a transcript, and a line that is no transcript.
    """
    for speaker in _folders(part):
        for chapter in _folders(speaker):
            yield from _chapter(chapter, f"{speaker.name}-{chapter.name}")


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(child for child in parent.iterdir() if child.is_dir())
    except OSError as error:
        raise DataError(f"{parent}: cannot read: {error.strerror}; get the corpus again") from None


def _chapter(folder: Path, name: str) -> Iterator[Recording]:
    transcripts, audio = folder / f"{name}.trans.txt", audio_files(folder)
    for number, line in numbered_lines(transcripts):
        match = _LINE.fullmatch(line)
        if match is None or match["chapter"] != name:
            raise DataError(f"{transcripts}:{number}: '{line[:60]}' is not '{name}-NNNN TEXT'; get the corpus again")
        file = take_audio(audio, match["id"], f"{transcripts}:{number}")
        yield Recording(match["id"], file, match["text"], folder.parent.name)
    refuse_untaken(audio, transcripts)
