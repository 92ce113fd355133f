"""Two sets of hypotheses for the same references: rates, paired tests, and the utterances that made the difference."""

from dataclasses import dataclass
from typing import Any

from asr.scoring.error_rate import Score
from asr.scoring.paired import (
    BootstrapDifference,
    Column,
    MatchedPairs,
    McNemar,
    bootstrap_difference,
    matched_pairs,
    mcnemar,
    merged,
    segment_errors,
)
from asr.scoring.report import columns_text, counts_values, rate_line

MANY_SEGMENTS = 50  # from which the normal approximation of the matched pairs test is trusted
SURE = 0.05  # p-values below are called a difference


@dataclass(frozen=True, slots=True)
class Contrast:
    """One utterance on which both err differently often."""

    id: str
    errors_a: int
    errors_b: int
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two scores of the same utterances, tested.

    Attributes:
        bootstrap: None if there is no reference word.
        contrasts: the utterances with different numbers of errors, largest difference first.
    """

    a: Score
    b: Score
    matched_pairs: MatchedPairs
    bootstrap: BootstrapDifference | None
    mcnemar: McNemar
    contrasts: tuple[Contrast, ...]

    @property
    def difference(self) -> float:
        """The word error rate of B minus that of A (fractions), nan without reference words."""
        words = self.a.words.reference
        return (self.b.words.errors - self.a.words.errors) / words if words else float("nan")


def compare(a: Score, b: Score, *, seed: int = 0) -> Comparison:
    """Return the comparison of two scores of the same pairs in the same order."""
    pairs = list(zip(a.utterances, b.utterances, strict=True))
    assert all(left.id == right.id for left, right in pairs), "both are scored against the same references"
    columns = [tuple(merged(left.alignment, right.alignment)) for left, right in pairs]
    errors_a = [left.words.errors for left, _ in pairs]
    errors_b = [right.words.errors for _, right in pairs]
    lengths = [left.words.reference for left, _ in pairs]
    contrasts = [
        Contrast(left.id, left.words.errors, right.words.errors, shown)
        for (left, right), shown in zip(pairs, columns, strict=True)
        if left.words.errors != right.words.errors
    ]
    contrasts.sort(key=lambda item: -abs(item.errors_a - item.errors_b))  # stable: then the references' order
    return Comparison(
        a,
        b,
        matched_pairs([segment for shown in columns for segment in segment_errors(shown)]),
        bootstrap_difference(errors_a, errors_b, lengths, seed=seed),
        mcnemar([errors > 0 for errors in errors_a], [errors > 0 for errors in errors_b]),
        tuple(contrasts),
    )


def comparison_text(comparison: Comparison, name_a: str, name_b: str, *, shown: int) -> str:
    """Return the lines that `asr compare` prints; at most `shown` utterances with their alignments."""
    a, b = comparison.a, comparison.b
    lines = [
        f"A: {name_a}",
        f"   {rate_line('WER', a.words)}",
        f"B: {name_b}",
        f"   {rate_line('WER', b.words)}",
        *_test_lines(comparison),
        _verdict(comparison),
    ]
    contrasts = comparison.contrasts
    in_favour = sum(item.errors_b < item.errors_a for item in contrasts)
    lines += [
        "",
        f"{len(contrasts)} of {len(a.utterances)} utterances differ in their errors: "
        f"{in_favour} in favour of B, {len(contrasts) - in_favour} of A",
    ]
    for contrast in contrasts[:shown]:
        lines += ["", contrast_text(contrast)]
    if len(contrasts) > shown:
        lines += ["", f"... and {len(contrasts) - shown} more; --show N says how many to print"]
    return "\n".join(lines)


def contrast_text(contrast: Contrast) -> str:
    """Return the three texts one above the other, with I, D or S below each error of A and of B."""
    rows = columns_text(contrast.columns, ("ref:", "A:", "B:")).splitlines()
    marked = [row for row in rows if row]  # no row of marks below who is right
    return "\n".join([f"{contrast.id}: A {contrast.errors_a}, B {contrast.errors_b}", *marked])


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as JSON values (docs/formats.md, "Comparison")."""
    pairs, bootstrap, sentences = comparison.matched_pairs, comparison.bootstrap, comparison.mcnemar
    return {
        "a": counts_values(comparison.a.words),
        "b": counts_values(comparison.b.words),
        "difference": None if bootstrap is None else comparison.difference,
        "bootstrap": None
        if bootstrap is None
        else {key: getattr(bootstrap, key) for key in BootstrapDifference.__slots__},
        "matched_pairs": {key: getattr(pairs, key) for key in MatchedPairs.__slots__},
        "mcnemar": {key: getattr(sentences, key) for key in McNemar.__slots__},
    }


def contrast_values(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the utterances with different numbers of errors as JSON values."""
    return [
        {"id": item.id, "a": item.errors_a, "b": item.errors_b, "columns": [list(column) for column in item.columns]}
        for item in comparison.contrasts
    ]


def _test_lines(comparison: Comparison) -> list[str]:
    pairs, bootstrap, sentences = comparison.matched_pairs, comparison.bootstrap, comparison.mcnemar
    lines = []
    if bootstrap is not None:
        lines += [
            f"B - A: {100 * comparison.difference:+.2f} points of WER, {100 * bootstrap.level:.3g} % interval "
            f"{100 * bootstrap.low:+.2f} to {100 * bootstrap.high:+.2f}",
            f"paired bootstrap over utterances: p = {_p(bootstrap.p_value)}; B better in "
            f"{100 * bootstrap.b_better:.1f} % of {bootstrap.replications} draws (seed {bootstrap.seed})",
        ]
    few = f"; fewer than {MANY_SEGMENTS}: a rough figure" if pairs.segments < MANY_SEGMENTS else ""
    lines.append(f"matched pairs (MAPSSWE): p = {_p(pairs.p_value)}; {pairs.segments} segments with an error{few}")
    lines.append(
        f"McNemar on utterances: p = {_p(sentences.p_value)}; "
        f"only A right {sentences.only_a_right}, only B right {sentences.only_b_right}"
    )
    return lines


def _verdict(comparison: Comparison) -> str:
    """Return what to believe: a difference only if both tests of words say so."""
    bootstrap = comparison.bootstrap
    p_values = [comparison.matched_pairs.p_value, None if bootstrap is None else bootstrap.p_value]
    if all(p_value is not None and p_value < SURE for p_value in p_values):
        better = "A" if comparison.difference > 0 else "B"
        return f"{better} is better: both tests of words give p < {SURE}"
    return f"no difference is shown: not both tests of words give p < {SURE}"


def _p(value: float | None) -> str:
    return "cannot be computed" if value is None else f"{value:.3f}" if value >= 0.001 else f"{value:.1g}"
