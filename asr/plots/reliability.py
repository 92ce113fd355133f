"""The picture of how far confidence can be believed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from asr.plots.picture import picture_format, require_matplotlib, save_picture

_COLOURS = ("#b8552b", "#1b6ca8", "#5a8a3a")
_MARKERS = ("s", "o", "^")


def draw_reliability(
    lines: Mapping[str, Sequence[tuple[float, float, int]]], path: Path, *, title: str, what: str = "words"
) -> None:
    """Write a reliability diagram: above, how many were right of those with such a confidence; below, how many of each.

    Args: lines: name -> (mean confidence, share that is right, how many) of each bin.  what: was judged.
    Raises: MachineError if matplotlib is missing or the file cannot be written; UsageError as `picture_format`.
    Source: Guo et al. 2017, figure 1.
    """
    picture_format(path)
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 7.5), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], linestyle=":", color="#666666", label="as right as sure")
    for colour, marker, (name, bins) in zip(_COLOURS, _MARKERS, lines.items(), strict=False):
        confidences, shares, counts = zip(*bins, strict=True)
        errors = list(zip(*(_interval(share, count) for share, count in zip(shares, counts, strict=True)), strict=True))
        axes.errorbar(confidences, shares, yerr=errors, color=colour, marker=marker, capsize=2, label=name)
        below.plot(confidences, counts, color=colour, marker=marker, markersize=4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel(f"share of {what} that are right")
    axes.set_title(title)
    below.set_yscale("log")
    below.set_ylabel(what)
    below.set_xlabel("confidence")
    for each in (axes, below):
        each.grid(visible=True, alpha=0.25)
    # outside, as curves may lie in any corner
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    save_picture(figure, path)


def _interval(share: float, count: int) -> tuple[float, float]:
    """Return how far the 95 % interval of a share reaches down and up (Wilson 1927)."""
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * ((share * (1 - share) + z * z / (4 * count)) / count) ** 0.5
    return max(0.0, share - (middle - half)), max(0.0, middle + half - share)
