"""How much a language model should count: the weights with the fewest errors on held-out speech.

The acoustic model runs once; every setting is searched in the log-probs that it left.  A coarse grid of weights and
bonuses comes first, then ever finer steps around its best, then the blank penalty and finer steps once more.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from asr.decoding.beam import BeamConfig, BeamSearch
from asr.decoding.fusion import LN_10, Fusion
from asr.decoding.greedy import FramePath, collapse
from asr.decoding.lexicon import vocabulary_of
from asr.decoding.scorer import FusionConfig, fuse
from asr.decoding.searching import SearchReader
from asr.errors import DataError
from asr.receipts import cores
from asr.scoring.error_rate import character_errors, word_errors

if TYPE_CHECKING:
    from asr.decoding.searching import LogProbs
    from asr.lm.ngram import NgramModel
    from asr.text.tokenizer import Tokenizer

WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.9, 1.2, 1.6)
BONUSES = (-1.0, 0.0, 1.0, 2.0, 3.0)
PENALTIES = (-0.5, 0.5, 1.0, 1.5)
_STEPS = ((0.1, 0.5), (0.05, 0.25))  # of weight and bonus around the best

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a search and what it makes of the held-out speech."""

    weight: float
    bonus: float
    blank_penalty: float
    errors: int  # of words
    character_errors: int

    @property
    def rank(self) -> tuple[float, ...]:
        """What is least for the best: of equal errors the fewer characters, then what is nearest to the defaults."""
        usual = FusionConfig()
        away = abs(self.weight - usual.weight) + abs(self.bonus - usual.bonus) + abs(self.blank_penalty)
        return (self.errors, self.character_errors, round(away, 6), self.weight, self.bonus)


@dataclass(frozen=True)
class Tuned:
    """Every setting that was tried.

    Attributes: unknown: of `FusionConfig`, not varied; words: in the references; greedy_errors: of the best path.
    """

    settings: tuple[Setting, ...]
    unknown: float
    words: int
    greedy_errors: int

    @property
    def best(self) -> Setting:
        """The setting with the fewest errors."""
        return min(self.settings, key=lambda setting: setting.rank)


def tune_fusion(
    log_probs: "Sequence[LogProbs]",
    references: Sequence[str],
    tokenizer: "Tokenizer",
    model: "NgramModel",
    *,
    config: BeamConfig | None = None,
    progress: Progress = lambda done, total: None,
) -> Tuned:
    """Return what each setting makes of held-out speech.

    Args:
        log_probs: (E, V) of each utterance.
        references: their texts; they are spelled as the tokenizer spells.
        config: of the search, but for its blank penalty.
        progress: called with (settings tried, None).
    Raises: DataError without a word in the references; as `fuse`.
    """
    trial = _Trial(log_probs, [tokenizer.normalizer(text).split() for text in references], tokenizer, model, config)
    if not trial.words:
        raise DataError("the references hold no words; give held-out speech with its texts")
    tried: dict[tuple[float, float, float], Setting] = {}

    def best_of(points: Iterable[tuple[float, float, float]]) -> Setting:
        for weight, bonus, penalty in points:
            if weight >= 0 and (point := (round(weight, 4), round(bonus, 4), round(penalty, 4))) not in tried:
                tried[point] = trial.judge(*point)
                progress(len(tried), None)
        return min(tried.values(), key=lambda setting: setting.rank)

    best_of((weight, bonus, 0.0) for weight, bonus in itertools.product(WEIGHTS, BONUSES))
    best = _refined(best_of)
    best_of((best.weight, best.bonus, penalty) for penalty in PENALTIES)
    _refined(best_of)
    return Tuned(tuple(tried.values()), FusionConfig().unknown, trial.words, trial.greedy_errors())


def _refined(best_of: Callable[[Iterable[tuple[float, float, float]]], Setting]) -> Setting:
    """Return the best after finer and finer steps around it."""
    best = best_of(())
    for of_weight, of_bonus in _STEPS:
        grid = itertools.product((-1, 0, 1), (-1, 0, 1))
        best = best_of([(best.weight + a * of_weight, best.bonus + b * of_bonus, best.blank_penalty) for a, b in grid])
    return best


class _Trial:
    """Held-out speech that settings are tried on."""

    def __init__(
        self,
        log_probs: "Sequence[LogProbs]",
        references: Sequence[list[str]],
        tokenizer: "Tokenizer",
        model: "NgramModel",
        config: BeamConfig | None,
    ) -> None:
        self._pairs = list(zip(log_probs, references, strict=True))
        vocabulary = vocabulary_of(tokenizer) if tokenizer.lexicon else None
        self._words = vocabulary.words if vocabulary else None
        self._fusion = fuse(tokenizer, model, vocabulary=vocabulary)
        self._tokenizer, self._config = tokenizer, config or BeamConfig()
        self.words = sum(map(len, references))

    def judge(self, weight: float, bonus: float, blank_penalty: float) -> Setting:
        """Return the setting with its errors."""
        fusion = self._fusion._replace(weight=weight * LN_10, bonus=bonus)
        config = self._config.model_copy(update={"blank_penalty": blank_penalty})
        with ThreadPoolExecutor(cores()) as threads:
            counts = list(threads.map(partial(self._errors, config, fusion), self._pairs))
        words, characters = (sum(column) for column in zip(*counts, strict=True))
        return Setting(weight, bonus, blank_penalty, words, characters)

    def greedy_errors(self) -> int:
        """Return the word errors of the best path."""
        total = 0
        for log_probs, reference in self._pairs:
            spans = collapse(FramePath(log_probs.argmax(1), log_probs.max(1)))
            ids = [span.token_id for span in spans]
            total += word_errors(reference, self._tokenizer.decode(ids).split())
        return total

    def _errors(self, config: BeamConfig, fusion: Fusion, pair: "tuple[LogProbs, list[str]]") -> tuple[int, int]:
        """Return the errors of words and of characters of an utterance."""
        log_probs, reference = pair
        text = self._text(config, fusion, log_probs)
        return word_errors(reference, text.split()), character_errors(" ".join(reference), text).errors

    def _text(self, config: BeamConfig, fusion: Fusion, log_probs: "LogProbs") -> str:
        """Return what the search says."""
        if self._words is not None:  # which the tokens do not tell: some sound alike
            return " ".join(SearchReader(config, fusion, self._words).read(log_probs).path.words or ())
        search = BeamSearch(log_probs.shape[1], config, fusion)
        search.accept(log_probs)
        return self._tokenizer.decode(search.finish()[0].token_ids)
