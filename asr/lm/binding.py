"""Which recogniser a language model belongs to, kept in its file: alphabet, normaliser, tuned weights."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from asr.config import Config, parse
from asr.errors import DataError, UsageError
from asr.lm.words import MARKS
from asr.text.normalize import Normalizer, NormalizerConfig

if TYPE_CHECKING:
    from asr.lm.ngram import NgramModel
    from asr.text.tokenizer import Tokenizer

MAX_UNWRITABLE = 0.1  # of the words of a text: names with foreign letters are fewer, another spelling is far more
MOST = 0.5  # of a text that a model is trained on for a recogniser: of another spelling it is nearly all
_SHOWN = 12


class TunedWeights(Config):
    """What a search on held-out speech found best, and how much it gained there."""

    weight: float = Field(ge=0, description="of the language model's natural logs")
    bonus: float = Field(description="for each word")
    unknown: float = Field(le=0, description="for each word outside the vocabulary")
    blank_penalty: float = Field(description="taken off the log-prob of each blank")
    manifest: str = Field(description="name of the held-out manifest")
    words: int = Field(ge=1, description="in its references")
    errors: int = Field(ge=0, description="with these weights")
    greedy_errors: int = Field(ge=0, description="of the best path")

    @property
    def described(self) -> str:
        """The weights in words."""
        words = f"{self.bonus:g} a word, {self.unknown:g} an unknown one"
        return f"{self.weight:g} of the language model, {words}, blank penalty {self.blank_penalty:g}"


class Binding(Config):
    """The recogniser that a language model was made for."""

    alphabet: str = Field(
        description="its characters in order of their code points, the space not among them; none where they are phones"
    )
    normalizer: NormalizerConfig = Field(description="how it spells")
    tuned: TunedWeights | None = Field(default=None, description="None: not tuned yet")


def binding_of(model: "NgramModel") -> Binding | None:
    """Return what the model is bound to, None if it is unbound.  Raises: DataError for a binding that is none."""
    if model.binding is None:
        return None
    try:
        return parse(Binding, model.binding, where="binding of the language model")
    except UsageError as error:
        raise DataError(f"{error}; get the file again or make it anew") from None


def tuned_of(model: "NgramModel") -> TunedWeights | None:
    """Return the weights that were tuned for the model, None if none were.  Raises: as `binding_of`."""
    binding = binding_of(model)
    return None if binding is None else binding.tuned


def bind(model: "NgramModel", tokenizer: "Tokenizer", tuned: TunedWeights | None = None) -> "NgramModel":
    """Return the model, bound to recognisers with this tokenizer's alphabet and normaliser."""
    binding = Binding(alphabet=tokenizer.alphabet, normalizer=tokenizer.normalizer.config, tuned=tuned)
    return replace(model, binding=binding.model_dump(mode="json"))


def spelling_of(model: "NgramModel") -> Normalizer | None:
    """Return the normaliser of the recogniser that the model is bound to, None if it is unbound."""
    binding = binding_of(model)
    return None if binding is None else Normalizer(binding.normalizer)


def check_fits(model: "NgramModel", tokenizer: "Tokenizer", name: str) -> None:
    """Raise DataError, with the symbols that differ, unless the model's words are spelled as the tokenizer spells.

    A bound model must be bound to the same alphabet and normaliser; of an unbound one, words that make up nine tenths
    of its text must be in the alphabet.  Phones can spell any word, by a lexicon.

    Args: name: of its file.
    """
    binding = binding_of(model)
    if binding is None:
        if tokenizer.lexicon is not None:
            return
        share, symbols = _unwritable(model, tokenizer)
        if share > MAX_UNWRITABLE:
            raise DataError(f"{name}: {_told(share, symbols)}; {_CURE}")
        return
    if differing := _differing(binding.alphabet, tokenizer.alphabet):
        raise DataError(f"{name}: made for another alphabet: {differing}; {_CURE}")
    if binding.normalizer != (config := tokenizer.normalizer.config):
        theirs, ours = binding.normalizer.model_dump(), config.model_dump()
        keys = [key for key in theirs if theirs[key] != ours[key]]
        shown = ", ".join(f"text.{key} {theirs[key]!r} in place of {ours[key]!r}" for key in keys)
        raise DataError(f"{name}: made for a model that spells otherwise: {shown}; {_CURE}")


_CURE = "train one for this model: asr lm train TEXT --model MODEL"


def _differing(theirs: str, ours: str) -> str:
    """Return in words which characters are in one alphabet alone, "" if none."""
    lacking, foreign = sorted(set(theirs) - set(ours)), sorted(set(ours) - set(theirs))
    parts = []
    if lacking:
        parts.append(f"the model cannot write {_listed(lacking)}")
    if foreign:
        parts.append(f"the language model does not know {_listed(foreign)}")
    return ", and ".join(parts)


def _listed(symbols: list[str]) -> str:
    more = f" and {len(symbols) - _SHOWN} more" if len(symbols) > _SHOWN else ""
    return ", ".join(f"'{symbol}'" for symbol in symbols[:_SHOWN]) + more


def check_writable(model: "NgramModel", tokenizer: "Tokenizer", text: str) -> str:
    """Return how many of the model's words can never be recognised, and for which characters; "" if none.

    Where the tokens are phones, it is the words that their lexicon lacks.

    Args: text: the name of what the model was trained on.
    Raises: DataError if they make up most of it: the text is of another language or spelling.
    """
    if tokenizer.lexicon is not None:
        missing = tokenizer.lexicon.missing(model.symbols[len(MARKS) :])
        more = "they are found only with --lexicon FILE that has them"
        return f"{len(missing)} words are not in the model's lexicon: {_listed(missing)}; {more}" if missing else ""
    share, symbols = _unwritable(model, tokenizer)
    if share > MOST:
        raise DataError(f"{text}: {_told(share, symbols)}; write the text as the recogniser's texts are written")
    return f"{_told(share, symbols)}; they are never found" if symbols else ""


def _told(share: float, symbols: list[str]) -> str:
    return f"{100 * share:.3g} % of the words hold what the model cannot write: {_listed(symbols)}"


def _unwritable(model: "NgramModel", tokenizer: "Tokenizer") -> tuple[float, list[str]]:
    """Return (share of a text that words outside the alphabet make up, their characters outside it)."""
    words = model.symbols[len(MARKS) :]
    if set(tokenizer.symbols[1:]) <= set(words) or tokenizer.byte_fallback:
        return 0.0, []  # its words are the tokens, or can be any
    known = set(tokenizer.alphabet)
    strange = [not known.issuperset(word) for word in words]
    shares = 10.0 ** model.log10_probs[len(MARKS) : len(model.symbols)].astype(np.float64)
    symbols = {symbol for word, odd in zip(words, strange, strict=True) if odd for symbol in word} - known
    return float(shares[strange].sum() / max(shares.sum(), 1e-300)), sorted(symbols)
