"""Joined utterances: others follow one in training, so that a network meets longer input than the corpus has."""

import numpy as np
from pydantic import Field

from asr.config import Config
from asr.data.plan import Indices
from asr.randomness import Streams


class JoiningConfig(Config):
    """How often other utterances follow one; off by default."""

    probability: float = Field(
        0.0, ge=0, lt=1, description="share of the utterances that another one follows, and after it another"
    )
    max_seconds: float = Field(20.0, gt=0, description="length beyond which nothing more is joined, seconds")


def join(
    seeds: Indices, num_samples: Indices, config: JoiningConfig, sample_rate: int
) -> tuple[Indices, dict[int, list[int]]]:
    """Return (samples of each utterance with those that follow it, {utterance: those that follow it, in order}).

    Pure, so that a batch plan can count them.

    Args: seeds (utterances,) in their epoch; num_samples (utterances,) int64, after speed perturbation.
    """
    found: dict[int, list[int]] = {}
    if config.probability == 0:
        return num_samples, found
    room = int(config.max_seconds * sample_rate) - num_samples
    joined, draw, rows = num_samples.copy(), Streams(seeds, "joining"), np.arange(len(seeds))
    while len(rows := rows[draw.random(rows) < config.probability]):
        others = draw.integers(rows, len(num_samples))
        room[rows] -= num_samples[others]
        fits = room[rows] >= 0
        rows, others = rows[fits], others[fits]
        joined[rows] += num_samples[others]
        for row, other in zip(rows.tolist(), others.tolist(), strict=True):
            found.setdefault(row, []).append(other)
    return joined, found
