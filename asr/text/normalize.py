"""Transcript normalisation: the one spelling that training, decoding and scoring agree on.

The configuration travels with the tokenizer, so a model spells as its training texts did.
"""

import re
import unicodedata
from typing import Literal, Self

import pydantic

from asr.config import Config
from asr.errors import UsageError

Case = Literal["lower", "upper", "keep"]

_MAX_ROUNDS = 64
_ZWNJ, _ZWJ = "\u200c", "\u200d"

# Neither heard nor seen: controls, soft hyphen, zero-width space, word joiner, byte-order mark, direction marks.
# White space among the controls is kept for the collapsing.
_INVISIBLE = {code for code in (*range(0x20), *range(0x7F, 0xA0)) if not chr(code).isspace()} | {
    *(0x00AD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, 0xFEFF),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFFF9, 0xFFFC),
}
# The joiners are spelling in Persian, the Indic scripts and emoji, and rubbish elsewhere: they stay only after a
# character beyond the Latin blocks, the non-joiner only before another character.
_STRAY_JOINERS = re.compile(rf"(?<![^\x00-\u02ff\s{_ZWNJ}{_ZWJ}])[{_ZWNJ}{_ZWJ}]|{_ZWNJ}(?=\s|\Z)")


class NormalizerConfig(Config):
    """How transcripts are spelled.  Unicode NFC, single spaces and no invisible characters: always."""

    case: Case = "keep"
    """All letters to this case."""
    map: dict[str, str] = pydantic.Field(default_factory=dict)
    """From text to text, longest key first; applied before the case, and to its result."""
    remove: str = ""
    """Characters that are dropped."""

    @pydantic.field_validator("map")
    @classmethod
    def _composed_map(cls, value: dict[str, str]) -> dict[str, str]:
        composed: dict[str, str] = {}
        for key, target in value.items():
            source = _nfc(key)
            if not source:
                raise ValueError("an empty key matches everywhere; remove it")
            if source in composed:
                raise ValueError(f"'{source}' is given twice in two Unicode forms; keep one of them")
            composed[source] = _nfc(target)
        return composed

    @pydantic.field_validator("remove")
    @classmethod
    def _composed_remove(cls, value: str) -> str:
        return _nfc(value)

    @pydantic.model_validator(mode="after")
    def _settles(self) -> Self:
        for key, target in self.map.items():
            spelled = _cased(target, self.case)
            again = next((other for other in self.map if other in spelled), None)
            if again is not None:
                raise ValueError(
                    f"map: '{key}' becomes '{spelled}', in which '{again}' is mapped again; map '{key}' to the end"
                )
        return self


class Normalizer:
    """Callable: a transcript as written -> as it is spelled for recognition.  Idempotent."""

    def __init__(self, config: NormalizerConfig | None = None) -> None:
        self.config = config if config is not None else NormalizerConfig()
        self._dropped = dict.fromkeys(_INVISIBLE | {ord(character) for character in self.config.remove})
        keys = sorted(self.config.map, key=len, reverse=True)
        self._mapped = re.compile("|".join(map(re.escape, keys))) if keys else None
        # nothing is left for a second round, and that is most of a large corpus
        self._settles_ascii = not (keys or self.config.remove)

    def __call__(self, text: str) -> str:
        """Return `text` normalised; normalising the result again changes nothing.

        The steps are repeated until nothing changes: lower-casing can make what `map` looks for, and
        removing a character can bring together what NFC composes.
        Raises: UsageError if `map` never comes to an end on this text.
        """
        most = 16 * len(text) + 4096
        spelled = text
        for _ in range(_MAX_ROUNDS):
            before, spelled = spelled, self._round(spelled)
            if spelled == before or (self._settles_ascii and spelled.isascii()):
                return spelled
            if len(spelled) > most:
                break
        raise UsageError(f"text.map: never comes to an end on '{text[:40]}'; remove the keys that undo each other")

    def _round(self, text: str) -> str:
        text = _nfc(text)
        if self._mapped is not None:
            text = self._mapped.sub(lambda match: self.config.map[match[0]], text)
        text = text.translate(self._dropped)
        if _ZWNJ in text or _ZWJ in text:
            text = _STRAY_JOINERS.sub("", text)
        text = _cased(text, self.config.case)
        return " ".join(text.split())


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _cased(text: str, case: Case) -> str:
    if case == "lower":
        return text.lower()
    return text.upper() if case == "upper" else text
