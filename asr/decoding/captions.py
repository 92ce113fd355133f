"""Words with times -> subtitles: SubRip (.srt) and WebVTT (.vtt).

A cue is one line of at most 42 characters and 7 seconds, the usual limits of broadcasters; a pause starts a
new one.  CTC words end early, so a short cue stays on screen for a moment longer where nothing follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from asr.decoding.hypothesis import Word
from asr.units import Seconds

MAX_CHARACTERS = 42
MAX_SECONDS: Seconds = 7.0
PAUSE_SECONDS: Seconds = 1.0
MIN_SECONDS: Seconds = 1.0


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle, shown from `start` to `end` in seconds."""

    text: str
    start: Seconds
    end: Seconds


def cues_from_words(words: Sequence[Word], duration: Seconds) -> list[Cue]:
    """Return the subtitles of words in order, without overlap, inside [0, duration]."""
    lines: list[list[Cue]] = []
    for piece in (piece for word in words for piece in _pieces(word)):
        if lines and _fits(lines[-1], piece):
            lines[-1].append(piece)
        else:
            lines.append([piece])
    cues = [Cue(" ".join(piece.text for piece in line), line[0].start, line[-1].end) for line in lines]
    limits = [cue.start for cue in cues[1:]] + [duration]
    return [
        Cue(cue.text, cue.start, max(cue.end, min(cue.start + MIN_SECONDS, limits[index])))
        for index, cue in enumerate(cues)
    ]


def to_srt(words: Sequence[Word], duration: Seconds) -> str:
    """Return the text of a .srt file."""
    cues = cues_from_words(words, duration)
    blocks = [f"{number}\n{_cue_times(cue, ',')}\n{cue.text}\n" for number, cue in enumerate(cues, start=1)]
    return "\n".join(blocks)


def to_vtt(words: Sequence[Word], duration: Seconds) -> str:
    """Return the text of a .vtt file."""
    cues = cues_from_words(words, duration)
    return "\n".join(["WEBVTT\n", *(f"{_cue_times(cue, '.')}\n{_escaped(cue.text)}\n" for cue in cues)])


def _fits(line: list[Cue], piece: Cue) -> bool:
    characters = sum(len(cue.text) + 1 for cue in line) + len(piece.text)
    short = piece.end - line[0].start <= MAX_SECONDS and characters <= MAX_CHARACTERS
    return short and piece.start - line[-1].end < PAUSE_SECONDS


def _pieces(word: Word) -> list[Cue]:
    """Split a word that is too long for one line (scripts without spaces), its time in proportion."""
    seconds = word.end - word.start
    count = min(max(ceil(len(word.word) / MAX_CHARACTERS), ceil(seconds / MAX_SECONDS), 1), len(word.word))
    cuts = [len(word.word) * index // count for index in range(count + 1)]
    times = [word.start + seconds * cut / len(word.word) for cut in cuts[:-1]] + [word.end]
    return [Cue(word.word[cuts[i] : cuts[i + 1]], times[i], times[i + 1]) for i in range(count)]


def _cue_times(cue: Cue, point: str) -> str:
    return f"{_clock(cue.start, point)} --> {_clock(cue.end, point)}"


def _clock(seconds: Seconds, point: str) -> str:
    whole, milliseconds = divmod(int(seconds * 1000 + 0.5), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{milliseconds:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
