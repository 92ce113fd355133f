"""A language model and hotwords, spelled in a recogniser's tokens: what the search adds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from asr.config import Config
from asr.decoding.fusion import (
    LN_10,
    STRANGE,
    TOKENS,
    WORDS,
    Arcs,
    Fusion,
    Spelling,
    Trie,
    plain,
)
from asr.decoding.trie import build_trie
from asr.errors import DataError
from asr.lm.words import MARKS
from asr.text.tokenizer import BLANK, SPACE

if TYPE_CHECKING:
    from asr.lm.ngram import NgramModel
    from asr.text.tokenizer import Tokenizer


class FusionConfig(Config):
    """How much a language model counts; tuned on held-out speech."""

    weight: float = Field(default=0.5, ge=0, description="of the language model's natural logs")
    bonus: float = Field(default=1.0, description="for each word, as each costs probability")
    unknown: float = Field(default=-8.0, le=0, description="for each word outside the model's vocabulary")


def spelling_of(tokenizer: "Tokenizer") -> Spelling:
    """Return how the tokens spell words; a byte, which is no character yet, is one that no word holds."""
    starts = [symbol.startswith(SPACE) for symbol in tokenizer.symbols]
    spelled = [
        [] if symbol == BLANK else [STRANGE] if _is_byte(symbol) else [ord(letter) for letter in symbol.lstrip(SPACE)]
        for symbol in tokenizer.symbols
    ]
    firsts = np.concatenate([[0], np.cumsum([len(letters) for letters in spelled])])
    characters = [letter for letters in spelled for letter in letters]
    return Spelling(np.array(starts), firsts.astype(np.int32), np.array(characters, np.int32))


def fuse(
    tokenizer: "Tokenizer",
    model: "NgramModel | None" = None,
    config: FusionConfig | None = None,
    *,
    hotwords: Mapping[str, float] | None = None,
) -> Fusion:
    """Return what a search over the tokens adds to the acoustic score.

    Args:
        model: over words, or over tokens where its vocabulary holds the tokenizer's symbols.
        hotwords: phrase -> weight, in natural logs for each of its characters but spaces; below 0 it is avoided.
    Raises: DataError for a model that shares no word with what the tokens can spell, or such a hotword.
    """
    config = config or FusionConfig()
    base = plain(tokenizer.size)
    phrases = _phrases(tokenizer, hotwords or {})
    spelling = spelling_of(tokenizer)
    # a token gains the weight of each of its characters at most
    lifts = max([0.0, *phrases.values()]) * np.diff(spelling.firsts).astype(np.float64)
    fusion = base._replace(spelling=spelling, hotwords=_hotword_trie(phrases), hotword_lifts=lifts)
    if model is None:
        return fusion
    units, token_words = _units(tokenizer, model)
    return fusion._replace(
        units=units,
        vocabulary=_vocabulary(tokenizer, model) if units == WORDS else base.vocabulary,
        arcs=Arcs(*model.arrays),
        token_words=token_words,
        weight=config.weight * LN_10,
        bonus=config.bonus,
        unknown=config.unknown,
        start=model.start,
    )


def _is_byte(symbol: str) -> bool:
    return symbol.startswith("<0x") and symbol.endswith(">") and len(symbol) == 6


def _units(tokenizer: "Tokenizer", model: "NgramModel") -> tuple[int, np.ndarray]:
    """Return what the model's words are, and the id of each token where they are tokens."""
    ids = {symbol: number for number, symbol in enumerate(model.symbols)}
    found = np.array([ids.get(symbol, 0) for symbol in tokenizer.symbols], np.int32)
    if (found[1:] > 0).all():
        return TOKENS, found
    return WORDS, np.zeros_like(found)


def _vocabulary(tokenizer: "Tokenizer", model: "NgramModel") -> Trie:
    words = ["" if number < len(MARKS) else symbol for number, symbol in enumerate(model.symbols)]  # marks are silent
    known = set("".join(tokenizer.symbols[1:]))
    if not any(word and set(word) <= known for word in words):
        shown = ", ".join(repr(word) for word in words[len(MARKS) : len(MARKS) + 3])
        raise DataError(
            f"the language model's words ({shown}, ...) cannot be spelled in the tokens of the model; train it on texts"
            " normalised as the model's are"
        )
    return build_trie(words, model.log10_probs[: len(words)].astype(np.float64))


def _phrases(tokenizer: "Tokenizer", hotwords: Mapping[str, float]) -> dict[str, float]:
    """Return the phrases as the tokenizer's normaliser writes them.  Raises: DataError for what cannot be spelled."""
    found = {}
    for phrase, weight in hotwords.items():
        text = " ".join(tokenizer.normalizer(phrase).split())
        if not text:
            raise DataError(f"hotword '{phrase}' is empty once normalised; give a word")
        if strange := tokenizer.unknown(phrase):
            raise DataError(f"hotword '{phrase}' holds {', '.join(map(repr, strange))}, which the model cannot write")
        found[text] = float(weight)
    return found


def _hotword_trie(phrases: Mapping[str, float]) -> Trie:
    """Return the trie of phrases; getting to a character is worth the greatest weight of those that hold it."""
    trie = build_trie(list(phrases), np.array(list(phrases.values())))
    values = trie.values.copy()
    values[trie.nexts[trie.characters == 0]] = 0.0  # spaces; a node's number is the place of its arc + 1
    return trie._replace(values=values)
