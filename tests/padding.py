"""Alone = in any batch: the one check that padding changes nothing, for every layer, loss and decoder."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Padded:
    """Some rows as a batch.

    Attributes:
        values: (B, L, ...), each row filled up beyond its length.
        lengths: (B,) int64.
        rows: which row each one is, to look up what else belongs to it (seeds, targets).
    """

    values: Tensor
    lengths: Tensor
    rows: list[int]


# From a batch to (outputs (B, L', ...), output lengths (B,)), or to one number a row and None.
Function = Callable[[Padded], tuple[Tensor, Tensor | None]]


def pad(rows: Sequence[Tensor], chosen: Sequence[int], *, extra: int, fill: float) -> Padded:
    """Return the chosen rows (L, ...) as a batch that is `extra` longer than its longest row."""
    lengths = torch.tensor([len(rows[index]) for index in chosen])
    values = rows[0].new_full((len(chosen), int(lengths.max()) + extra, *rows[0].shape[1:]), fill)
    for place, index in enumerate(chosen):
        values[place, : len(rows[index])] = rows[index]
    return Padded(values, lengths, list(chosen))


def assert_padding_changes_nothing(
    function: Function, rows: Sequence[Tensor], *, tolerance: float = 1e-5, fill: float = 0.0
) -> None:
    """Assert that every row's output alone is its output in batches of other rows, orders and widths.

    Args:
        rows: at least three different lengths, (L, ...) each.
        tolerance: largest difference; 0 asks for equal bits.
        fill: what lies beyond the rows' ends; NaN where nothing may read it.
    """
    assert len({len(row) for row in rows}) >= 3, "rows of one length need no padding and test nothing"
    alone = [_outputs(function, pad(rows, [index], extra=0, fill=fill))[0] for index in range(len(rows))]
    for chosen, extra in _arrangements(len(rows)):
        together = _outputs(function, pad(rows, chosen, extra=extra, fill=fill))
        for index, output in zip(chosen, together, strict=True):
            where = f"row {index} of {chosen} with {extra} more"
            assert output.shape == alone[index].shape, f"{where}: {output.shape}, alone {alone[index].shape}"
            assert not output.isnan().any(), f"{where}: NaN"
            difference = (output.double() - alone[index].double()).abs().max().item() if output.numel() else 0.0
            assert difference <= tolerance, f"{where}: differs by {difference:.3g}, allowed {tolerance:g}"


def _arrangements(count: int) -> Iterator[tuple[list[int], int]]:
    everything = list(range(count))
    yield everything, 0
    yield everything[::-1], 11
    yield [count - 1, 0, count - 1], 0
    yield [0], 37


def _outputs(function: Function, batch: Padded) -> list[Tensor]:
    """Return the valid part of each row's output."""
    outputs, lengths = function(batch)
    if lengths is None:
        return list(outputs)
    assert lengths.dtype == torch.int64, f"lengths are {lengths.dtype}"
    return [output[:length] for output, length in zip(outputs, lengths.tolist(), strict=True)]
