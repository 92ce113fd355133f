"""LJ Speech 1.1 -> manifests: train, valid and test.

One woman reads; metadata.csv has a line "NAME|text as printed|text with numbers and abbreviations spelled out" for
each file.  The last is taken, without punctuation.  The corpus has no split of its own: 500 sentences are the test
set and 300 the validation set, the first by the SHA-256 of their words in lower case, so that no sentence stands on
two sides.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from asr.cli.preparing import prepare_command
from asr.data.corpus import CorpusSignature
from asr.data.lines import numbered_lines
from asr.data.published import PublishedCorpus, audio_files, held_out, refuse_untaken, take_audio
from asr.data.recordings import Progress, Recording, measured, write_parts
from asr.errors import DataError
from asr.text.spoken import without_punctuation

LJSPEECH = PublishedCorpus(
    name="LJ Speech",
    urls=["https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"],
    top="LJSpeech-1.1",
    landmark="metadata.csv",
    signatures={"all": CorpusSignature(13100)},  # neither samples nor transcripts have been hashed here
    archive_sha256="be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",  # as published with torchaudio
)
NUM_TEST, NUM_VALID = 500, 300  # sentences
_NAME = re.compile(r"LJ\d{3}-\d{4}")


def prepare(corpus: Path, out: Path, *, accept: bool = True, progress: Progress | None = None) -> None:
    """Write the manifests of the LJ Speech in `corpus` to the folder `out`.

    Args: accept: refuse a corpus with another number of files than was published.
    Raises: DataError if the corpus is incomplete or another; MachineError if `out` cannot be written.
    """
    parts, _ = measured({"all": _recordings(LJSPEECH.root(corpus))}, "en", progress=progress)
    utterances = parts["all"]
    if accept:
        LJSPEECH.accept("all", utterances)
    sentences = [str(utterance.text).lower() for utterance in utterances]
    test = held_out(sentences, NUM_TEST)
    valid = held_out([sentence for sentence in sentences if sentence not in test], NUM_VALID)
    part_of = dict.fromkeys(sentences, "train") | dict.fromkeys(valid, "valid") | dict.fromkeys(test, "test")
    rows = list(zip(sentences, utterances, strict=True))
    names = ("train", "valid", "test")
    write_parts(out, {part: [row for sentence, row in rows if part_of[sentence] == part] for part in names})


def _recordings(root: Path) -> Iterator[Recording]:
    metadata, audio = root / "metadata.csv", audio_files(root / "wavs")
    for number, line in numbered_lines(metadata):
        name, *texts = line.split("|")
        text = without_punctuation(texts[-1]) if len(texts) == 2 else ""
        if not _NAME.fullmatch(name) or not text:
            raise DataError(f"{metadata}:{number}: '{line[:60]}' is not 'NAME|TEXT|TEXT'; get the corpus again")
        yield Recording(name, take_audio(audio, name, f"{metadata}:{number}"), text, "LJ")
    refuse_untaken(audio, metadata)


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command(
        "ljspeech",
        LJSPEECH,
        lambda args: prepare(args.corpus, args.out, accept=args.accept == "published", progress=args.progress),
    )


if __name__ == "__main__":
    sys.exit(main())
