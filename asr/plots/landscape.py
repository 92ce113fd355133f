"""The picture of error rates over two weights of a search."""

from collections.abc import Mapping
from pathlib import Path

from asr.plots.picture import require_matplotlib, save_picture

_NEAR = 0.19


def draw_landscape(
    rates: Mapping[tuple[float, float], float], path: Path, *, best: tuple[float, float], title: str
) -> None:
    """Write the picture of error rates, in percent, over (weight, bonus); the best is ringed.

    Raises: MachineError if matplotlib is missing or the file cannot be written; UsageError as `picture_format`.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    weights, bonuses = zip(*rates, strict=True)
    dots = axes.scatter(weights, bonuses, c=list(rates.values()), s=90, cmap="viridis_r", edgecolors="none")
    for (weight, bonus), rate in rates.items():
        if (weight, bonus) == best or any(0 < abs(weight - w) + abs(bonus - b) < _NEAR for w, b in rates):
            continue  # numbered below, or its number and a close neighbour's would run into each other
        axes.annotate(f"{rate:.1f}", (weight, bonus), xytext=(0, -16), textcoords="offset points", ha="center", size=7)
    axes.scatter(*best, s=180, facecolors="none", edgecolors="#b8552b", linewidths=2)
    axes.annotate(
        f"{rates[best]:.1f}",
        best,
        xytext=(0, -20),
        textcoords="offset points",
        ha="center",
        size=9,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "#b8552b"},
    )
    axes.margins(y=0.12)  # the numbers lie below their dots
    axes.set(xlabel="weight of the language model", ylabel="bonus of a word", title=title)
    figure.colorbar(dots, ax=axes, label="%")
    save_picture(figure, path)
