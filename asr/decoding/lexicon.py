"""The words that a search may say, and how a recogniser's tokens spell them."""

import logging
from collections.abc import Iterable, Iterator
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from asr.errors import DataError
from asr.text.tokenizer import BLANK, SPACE

if TYPE_CHECKING:
    from asr.text.lexicon import Lexicon, Sounds
    from asr.text.tokenizer import Tokenizer

FIRST_PHONE = 0xF0000  # private characters stand for phones: this one and those after it
_SHOWN = 5

_LOGGER = logging.getLogger("asr")


class Vocabulary(NamedTuple):
    """Words and their spellings, place by place; a word with several spellings stands there several times.

    A spelling is of the characters that the tokens spell, of phones `phone(id)`.
    """

    words: tuple[str, ...]
    spellings: tuple[str, ...]

    def by_word(self) -> dict[str, list[str]]:
        """Return word -> its spellings."""
        found: dict[str, list[str]] = {}
        for word, spelling in zip(self.words, self.spellings, strict=True):
            found.setdefault(word, []).append(spelling)
        return found


def phone(token_id: int) -> str:
    """Return the character that stands for a phone."""
    return chr(FIRST_PHONE + token_id)


def is_byte(symbol: str) -> bool:
    """Return whether a symbol is the name of a byte, which is no character yet."""
    return symbol.startswith("<0x") and symbol.endswith(">") and len(symbol) == 6


def characters_of(tokenizer: "Tokenizer", token_id: int) -> str:
    """Return the characters that a token spells, the mark of a word's start included; none for blanks and bytes."""
    symbol = tokenizer.symbols[token_id]
    if symbol == BLANK or is_byte(symbol):
        return ""
    return phone(token_id) if tokenizer.lexicon is not None and symbol != SPACE else symbol


def vocabulary_of(tokenizer: "Tokenizer", lexicon: "Lexicon | None" = None) -> Vocabulary:
    """Return the vocabulary of a lexicon, in the order of its words.

    Args: lexicon: of phones of the tokens; for other tokens of letters, or whatever symbols: then the words are spelled
        by their own letters.  None: the tokens' own, which must be phones.
    Raises: DataError for phones that the tokens lack, or if no word can be written; other words that cannot are logged.
    """
    lexicon = lexicon or tokenizer.lexicon
    assert lexicon is not None, "tokens without a lexicon"
    spelled = _phones(tokenizer, lexicon) if tokenizer.lexicon else _letters(tokenizer, lexicon)
    rows = list(spelled)
    return Vocabulary(tuple(word for word, _ in rows), tuple(spelling for _, spelling in rows))


def variants(phrase: str, spellings: dict[str, list[str]], most: int) -> Iterator[str]:
    """Yield up to `most` spellings of a phrase, each of its words in each of its own."""
    for _, words in zip(range(most), product(*(spellings[word] for word in phrase.split())), strict=False):
        yield " ".join(words)


def _phones(tokenizer: "Tokenizer", lexicon: "Lexicon") -> Iterator[tuple[str, str]]:
    codes = {symbol: phone(number) for number, symbol in enumerate(tokenizer.symbols)}
    for word, spoken in lexicon.words.items():
        place = f"{lexicon.where}:{lexicon.lines[word]}"
        if not spoken:
            raise DataError(f"{place}: '{word}' has no pronunciation, which a model of phones needs; write its phones")
        for sounds in spoken:
            for symbol in sounds:
                if symbol not in codes:
                    known = " ".join(tokenizer.symbols[2:])
                    raise DataError(f"{place}: '{word}': '{symbol}' is no phone of the model; it has {known}")
            yield word, "".join(codes[symbol] for symbol in sounds)


def _letters(tokenizer: "Tokenizer", lexicon: "Lexicon") -> Iterator[tuple[str, str]]:
    known = set("".join(tokenizer.symbols[1:])) - {SPACE}
    other = next((symbol for symbol in lexicon.symbols if symbol not in known), None)
    if other is not None:
        _LOGGER.info("%s: '%s' is no letter of the model: words are spelled as they are written", lexicon.where, other)
    left_out = []
    for word, spoken in lexicon.words.items():
        written: Iterable[Sounds] = spoken if spoken and other is None else [tuple(word)]
        if not all(known.issuperset(letters) for letters in written):
            left_out.append(word)
            continue
        for letters in written:
            yield word, "".join(letters)
    if left_out:
        shown = ", ".join(f"'{word}'" for word in left_out[:_SHOWN])
        if len(left_out) == len(lexicon.words):
            raise DataError(f"{lexicon.where}: the model can write none of the words ({shown}, ...); see asr info")
        what = f"{len(left_out)} of {len(lexicon.words)} words left out, which the model cannot write"
        _LOGGER.info("%s: %s: %s%s", lexicon.where, what, shown, ", ..." if len(left_out) > _SHOWN else "")
