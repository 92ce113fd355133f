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
    blanks_ms: float | None = Field(
        None, gt=0, le=60000, description="blanks that end it whatever the noise around it; none: twice silence_ms"
    )
    max_seconds: float = Field(60.0, gt=0, le=600, description="length at which it is cut, at a pause")


def utterance_end(
    tokens: NDArray[np.bool_], power: NDArray[np.float64], config: EndpointConfig, frame_seconds: Seconds
) -> int | None:
    """Return the frame in the middle of the silence that ends an utterance; None: it goes on, or has not begun.

    One that is too long is cut where its second half has the most blanks in a row, rather than in a word.

    Of several ends the first to be complete counts, so that it does not matter how much is known by now.

    Args:
        tokens: (E,) whether something else than the blank is most likely in a frame.
        power: (E,) of the audio.
    """
    spoken = np.flatnonzero(tokens)
    if not len(spoken):
        return None
    loudest = power[: spoken[-1] + 1].max()
    quiet = power < loudest * 10 ** (-config.drop_db / 10)
    longest = max(1, round(config.max_seconds / frame_seconds))
    ends = [(longest, _quietest(~tokens[:longest]))] if len(tokens) >= longest else []
    blanks_ms = 2 * config.silence_ms if config.blanks_ms is None else config.blanks_ms
    for wanted_ms, silent in ((config.silence_ms, ~tokens & quiet), (blanks_ms, ~tokens)):
        count = max(1, round(wanted_ms / 1000 / frame_seconds))
        begin = first_run(silent, count, after=int(spoken[0]))
        if begin is not None:
            ends.append((begin + count, begin + count // 2))
    return min(ends)[1] if ends else None


def _quietest(blanks: NDArray[np.bool_]) -> int:
    """Return the middle of the longest run of blanks in the second half, or the end if there is none."""
    begin = len(blanks) // 2
    edges = np.flatnonzero(np.diff(np.concatenate([[False], blanks[begin:], [False]]).astype(np.int8)))
    if not len(edges):
        return len(blanks)
    starts, ends = edges[::2], edges[1::2]
    # of equal runs the last, so that little is cut off
    longest = len(starts) - 1 - int(np.argmax((ends - starts)[::-1]))
    return max(1, begin + int(starts[longest] + ends[longest]) // 2)


def first_run(flags: NDArray[np.bool_], count: int, after: int) -> int | None:
    """Return where the first `count` flags in a row begin that lie behind an index; None if there are none."""
    run = 0
    for index in range(after + 1, len(flags)):
        run = run + 1 if flags[index] else 0
        if run == count:
            return index - count + 1
    return None
