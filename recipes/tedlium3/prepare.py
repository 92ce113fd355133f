"""TED-LIUM 3 (OpenSLR 51), the legacy distribution -> manifests: train, valid (its dev) and test.

A talk is one audio file and a list of segments (STM): "TALK 1 SPEAKER START END <LABEL> words".  Of the words:

- "ignore_time_segment_in_scoring" is no text, and the segment is left out;
- words split at an apostrophe ("it 's", "don 't") are joined again, as Kaldi's recipe does;
- marks such as <sil>, {NOISE} and the variant in "for(2)" go;
- <unk> stands for a word that nobody wrote down: such segments are left out of train, and in valid and test the
  mark alone goes, so that a recogniser that finds the word has one insertion.

Speakers are the names of the talks without year: AlGore of AlGore_2009.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from asr.cli.preparing import prepare_command
from asr.data.corpus import CorpusSignature
from asr.data.lines import numbered_lines
from asr.data.manifest import Utterance
from asr.data.published import PublishedCorpus, audio_files
from asr.data.recordings import LeftOut, Progress, durations, write_parts
from asr.errors import DataError
from asr.units import Seconds

_UNPACKED = ("data/sph", "data/stm", "legacy/dev", "legacy/test")  # the rest are links to these, and texts


def _is_wanted(path: str) -> bool:
    return path.partition("/")[2].startswith(_UNPACKED)


TEDLIUM3 = PublishedCorpus(
    name="TED-LIUM 3",
    urls=[
        "https://www.openslr.org/resources/51/TEDLIUM_release-3.tgz",
        "https://projets-lium.univ-lemans.fr/wp-content/uploads/corpus/TED-LIUM/TEDLIUM_release-3.tgz",
    ],
    top="TEDLIUM_release-3",
    landmark="legacy/test/stm/*.stm",
    # talks, as its README says; neither samples nor transcripts have been hashed here
    signatures={"train": CorpusSignature(2351), "valid": CorpusSignature(8), "test": CorpusSignature(11)},
    archive_sha256="ad1e454d14d1ad550bc2564c462d87c7a7ec83d4dc2b9210f22ab4973b9eccdb",  # as published with torchaudio
    wanted=_is_wanted,
)
_IGNORED, _UNKNOWN = "ignore_time_segment_in_scoring", "<unk>"
_NUMBER = r"\d+(?:\.\d+)?"
_SEGMENT = re.compile(rf"\S+\s+\S+\s+\S+\s+(?P<start>{_NUMBER})\s+(?P<end>{_NUMBER})\s+<[^<>]*>(?P<text>.*)")
_MARK = re.compile(r"<.*>|\{.*\}|\[.*\]|\(.*\)")
_VARIANT = re.compile(r"\(\d+\)$")
_YEAR = re.compile(r"_\d{4}.*$")


def prepare(corpus: Path, out: Path, *, accept: bool = True, progress: Progress | None = None) -> None:
    """Write the manifests of the TED-LIUM 3 in `corpus` to the folder `out`.

    Args: accept: refuse a corpus with another number of talks than was published.
    Raises: DataError if the corpus is incomplete or another; MachineError if `out` cannot be written.
    """
    root = TEDLIUM3.root(corpus)
    train = root / "legacy" / "train"
    folders = {
        "train": train if (train / "stm").is_dir() else root / "data",
        "valid": root / "legacy" / "dev",
        "test": root / "legacy" / "test",
    }
    talks = {part: _talks(folder) for part, folder in folders.items()}
    lengths = durations([audio for of_part in talks.values() for _, audio in of_part], progress)
    parts: dict[str, list[Utterance]] = {}
    left_out: dict[str, list[LeftOut]] = {}
    for part, of_part in talks.items():
        segments: list[Utterance | LeftOut] = []
        for (stm, audio), length in zip(of_part, lengths, strict=False):  # what is left is of the next parts
            if isinstance(length, DataError):
                raise length
            segments += _segments(stm, Path(audio), length, keep_unknown=part != "train")
        parts[part] = [segment for segment in segments if isinstance(segment, Utterance)]
        left_out[part] = [segment for segment in segments if isinstance(segment, LeftOut)]
    if accept:
        for part, utterances in parts.items():
            TEDLIUM3.accept(part, utterances)
    write_parts(out, parts, left_out)


def _talks(folder: Path) -> list[tuple[Path, str]]:
    """Return (segments, audio) of each talk.  Raises: DataError where one of the two is missing."""
    audio = audio_files(folder / "sph")
    segments = {file.stem: file for file in sorted((folder / "stm").glob("*.stm"))}
    for name in sorted(audio.keys() ^ segments.keys()):
        has, lacks = ("sph", "stm") if name in audio else ("stm", "sph")
        raise DataError(f"{folder}: talk '{name}' is in {has} but not in {lacks}; get the corpus again")
    return [(file, audio[name]) for name, file in segments.items()]


def _segments(stm: Path, audio: Path, length: Seconds, *, keep_unknown: bool) -> Iterator[Utterance | LeftOut]:
    """Yield the segments of a talk.  Raises: DataError for a line that is no segment."""
    for number, line in numbered_lines(stm):
        if not line.strip() or line.startswith(";;"):
            continue
        match = _SEGMENT.fullmatch(line.strip())
        if match is None:
            expected = "TALK 1 SPEAKER START END <LABEL> TEXT"
            raise DataError(f"{stm}:{number}: '{line[:60]}' is not '{expected}'; get the corpus again")
        yield _segment(match, audio, length, keep_unknown=keep_unknown)


def _segment(match: re.Match[str], audio: Path, length: Seconds, *, keep_unknown: bool) -> Utterance | LeftOut:
    """Return a segment, its end inside the recording, or why it is left out."""
    start, end = float(match["start"]), float(match["end"])
    name = f"{audio.stem}-{round(1000 * start):07d}-{round(1000 * end):07d}"
    if match["text"].strip() == _IGNORED:
        return LeftOut(name, "not-scored", _IGNORED)
    if start >= min(end, length):
        return LeftOut(name, "no-audio", f"[{start:.2f}, {end:.2f}) s; the recording lasts {length:.2f} s")
    if _UNKNOWN in match["text"].split() and not keep_unknown:
        return LeftOut(name, "unknown-word", match["text"].strip())
    if not (text := spoken(match["text"])):
        return LeftOut(name, "no-text", match["text"].strip())
    speaker = _YEAR.sub("", audio.stem)
    return Utterance(name, audio, start, min(end, length) - start, text=text, speaker=speaker, language="en")


def spoken(text: str) -> str:
    """Return the words of a segment as they are spoken, from those of an STM file."""
    words: list[str] = []
    for word in text.split():
        if _MARK.fullmatch(word):
            continue
        word = _VARIANT.sub("", word)
        if word.startswith("'") and words:
            words[-1] += word
        else:
            words.append(word)
    return " ".join(words)


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command(
        "tedlium3",
        TEDLIUM3,
        lambda args: prepare(args.corpus, args.out, accept=args.accept == "published", progress=args.progress),
    )


if __name__ == "__main__":
    sys.exit(main())
