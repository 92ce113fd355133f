"""Texts as sentences of a tokenizer's ids: what an LSTM language model is trained on and judged by."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import DataError
from asr.lm.reading import line_blocks, named
from asr.text.tokenizer import Tokenizer

_SHOWN = 10  # strange characters that are named


@dataclass(frozen=True, eq=False)
class Sentences:
    """The sentences of a text, one after the other in one array.

    Attributes:
        ids: (tokens of all sentences,); no borders among them.
        bounds: (sentences + 1,) where each begins.
        words: (sentences,) its words.
        keys: (sentences,) a hash of its tokens.
        blank: lines without a word, which are left out.
        strange: lines with characters outside the alphabet, which are left out.
        characters: those characters, and in how many lines each stands.
    """

    ids: NDArray[np.int32]
    bounds: NDArray[np.int64]
    words: NDArray[np.int32]
    keys: NDArray[np.uint64]
    blank: int = 0
    strange: int = 0
    characters: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self.words)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(sentences,) tokens of each."""
        return np.diff(self.bounds)

    def rows(self, numbers: NDArray[np.int64] | None = None) -> list[list[int]]:
        """Return the token ids of the sentences with these numbers; None: of all."""
        chosen = range(len(self)) if numbers is None else numbers.tolist()
        return [self.ids[self.bounds[number] : self.bounds[number + 1]].tolist() for number in chosen]

    def part(self, numbers: NDArray[np.int64]) -> "Sentences":
        """Return the sentences with these numbers, in this order."""
        rows = [self.ids[self.bounds[number] : self.bounds[number + 1]] for number in numbers.tolist()]
        return _joined(rows, self.words[numbers], self.keys[numbers])

    def notes(self) -> list[str]:
        """Return what was left out of the text, a line each."""
        told = []
        if self.blank:
            told.append(f"{self.blank} lines without words left out")
        if self.strange:
            told.append(
                f"{self.strange} of {len(self) + self.strange} sentences left out, as they hold what is not in the"
                f" alphabet: {_listed(self.characters)}; take that away from the text to have all of it"
            )
        return told


def read_sentences(
    text: str | Path,
    tokenizer: Tokenizer,
    *,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Sentences:
    """Return the sentences of a text, one a line, plain, gzip or "-" for standard input, as the tokenizer spells them.

    A sentence with a character outside the alphabet is left out whole: without it, words would stand side by side, or
    be spelled, as nobody says them.
    Raises: DataError for a text without a sentence, or one that cannot be read.
    """
    rows: list[NDArray[np.int32]] = []
    words: list[int] = []
    blank = strange = 0
    characters: Counter[str] = Counter()
    for _, block in line_blocks(text):
        for line in block.decode().split("\n")[:-1]:
            spelled = tokenizer.normalizer(line)
            if not spelled:
                blank += 1
            elif unknown := tokenizer.unknown(spelled):
                strange += 1
                characters.update(unknown)
            else:
                rows.append(np.array(tokenizer.encode(spelled), np.int32))
                words.append(len(spelled.split()))
        progress(len(rows), None)
    if not rows:
        raise _nothing(text, strange, characters)
    keys = np.array([_key(row) for row in rows], np.uint64)
    found = _joined(rows, np.array(words, np.int32), keys)
    return replace(found, blank=blank, strange=strange, characters=characters)


def hold_out(sentences: Sentences, share: float, where: str | Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of the sentences to learn from, and of those to judge by: about `share` of the different ones.

    A hash decides, so that a sentence which stands in the text often is on one side only, and everybody splits alike.
    Raises: DataError for a text in which all sentences are equal.
    """
    different = np.unique(sentences.keys)
    if len(different) < 2:
        raise DataError(
            f"{named(where)}: holds one sentence ({len(sentences)} times), and some must be held out to judge by; give"
            " more text, or --valid"
        )
    last = different[min(max(1, round(share * len(different))), len(different) - 1) - 1]
    judged = sentences.keys <= last
    return np.flatnonzero(~judged), np.flatnonzero(judged)


def _joined(rows: list[NDArray[np.int32]], words: NDArray[np.int32], keys: NDArray[np.uint64]) -> Sentences:
    bounds = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
    ids = np.concatenate(rows) if rows else np.empty(0, np.int32)
    return Sentences(ids, bounds, words, keys)


def _nothing(text: str | Path, strange: int, characters: Counter[str]) -> DataError:
    if not strange:
        return DataError(f"{named(text)}: no words in it; give a text with one sentence a line")
    return DataError(
        f"{named(text)}: none of its {strange} sentences can be spelled in the model's tokens:"
        f" {_listed(characters)}; give a text with one sentence a line, without what the model cannot write"
    )


def _key(row: NDArray[np.int32]) -> int:
    return int.from_bytes(hashlib.blake2b(row.astype("<i4").tobytes(), digest_size=8).digest(), "little")


def _listed(characters: Counter[str]) -> str:
    shown = [f"'{_visible(what)}' ({_code(what)}{count})" for what, count in characters.most_common(_SHOWN)]
    more = f" and {len(characters) - _SHOWN} more" if len(characters) > _SHOWN else ""
    return ", ".join(shown) + more


def _visible(what: str) -> str:
    return what if what.isprintable() else ascii(what)[1:-1]


def _code(what: str) -> str:
    """Return the code point of a character; nothing for a word, which a lexicon lacks."""
    return f"U+{ord(what):04X}, " if len(what) == 1 else ""
