"""The picture of a recurrent layer at work: gates and memory under the sound, above what is read from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from asr.nn.ctc import BLANK_ID
from asr.plots.passage import Axis, Passage
from asr.plots.picture import picture_format, require_matplotlib, save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = NDArray[np.float32]

LIKELY = 0.2  # a posterior from which on a token is drawn and named
KEEPERS = ("forget", "update")  # the gate by which cells are chosen and ordered, whichever a cell has
_COLOURS = ("#1b6ca8", "#b8552b", "#5a8a3a", "#7b4ea3", "#c2185b", "#00838f", "#8d6e1f")
_BORDER = "#ff2d2d"  # of words, seen on all colours of the maps


def draw_gates(passage: Passage, path: Path, *, cells: int, title: str) -> None:
    """Write the picture of a passage; its gates and memory show at most `cells` cells, the same in the same rows.

    Raises: MachineError if matplotlib is missing or the file cannot be written; UsageError as `picture_format`.
    """
    picture_format(path)
    require_matplotlib()
    from matplotlib.figure import Figure

    layer = passage.layer
    keeper = next(name for name in KEEPERS if name in layer.gates)
    rows = chosen_cells(layer.gates[keeper].numpy(), cells)
    count = len(layer.gates)
    figure = Figure(figsize=(10, 3.2 + 1.75 * (count + 2)), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(count + 3, 1, sharex=True, height_ratios=[1.1, *[1.2] * (count + 1), 1.1])
    _draw_features(passage, axes[0])
    images = [
        _draw_map(layer.gates[name].numpy()[:, rows], passage.axis, axis, cmap="viridis", vmin=0, vmax=1)
        for name, axis in zip(layer.opens, axes[1:-2], strict=True)
    ]
    for (name, does), axis in zip(layer.opens.items(), axes[1:-2], strict=True):
        _label(axis, f"{name} gate: open (1), it {does}", "cells")
    figure.colorbar(images[0], ax=list(axes[1:-2]), aspect=15 * count)
    _draw_memory(layer.memory.numpy()[:, rows], passage.axis, axes[-2], figure)
    _draw_posteriors(passage, axes[-1])
    _draw_words(passage, axes)
    of_all = f"the {len(rows)} of {layer.memory.shape[1]} cells whose {keeper} gate moves most"
    about = f"rows: {of_all}, those that move together side by side; lines: where words start (dotted: end)"
    text = passage.transcript.text or "(nothing was recognised)"
    figure.suptitle(f"“{text}”", fontsize=13, fontweight="bold", parse_math=False)
    figure.supxlabel(f"{title}\n{about}", fontsize=8.5, parse_math=False)
    save_picture(figure, path)


def chosen_cells(gate: Values, count: int) -> NDArray[np.int64]:
    """Return the `count` cells, or all if they are fewer, whose gate (E, H) moves most; neighbours move together.

    Their order is the angle of their loadings on the first two principal components of the gate over time.
    """
    most = np.sort(np.argsort(-gate.std(0), kind="stable")[:count])
    moving = gate[:, most] - gate[:, most].mean(0)
    _, strengths, loadings = np.linalg.svd(moving, full_matrices=False)
    plane = np.zeros((2, len(most)))
    plane[: len(strengths)] = (strengths[:, None] * loadings * np.sign(loadings.sum(1, keepdims=True)))[:2]
    order: NDArray[np.int64] = most[np.argsort(np.arctan2(plane[1], plane[0]), kind="stable")]
    return order


def _draw_features(passage: Passage, axis: "Axes") -> None:
    values, time = passage.features.numpy(), passage.feature_axis
    middles = time.start + (np.arange(time.frames) + 0.5) * time.hop
    heard = values[(middles >= 0) & (middles < passage.transcript.duration)]
    low, high = np.percentile(heard if len(heard) else values, (5, 99.5))
    _draw_map(values, time, axis, cmap="magma", vmin=low, vmax=high)
    _label(axis, f"what is heard: {passage.kind}", "features")


def _draw_memory(memory: Values, time: Axis, axis: "Axes", figure: "Figure") -> None:
    most = float(np.percentile(np.abs(memory), 80)) or 1.0
    image = _draw_map(memory, time, axis, cmap="RdBu_r", vmin=-most, vmax=most)
    figure.colorbar(image, ax=axis, extend="both", aspect=15)
    _label(axis, "memory: what each cell holds", "cells")


def _draw_map(values: Values, time: Axis, axis: "Axes", **colours: Any) -> Any:
    """Draw values (frames, rows) as a heat map over seconds, the first row at the bottom."""
    bounds = (time.start, time.end, 0, values.shape[1])
    return axis.imshow(values.T, origin="lower", extent=bounds, aspect="auto", interpolation="nearest", **colours)


def _draw_posteriors(passage: Passage, axis: "Axes") -> None:
    probs = passage.layer.log_probs.exp().numpy()
    seconds = passage.axis.start + (np.arange(len(probs)) + 0.5) * passage.axis.hop
    axis.fill_between(seconds, probs[:, BLANK_ID], color="#bbbbbb", linewidth=0)
    likely = [token for token in np.flatnonzero(probs.max(0) >= LIKELY) if token != BLANK_ID]
    for number, token in enumerate(likely):
        colour = _COLOURS[number % len(_COLOURS)]
        axis.plot(seconds, probs[:, token], color=colour, linewidth=1.2)
        for peak in peaks(probs[:, token]):
            place = (seconds[peak], probs[peak, token])
            axis.annotate(
                passage.symbols[token], place, xytext=(0, 2), textcoords="offset points", ha="center", color=colour,
                fontsize=9, fontweight="bold", parse_math=False,
            )  # fmt: skip
    axis.set_ylim(0, 1.2)
    axis.set_yticks([0, 0.5, 1])
    axis.set_xlabel("seconds")
    _label(axis, "what is said: CTC posteriors of the tokens; grey: blank; ▁: a space", "probability")


def peaks(probs: Values) -> list[int]:
    """Return the frame where each stretch of likely frames is most so.  Args: probs (E,) of one token."""
    likely = np.flatnonzero(probs >= LIKELY)
    stretches = np.split(likely, np.flatnonzero(np.diff(likely) > 1) + 1) if len(likely) else []
    return [int(frames[probs[frames].argmax()]) for frames in stretches]


def _draw_words(passage: Passage, axes: "Sequence[Axes]") -> None:
    for word in passage.transcript.words:
        for axis in axes:
            axis.axvline(word.start, color=_BORDER, linewidth=0.9)
            axis.axvline(word.end, color=_BORDER, linewidth=0.9, linestyle=":")
        axes[0].annotate(
            word.word, ((word.start + word.end) / 2, 1), xycoords=axes[0].get_xaxis_transform(), xytext=(0, 15),
            textcoords="offset points", ha="center", fontsize=10, color=_BORDER, parse_math=False,
        )  # fmt: skip
    axes[0].set_xlim(passage.axis.start, passage.axis.end)


def _label(axis: "Axes", text: str, rows: str) -> None:
    """Say above a panel what it shows, and beside it what its rows are."""
    axis.set_title(text, loc="left", fontsize=9, pad=3)
    axis.set_ylabel(rows, fontsize=9)
    axis.tick_params(labelsize=8)
