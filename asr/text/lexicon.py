"""Words and how they are pronounced or spelled, in text files as CMU's dictionary.

Of words that sound alike the earlier one is meant, where nothing else decides; of a word's pronunciations the first.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import DataError, shown
from asr.store import read_limited

if TYPE_CHECKING:
    from asr.text.normalize import Normalizer

MAX_BYTES = 32 << 20
_TOO_LARGE = f"larger than {MAX_BYTES >> 20} MB, the most that a lexicon may be; leave out words"
UNSPOKEN = ("<blank>", "▁")  # the names of tokens that are no sounds
JOINED = "-"  # between the sounds of what is no word
_ALTERNATIVE = re.compile(r"(.+)\(\d+\)")  # WORD(2)
_COMMENT, _REMARK = ";;;", re.compile(r"\s#.*")
_SHOWN = 10

Sounds = tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """Words in order, normalised.

    Attributes:
        words: word -> its pronunciations (or spellings), each of at least one symbol; none in a list of words.
        lines: word -> the line that it first stands in.
        where: the file, for messages.
    """

    words: Mapping[str, tuple[Sounds, ...]]
    lines: Mapping[str, int]
    where: str

    @cached_property
    def symbols(self) -> list[str]:
        """What the pronunciations are made of, in order of their names."""
        return sorted({symbol for spoken in self.words.values() for sounds in spoken for symbol in sounds})

    @property
    def is_list(self) -> bool:
        """Whether the words have no pronunciations."""
        return not next(iter(self.words.values()))

    @cached_property
    def _spoken(self) -> dict[Sounds, str]:
        found: dict[Sounds, str] = {}
        for word, spoken in self.words.items():
            for sounds in spoken:
                found.setdefault(sounds, word)
        return found

    def name(self, sounds: Sounds) -> str:
        """Return the first word that sounds so; the sounds themselves, joined by hyphens, where none does."""
        return self._spoken.get(sounds) or JOINED.join(sounds)

    def missing(self, words: Iterable[str]) -> list[str]:
        """Return the words that are not here, each once, in order of appearance."""
        return [word for word in dict.fromkeys(words) if word not in self.words]

    def by_frequency(self, counts: Mapping[str, int]) -> "Lexicon":
        """Return the same with the more frequent words first; equally frequent ones keep their order."""
        order = sorted(self.words, key=lambda word: -counts.get(word, 0))
        return Lexicon({word: self.words[word] for word in order}, self.lines, self.where)

    def as_bytes(self) -> bytes:
        """Return the text that `parse_lexicon` takes: a line for each pronunciation."""
        rows = [" ".join((word, *sounds)) for word, spoken in self.words.items() for sounds in spoken or ((),)]
        return "".join(f"{row}\n" for row in rows).encode()


def read_lexicon(path: str | Path, normalizer: "Normalizer", *, pronounced: bool = False) -> Lexicon:
    """Return the lexicon of a file (docs/formats.md), its words as the normaliser spells them.

    Args: pronounced: refuse a list of words.
    Raises: DataError naming file and line.
    """
    data = read_limited(path, MAX_BYTES, what="the lexicon", cure="check --lexicon", too_large=_TOO_LARGE)
    lexicon = parse_lexicon(data, normalizer, where=str(path))
    if pronounced and lexicon.is_list:
        word, line = next(iter(lexicon.lines.items()))
        raise DataError(f"{path}:{line}: '{word}' has no pronunciation; write WORD and its phones, as in 'two  T UW'")
    return lexicon


def parse_lexicon(data: bytes, normalizer: "Normalizer", *, where: str) -> Lexicon:
    """Return the lexicon that a text holds.  Args, Raises: as `read_lexicon`."""
    if len(data) > MAX_BYTES:
        raise DataError(f"{where}: {_TOO_LARGE}")
    words: dict[str, dict[Sounds, None]] = {}
    lines: dict[str, int] = {}
    without = None  # the first line without a pronunciation
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        word, sounds = _read_line(line, f"{where}:{number}")
        if not word:
            continue
        spelled = normalizer(word)
        if not spelled or " " in spelled:
            became = f"becomes the words '{spelled}'" if spelled else "is empty"
            raise DataError(
                f"{where}:{number}: {shown(word)} {became} once normalised; one word is needed: change the line"
            )
        without = without or (None if sounds else number)
        words.setdefault(spelled, {}).update({sounds: None} if sounds else {})
        lines.setdefault(spelled, number)
    if not words:
        raise DataError(f"{where}: holds no words; write a word and its pronunciation a line, as in 'two  T UW'")
    if without and any(words.values()):
        raise DataError(f"{where}:{without}: a word without pronunciation among words that have one; write its phones")
    return Lexicon({word: tuple(spoken) for word, spoken in words.items()}, lines, where)


def _read_line(line: bytes, place: str) -> tuple[str, Sounds]:
    """Return the word as written and its pronunciation; nothing for an empty line or a comment."""
    try:
        text = line.decode().strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8") from None
    if text.startswith(_COMMENT):
        return "", ()
    word, *sounds = _REMARK.sub("", text).split() or [""]
    for symbol in sounds:
        if symbol in UNSPOKEN or not symbol.isprintable():
            raise DataError(f"{place}: {shown(symbol)} cannot be a phone; give the phone another name")
    alternative = _ALTERNATIVE.fullmatch(word)
    return alternative[1] if alternative else word, tuple(sounds)


def refuse_missing(lexicon: Lexicon, texts: Iterable[str]) -> Counter[str]:
    """Return how often each word of the normalised texts stands in them.

    Raises: DataError naming the words that the lexicon lacks, the most frequent first.
    """
    counts = Counter(word for text in texts for word in text.split())
    missing = sorted(lexicon.missing(counts), key=lambda word: -counts[word])
    if missing:
        some = ", ".join(f"'{word}' ({counts[word]} times)" for word in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more words" if len(missing) > _SHOWN else ""
        raise DataError(f"{lexicon.where}: lacks {some}{more} of the texts; add their pronunciations")
    return counts


def describe_missing(words: list[str]) -> str:
    """Return the message about words that a lexicon lacks."""
    some = ", ".join(f"'{word}'" for word in words[:_SHOWN])
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return (
        f"the lexicon of the tokens lacks {some}{more}; add the pronunciation and make the tokens again"
        " (asr tokens --kind lexicon), or leave the utterance out"
    )
