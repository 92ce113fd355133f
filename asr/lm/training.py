"""A text to an n-gram model, with what a person should know about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import DataError, UsageError
from asr.lm.automaton import automaton
from asr.lm.counting import count_ngrams, encoded_blocks
from asr.lm.kneser_ney import FALLBACK, Estimate, kneser_ney
from asr.lm.ngram import NgramModel
from asr.lm.reading import line_blocks, named
from asr.lm.words import END, MARKS, START, WordTable

MAX_ORDER = 5


@dataclass(frozen=True, eq=False)
class Trained:
    """A model and how it came about.

    Attributes: num_words: of the text, sentence ends not counted; notes: what may surprise, a line each.
    """

    model: NgramModel
    num_sentences: int
    num_words: int
    notes: list[str]


def train_ngram(
    text: str | Path,
    order: int = 3,
    *,
    cutoffs: Sequence[int] = (),
    vocabulary: str | Path | None = None,
    spelling: Callable[[str], str] | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Trained:
    """Return an interpolated modified Kneser-Ney model of a text with one sentence a line.

    Args:
        text: plain or gzip; "-" is standard input.
        order: words in the longest n-grams, 1 to 5.
        cutoffs: counts up to which n-grams of 1, 2, ... words are left out; the last goes on for longer ones.
        vocabulary: a file of the words that the model shall have; those that the text lacks are as likely as <unk>.
        spelling: what becomes of a line of the text and of the vocabulary, such as a recogniser's normaliser.
        progress: called with the number of sentences read.
    Raises: UsageError for settings that cannot be; DataError for a text without words, or one that cannot be read.
    """
    check_settings(order, cutoffs)
    allowed_words = _words_of(vocabulary, spelling) if vocabulary is not None else None
    table = WordTable()
    ids = _encode(text, table, spelling, progress)
    num_of_text = len(table)
    allowed = None
    if allowed_words is not None:
        allowed = _allow(table, allowed_words, named(text), named(vocabulary or ""))
    num_sentences = int(np.count_nonzero(ids == START))
    levels = count_ngrams(ids, len(table), order)
    estimate = kneser_ney(levels, cutoffs, allowed)
    notes = _notes(ids, order, estimate)
    if allowed is not None:
        notes += _vocabulary_notes(allowed, num_of_text)
    symbols = tuple(word for word, keep in zip(table.symbols(), estimate.kept, strict=True) if keep)
    if len(symbols) == len(MARKS):
        raise DataError(f"{named(text)}: the cut-offs {_spaced(cutoffs)} leave no word; lower the first")
    model = automaton(symbols, estimate.table, estimate.suffixes)
    return Trained(model, num_sentences, len(ids) - 2 * num_sentences, notes)


def check_settings(order: int, cutoffs: Sequence[int]) -> None:
    """Raise UsageError for an order or cut-offs that cannot be."""
    if not 1 <= order <= MAX_ORDER:
        raise UsageError(f"order {order}: must be 1 to {MAX_ORDER}")
    if len(cutoffs) > order:
        raise UsageError(
            f"cut-offs {_spaced(cutoffs)}: {len(cutoffs)} for order {order}; give at most one for each length"
        )
    if any(limit < 0 for limit in cutoffs) or list(cutoffs) != sorted(cutoffs):
        raise UsageError(f"cut-offs {_spaced(cutoffs)}: must be 0 or more and ascend, for example 0 0 1")


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def _encode(
    text: str | Path,
    table: WordTable,
    spelling: Callable[[str], str] | None,
    progress: Callable[[int, int | None], None],
) -> NDArray[np.int32]:
    blocks, done = [], 0
    for block in encoded_blocks(text, table, growing=True, spelling=spelling):
        blocks.append(block)
        done += int(np.count_nonzero(block == START))
        progress(done, None)
    ids = np.concatenate(blocks) if blocks else np.empty(0, np.int32)
    if len(table) == len(MARKS):
        raise DataError(f"{named(text)}: no words in it; give a text with one sentence a line")
    return ids


def _words_of(path: str | Path, spelling: Callable[[str], str] | None) -> set[str]:
    words = {word.decode() for _, block in line_blocks(path, spelling) for word in block.split()}
    words.difference_update(MARKS)
    if not words:
        raise DataError(
            f"{named(path)}: no words in it; give the words of the vocabulary, separated by spaces or lines"
        )
    return words


def _allow(table: WordTable, words: set[str], text: str, vocabulary: str) -> NDArray[np.bool_]:
    """Return (words,) whether the model may have each word of the table, to which those of `words` are added."""
    known = table.symbols()
    if words.isdisjoint(known):
        raise DataError(f"{vocabulary}: none of its {len(words)} words is in {text}; are both spelled alike?")
    table.add(sorted(words.difference(known)))
    return np.array([*[True] * len(MARKS), *(word in words for word in table.symbols()[len(MARKS) :])])


def _notes(ids: NDArray[np.int32], order: int, estimate: Estimate) -> list[str]:
    notes = []
    num_sentences = int(np.count_nonzero(ids == START))
    if num_sentences == 1:
        notes.append("a text of one line is one sentence; put one sentence on each line")
    empty = int(np.count_nonzero((ids[:-1] == START) & (ids[1:] == END)))
    if empty:
        notes.append(f"{empty} of {num_sentences} lines without words were counted as empty sentences")
    if estimate.table.order < order:
        notes.append(f"the longest sentence has no {order}-grams; the model is of order {estimate.table.order}")
    if estimate.fixed:
        lengths = ", ".join(map(str, estimate.fixed))
        fixed = "/".join(f"{value:g}" for value in FALLBACK)
        notes.append(f"too little or artificial text to estimate the discounts of length {lengths}: {fixed} taken")
    return notes


def _vocabulary_notes(allowed: NDArray[np.bool_], num_of_text: int) -> list[str]:
    notes = []
    foreign = int(np.count_nonzero(~allowed[:num_of_text]))
    if foreign:
        notes.append(f"{foreign} words of the text are not in the vocabulary: their share goes to all words alike")
    unseen = len(allowed) - num_of_text
    if unseen:
        notes.append(f"{unseen} words of the vocabulary are not in the text: each is as likely as <unk>")
    return notes
