"""Words and tokens with times -> a Praat TextGrid of two tiers, as Praat's "Save as text file" writes it.

The intervals of a tier cover the recording without a gap, and none is empty: what lies between words has the label "".
Source: the Praat manual, "TextGrid file formats".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr.decoding.hypothesis import Token, Word
from asr.units import Seconds

WORDS, TOKENS = "words", "tokens"
TICKS = 10**9  # a second: times are counted, so that the end of an interval is written as the start of the next
MIN_TICKS = TICKS // 1000  # of a label, which a word in the silence around the recording would not have


@dataclass(frozen=True, slots=True)
class Label:
    """What stands in [start, end), in ticks."""

    start: int
    end: int
    text: str


def to_textgrid(words: Sequence[Word], tokens: Sequence[Token], duration: Seconds) -> str:
    """Return the text of a .TextGrid file with the tiers "words" and "tokens".

    Args: duration: of the audio, above 0; all times lie inside it.
    """
    tiers = [
        (WORDS, [Label(_ticks(word.start), _ticks(word.end), word.word) for word in words]),
        (TOKENS, [Label(_ticks(token.start), _ticks(token.end), token.token) for token in tokens]),
    ]
    end = _ticks(duration)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_seconds(end)}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, labels) in enumerate(tiers, start=1):
        lines += [f"    item [{number}]:", *_tier(name, covering(labels, end), end)]
    return "\n".join(lines) + "\n"


def covering(labels: Sequence[Label], duration: int) -> list[Label]:
    """Return intervals that cover [0, duration) ticks, each longer than nothing, with "" where there is no label.

    Args: labels: in order, inside [0, duration], without overlap; those that are too short for Praat are widened.
    """
    intervals: list[Label] = []
    at = 0
    for label in _widened(labels, duration):
        if label.start > at:
            intervals.append(Label(at, label.start, ""))
        intervals.append(label)
        at = label.end
    if duration > at:
        intervals.append(Label(at, duration, ""))
    return intervals


def _widened(labels: Sequence[Label], duration: int) -> Iterator[Label]:
    """Yield the labels, each at least MIN_TICKS long, or its share of the recording where that is shorter."""
    least = min(MIN_TICKS, duration // max(1, len(labels)))
    at = 0
    for index, label in enumerate(labels):
        room = duration - (len(labels) - index - 1) * least  # what the others leave
        start = min(max(label.start, at), room - least)
        end = min(max(label.end, start + least), room)
        yield Label(start, end, label.text)
        at = end


def _tier(name: str, intervals: Sequence[Label], duration: int) -> Iterator[str]:
    yield '        class = "IntervalTier"'
    yield f"        name = {_quoted(name)}"
    yield "        xmin = 0"
    yield f"        xmax = {_seconds(duration)}"
    yield f"        intervals: size = {len(intervals)}"
    for number, interval in enumerate(intervals, start=1):
        yield f"        intervals [{number}]:"
        yield f"            xmin = {_seconds(interval.start)}"
        yield f"            xmax = {_seconds(interval.end)}"
        yield f"            text = {_quoted(interval.text)}"


def _ticks(seconds: Seconds) -> int:
    return round(seconds * TICKS)


def _seconds(ticks: int) -> str:
    whole, rest = divmod(ticks, TICKS)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
