"""Reads log-probs by prefix beam search, where the best path is not enough."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.decoding.alignment import best_alignment
from asr.decoding.beam import BeamConfig, BeamSearch
from asr.decoding.fusion import Fusion, words_said
from asr.decoding.greedy import FramePath, check_shapes
from asr.decoding.lexicon import vocabulary_of
from asr.decoding.scorer import FusionConfig, fuse

if TYPE_CHECKING:
    from torch import Tensor

    from asr.lm.ngram import NgramModel
    from asr.text.lexicon import Lexicon
    from asr.text.tokenizer import Tokenizer

LogProbs = NDArray[np.float32]

UNFINISHED = "ends within a word of the lexicon, which is left out: try a wider beam (--beam)"
NO_PHRASE = "too short for any phrase of the grammar: nothing is written"
_ALL = 1 << 20  # more prefixes than a beam can hold


class KeepingReader:
    """Keeps all log-probs of a recording until they are read."""

    def hear(self, log_probs: "Tensor", lengths: "Tensor") -> list[LogProbs]:
        """Return what is kept of log-probs (B, E, V), for each utterance.  Raises: UsageError for other shapes."""
        check_shapes(tuple(log_probs.shape), lengths)
        rows = log_probs.detach().float().cpu().numpy()
        return [row[:count].copy() for row, count in zip(rows, lengths.tolist(), strict=True)]

    def join(self, parts: Sequence[LogProbs]) -> LogProbs:
        """Return consecutive parts of one recording as one."""
        return np.concatenate(parts)


class SearchReader(KeepingReader):
    """Reads the best answer of the search, and where it lies."""

    def __init__(
        self, config: BeamConfig | None = None, fusion: Fusion | None = None, words: Sequence[str] | None = None
    ) -> None:
        """Take what every search of it shares.

        Args: config, fusion: as of `BeamSearch`.  words: of the fusion's closed vocabulary.
        """
        self._config, self._fusion, self._words = config, fusion, words

    @classmethod
    def of(
        cls,
        tokenizer: "Tokenizer",
        config: BeamConfig | None = None,
        *,
        model: "NgramModel | None" = None,
        weights: FusionConfig | None = None,
        hotwords: Mapping[str, float] | None = None,
        lexicon: "Lexicon | None" = None,
    ) -> "SearchReader":
        """Return the reader of a recogniser's log-probs.

        Args: lexicon: the only words that may be said; of phones by default those of the tokens' own lexicon.
            Others: as of `fuse`.
        Raises: DataError as `fuse` and `vocabulary_of`.
        """
        vocabulary = vocabulary_of(tokenizer, lexicon) if lexicon or tokenizer.lexicon else None
        fusion = fuse(tokenizer, model, weights, hotwords=hotwords, vocabulary=vocabulary)
        return cls(config, fusion, vocabulary.words if vocabulary else None)

    def read(self, log_probs: LogProbs) -> tuple[FramePath, float]:
        """Return the path that is read of all that was heard, and the search's score.  Raises: as `BeamSearch`."""
        search = BeamSearch(log_probs.shape[1], self._config, self._fusion)
        search.accept(log_probs)
        (best,) = search.finish()
        if best.score == -np.inf:
            assert self._fusion is not None, "something is impossible in a closed vocabulary alone"
            return self._unfinished(log_probs, search, self._fusion)
        path = best_alignment(log_probs, best.token_ids, near=best.frames)
        if self._fusion is not None and self._fusion.closed:
            path = self._named(path, words_said(self._fusion, best.token_ids)[0])
        return path, best.score

    def _unfinished(self, log_probs: LogProbs, search: BeamSearch, fusion: Fusion) -> tuple[FramePath, float]:
        """Return the whole words of the best prefix, where all prefixes end within a word; their path's score."""
        prefixes = sorted(search.finish(_ALL), key=lambda prefix: -prefix.acoustic_score)
        said = (words_said(fusion, prefix.token_ids) for prefix in prefixes)
        best, (words, end) = next(found for found in zip(prefixes, said, strict=True) if found[1][1] >= 0)
        path = best_alignment(log_probs, best.token_ids[:end], near=best.frames[:end])
        path = replace(self._named(path, words), warnings=(UNFINISHED,))
        return path, float(path.log_probs.sum(dtype=np.float64))

    def _named(self, path: FramePath, words: Sequence[int]) -> FramePath:
        names = self._words
        return path if names is None else replace(path, words=tuple(names[word] for word in words))
