"""The full report as plain text, laid out as NIST's sclite does: summary, confusions, aligned utterances."""

from collections.abc import Iterable, Mapping, Sequence

from asr.scoring.bootstrap import Interval
from asr.scoring.confusions import count_confusions
from asr.scoring.error_rate import ErrorCounts, Score
from asr.scoring.report import alignment_text, summary, text_width, valid_text
from asr.scoring.slices import Slice

SUMMARY_COLUMNS = ("utterances", "words", "Corr", "Sub", "Del", "Ins", "Err", "S.Err", "95 % interval of Err")


def listing(title: str, score: Score, interval: Interval | None, tables: Mapping[str, Sequence[Slice]]) -> str:
    """Return the report: rates, a table for each way to slice, counts by word, and every alignment.

    Args: tables: what slices are of ("speaker") and the slices.
    """
    parts = [valid_text(title), summary(score, interval)]
    parts += [slice_table(name, slices, score) for name, slices in (tables or {"": []}).items()]
    parts += list(_word_tables(score))
    parts += ["ALIGNMENTS (* stands for no word; S substituted, D deleted, I inserted)"]
    parts += [alignment_text(utterance) for utterance in score.utterances]
    return "\n\n".join(parts) + "\n"


def slice_table(name: str, slices: Sequence[Slice], score: Score) -> str:
    """Return a table of slices and their sum: counts, then shares in percent, then the interval of the error rate.

    Corr, Sub, Del and Ins are shares of the reference words; S.Err is the share of utterances with an error.
    """
    return _aligned([[name, *SUMMARY_COLUMNS], *slice_rows(slices, score)])


def slice_rows(slices: Sequence[Slice], score: Score) -> list[list[str]]:
    """Return the cells of such a table: a row for each slice, and one of all utterances."""
    rows = [
        [part.name, *_cells(len(part.utterances), part.words, part.sentence_errors), _ends(part)] for part in slices
    ]
    return [*rows, ["all", *_cells(len(score.utterances), score.words, score.sentence_errors), ""]]


def _cells(num_utterances: int, words: ErrorCounts, sentence_errors: int) -> list[str]:
    return [str(num_utterances), str(words.reference), *shares(words), percent(sentence_errors, num_utterances)]


def shares(words: ErrorCounts) -> list[str]:
    """Return Corr, Sub, Del, Ins and Err as percent of the reference words, "-" where there are none."""
    right = words.reference - words.substitutions - words.deletions
    counts = (right, words.substitutions, words.deletions, words.insertions, words.errors)
    return [percent(count, words.reference) for count in counts]


def percent(count: int, of: int) -> str:
    """Return a share in percent with one digit, "-" where there is nothing to have a share of."""
    return f"{100 * count / of:.1f}" if of else "-"


def _ends(part: Slice) -> str:
    return "-" if part.interval is None else f"{100 * part.interval.low:.1f} to {100 * part.interval.high:.1f}"


def _word_tables(score: Score) -> Iterable[str]:
    """Yield the counts by word, each with its sum."""
    found = count_confusions(score.utterances)
    yield _counted("CONFUSION PAIRS", [(f"{left} -> {right}", count) for (left, right), count in found.pairs])
    yield _counted("INSERTIONS", found.inserted)
    yield _counted("DELETIONS", found.deleted)
    yield _counted("SUBSTITUTIONS (the word that was said)", found.substituted)
    yield _counted("FALSELY RECOGNISED (the word that was put for another)", found.falsely_recognised)


def _counted(title: str, items: Sequence[tuple[str, int]]) -> str:
    head = f"{title}: {sum(count for _, count in items)}, different ones {len(items)}"
    return "\n".join([head, *(f"{count:7d}  {text}" for text, count in items)])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines, the first column to the left, all others to the right."""
    widths = [max(text_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [" " * (width - text_width(cell)) + cell for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0] + " " * (widths[0] - text_width(row[0]))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
