"""How well an LSTM language model foresees sentences."""

import math
from dataclasses import dataclass

from asr.lm.lstm import LstmLanguageModel
from asr.lm.sentences import Sentences


@dataclass(frozen=True)
class TokenPerplexity:
    """Sums over sentences; the end of each counts as a token, and as a word."""

    num_sentences: int
    num_words: int  # without sentence ends
    num_tokens: int  # without sentence ends
    log_prob: float  # natural

    @property
    def per_token(self) -> float:
        """The perplexity of a token."""
        return math.exp(-self.log_prob / (self.num_tokens + self.num_sentences))

    @property
    def per_word(self) -> float:
        """The perplexity of a word, its spaces and letters together: comparable with that of an n-gram model of words
        which knows all of them."""
        # where nothing is written between words, one may be as long as a text, and its perplexity no float
        return math.exp(min(-self.log_prob / (self.num_words + self.num_sentences), 700.0))

    @property
    def log10(self) -> float:
        """The logarithm of the probability to base 10."""
        return self.log_prob / math.log(10)


def token_perplexity(model: LstmLanguageModel, sentences: Sentences) -> TokenPerplexity:
    """Return how well the model foresees sentences."""
    log_prob = math.fsum(model.log_prob_of_ids(sentences.rows()))
    return TokenPerplexity(len(sentences), int(sentences.words.sum()), len(sentences.ids), log_prob)
