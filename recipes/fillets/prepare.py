"""Fish Fillets NG -> manifests: the dialogs of a game's fish, in Czech or Dutch: train, valid and test.

Debian's packages fillets-ng-data-cs and -nl hold the recordings, fillets-ng-data the texts: small Lua scripts, which
are read here and never run.  The corpus has no split of its own; the SHA-256 of a sentence decides, so that no
sentence stands in two parts.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from asr.cli.preparing import languages_command
from asr.data.corpus import CorpusSignature
from asr.data.debian import DebianCorpus, Selection
from asr.data.published import read_text
from asr.data.recordings import LeftOut
from asr.data.sifting import Recording, sift
from asr.errors import DataError, shown

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

_CURE = "get the script again"
# Where the recordings of the dialogs in script/share lie; those of script/LEVEL lie in sound/LEVEL.
_SHARED = {"black_": "blackjokes", "bore_": "borejokes", "border_": "border", "shout_": "border", "intro_": "intro"}
_FONTS = {"font_small": "small", "font_big": "big"}  # the two fish, who are the same in all levels
_NAME = re.compile(r"[A-Za-z0-9_-]+")
# White space and comments.  Each text has one way to be read, so none takes long; Python 3.11's *+ on a group is not
# to be trusted: once in many runs it took the start of a comment that it had refused.
_GAP = r"(?:\s|--(?!\[)[^\n]*(?:\n|\Z))*"
_BLANK = re.compile(_GAP)
_STRING = r'"(?:[^"\\\n]|\\[^\n])*"'
_STRING_OR_COMMENT = re.compile(rf"(?P<string>{_STRING})|--[^\n]*")
_CALL = re.compile(rf"(?P<function>[A-Za-z]+){_GAP}\({_GAP}(?P<strings>{_STRING}(?:{_GAP},{_GAP}{_STRING})*){_GAP}\)")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t"}  # any other character that is no letter or digit stands for itself


def prepare(corpus: Path, out: Path, selection: Selection) -> str:
    """Write the manifests of one language to the folder `out`, and return what was used and left out, in a line.

    Raises: DataError if the corpus is incomplete, damaged or another; MachineError if `out` cannot be written.
    """
    roots = FILLETS.roots(corpus, out / "unpacked", lambda path: _wanted(path, selection.language))
    recordings, silent = _recordings(roots, selection.language)
    utterances, left_out = sift(recordings, LETTERS[selection.language], selection.language)
    return FILLETS.write_parts((utterances, left_out + silent), out, selection)


@dataclass(frozen=True)
class Dialog:
    """What a role says: its name in the level, the font of its subtitles, which tells the role, and the text."""

    name: str
    font: str
    text: str


def read_dialogs(script: Path) -> list[Dialog]:
    """Return the dialogs of a script: calls dialogId(NAME, FONT, ENGLISH), each with its dialogStr(TEXT) after it.

    A dialog that nobody has translated has no dialogStr, and the text "".
    Raises: DataError, with the line, for anything else in the script.
    """
    dialogs: dict[str, Dialog] = {}
    waiting: Dialog | None = None  # for its text
    for line, function, arguments in _calls(script):
        match function, arguments:
            case "dialogId", [name, font, _]:
                if not _NAME.fullmatch(name) or name in dialogs:
                    raise DataError(f"{script}:{line}: dialog {shown(name)} is no name, or comes twice; {_CURE}")
                waiting = dialogs[name] = Dialog(name, font, "")
            case "dialogStr", [text] if waiting is not None:
                dialogs[waiting.name] = replace(waiting, text=text)
                waiting = None
            case _:
                expected = "dialogId(NAME, FONT, ENGLISH) or its dialogStr(TEXT)"
                found = " ".join(f"{function}({', '.join(arguments)})"[:60].split())
                raise DataError(f"{script}:{line}: '{found}' where {expected} belongs; {_CURE}")
    return list(dialogs.values())


def _calls(script: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Yield (line, function, arguments) of a script that consists of nothing but calls with texts."""
    text = read_text(script)
    place = _after_gap(text, 0)
    while place < len(text):
        line, call = text.count("\n", 0, place) + 1, _CALL.match(text, place)
        if call is None:
            found = " ".join(text[place : place + 40].split())
            raise DataError(f"{script}:{line}: '{found}' is no dialogId(...) or dialogStr(...); {_CURE}")
        yield line, call["function"], _strings(call["strings"])
        place = _after_gap(text, call.end())


def _after_gap(text: str, place: int) -> int:
    gap = _BLANK.match(text, place)
    assert gap is not None, "a gap may be empty"
    return gap.end()


def _strings(arguments: str) -> list[str]:
    """Return the texts among arguments that hold nothing but texts, commas, white space and comments."""
    found = [match["string"] for match in _STRING_OR_COMMENT.finditer(arguments)]
    return [_ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), string[1:-1]) for string in found if string]


def _recordings(roots: list[Path], language: str) -> tuple[list[Recording], list[LeftOut]]:
    """Return (all recordings, with their dialogs where there are any; the dialogs that nobody recorded)."""
    dialogs = _dialogs(roots, language)
    sounds = {(_level(sound), sound.stem): sound for root in roots for sound in root.glob(f"sound/**/{language}/*.ogg")}
    if not sounds:
        lacking = f"no recordings (sound/*/{language}/*.ogg)"
        raise DataError(f"{roots[0]}: {lacking}; add what the package fillets-ng-data-{language} holds")
    recordings = []
    for (level, name), sound in sorted(sounds.items()):
        dialog = dialogs.get((level, name))
        text, speaker = (dialog.text, _speaker(dialog.font, level, language)) if dialog else (None, None)
        recordings.append(Recording(f"{level}-{name}", sound, text, speaker))
    silent = [
        LeftOut(f"{level}-{name}", "no-recording", f"nobody says: {' '.join(dialog.text.split())[:60]}")
        for (level, name), dialog in sorted(dialogs.items())
        if (level, name) not in sounds
    ]
    return recordings, silent


def _dialogs(roots: list[Path], language: str) -> dict[tuple[str, str], Dialog]:
    """Return all dialogs by their level and name."""
    dialogs: dict[tuple[str, str], Dialog] = {}
    for script in [script for root in roots for script in sorted(root.glob(f"script/*/*dialogs_{language}.lua"))]:
        level = _level(script)
        for dialog in read_dialogs(script):
            if (level, dialog.name) in dialogs:
                raise DataError(f"{script}: dialog '{dialog.name}' is in another script too; keep one")
            dialogs[level, dialog.name] = dialog
    if not dialogs:
        lacking = f"no texts (script/*/dialogs_{language}.lua)"
        raise DataError(f"{roots[0]}: {lacking}; add what the package fillets-ng-data holds")
    return dialogs


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


if __name__ == "__main__":
    sys.exit(languages_command("fillets", FILLETS, LETTERS, prepare))
