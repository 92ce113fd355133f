"""Words with times -> NIST's CTM: a line a word, `recording channel start duration word confidence`.

Source: NIST, sctk, ctm file format.
"""

from collections.abc import Sequence

from asr.decoding.hypothesis import Word


def to_ctm(words: Sequence[Word], recording: str, channel: int | None = None) -> str:
    """Return the lines of a recording's words, times in seconds to the millisecond.

    Args: channel: counted from 0, None for a mix; NIST counts from 1, and so a mix is 1, too.
    """
    return "".join(_line(word, f"{recording} {(channel or 0) + 1}") for word in words)


def _line(word: Word, where: str) -> str:
    start, end = round(word.start, 3), round(word.end, 3)
    return f"{where} {start:.3f} {end - start:.3f} {word.word} {word.confidence:.4f}\n"
