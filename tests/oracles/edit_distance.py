"""Plain dynamic programme of the edit distance: every row, no numbering of symbols, no library."""

from collections.abc import Sequence


def fewest_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and substitutions from `reference` to `hypothesis`."""
    table = [[0] * (len(hypothesis) + 1) for _ in range(len(reference) + 1)]
    for row in range(len(reference) + 1):
        for column in range(len(hypothesis) + 1):
            if row == 0 or column == 0:
                table[row][column] = row + column
                continue
            differs = reference[row - 1] != hypothesis[column - 1]
            table[row][column] = min(
                table[row - 1][column - 1] + differs,
                table[row - 1][column] + 1,
                table[row][column - 1] + 1,
            )
    return table[-1][-1]
