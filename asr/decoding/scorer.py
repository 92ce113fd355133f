"""A language model and hotwords, spelled in a recogniser's tokens: what the search adds."""

from collections.abc import Mapping
from math import isfinite
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
    stands_alone,
)
from asr.decoding.hotwords import MOST_GAIN, build_hotwords, num_letters
from asr.decoding.lexicon import Vocabulary, characters_of, is_byte, variants, vocabulary_of
from asr.decoding.trie import NOBODY, build_trie
from asr.errors import DataError, UsageError
from asr.lm.words import MARKS, UNKNOWN
from asr.text.tokenizer import SPACE, named_characters

if TYPE_CHECKING:
    from asr.lm.ngram import NgramModel
    from asr.text.tokenizer import Tokenizer


_MOST_VARIANTS = 64  # of a hotword, in the spellings of its words


class FusionConfig(Config):
    """How much a language model counts; tuned on held-out speech."""

    weight: float = Field(default=0.5, ge=0, description="of the language model's natural logs")
    bonus: float = Field(default=1.0, description="for each word, as each costs probability")
    unknown: float = Field(default=-8.0, le=0, description="for each word outside the model's vocabulary")


def spelling_of(tokenizer: "Tokenizer") -> Spelling:
    """Return how the tokens spell words; a byte, which is no character yet, is one that no word holds."""
    starts = [symbol.startswith(SPACE) for symbol in tokenizer.symbols]
    spelled = [
        [STRANGE] if is_byte(symbol) else [ord(letter) for letter in characters_of(tokenizer, token).lstrip(SPACE)]
        for token, symbol in enumerate(tokenizer.symbols)
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
    vocabulary: Vocabulary | None = None,
) -> Fusion:
    """Return what a search over the tokens adds to the acoustic score.

    Args:
        model: over words, or over tokens where its vocabulary holds the tokenizer's symbols.
        hotwords: phrase -> weight, in natural logs for each of its characters but spaces; below 0 it is avoided.  A
            phrase counts 300 at most.
        vocabulary: the only words that may be said; of phones by default those of the tokens' own lexicon.
    Raises: DataError for a model that shares no word with what the tokens can spell, or such a hotword; UsageError for
        a weight that is no number.
    """
    config = config or FusionConfig()
    if vocabulary is None and tokenizer.lexicon is not None:
        vocabulary = vocabulary_of(tokenizer)
    phrases = _phrases(tokenizer, hotwords or {}, vocabulary)
    spelling, trie = spelling_of(tokenizer), build_hotwords(phrases)
    # a token gains the weight of each of its characters at most, or what a phrase has that goes on where another fails
    gain = max([0.0, *phrases.values()]) + trie.lift
    lifts = gain * np.diff(spelling.firsts) + trie.end_lift * (spelling.starts + 2 * _num_alone(spelling))
    fusion = plain(tokenizer.size)._replace(spelling=spelling, hotwords=trie, hotword_lifts=lifts)
    if vocabulary is not None:
        fusion = _closed(fusion, vocabulary, model)
    if model is None:
        return fusion
    units, token_words = _units(tokenizer, model)
    if units == WORDS and vocabulary is None:
        fusion = _open(fusion, tokenizer, model)
    return fusion._replace(
        units=units,
        arcs=Arcs(*model.arrays),
        token_words=token_words,
        weight=config.weight * LN_10,
        bonus=config.bonus,
        unknown=config.unknown,
        start=model.start,
    )


def _num_alone(spelling: Spelling) -> np.ndarray:
    """Return (V,) how many characters of each token hotwords take for words."""
    alone = [stands_alone(character) for character in spelling.characters.tolist()]
    return np.diff(np.concatenate([[0], np.cumsum(alone)])[spelling.firsts])


def _units(tokenizer: "Tokenizer", model: "NgramModel") -> tuple[int, np.ndarray]:
    """Return what the model's words are, and the id of each token where they are tokens."""
    ids = {symbol: number for number, symbol in enumerate(model.symbols)}
    found = np.array([ids.get(symbol, 0) for symbol in tokenizer.symbols], np.int32)
    if (found[1:] > 0).all():
        return TOKENS, found
    return WORDS, np.zeros_like(found)


def _closed(fusion: Fusion, vocabulary: Vocabulary, model: "NgramModel | None") -> Fusion:
    """Return what allows the words of a vocabulary alone."""
    ids = {} if model is None else {word: number for number, word in enumerate(model.symbols) if number >= len(MARKS)}
    if model is not None and ids.keys().isdisjoint(vocabulary.words):
        shown = ", ".join(map(repr, vocabulary.words[:3]))
        raise DataError(f"the language model has none of the lexicon's words ({shown}, ...); train it on texts of them")
    word_ids = np.array([ids.get(word, UNKNOWN) for word in vocabulary.words], np.int32)
    values = np.zeros(len(word_ids)) if model is None else model.log10_probs[word_ids].astype(np.float64)
    alike = np.full(len(word_ids), NOBODY, np.int32)
    last: dict[str, int] = {}
    for place, spelling in enumerate(vocabulary.spellings):
        if spelling in last:
            alike[last[spelling]] = place
        last[spelling] = place
    trie = build_trie(vocabulary.spellings, values)
    return fusion._replace(closed=True, vocabulary=trie, word_ids=word_ids, alike=alike)


def _open(fusion: Fusion, tokenizer: "Tokenizer", model: "NgramModel") -> Fusion:
    """Return what knows the words of a model and allows all others."""
    count = len(model.symbols)
    return fusion._replace(
        vocabulary=_known_words(tokenizer, model),
        word_ids=np.arange(count, dtype=np.int32),
        alike=np.full(count, NOBODY, np.int32),
    )


def _known_words(tokenizer: "Tokenizer", model: "NgramModel") -> Trie:
    words = ["" if number < len(MARKS) else symbol for number, symbol in enumerate(model.symbols)]  # marks are silent
    known = set("".join(tokenizer.symbols[1:]))
    if not any(word and set(word) <= known for word in words):
        shown = ", ".join(repr(word) for word in words[len(MARKS) : len(MARKS) + 3])
        raise DataError(
            f"the language model's words ({shown}, ...) cannot be spelled in the tokens of the model; train it on texts"
            " normalised as the model's are"
        )
    return build_trie(words, model.log10_probs[: len(words)].astype(np.float64))


def _phrases(tokenizer: "Tokenizer", hotwords: Mapping[str, float], vocabulary: Vocabulary | None) -> dict[str, float]:
    """Return the phrases as the tokens spell them.  Raises: DataError for what cannot be spelled."""
    spellings = None if vocabulary is None else vocabulary.by_word()
    found = {}
    for phrase, weight in hotwords.items():
        if not isfinite(weight):
            raise UsageError(f"hotword '{phrase}' has the weight {weight}; give a number, 1 to 5 are usual")
        for text in _spelled(tokenizer, phrase, spellings):
            most = MOST_GAIN / num_letters(text)
            found[text] = min(max(float(weight), -most), most)
    return found


def _spelled(tokenizer: "Tokenizer", phrase: str, spellings: dict[str, list[str]] | None) -> list[str]:
    """Return what a phrase is spelled like; `spellings` of the words of a vocabulary."""
    if spellings is None:
        return [spelled_hotword(tokenizer, phrase)]
    text = _normalized(tokenizer, phrase)
    if missing := [word for word in text.split() if word not in spellings]:
        raise DataError(f"hotword '{phrase}' holds '{missing[0]}', which the lexicon lacks; add it there")
    return list(variants(text, spellings, _MOST_VARIANTS))


def spelled_hotword(tokenizer: "Tokenizer", phrase: str) -> str:
    """Return a phrase as the model's texts spell it.  Raises: DataError if it is empty, or cannot be spelled."""
    text = _normalized(tokenizer, phrase)
    if strange := tokenizer.unknown(phrase):
        cannot = f"holds {named_characters(strange)}, which the model cannot write"
        raise DataError(f"hotword '{phrase}' {cannot}; spell it in letters of the model, see asr info")
    return text


def _normalized(tokenizer: "Tokenizer", phrase: str) -> str:
    text = " ".join(tokenizer.normalizer(phrase).split())
    if not text:
        raise DataError(f"hotword '{phrase}' is empty once normalised; give a word")
    return text
