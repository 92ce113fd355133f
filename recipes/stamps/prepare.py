"""Tux Paint's stamps -> manifests: short descriptions that volunteers read, in eight languages: train, valid and test.

Debian's package tuxpaint-stamps-default holds, beside each picture NAME.png, its description in many languages
(NAME.txt) and recordings of it (NAME_desc_LANGUAGE.ogg).  The corpus has no split of its own; the SHA-256 of a
sentence decides, so that no sentence stands in two parts.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from asr.cli.preparing import languages_command
from asr.data.corpus import CorpusSignature
from asr.data.debian import DebianCorpus, Selection
from asr.data.published import read_text
from asr.data.recordings import LeftOut
from asr.data.sifting import Recording, sift
from asr.errors import DataError

STAMPS = DebianCorpus(
    name="Tux Paint stamps",
    packages=["tuxpaint-stamps-default"],
    version="2022.06.04-1",
    tree="usr/share/tuxpaint/stamps",
    signatures={
        "be": CorpusSignature(
            num_files=550,
            samples_sha256="f93ed91ea4b726719eb27c81716a0caa69609a1f39bcd40089903b11662670d7",
            transcripts_sha256="e79df00a8e57183fe73feaf41764261ba636e345effb05341dac845a93ea7549",
        ),
        "bg": CorpusSignature(
            num_files=632,
            samples_sha256="a8be4f9e971ffa4c13e72932763a7683f92b2d7d4f15e327548648c95e6c64e0",
            transcripts_sha256="2d4229a8a90ed4db7cacd231d4263f99db55102265780c97d45824c5dba58983",
        ),
        "ca": CorpusSignature(
            num_files=625,
            samples_sha256="3cb9cd944f2ffba9118bd53a526e8ed5af60eeceb7b18f665c3c11671e8087df",
            transcripts_sha256="65c969a229c0ff2f0298a38cba0e8f70740b185864fd49108595830fbf7f5bab",
        ),
        "el": CorpusSignature(
            num_files=425,
            samples_sha256="c53a6979cbbc34a44d70dd8c3a48c8f8581cc92c9d71356db387061fd90b35e1",
            transcripts_sha256="aaeabb16175b2b5106492350f08604c096bc61879e1cee444b62bd54edff6266",
        ),
        "es": CorpusSignature(
            num_files=706,
            samples_sha256="0ff8214f8dee2f98f0f204eed78a92031bf04c73ef82672b61e92195f528598e",
            transcripts_sha256="49d17bfe0c6b4a5379a059c3b3158c56099c18822d8a8c5cec0384764368ce31",
        ),
        "fr": CorpusSignature(
            num_files=718,
            samples_sha256="049b95c681dd43b14f2a8aaefa6d8b6087bfe02b77b5d914ed43a3512c6cf57a",
            transcripts_sha256="5f9fa9ac6266354eaadf04e9355ab02b08d177b89e6d0238f6125cb6b9f26f23",
        ),
        "ro": CorpusSignature(
            num_files=733,
            samples_sha256="0fd53db4d084c1ea1fdca2cd067c23dad255178a0bdaeb72d2cab5bf8d7fb78c",
            transcripts_sha256="1e962a5b557a5ef6ccfecb028b27bd94c5d9662f01f9dea111399858f4b2fb6a",
        ),
        "ru": CorpusSignature(
            num_files=651,
            samples_sha256="c13b2bcfae275a8489a0d946705cb4be85761de98cf09dd372a6842d71ff8cf8",
            transcripts_sha256="659fc888c3583a8f8e9391b305f78c9ee525a937654a25e81a73cecba754137e",
        ),
    },
)
_LATIN = "abcdefghijklmnopqrstuvwxyz"
LETTERS = {
    "be": "абвгдеёжзійклмнопрстуўфхцчшыьэюя'",
    "bg": "абвгдежзийклмнопрстуфхцчшщъьюяѝ",
    "ca": _LATIN + "àçéèíïóòúü·'",
    "el": "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",
    "es": _LATIN + "áéíñóúü",
    "fr": _LATIN + "àâæçéèêëîïôœùûüÿ'",
    "ro": _LATIN + "ăâîșşțţ",  # with a comma below, and as older texts have it with a cedilla
    "ru": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
}
MAX_RATE = 20.0  # letters a second; above, most volunteers have read a shorter text than today's

_LINE = re.compile(r"(?P<language>[\w@]+)\.utf8=(?P<text>.*)")


def prepare(corpus: Path, out: Path, selection: Selection) -> str:
    """Write the manifests of one language to the folder `out`, and return what was used and left out, in a line.

    Raises: DataError if the corpus is incomplete, damaged or another; MachineError if `out` cannot be written.
    """
    language, ending = selection.language, f"_desc_{selection.language}.ogg"
    roots = STAMPS.roots(corpus, out / "unpacked", lambda path: _wanted(path, ending))
    recordings, silent = _recordings(roots, language, ending)
    utterances, left_out = sift(recordings, LETTERS[language], language, max_rate=MAX_RATE)
    return STAMPS.write_parts((utterances, left_out + silent), out, selection)


def read_descriptions(path: Path) -> dict[str, str]:
    """Return the descriptions in a stamp's text file, by language: a first line in English, then LANGUAGE.utf8=TEXT.

    Raises: DataError, with the line, for anything else in it.
    """
    descriptions: dict[str, str] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.strip()
        match = _LINE.fullmatch(line)
        if match is not None and match["language"] not in descriptions:
            descriptions[match["language"]] = match["text"]
        elif number > 1 and line:
            raise DataError(f"{path}:{number}: '{line[:40]}' is no LANGUAGE.utf8=TEXT, or comes twice; get it again")
    return descriptions


def _recordings(roots: list[Path], language: str, ending: str) -> tuple[list[Recording], list[LeftOut]]:
    """Return (all recordings, with their texts where there are any; the texts that nobody recorded)."""
    recordings, silent = [], []
    for name, stem in sorted(_stems(roots, ending)):
        sound, texts = Path(f"{stem}{ending}"), Path(f"{stem}.txt")
        text = read_descriptions(texts).get(language) if texts.is_file() else None
        if sound.is_file():
            recordings.append(Recording(name, sound, text))
        elif text:
            silent.append(LeftOut(name, "no-recording", f"nobody says: {text[:60]}"))
    if not recordings:
        raise DataError(f"{roots[0]}: no recordings (*{ending}); get the package {STAMPS.packages[0]} again")
    return recordings, silent


def _stems(roots: list[Path], ending: str) -> Iterator[tuple[str, str]]:
    """Yield (id, path without ending) of every stamp that has a recording or a text."""
    stems = {
        str(file)[: -len(end)]: root for root in roots for end in (ending, ".txt") for file in root.rglob(f"*{end}")
    }
    for stem, root in stems.items():
        yield "-".join(Path(stem).relative_to(root).parts), stem


def _wanted(path: str, ending: str) -> bool:
    """Return whether a file of the package is a text, or a recording in this language."""
    return path.startswith(f"{STAMPS.tree}/") and path.endswith((".txt", ending))


if __name__ == "__main__":
    sys.exit(languages_command("stamps", STAMPS, LETTERS, prepare))
