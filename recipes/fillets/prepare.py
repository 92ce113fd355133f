"""Fish Fillets NG -> manifests: the dialogs of a game's fish, in Czech or Dutch: train, valid and test.

Debian's packages fillets-ng-data-cs and -nl hold the recordings, fillets-ng-data the texts: small Lua scripts, which
are read here and never run.  The corpus has no split of its own; the SHA-256 of a sentence decides, so that no
sentence stands in two parts.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

from asr.cli.preparing import minutes, prepare_command
from asr.data.corpus import CorpusSignature
from asr.data.debian import DebianCorpus
from asr.data.published import write_manifests
from asr.data.sifting import LeftOut, Recording, sift, summary, write_left_out
from asr.data.splits import split_by_text
from asr.errors import DataError

FILLETS = DebianCorpus(
    name="Fish Fillets NG",
    packages=["fillets-ng-data", "fillets-ng-data-cs", "fillets-ng-data-nl"],
    version="1.0.1-1.1",
    tree="usr/share/games/fillets-ng",
    signatures={
        "cs": CorpusSignature(
            num_files=1784,
            samples_sha256="7dabb768586ba6bd70ced6d288b4382c5192b8dfeb6a0c03673eb6f3de511127",
            transcripts_sha256="b1d78fd5077c0044d2e295d9faebbe36df54d6817c5f2dac9fe3ee5bb917796a",
        ),
        "nl": CorpusSignature(
            num_files=1602,
            samples_sha256="11d0e4a738e386519806b36c755db26cfcbd145e521502c9b05fc32d2aa9fa9a",
            transcripts_sha256="8ee42f74d635763db745caa8560149f0dd14e26806d7fee83046ad659eef25c2",
        ),
    },
)
LETTERS = {"cs": "aábcčdďeéěfghiíjklmnňoóprřsštťuúůvwxyýzž", "nl": "abcdefghijklmnopqrstuvwxyzèéêëïóöü'"}
MAX_SCRIPT_BYTES = 1_000_000

# Where the recordings of the dialogs in script/share lie; those of script/LEVEL lie in sound/LEVEL.
_SHARED = {"black_": "blackjokes", "bore_": "borejokes", "border_": "border", "shout_": "border", "intro_": "intro"}
_FONTS = {"font_small": "small", "font_big": "big"}  # the two fish, who are the same in all levels
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_GAP = r"(?:\s|--(?!\[)[^\n]*+)*+"  # white space and comments; *+ gives nothing back, so no text takes long
_STRING = r'"(?:[^"\\\n]|\\[^\n])*+"'
_CALL = re.compile(
    rf"{_GAP}(?P<function>[A-Za-z]+){_GAP}\({_GAP}(?P<strings>{_STRING}(?:{_GAP},{_GAP}{_STRING})*){_GAP}\){_GAP}"
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t"}  # any other character that is no letter or digit stands for itself


def prepare(corpus: Path, out: Path, *, language: str = "cs", train_minutes: float = inf, accept: bool = True) -> str:
    """Write the manifests of one language to the folder `out`, and return what was used and left out, in a line.

    Args:
        train_minutes: how much to train on at most.
        accept: refuse recordings and texts that are not those of the version known.
    Raises: DataError if the corpus is incomplete, damaged or another; MachineError if `out` cannot be written.
    """
    roots = FILLETS.roots(corpus, out / "unpacked", lambda path: _wanted(path, language))
    recordings, silent = _recordings(roots, language)
    utterances, left_out = sift(recordings, LETTERS[language], language)
    if accept:
        FILLETS.accept(language, utterances)
    parts = split_by_text(utterances, train_seconds=60 * train_minutes)
    write_manifests(out, {"train": parts.train, "valid": parts.valid, "test": parts.test})
    write_left_out(out / "left_out.tsv", [*left_out, *silent])
    return summary(len(utterances), [*left_out, *silent], out / "left_out.tsv")


@dataclass(frozen=True)
class Dialog:
    """What a role says: its name in the level, the font of its subtitles, which tells the role, and the text."""

    name: str
    font: str
    text: str


def read_dialogs(script: Path) -> list[Dialog]:
    """Return the dialogs of a script: calls dialogId(NAME, FONT, ENGLISH), each followed by dialogStr(TEXT).

    Raises: DataError, with the line, for anything else in it.
    """
    dialogs: dict[str, Dialog] = {}
    name, font = None, ""
    for line, function, arguments in _calls(script):
        match function, arguments:
            case "dialogId", [name, font, _]:
                if not _NAME.fullmatch(name) or name in dialogs:
                    raise DataError(
                        f"{script}:{line}: dialog '{name}' is no name, or comes twice; get the script again"
                    )
            case "dialogStr", [text] if name is not None:
                dialogs[name] = Dialog(name, font, text)
                name = None
            case _:
                raise DataError(
                    f"{script}:{line}: {function} with {len(arguments)} arguments, where dialogId(NAME, FONT, TEXT) "
                    "and then dialogStr(TEXT) belong; get the script again"
                )
    return list(dialogs.values())


def _calls(script: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield (line, function, arguments) of a script that consists of nothing but calls with texts."""
    text, place = _read(script), 0
    while text[place:].strip():
        call = _CALL.match(text, place)
        line = text.count("\n", 0, place if call is None else call.start("function")) + 1
        if call is None:
            found = " ".join(text[place : place + 40].split())
            raise DataError(f"{script}:{line}: '{found}' is no dialogId(...) or dialogStr(...); get the script again")
        yield line, call["function"], [_unescaped(string) for string in re.findall(_STRING, call["strings"])]
        place = call.end()


def _read(script: Path) -> str:
    try:
        with open(script, "rb") as file:
            data = file.read(MAX_SCRIPT_BYTES + 1)
        if len(data) > MAX_SCRIPT_BYTES:
            raise DataError(f"{script}: more than {MAX_SCRIPT_BYTES} bytes; get the script again")
        return data.decode()
    except OSError as error:
        raise DataError(f"{script}: cannot read: {error.strerror or error}; check the path") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{script}: not UTF-8 at byte {error.start}; get the script again") from None


def _unescaped(string: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), string[1:-1])


def _recordings(roots: list[Path], language: str) -> tuple[list[Recording], list[LeftOut]]:
    """Return (all recordings, with their dialogs where there are any; the dialogs that nobody recorded)."""
    dialogs = {
        (level, dialog.name): dialog
        for root in roots
        for script in sorted(root.glob(f"script/*/*dialogs_{language}.lua"))
        for level in [_level(script)]
        for dialog in read_dialogs(script)
    }
    sounds = {(_level(sound), sound.stem): sound for root in roots for sound in root.glob(f"sound/**/{language}/*.ogg")}
    if not dialogs or not sounds:
        what = f"texts (script/*/dialogs_{language}.lua)" if not dialogs else f"recordings (sound/*/{language}/*.ogg)"
        packages = "fillets-ng-data" if not dialogs else f"fillets-ng-data-{language}"
        raise DataError(f"{roots[0]}: no {what}; add what the package {packages} holds")
    recordings = [
        Recording(
            f"{level}-{name}",
            sound,
            dialogs[level, name].text if (level, name) in dialogs else None,
            _speaker(dialogs[level, name].font, level, language) if (level, name) in dialogs else None,
        )
        for (level, name), sound in sorted(sounds.items())
    ]
    silent = [
        LeftOut(f"{level}-{name}", "no-recording", f"nobody says: {' '.join(dialog.text.split())[:60]}")
        for (level, name), dialog in sorted(dialogs.items())
        if (level, name) not in sounds
    ]
    return recordings, silent


def _level(file: Path) -> str:
    """Return the level that a script or a recording belongs to: the folder that the game looks for its sounds in."""
    if file.suffix == ".ogg":  # sound/LEVEL/LANGUAGE/NAME.ogg
        return file.parent.parent.name
    prefix = file.name.partition("dialogs_")[0]
    if file.parent.name != "share":
        return file.parent.name
    if prefix not in _SHARED:
        raise DataError(f"{file}: known are {', '.join(_SHARED)}; get the corpus in version {FILLETS.version}")
    return _SHARED[prefix]


def _speaker(font: str, level: str, language: str) -> str | None:
    """Return a name for who speaks: the two fish have one voice in all levels, other roles one in theirs."""
    if not font.startswith("font_") or font == "font_both":
        return None
    return f"{language}-{_FONTS.get(font, f'{level}-{font[5:]}')}"


def _wanted(path: str, language: str) -> bool:
    """Return whether a file of the packages is a recording or a text of this language."""
    inside = path.removeprefix(f"{FILLETS.tree}/")
    return inside != path and (
        (inside.startswith("sound/") and inside.endswith(".ogg") and f"/{language}/" in inside)
        or (inside.startswith("script/") and inside.endswith(f"dialogs_{language}.lua"))
    )


def main() -> int:
    """Run the command line; return the exit code."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--language", choices=tuple(LETTERS), default="cs", help="of the dialogs")
        parser.add_argument(
            "--train-minutes", type=minutes, default="all", metavar="N", help="how much to train on (default: all)"
        )

    return prepare_command(
        "fillets",
        FILLETS,
        lambda args: print(
            prepare(
                args.corpus,
                args.out,
                language=args.language,
                train_minutes=args.train_minutes,
                accept=args.accept == "published",
            )
        ),
        add_arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
