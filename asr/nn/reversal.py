"""Reversing each sequence of a padded batch within its own length: what lets a plain LSTM run backwards.

Packing is the slow path of recurrent layers on CPU; a backward layer that reads every sequence reversed
within its own length is exact without it: the padding stays behind the data and never reaches it.
"""

import torch
from torch import Tensor


def reversal_index(lengths: Tensor, size: int) -> Tensor:
    """Return (size * B,) int64: for row t * B + b of a time-major batch, the row it is swapped with.

    Position t < length maps to length - 1 - t; padding stays where it is.  The map is its own inverse.
    """
    time = torch.arange(size, device=lengths.device).unsqueeze(1)
    source = torch.where(time < lengths, lengths - 1 - time, time)
    return (source * len(lengths) + torch.arange(len(lengths), device=lengths.device)).reshape(-1)


def reverse(sequences: Tensor, index: Tensor) -> Tensor:
    """Return time-major sequences (E, B, D), each reversed within its length; twice = unchanged.

    Args: index from `reversal_index`.
    """
    reversed_rows: Tensor = _Permutation.apply(sequences, index)  # type: ignore[no-untyped-call]
    return reversed_rows


class _Permutation(torch.autograd.Function):
    """Permute rows by an involution; autograd's own backward of a gather would scatter and add, slowly."""

    @staticmethod
    def forward(ctx, sequences: Tensor, index: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(index)
        return _permute(sequences, index)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (index,) = ctx.saved_tensors
        return _permute(gradient, index), None


def _permute(sequences: Tensor, index: Tensor) -> Tensor:
    return sequences.reshape(-1, sequences.shape[2]).index_select(0, index).view(sequences.shape)
