"""Reads log-probs by prefix beam search, where the best path is not enough."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.decoding.alignment import best_alignment
from asr.decoding.beam import BeamConfig, BeamSearch
from asr.decoding.fusion import Fusion
from asr.decoding.greedy import FramePath, check_shapes

if TYPE_CHECKING:
    from torch import Tensor

LogProbs = NDArray[np.float32]


class SearchReader:
    """Reads the best answer of the search, and where it lies.  Keeps all log-probs of a recording until then."""

    def __init__(self, config: BeamConfig | None = None, fusion: Fusion | None = None) -> None:
        """Take what every search of it shares.  Args: as of `BeamSearch`."""
        self._config, self._fusion = config, fusion

    def hear(self, log_probs: "Tensor", lengths: "Tensor") -> list[LogProbs]:
        """Return what is kept of log-probs (B, E, V), for each utterance.  Raises: UsageError for other shapes."""
        check_shapes(tuple(log_probs.shape), lengths)
        rows = log_probs.detach().float().cpu().numpy()
        return [row[:count].copy() for row, count in zip(rows, lengths.tolist(), strict=True)]

    def join(self, parts: Sequence[LogProbs]) -> LogProbs:
        """Return consecutive parts of one recording as one."""
        return np.concatenate(parts)

    def read(self, log_probs: LogProbs) -> tuple[FramePath, float]:
        """Return the path that is read of all that was heard, and the search's score.  Raises: as `BeamSearch`."""
        search = BeamSearch(log_probs.shape[1], self._config, self._fusion)
        search.accept(log_probs)
        (best,) = search.finish()
        return best_alignment(log_probs, best.token_ids, near=best.frames), best.score
