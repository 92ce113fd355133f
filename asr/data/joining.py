"""Joined utterances: others follow one in training, so that a network meets longer input than the corpus has."""

from pydantic import Field

from asr.config import Config
from asr.data.plan import Indices
from asr.randomness import stream


class JoiningConfig(Config):
    """How often other utterances follow one; off by default."""

    probability: float = Field(
        0.0, ge=0, lt=1, description="share of the utterances that another one follows, and after it another"
    )
    max_seconds: float = Field(20.0, gt=0, description="length beyond which nothing more is joined, seconds")


def followers(seed: int, index: int, num_samples: Indices, config: JoiningConfig, sample_rate: int) -> list[int]:
    """Return the utterances that follow utterance `index`, in order; pure, so that a batch plan can count them.

    Args: seed: of the utterance in its epoch; num_samples (utterances,) int64, after speed perturbation.
    """
    if config.probability == 0:
        return []
    room = int(config.max_seconds * sample_rate) - int(num_samples[index])
    draw, found = stream(seed, "joining"), []
    while draw.random() < config.probability:
        other = int(draw.integers(len(num_samples)))
        room -= int(num_samples[other])
        if room < 0:
            break
        found.append(other)
    return found
