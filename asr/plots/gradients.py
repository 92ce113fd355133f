"""The picture of how far back the gradient of a loss reaches."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr.plots.picture import picture_format, require_matplotlib, save_picture

_FLOOR = 1e-12  # of the picture: what is less moves no weight in float32 beside what is 1
_COLOURS = (*(f"C{number}" for number in range(10)), "black")  # a line for each cell


def draw_gradients(
    lines: Mapping[str, Mapping[str, Sequence[float | None]]], path: Path, *, title: str, floor: float = _FLOOR
) -> None:
    """Write the picture of gradients at the states of earlier and earlier steps, on a log scale, a panel for each time.

    Args: lines: when -> cell -> norm at each step, the last first, in parts of the last step's; None is left out.
    Raises: MachineError if matplotlib is missing or the file cannot be written; UsageError as `picture_format`.
    """
    picture_format(path)
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * len(lines), 4.8), layout="constrained")
    panels = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    for axes, (when, cells) in zip(panels, lines.items(), strict=True):
        for number, (name, norms) in enumerate(cells.items()):
            values = [norm if norm else math.nan for norm in norms]
            axes.plot(range(len(values)), values, color=_COLOURS[number % len(_COLOURS)], linewidth=1.4, label=name)
        axes.set_yscale("log")
        axes.set_ylim(bottom=floor)
        axes.set(xlabel="steps before the last", title=when)
        axes.grid(visible=True, alpha=0.25)
    panels[0].set_ylabel("norm at hidden values and memory,\nin parts of the last step's")
    figure.suptitle(title, fontsize="medium")
    # outside, as curves may lie in any corner
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=6)
    save_picture(figure, path)
