"""Splits by text: no sentence stands in two parts, whoever says it and however often."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import inf

from asr.data.manifest import Utterance
from asr.units import Seconds

SHARE_OF_VALID, SHARE_OF_TEST = 0.1, 0.1
MIN_SENTENCES = 5  # in which a letter stands; sentences with a rarer one train, as what was never heard is never found


@dataclass(frozen=True)
class TextSplit:
    """The parts of a corpus, each in the order in which its utterances were given."""

    train: list[Utterance]
    valid: list[Utterance]
    test: list[Utterance]


def sentence_key(text: str) -> str:
    """Return what makes two texts the same sentence: the letters and digits, in lower case, in NFC."""
    return "".join(letter for letter in unicodedata.normalize("NFC", text).casefold() if letter.isalnum())


def split_by_text(utterances: Sequence[Utterance], *, train_seconds: Seconds = inf) -> TextSplit:
    """Return the utterances as train, valid and test: about 80, 10 and 10 % of the sentences.

    The SHA-256 of a sentence decides, so everybody splits alike, and another version of the corpus splits what it
    has in common with this one alike, but for sentences with a rare letter, which train.

    Args: train_seconds: of audio that `train` has at most.  A smaller part is a part of every larger one, and the
        smallest holds each letter some times, if it can.
    """
    keys = [sentence_key(utterance.text or "") for utterance in utterances]
    places = _places(set(keys))
    parts: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
    for index, key in enumerate(keys):
        parts[_part(places[key])].append(index)
    chosen, seconds = [], 0.0
    by_place = sorted(parts["train"], key=lambda index: (places[keys[index]], index))
    for index in _letters_first(by_place, keys):
        seconds += utterances[index].duration
        if seconds > train_seconds:
            break
        chosen.append(index)
    return TextSplit(
        train=[utterances[index] for index in sorted(chosen)],
        valid=[utterances[index] for index in parts["valid"]],
        test=[utterances[index] for index in parts["test"]],
    )


def _letters_first(indexes: Sequence[int], keys: Sequence[str]) -> list[int]:
    """Return the indexes with those first that bring a letter which fewer than MIN_SENTENCES before them have."""
    sentences_with: Counter[str] = Counter()
    first: list[int] = []
    rest: list[int] = []
    for index in indexes:
        letters = set(keys[index])
        wanted = any(sentences_with[letter] < MIN_SENTENCES for letter in letters)
        (first if wanted else rest).append(index)
        if wanted:
            sentences_with.update(letters)
    return first + rest


def _places(sentences: set[str]) -> dict[str, float]:
    """Return a number in [0, 1) for every sentence: 0 for those with a rare letter, else its hash."""
    sentences_with = Counter(letter for sentence in sentences for letter in set(sentence))
    places = {}
    for sentence in sentences:
        rare = any(sentences_with[letter] < MIN_SENTENCES for letter in sentence)
        place = int(sha256(sentence.encode()).hexdigest()[:13], 16) / 16**13  # 52 bits: exact
        places[sentence] = 0.0 if rare else place
    return places


def _part(place: float) -> str:
    if place < 1 - SHARE_OF_VALID - SHARE_OF_TEST:
        return "train"
    return "valid" if place < 1 - SHARE_OF_TEST else "test"
