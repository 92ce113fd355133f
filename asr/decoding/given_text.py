"""Reads log-probs where it is known what is said: where the text lies."""

from collections.abc import Sequence

from asr.decoding.alignment import best_alignment
from asr.decoding.beam import checked_probs
from asr.decoding.greedy import Reading
from asr.decoding.searching import LogProbs, LogProbsReader


class GivenTextReader(LogProbsReader):
    """Reads one text, whatever is heard."""

    def __init__(self, token_ids: Sequence[int]) -> None:
        """Take the text.  Args: token_ids: (U,) without blanks."""
        self._token_ids = token_ids

    def read(self, log_probs: LogProbs) -> Reading:
        """Return the most probable path that spells the text, and its natural log-probability.

        Raises: as `best_alignment`; DataError for rows that are not log-probabilities.
        """
        checked_probs(log_probs, log_probs.shape[1])
        path = best_alignment(log_probs, self._token_ids)
        return Reading(path, float(path.log_probs.sum(dtype="float64")))
