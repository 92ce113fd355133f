"""Scores as lines for people and as JSON values."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from asr.scoring.bootstrap import Interval
from asr.scoring.error_rate import Alignment, ErrorCounts, Score, UtteranceScore
from asr.scoring.slices import Slice


def rate_line(name: str, counts: ErrorCounts) -> str:
    """Return Kaldi's line, for example `%WER 6.21 [ 48 / 773, 9 ins, 11 del, 28 sub ]`."""
    return (
        f"%{name} {100 * counts.rate:.2f} [ {counts.errors} / {counts.reference}, {counts.insertions} ins, "
        f"{counts.deletions} del, {counts.substitutions} sub ]"
    )


def summary(score: Score, interval: Interval | None) -> str:
    """Return the lines that `asr score` prints: word, character and sentence error rate, interval."""
    utterances = len(score.utterances)
    lines = [
        rate_line("WER", score.words),
        rate_line("CER", score.characters),
        f"%SER {100 * score.sentence_errors / utterances:.2f} [ {score.sentence_errors} / {utterances} ]",
    ]
    if interval is not None:
        lines.append(interval_line(interval, f"{utterances} utterances"))
    return "\n".join(lines)


def interval_line(interval: Interval, drawn: str) -> str:
    """Return the line of an interval of the word error rate; `drawn` says what the bootstrap draws."""
    return (
        f"{100 * interval.level:.3g} % interval of the WER: {100 * interval.low:.2f} to {100 * interval.high:.2f} "
        f"(bootstrap over {drawn}, {interval.replications} replications, seed {interval.seed})"
    )


def alignment_text(utterance: UtteranceScore) -> str:
    """Return the words of reference and hypothesis one above the other, with I, D or S below each error."""
    head = f"{utterance.id}: {rate_line('WER', utterance.words)}"
    return "\n".join([head, columns_text(utterance.alignment, ("ref:", "hyp:"))])


def columns_text(columns: Sequence[Sequence[str | None]], labels: Sequence[str]) -> str:
    """Return aligned words as rows, the reference first, and below each other row its marks I, D or S.

    Args: columns: (reference word, a word of each hypothesis), None for no word; labels: of the rows.
    """
    padded = [_column(column) for column in columns]
    rows = [" ".join(row) for row in zip(*padded, strict=True)] if padded else [""] * (2 * len(labels) - 1)
    width = max(map(len, labels))
    heads = [labels[0], *(head for label in labels[1:] for head in (label, ""))]
    return "\n".join(f"{head:<{width}} {row}".rstrip() for head, row in zip(heads, rows, strict=True))


def case_only_substitutions(score: Score) -> int:
    """Return how many substituted words differ from their reference in upper and lower case only."""
    return sum(_differ_in_case(utterance.alignment) for utterance in score.utterances)


def score_values(
    score: Score, interval: Interval | None, *, utterances: bool, tables: Mapping[str, Sequence[Slice]] | None = None
) -> dict[str, Any]:
    """Return the score as JSON values (docs/formats.md, "Score").

    Args: utterances: add those, with alignments; tables: slices to add, by what they are slices of.
    """
    values: dict[str, Any] = {
        "words": counts_values(score.words),
        "characters": counts_values(score.characters),
        "sentences": {
            "reference": len(score.utterances),
            "errors": score.sentence_errors,
            "rate": score.sentence_errors / len(score.utterances),
        },
        "interval": None if interval is None else _interval(interval),
    }
    if tables:
        values["slices"] = {way: [_slice(part) for part in parts] for way, parts in tables.items()}
    if utterances:
        values["utterances"] = [_utterance(utterance) for utterance in score.utterances]
    return values


def counts_values(counts: ErrorCounts) -> dict[str, int | float | None]:
    """Return counts as JSON values; the rate is null without a reference."""
    return {
        "reference": counts.reference,
        "errors": counts.errors,
        "insertions": counts.insertions,
        "deletions": counts.deletions,
        "substitutions": counts.substitutions,
        "rate": counts.rate if counts.reference else None,  # JSON has no infinity
    }


def _slice(part: Slice) -> dict[str, Any]:
    return {
        "name": part.name,
        "utterances": len(part.utterances),
        "sentence_errors": part.sentence_errors,
        "words": counts_values(part.words),
        "interval": None if part.interval is None else _interval(part.interval),
    }


def _interval(interval: Interval) -> dict[str, int | float]:
    return {
        "low": interval.low,
        "high": interval.high,
        "level": interval.level,
        "replications": interval.replications,
        "seed": interval.seed,
    }


def _utterance(utterance: UtteranceScore) -> dict[str, Any]:
    return {
        "id": utterance.id,
        "words": counts_values(utterance.words),
        "characters": counts_values(utterance.characters),
        "alignment": [list(words) for words in utterance.alignment],
    }


def _column(words: Sequence[str | None]) -> list[str]:
    """Return one column's cells, padded to equal width: words, stars for none, and a mark below all but the first."""
    reference, *others = words
    width = max(1, *(text_width(word or "") for word in words))

    def cell(word: str | None) -> str:
        return "*" * width if word is None else word + " " * (width - text_width(word))

    cells = [cell(reference)]
    for word in others:
        cells += [cell(word), error_mark(reference, word) + " " * (width - 1)]
    return cells


def error_mark(reference: str | None, word: str | None) -> str:
    """Return what a recognised word is to the word that was said: I, D, S or a space if it is right."""
    if reference == word:
        return " "
    return "I" if reference is None else "D" if word is None else "S"


def valid_text(text: str) -> str:
    """Return text that can be written as UTF-8: bytes of file names that are none become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def text_width(text: str) -> int:
    """Return the columns that a terminal uses: two for wide East Asian characters, none for combining marks."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def _differ_in_case(alignment: Alignment) -> int:
    return sum(
        left is not None and right is not None and left != right and left.casefold() == right.casefold()
        for left, right in alignment
    )
