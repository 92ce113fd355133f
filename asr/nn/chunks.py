"""Cutting a padded batch into chunks with right context, all of them rows of one batch.

What a chunk sees of the frames behind it differs, above the first layer, from what those frames are in their own
chunk: they are computed again for it.  So the frames of a layer are two tensors, see `Frames`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from asr.nn.reversal import reversal_index


class Context(NamedTuple):
    """How far the backward direction sees, in encoder frames.

    Attributes:
        chunk: C, frames that are put out together, each seeing all of them; None: all that there are.
        right: R, frames behind the chunk that it sees, too.
        carried: whether the forward direction goes on from chunk to chunk, or begins anew in each.
    """

    chunk: int | None = None
    right: int = 0
    carried: bool = True


WHOLE = Context()


class Frames(NamedTuple):
    """The frames of a layer.

    Attributes:
        own: (E, B, D), each frame in the chunk that it belongs to.
        right: (R, K * B, D), the R frames behind each of K chunks as that chunk sees them; row k * B + b.
    """

    own: Tensor
    right: Tensor

    def through(self, module: nn.Module) -> "Frames":
        """Return what a module makes of each frame by itself."""
        return Frames(module(self.own), module(self.right) if len(self.right) else self.right)


class ChunkPlan:
    """The chunks of one padded batch.

    Attributes:
        size: C, frames of a chunk.
        right: R, frames of right context.
        count: K, chunks of the longest utterance.
        carried: see `Context`.
        index: for `reverse`, over rows of C + R frames.
    """

    def __init__(self, context: Context, lengths: Tensor, num_frames: int) -> None:
        """Plan the chunks.  Args: lengths (B,) int64 valid frames; num_frames E."""
        self.size = max(1, num_frames if context.chunk is None else context.chunk)
        self.right = 0 if context.chunk is None else context.right
        self.count = max(1, -(-num_frames // self.size))
        self.carried = context.carried
        self._num_frames = num_frames
        begins = torch.arange(self.count, device=lengths.device).unsqueeze(1) * self.size
        rest = (lengths - begins).clamp(0, self.size + self.right).reshape(-1)  # valid frames of each row
        self.index = reversal_index(rest, self.size + self.right)

    def frames(self, own: Tensor, behind: Tensor | None = None) -> Frames:
        """Return the input of the first layer, where what a chunk sees behind it is what stands there.

        Args: behind: (R, B, D) frames behind `own` (E, B, D), for the last chunk; None: there are none.
        """
        if not self.right:
            return Frames(own, own.new_empty(0, self.count * own.shape[1], own.shape[2]))
        known = own if behind is None else torch.cat([own, behind])
        padded = nn.functional.pad(known, (0, 0, 0, 0, 0, self.count * self.size + self.right - len(known)))
        seen = padded[self.size :].unfold(0, self.right, self.size)  # (K, B, D, R); the gradient of an index is slow
        return Frames(own, seen.permute(3, 0, 1, 2).flatten(1, 2))

    def rows(self, frames: Frames) -> Tensor:
        """Return each chunk with its right context as one row, (C + R, K * B, D)."""
        missing = self.count * self.size - self._num_frames
        own = nn.functional.pad(frames.own, (0, 0, 0, 0, 0, missing)) if missing else frames.own
        own = own.unflatten(0, (self.count, self.size)).transpose(0, 1).flatten(1, 2)
        return torch.cat([own, frames.right]) if self.right else own

    def from_rows(self, rows: Tensor) -> Frames:
        """Return the frames of rows: the inverse of `rows`."""
        own = rows[: self.size].unflatten(1, (self.count, -1)).transpose(0, 1).flatten(0, 1)
        return Frames(own[: self._num_frames], rows[self.size :])
