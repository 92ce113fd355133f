"""Reads log-probs by prefix beam search, where the best path is not enough."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.decoding.alignment import best_alignment
from asr.decoding.beam import BeamConfig, BeamSearch
from asr.decoding.fusion import Fusion, words_said
from asr.decoding.greedy import FramePath, Reading, check_shapes
from asr.decoding.lexicon import vocabulary_of
from asr.decoding.scorer import FusionConfig, fuse
from asr.errors import UsageError
from asr.lm.binding import tuned_of

if TYPE_CHECKING:
    from torch import Tensor

    from asr.decoding.beam import Prefix
    from asr.decoding.rescoring import Rescorer
    from asr.lm.ngram import NgramModel
    from asr.text.lexicon import Lexicon
    from asr.text.tokenizer import Tokenizer

LogProbs = NDArray[np.float32]

UNFINISHED = "ends within a word of the lexicon, which is left out: try a wider beam (--beam)"
NO_PHRASE = "too short for any phrase of the grammar: nothing is written"
_ALL = 1 << 20  # more prefixes than a beam can hold
_FEW = 1 << 26  # frames times tokens of which all alignments are looked at, in half a second: minutes of speech


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
        words: Sequence[str] | None = None,
        *,
        nbest: int = 0,
        rescorer: "Rescorer | None" = None,
    ) -> None:
        """Take what every search of it shares.

        Args:
            config, fusion: as of `BeamSearch`.
            words: of the fusion's closed vocabulary.
            nbest: how many texts a transcript lists.
            rescorer: puts all answers of the search in a new order.
        Raises: UsageError for more texts than the search keeps prefixes.
        """
        self._config, self._fusion, self._words = config or BeamConfig(), fusion, words
        self._nbest, self._rescorer = nbest, rescorer
        if not 0 <= nbest <= self._config.beam:
            raise UsageError(f"nbest {nbest}: the search keeps {self._config.beam} prefixes; ask for as many at most")

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
        nbest: int = 0,
        rescorer: "Rescorer | None" = None,
    ) -> "SearchReader":
        """Return the reader of a recogniser's log-probs.

        Args:
            weights: without them those that `asr lm tune` kept in the model, with the blank penalty found there.
            lexicon: the only words that may be said; of phones by default those of the tokens' own lexicon.
            nbest, rescorer: as of the constructor.  Others: as of `fuse`.
        Raises: DataError as `fuse` and `vocabulary_of`.
        """
        tuned = tuned_of(model) if model is not None and weights is None else None
        if tuned is not None:
            weights = FusionConfig(weight=tuned.weight, bonus=tuned.bonus, unknown=tuned.unknown)
            config = (config or BeamConfig()).model_copy(update={"blank_penalty": tuned.blank_penalty})
        vocabulary = vocabulary_of(tokenizer, lexicon) if lexicon or tokenizer.lexicon else None
        fusion = fuse(tokenizer, model, weights, hotwords=hotwords, vocabulary=vocabulary)
        return cls(config, fusion, vocabulary.words if vocabulary else None, nbest=nbest, rescorer=rescorer)

    def read(self, log_probs: LogProbs) -> Reading:
        """Return where the best answer of the search lies, and its score.  Raises: as `BeamSearch`."""
        search = BeamSearch(log_probs.shape[1], self._config, self._fusion)
        search.accept(log_probs)
        answers = search.finish(_ALL if self._nbest or self._rescorer else 1)
        if answers[0].score == -np.inf:
            assert self._fusion is not None, "something is impossible in a closed vocabulary alone"
            return self._unfinished(log_probs, search, self._fusion)
        answers = [self._worded(answer) for answer in answers if answer.score > -np.inf]
        if self._rescorer is not None:
            answers = self._rescorer(answers)
        best = answers[0]
        path = replace(_aligned(log_probs, best.token_ids, best.frames), words=best.words)
        return Reading(path, best.score, tuple(answers), self._nbest)

    def _worded(self, answer: "Prefix") -> "Prefix":
        """Return the answer with its words of the closed vocabulary, if there is one."""
        if self._fusion is None or not self._fusion.closed:
            return answer
        return replace(answer, words=self._named(words_said(self._fusion, answer.token_ids)[0]))

    def _unfinished(self, log_probs: LogProbs, search: BeamSearch, fusion: Fusion) -> Reading:
        """Return the whole words of the best prefix, where all prefixes end within a word; their path's score."""
        prefixes = sorted(search.finish(_ALL), key=lambda prefix: -prefix.acoustic_score)
        said = (words_said(fusion, prefix.token_ids) for prefix in prefixes)
        best, (words, end) = next(found for found in zip(prefixes, said, strict=True) if found[1][1] >= 0)
        path = _aligned(log_probs, best.token_ids[:end], best.frames[:end])
        path = replace(path, words=self._named(words), warnings=(UNFINISHED,))
        return Reading(path, float(path.log_probs.sum(dtype=np.float64)))

    def _named(self, words: Sequence[int]) -> tuple[str, ...] | None:
        names = self._words
        return None if names is None else tuple(names[word] for word in words)


def _aligned(log_probs: LogProbs, token_ids: Sequence[int], frames: Sequence[int]) -> FramePath:
    """Return where tokens lie; of more than a few only near the frames in which the search found them."""
    is_quick = len(log_probs) * len(token_ids) <= _FEW
    return best_alignment(log_probs, token_ids, near=None if is_quick else frames)
