"""Scores as lines for people and as JSON values."""

import unicodedata
from typing import Any

from asr.scoring.bootstrap import Interval
from asr.scoring.error_rate import Alignment, ErrorCounts, Score, UtteranceScore


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
        lines.append(
            f"{100 * interval.level:.3g} % interval of the WER: {100 * interval.low:.2f} to {100 * interval.high:.2f} "
            f"(bootstrap over {utterances} utterances, {interval.replications} replications, seed {interval.seed})"
        )
    return "\n".join(lines)


def alignment_text(utterance: UtteranceScore) -> str:
    """Return the words of reference and hypothesis one above the other, with I, D or S below each error."""
    columns = [_column(left, right) for left, right in utterance.alignment]
    rows = [" ".join(row).rstrip() for row in zip(*columns, strict=True)] if columns else ["", "", ""]
    labels = ("ref:", "hyp:", "    ")
    lines = [f"{label} {row}".rstrip() for label, row in zip(labels, rows, strict=True)]
    return "\n".join([f"{utterance.id}: {rate_line('WER', utterance.words)}", *lines])


def case_only_substitutions(score: Score) -> int:
    """Return how many substituted words differ from their reference in upper and lower case only."""
    return sum(_differ_in_case(utterance.alignment) for utterance in score.utterances)


def score_values(score: Score, interval: Interval | None, *, utterances: bool) -> dict[str, Any]:
    """Return the score as JSON values (docs/formats.md, "Score"); `utterances` adds those with alignments."""
    values: dict[str, Any] = {
        "words": _counts(score.words),
        "characters": _counts(score.characters),
        "sentences": {
            "reference": len(score.utterances),
            "errors": score.sentence_errors,
            "rate": score.sentence_errors / len(score.utterances),
        },
        "interval": None if interval is None else _interval(interval),
    }
    if utterances:
        values["utterances"] = [_utterance(utterance) for utterance in score.utterances]
    return values


def _counts(counts: ErrorCounts) -> dict[str, int | float | None]:
    return {
        "reference": counts.reference,
        "errors": counts.errors,
        "insertions": counts.insertions,
        "deletions": counts.deletions,
        "substitutions": counts.substitutions,
        "rate": counts.rate if counts.reference else None,  # JSON has no infinity
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
        "words": _counts(utterance.words),
        "characters": _counts(utterance.characters),
        "alignment": [list(words) for words in utterance.alignment],
    }


def _column(left: str | None, right: str | None) -> tuple[str, str, str]:
    """Return one aligned pair padded to equal width; stars stand for no word."""
    width = max(_width(left or ""), _width(right or ""), 1)
    mark = "I" if left is None else "D" if right is None else "S" if left != right else " "
    shown = ["*" * width if word is None else word + " " * (width - _width(word)) for word in (left, right)]
    return shown[0], shown[1], mark + " " * (width - 1)


def _width(text: str) -> int:
    """Return the columns that a terminal uses: two for wide East Asian characters, none for combining marks."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def _differ_in_case(alignment: Alignment) -> int:
    return sum(
        left is not None and right is not None and left != right and left.casefold() == right.casefold()
        for left, right in alignment
    )
