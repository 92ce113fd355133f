"""From how sure a model was to how often it is right: monotone maps that asr/tuning/calibration.py fits.

A map never changes which of two words is the surer one; it says what the number is worth on speech like that which
the map was fitted on.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from asr.config import Config, parse
from asr.decoding.hypothesis import Word
from asr.errors import DataError, UsageError

SURE = 1e-6  # a logit needs a confidence off 0 and 1 by so much; what is surer counts as this sure
MAX_KNOTS = 100_000

Numbers = NDArray[np.float64]


class LogitMap(Config):
    """probability = sigmoid(logit(confidence) / temperature + bias).

    Source: Platt 1999 (both numbers); Guo et al. 2017, section 4.2 (the temperature alone).
    """

    kind: Literal["temperature"] = Field("temperature", description="of map")
    temperature: float = Field(gt=0, le=1e6, description="above 1: the model is surer than it should be")
    bias: float = Field(0.0, ge=-1e6, le=1e6, description="added to the logit")

    def __call__(self, confidence: Numbers) -> Numbers:
        """Return the probability of being right for each confidence, in (0, 1)."""
        return sigmoid(logit(confidence) / self.temperature + self.bias)


class IsotonicMap(Config):
    """Straight lines from knot to knot, flat beyond the first and the last.

    Source: Zadrozny and Elkan 2002, section 3 (isotonic regression; theirs are steps).
    """

    kind: Literal["isotonic"] = Field("isotonic", description="of map")
    knots: tuple[tuple[float, float], ...] = Field(
        min_length=1, max_length=MAX_KNOTS, description="(confidence, probability of being right), neither ever falling"
    )

    @model_validator(mode="after")
    def _rises(self) -> Self:
        knots = np.array(self.knots)
        if not (0 <= knots.min() <= knots.max() <= 1 and (np.diff(knots, axis=0) >= 0).all()):
            raise ValueError("knots must lie in [0, 1] and never fall")
        return self

    def __call__(self, confidence: Numbers) -> Numbers:
        """Return the probability of being right for each confidence."""
        knots = np.array(self.knots)
        found: Numbers = np.interp(confidence, knots[:, 0], knots[:, 1])
        return found


ConfidenceMap = LogitMap | IsotonicMap
_Stored = Annotated[ConfidenceMap, Field(discriminator="kind")]


class Calibration(Config):
    """What a model file holds under `calibration`."""

    words: _Stored = Field(description="confidence of a word -> probability that it is right")
    utterances: _Stored | None = Field(
        None, description="mean confidence of an utterance's words -> probability that its text holds no error"
    )
    fitted: str = Field("", max_length=1000, description="on what, for people")

    @classmethod
    def stored(cls, values: dict[str, Any] | None) -> "Calibration | None":
        """Return the calibration that a model's notes hold, None if they hold none.

        Raises: DataError if it is not as docs/formats.md says.
        """
        if values is None:
            return None
        try:
            return parse(cls, values, where="the model's calibration")
        except UsageError as error:
            raise DataError(f"{error}; get the model again, or fit it anew: asr calibrate") from None

    def judge_words(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """Return the words with the probability of being right as their confidence."""
        judged = self.words(np.array([word.confidence for word in words], np.float64)).tolist()
        return tuple(replace(word, confidence=value) for word, value in zip(words, judged, strict=True))

    def judge_utterance(self, mean: float | None) -> float | None:
        """Return the probability that a text holds no error whose words have this mean confidence, before any map.

        None without words; the mean itself if nothing was fitted for utterances.
        """
        if mean is None or self.utterances is None:
            return mean
        return float(self.utterances(np.array([mean]))[0])


def logit(probability: Numbers) -> Numbers:
    """Return log(p / (1 - p)), p within SURE of 0 or 1 counting as that."""
    clipped = np.clip(probability, SURE, 1 - SURE)
    return np.log(clipped) - np.log1p(-clipped)


def sigmoid(value: Numbers) -> Numbers:
    """Return 1 / (1 + exp(-value)), without overflow."""
    half: Numbers = 0.5 * (1.0 + np.tanh(0.5 * value))
    return half
