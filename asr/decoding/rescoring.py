"""The answers of a search, put in a new order by a second language model that is too slow to search with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from asr.config import Config, parse
from asr.decoding.beam import Prefix
from asr.errors import DataError, UsageError

if TYPE_CHECKING:
    from asr.text.tokenizer import Tokenizer

# Texts -> the natural log-probability of each as a sentence, its end included: `LstmLanguageModel.log_prob`.
TextScorer = Callable[[Sequence[str]], Sequence[float]]


class RescoringConfig(Config):
    """How much the second language model counts; `asr lm weigh` fits both on held-out speech.

    Short words are lost where the bonus is below what a word costs, the weight times the log of the perplexity; the
    default is what it costs at a perplexity of several hundreds.  Both were chosen on the held-out speakers of AN4 with
    noise added, whom the acoustic model had heard without it.
    """

    weight: float = Field(default=0.3, ge=0, description="of the second language model's natural logs")
    bonus: float = Field(default=2.0, description="for each word, beside that of the search")

    @classmethod
    def stored(cls, values: Mapping[str, float] | None, where: str) -> "RescoringConfig":
        """Return what the file of a second model holds, the defaults if that is nothing.

        Raises: DataError naming `where` for keys or numbers that cannot be.
        """
        try:
            return parse(cls, dict(values or {}), where=where)
        except UsageError as error:
            raise DataError(f"{error}; get the file again, or fit its weights anew: asr lm weigh") from None


class Rescorer:
    """Gives each answer of a search the score = that of the search + weight * log-prob + bonus * words.

    So the sum is acoustic + weight of the search * n-gram + weight * second model + bonuses, and hotwords.
    Source: Synnaeve et al. 2020, "End-to-end ASR: from supervised to semi-supervised learning with modern
    architectures" (two language models, the second on the n-best list of the first).
    """

    def __init__(self, tokenizer: "Tokenizer", scorer: TextScorer, config: RescoringConfig | None = None) -> None:
        """Take what every list of answers shares.

        Args: tokenizer: the recogniser's.  scorer: any function that says how probable texts are.
        """
        self._tokenizer, self._scorer, self._config = tokenizer, scorer, config or RescoringConfig()

    def __call__(self, answers: Sequence[Prefix]) -> list[Prefix]:
        """Return the answers with their new scores, the best first; where two are equal, the search's order stays."""
        texts = [self._text(answer) for answer in answers]
        different = list(dict.fromkeys(texts))  # a space more at the end is another answer, and no other text
        log_probs = dict(zip(different, self._scorer(different), strict=True))
        scored = [
            replace(answer, score=answer.score + self._gain(text, log_probs[text]))
            for answer, text in zip(answers, texts, strict=True)
        ]
        return sorted(scored, key=lambda answer: -answer.score)

    def _text(self, answer: Prefix) -> str:
        """Return what an answer says, in letters where a lexicon has for it what the recogniser cannot write."""
        text = answer.text(self._tokenizer)
        is_writable = answer.words is None or self._tokenizer.lexicon is not None or not self._tokenizer.unknown(text)
        return text if is_writable else self._tokenizer.decode(answer.token_ids)

    def _gain(self, text: str, log_prob: float) -> float:
        return self._config.weight * log_prob + self._config.bonus * len(text.split())
