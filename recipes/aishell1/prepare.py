"""AISHELL-1 (OpenSLR 33) -> manifests: train, dev, test, and valid.

The transcripts come in words; Mandarin is written without spaces between them, and so are the manifests.  Of the
141,925 files 325 have no transcript; they are left out.  Where the audio lies in one archive a speaker, as the
corpus is published, it is unpacked to OUT/unpacked.  valid, which training looks at after each epoch, is 2,000
utterances of dev: the first by the SHA-256 of their ids.
"""

import logging
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from asr.cli.preparing import prepare_command
from asr.data.corpus import CorpusSignature
from asr.data.download import extract_tar
from asr.data.lines import numbered_lines
from asr.data.published import PublishedCorpus, audio_files, sample
from asr.data.recordings import LeftOut, Progress, Recording, measured, write_parts
from asr.errors import DataError

AISHELL1 = PublishedCorpus(
    name="AISHELL-1",
    urls=[
        "https://www.openslr.org/resources/33/data_aishell.tgz",
        "https://openslr.elda.org/resources/33/data_aishell.tgz",
    ],
    top="data_aishell",
    landmark="transcript/aishell_transcript_v0.8.txt",
    # utterances with a transcript; neither samples nor transcripts have been hashed here
    signatures={"train": CorpusSignature(120098), "dev": CorpusSignature(14326), "test": CorpusSignature(7176)},
    archive_md5="2f494334227864a8a8fec932999db9d8",  # of OpenSLR
)
PARTS = ("train", "dev", "test")
NUM_VALID = 2000  # utterances
_LINE = re.compile(r"(?P<id>BAC\d+S\d+W\d+)\s+(?P<text>\S.*)")
_NUM_SHOWN = 3

_LOGGER = logging.getLogger("asr")


def prepare(corpus: Path, out: Path, *, accept: bool = True, progress: Progress | None = None) -> None:
    """Write the manifests of the AISHELL-1 in `corpus` to the folder `out`.

    Args: accept: refuse a corpus with another number of transcribed files than was published.
    Raises: DataError if the corpus is incomplete or another; MachineError if `out` cannot be written.
    """
    root = AISHELL1.root(corpus)
    texts = _texts(root / AISHELL1.landmark)
    folders = [root / "wav", *_unpacked(root / "wav", out / "unpacked")]
    recordings = {part: list(_recordings(part, folders, texts)) for part in PARTS}
    if texts:  # with fewer files than published, which `accept` refuses below
        _LOGGER.info(f"{len(texts):,} transcripts have no audio ({', '.join(sorted(texts)[:_NUM_SHOWN])}, …)")
    parts, left_out = measured(recordings, "zh-CN", progress=progress)
    if accept:
        for part, utterances in parts.items():
            AISHELL1.accept(part, utterances)
    write_parts(out, parts | {"valid": sample(parts["dev"], NUM_VALID)}, left_out)


def _texts(transcripts: Path) -> dict[str, str]:
    """Return id -> text without spaces, full-width Latin letters as everybody types them."""
    texts: dict[str, str] = {}
    for number, line in numbered_lines(transcripts):
        match = _LINE.fullmatch(line.strip())
        if match is None or match["id"] in texts:
            expected = "BAC…S…W… TEXT', or stands there twice"
            raise DataError(f"{transcripts}:{number}: '{line[:60]}' is not '{expected}; get the corpus again")
        texts[match["id"]] = unicodedata.normalize("NFKC", "".join(match["text"].split()))
    return texts


def _unpacked(wav: Path, target: Path) -> Iterator[Path]:
    """Yield the folders of the speakers that are still in archives, unpacked unless they are there."""
    for archive in sorted(wav.glob("S*.tar.gz")):
        speaker = archive.name.removesuffix(".tar.gz")
        if any((wav / part / speaker).is_dir() for part in PARTS):
            continue
        folder = target / speaker
        yield folder if folder.is_dir() else extract_tar(archive, folder)


def _recordings(part: str, folders: list[Path], texts: dict[str, str]) -> Iterator[Recording | LeftOut]:
    """Yield the recordings of a part by speaker and name; their texts are taken out of `texts`."""
    speakers = [child for folder in folders for child in (folder / part).glob("S*") if child.is_dir()]
    for speaker in sorted(speakers, key=lambda folder: folder.name):
        for name, file in sorted(audio_files(speaker).items()):
            text = texts.pop(name, None)
            yield LeftOut(name, "no-transcript", file) if text is None else Recording(name, file, text, speaker.name)


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command(
        "aishell1",
        AISHELL1,
        lambda args: prepare(args.corpus, args.out, accept=args.accept == "published", progress=args.progress),
    )


if __name__ == "__main__":
    sys.exit(main())
