"""The picture of how far the memory of cells reaches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from asr.plots.picture import picture_format, require_matplotlib, save_picture

_SOLVED, _FAILED = "#1b6ca8", "#b8552b"


class Attempt(NamedTuple):
    """One task of one length, solved by a cell or not."""

    length: int
    solved: bool


def reach(attempts: Sequence[Attempt]) -> int:
    """Return the greatest length that is solved as all shorter ones are, 0 if there is none."""
    solved = 0
    for attempt in sorted(attempts):
        if not attempt.solved:
            break
        solved = attempt.length
    return solved


def draw_reach(attempts: Mapping[str, Mapping[str, Sequence[Attempt]]], path: Path, *, title: str) -> None:
    """Write the picture of what cells solve: a row for each, the farthest reaching on top, beside one another by task.

    A line ends at the greatest length before a cell gives up; what it did not solve is a ring.

    Args: attempts: task -> cell -> its attempts.
    Raises: MachineError if matplotlib is missing or the file cannot be written; UsageError as `picture_format`.
    """
    picture_format(path)
    require_matplotlib()
    from matplotlib.figure import Figure

    rows = max(len(cells) for cells in attempts.values())
    figure = Figure(figsize=(4.8 * len(attempts), 1.6 + 0.32 * rows), layout="constrained")
    ticks = sorted({each.length for cells in attempts.values() for tried in cells.values() for each in tried})
    for axes, (task, cells) in zip(figure.subplots(1, len(attempts), squeeze=False)[0], attempts.items(), strict=True):
        names = sorted(cells, key=lambda name: -reach(cells[name]))[::-1]  # rows are counted from below
        for row, name in enumerate(names):
            axes.plot([ticks[0] / 1.5, reach(cells[name]) or ticks[0] / 1.5], [row, row], color=_SOLVED, linewidth=2)
            for length, solved in cells[name]:
                colour = _SOLVED if solved else _FAILED
                axes.plot(length, row, "o", color=colour, mfc=colour if solved else "white", markersize=7)
        axes.set_xscale("log")
        axes.set_xlim(ticks[0] / 1.5, ticks[-1] * 1.5)
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="T, steps to be remembered", title=task)
        axes.grid(visible=True, alpha=0.25)
    figure.suptitle(f"{title}\nfull: solved, ring: not", fontsize="medium")
    save_picture(figure, path)
