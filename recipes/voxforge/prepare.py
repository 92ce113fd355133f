"""VoxForge -> manifests: train, valid and test.

A contribution is a folder: etc/PROMPTS (or etc/prompts-original) with a line "PATH/NAME TEXT" for each file in wav/ or
flac/, and etc/README with the speaker's name.  The anonymous ones are taken for as many speakers as contributions.

The corpus grows and has no split of its own: the SHA-256 of a speaker's name decides, 5 % are tested on, 5 % validated
on, and a new contribution moves nobody.  The prompts are shared: many speakers of train read the sentences of test.
Texts are taken without punctuation.  What lacks its audio or its text is left out and named.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from asr.cli.preparing import prepare_command
from asr.data.lines import numbered_lines
from asr.data.published import audio_files
from asr.data.recordings import LeftOut, Progress, Recording, measured, write_parts
from asr.errors import DataError
from asr.text.spoken import without_punctuation

PAGE = "http://www.repository.voxforge1.org/downloads"
SHARE = 5  # percent of the speakers that are tested on, and as many validated on
_PROMPTS = ("etc/PROMPTS", "etc/prompts-original")
_AUDIO = ("wav", "flac")
_USER = re.compile(r"\s*User Name\s*:\s*(?P<name>.*)", re.IGNORECASE)
_DATED = re.compile(r"-\d{8}.*$")  # of a folder's name: SPEAKER-YYYYMMDD-xyz


@dataclass(frozen=True)
class _Contribution:
    """A folder of recordings by one speaker."""

    folder: Path
    speaker: str


def prepare(corpus: Path, out: Path, *, language: str = "en", progress: Progress | None = None) -> None:
    """Write the manifests of the VoxForge in `corpus` to the folder `out`.

    Args: language: BCP 47 tag.
    Raises: DataError if there are no contributions; MachineError if `out` cannot be written.
    """
    found: dict[str, list[Recording | LeftOut]] = {"train": [], "valid": [], "test": []}
    for contribution in _contributions(corpus):
        found[part_of(contribution.speaker)] += _recordings(contribution)
    parts, left_out = measured(found, language, strict=False, progress=progress)
    write_parts(out, parts, left_out)


def part_of(speaker: str) -> str:
    """Return the part that a speaker belongs to, whoever else there is."""
    percent = int(sha256(speaker.encode()).hexdigest()[:8], 16) % 100
    return "test" if percent < SHARE else "valid" if percent < 2 * SHARE else "train"


def _contributions(corpus: Path) -> Iterator[_Contribution]:
    """Yield the contributions by name.  Raises: DataError if there are none."""
    folders = sorted(child.parent for child in corpus.glob("*/etc") if child.is_dir())
    if not any((folder / name).is_file() for folder in folders for name in _PROMPTS):
        packed = next(corpus.glob("*.tgz"), None)
        cure = 'unpack them: for f in *.tgz; do tar -xzf "$f"; done' if packed else f"get it by hand here: {PAGE}"
        raise DataError(f"{corpus}: no folders with etc/PROMPTS{' but archives' if packed else ''}; {cure}")
    for folder in folders:
        yield _Contribution(folder, _speaker(folder))


def _speaker(folder: Path) -> str:
    """Return who speaks in a contribution.  Raises: DataError if its README cannot be read."""
    name, readme = _DATED.sub("", folder.name), folder / "etc" / "README"
    try:
        lines = readme.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        lines = []
    except OSError as error:
        raise DataError(f"{readme}: cannot read: {error.strerror}; unpack the contribution again") from None
    for line in lines:
        if match := _USER.match(line):
            name = match["name"].strip()
            break
    return folder.name if name.casefold() in ("", "anonymous") else name


def _recordings(contribution: _Contribution) -> Iterator[Recording | LeftOut]:
    """Yield the recordings of a contribution, and what there is without audio or text."""
    folder = next((contribution.folder / name for name in _AUDIO if (contribution.folder / name).is_dir()), None)
    try:
        texts = _texts(contribution.folder)
    except DataError as error:
        yield LeftOut(contribution.folder.name, "bad-prompts", str(error))
        return
    if folder is None or texts is None:
        lacks = "etc/PROMPTS" if texts is None else " or ".join(_AUDIO)
        yield LeftOut(contribution.folder.name, "incomplete", f"has no {lacks}")
        return
    audio = audio_files(folder)
    for name in sorted(audio.keys() | texts.keys()):
        identity = "_".join(f"{contribution.folder.name}-{name}".split())
        if name not in audio:
            yield LeftOut(identity, "missing-audio", f"no such file in {folder}")
        elif not texts.get(name):
            yield LeftOut(identity, "no-text", f"{audio[name]} has no prompt")
        else:
            yield Recording(identity, audio[name], texts[name], contribution.speaker)


def _texts(folder: Path) -> dict[str, str] | None:
    """Return name -> text of the prompts, None if there are none.  Raises: DataError if they cannot be read."""
    prompts = next((folder / name for name in _PROMPTS if (folder / name).is_file()), None)
    if prompts is None:
        return None
    texts = {}
    for line in (line for _, line in numbered_lines(prompts) if line.strip()):
        path, *words = line.split()
        texts[PurePosixPath(path).stem] = without_punctuation(" ".join(words))
    return texts


def _add_language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", default="en", metavar="TAG", help="of the contributions, BCP 47 (default: en)")


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command(
        "voxforge",
        None,  # thousands of small archives
        lambda args: prepare(args.corpus, args.out, language=args.language, progress=args.progress),
        _add_language,
    )


if __name__ == "__main__":
    sys.exit(main())
