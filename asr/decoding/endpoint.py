"""Where an utterance of a stream is over: after a silence, which is blanks and quiet."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asr.config import Config
from asr.units import Seconds


class EndpointConfig(Config):
    """When an utterance of a stream is over."""

    silence_ms: float = Field(800.0, gt=0, le=60000, description="silence that ends an utterance")
    drop_db: float = Field(15.0, gt=0, le=100, description="silence is so far below the loudest of the utterance")
    blanks_ms: float = Field(1600.0, gt=0, le=60000, description="blanks that end it whatever the noise around it")
    max_seconds: float = Field(60.0, gt=0, le=600, description="length at which it ends without a silence")


def utterance_end(
    tokens: NDArray[np.bool_], power: NDArray[np.float64], config: EndpointConfig, frame_seconds: Seconds
) -> int | None:
    """Return the frame in the middle of the silence that ends an utterance; None: it goes on, or has not begun.

    Args:
        tokens: (E,) whether something else than the blank is most likely in a frame.
        power: (E,) of the audio.
    """
    spoken = np.flatnonzero(tokens)
    if not len(spoken):
        return None
    loudest = power[: spoken[-1] + 1].max()
    quiet = power < loudest * 10 ** (-config.drop_db / 10)
    for wanted_ms, silent in ((config.silence_ms, ~tokens & quiet), (config.blanks_ms, ~tokens)):
        count = max(1, round(wanted_ms / 1000 / frame_seconds))
        begin = first_run(silent, count, after=int(spoken[0]))
        if begin is not None:
            return begin + count // 2
    longest = max(1, round(config.max_seconds / frame_seconds))
    return longest if len(tokens) >= longest else None


def first_run(flags: NDArray[np.bool_], count: int, after: int) -> int | None:
    """Return where the first `count` flags in a row begin that lie behind an index; None if there are none."""
    run = 0
    for index in range(after + 1, len(flags)):
        run = run + 1 if flags[index] else 0
        if run == count:
            return index - count + 1
    return None
