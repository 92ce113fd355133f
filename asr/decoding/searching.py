"""Reads log-probs by prefix beam search, where the best path is not enough."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.decoding.alignment import best_alignment
from asr.decoding.beam import BeamConfig, BeamSearch
from asr.decoding.fusion import Fusion
from asr.decoding.greedy import Reading, check_shapes
from asr.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from asr.decoding.rescoring import Rescorer

LogProbs = NDArray[np.float32]


class LogProbsReader:
    """Keeps all log-probs of a recording until they are read."""

    def hear(self, log_probs: "Tensor", lengths: "Tensor") -> list[LogProbs]:
        """Return what is kept of log-probs (B, E, V), for each utterance.  Raises: UsageError for other shapes."""
        check_shapes(tuple(log_probs.shape), lengths)
        rows = log_probs.detach().float().cpu().numpy()
        return [row[:count].copy() for row, count in zip(rows, lengths.tolist(), strict=True)]

    def join(self, parts: Sequence[LogProbs]) -> LogProbs:
        """Return consecutive parts of one recording as one."""
        return np.concatenate(parts)


class SearchReader(LogProbsReader):
    """Reads the best answer of the search, and where it lies."""

    def __init__(
        self,
        config: BeamConfig | None = None,
        fusion: Fusion | None = None,
        *,
        nbest: int = 0,
        rescorer: "Rescorer | None" = None,
    ) -> None:
        """Take what every search of it shares.

        Args:
            config, fusion: as of `BeamSearch`.
            nbest: how many texts a transcript lists.
            rescorer: puts all answers of the search in a new order.
        Raises: UsageError for more texts than the search keeps prefixes.
        """
        self._config, self._fusion, self._nbest = config or BeamConfig(), fusion, nbest
        self._rescorer = rescorer
        if not 0 <= nbest <= self._config.beam:
            raise UsageError(f"nbest {nbest}: the search keeps {self._config.beam} prefixes; ask for as many at most")

    def read(self, log_probs: LogProbs) -> Reading:
        """Return where the best answer of the search lies, and its score.  Raises: as `BeamSearch`."""
        search = BeamSearch(log_probs.shape[1], self._config, self._fusion)
        search.accept(log_probs)
        answers = search.finish(self._config.beam + 1 if self._nbest or self._rescorer else 1)
        if self._rescorer is not None:
            answers = self._rescorer(answers)
        path = best_alignment(log_probs, answers[0].token_ids, near=answers[0].frames)
        return Reading(path, answers[0].score, tuple(answers), self._nbest)
