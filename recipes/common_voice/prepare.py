"""Common Voice, any language and release -> manifests: train, dev, test, and valid.

LANGUAGE/{train,dev,test}.tsv name the files of LANGUAGE/clips.  Their fields stand as they are: a quotation mark in a
sentence quotes nothing.  Texts are taken without punctuation; rows without a file, or without a word, are left out and
named.  --tsv validated.tsv (or another) trains on that in place of train.tsv; whatever it shares with dev or test, a
speaker or a sentence, is left out.  valid, which training looks at after each epoch, is 2,000 utterances of dev: the
first by the SHA-256 of their ids.
"""

import argparse
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from asr.cli.preparing import prepare_command
from asr.data.lines import numbered_lines
from asr.data.published import audio_files, sample
from asr.data.recordings import LeftOut, Progress, Recording, measured, write_parts
from asr.errors import DataError, UsageError
from asr.text.spoken import without_punctuation

PAGE = "https://commonvoice.mozilla.org/datasets"
NUM_VALID = 2000  # utterances
_COLUMNS = ("client_id", "path", "sentence")
_SUFFIXES = (".wav", ".flac", ".mp3")  # published as MP3; somebody's conversion is read faster


@dataclass(frozen=True)
class _Row:
    """A row of a TSV: a clip's name without suffix, who speaks, what was to be read."""

    clip: str
    speaker: str
    sentence: str


def prepare(
    corpus: Path, out: Path, *, language: str, tsv: str = "train.tsv", progress: Progress | None = None
) -> None:
    """Write the manifests of the language in `corpus` to the folder `out`.

    Args: language: its code in Common Voice, such as "cs".
        tsv: what to train on, a file beside dev.tsv and test.tsv.
    Raises: DataError if the corpus is incomplete; MachineError if `out` cannot be written.
    """
    if "/" in tsv:
        raise UsageError(f"--tsv {tsv}: name a file that lies beside dev.tsv and test.tsv, such as train.tsv")
    root = _root(corpus, language)
    clips = audio_files(root / "clips", _SUFFIXES)
    train, dev, test = (list(_rows(root / name, language)) for name in (tsv, "dev.tsv", "test.tsv"))
    speakers, sentences = ({row.speaker for row in [*dev, *test]}, {_key(row.sentence) for row in [*dev, *test]})
    found = {
        "train": [_recording(row, clips, speakers, sentences) for row in train],
        "dev": [_recording(row, clips) for row in dev],
        "test": [_recording(row, clips) for row in test],
    }
    parts, left_out = measured(found, language, strict=False, progress=progress)
    write_parts(out, parts | {"valid": sample(parts["dev"], NUM_VALID)}, left_out)


def _root(corpus: Path, language: str) -> Path:
    """Return the folder of a language: the corpus's, or below it, or in a release below it.  Raises: DataError."""
    places = [corpus, corpus / language, *sorted(corpus.glob(f"cv-corpus-*/{language}"))]
    roots = [root for root in places if (root / "test.tsv").is_file()]
    if len(roots) > 1:
        raise DataError(f"{corpus}: holds {roots[0]} and {roots[1]}; give the folder of one language and release")
    if not roots:
        raise DataError(
            f"{corpus}: no Common Voice in '{language}', as it has no test.tsv; get it by hand here: {PAGE}"
        )
    return roots[0]


def _rows(path: Path, language: str) -> Iterator[_Row]:
    """Yield the rows of a TSV.  Raises: DataError for one with too many or too few fields, or of another language."""
    columns: list[str] = []
    speakers: dict[str, str] = {}  # one copy of a name that comes a thousand times
    for number, line in numbered_lines(path):
        fields = line.split("\t")
        if number == 1:
            columns = fields
            if missing := [name for name in _COLUMNS if name not in columns]:
                raise DataError(f"{path}:1: no column '{missing[0]}' among {', '.join(columns)[:80]}; get it again")
            continue
        if len(fields) != len(columns):
            raise DataError(f"{path}:{number}: {len(fields)} fields, the first line has {len(columns)}; get it again")
        row = dict(zip(columns, fields, strict=True))
        if row.get("locale", language) != language:
            raise DataError(f"{path}:{number}: locale '{row['locale']}', not '{language}'; correct --language")
        speaker = speakers.setdefault(row["client_id"], row["client_id"])
        yield _Row(row["path"].removesuffix(".mp3"), speaker, row["sentence"])


def _recording(
    row: _Row, clips: dict[str, str], held_speakers: Set[str] = frozenset(), held_sentences: Set[str] = frozenset()
) -> Recording | LeftOut:
    text = without_punctuation(row.sentence)
    if row.clip not in clips:
        return LeftOut(row.clip, "missing-audio", "no such file in clips")
    if not text:
        return LeftOut(row.clip, "no-text", row.sentence)
    if row.speaker in held_speakers:
        return LeftOut(row.clip, "speaker-held-out", "dev or test has this speaker")
    if _key(row.sentence) in held_sentences:
        return LeftOut(row.clip, "sentence-held-out", text)
    return Recording(row.clip, clips[row.clip], text, row.speaker)


def _key(sentence: str) -> str:
    return without_punctuation(sentence).casefold()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", required=True, metavar="CODE", help="of the language in Common Voice, such as cs")
    parser.add_argument("--tsv", default="train.tsv", metavar="FILE", help="what to train on (default: train.tsv)")


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command(
        "common_voice",
        None,  # each download has a link of its own, which ends
        lambda args: prepare(args.corpus, args.out, language=args.language, tsv=args.tsv, progress=args.progress),
        _add_arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
