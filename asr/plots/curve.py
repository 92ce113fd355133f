"""The picture of a learning curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.plots.picture import require_matplotlib, save_picture

_COLOURS = ("#1b6ca8", "#b8552b", "#5a8a3a")


@dataclass(frozen=True)
class CurveLine:
    """One line of the picture: (minutes, rate, low, high) of each point, rates in percent, and what is foreseen."""

    points: Sequence[tuple[float, float, float, float]]
    foreseen: tuple[float, float, float, float] | None = None


def draw_curve(lines: Mapping[str, CurveLine], path: Path, *, title: str) -> None:
    """Write the picture of word error rates over minutes of training speech; the suffix of `path` says which format.

    Raises: MachineError if matplotlib is missing or the file cannot be written; UsageError as `picture_format`.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for colour, (name, line) in zip(_COLOURS, lines.items(), strict=False):
        minutes, rates, lows, highs = zip(*line.points, strict=True)
        axes.plot(minutes, rates, marker="o", color=colour, label=name)
        axes.fill_between(minutes, lows, highs, color=colour, alpha=0.15, linewidth=0)
        if line.foreseen:
            later, rate, low, high = line.foreseen
            axes.plot([minutes[-1], later], [rates[-1], rate], linestyle=":", color=colour)
            below, above = max(0.0, rate - low), max(0.0, high - rate)
            axes.errorbar([later], [rate], yerr=[[below], [above]], fmt="o", mfc="white", color=colour, capsize=3)
    axes.set_xscale("log")
    ticks = sorted({round(point[0], 1) for line in lines.values() for point in line.points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("minutes of training speech")
    axes.set_ylabel("word error rate, %")
    axes.set_title(title)
    axes.grid(visible=True, alpha=0.25)
    axes.legend(frameon=False)
    save_picture(figure, path)
