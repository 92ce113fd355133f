"""Praat TextGrids beside recordings of the same name: each labelled interval of one tier is an utterance.

Both text forms are read, long and short; they hold the same values in the same order, and Praat itself skips every
word between that is no free-standing number, no text in double quotes and no <flag>.
Source: the Praat manual, "TextGrid file formats".
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr.data.check_report import counted
from asr.data.importers.pairs import AUDIO_SUFFIXES, files_by_stem
from asr.data.importers.problems import AMBIGUOUS, BAD_ROW, MISSING_AUDIO
from asr.data.importers.reading import between, read_text
from asr.data.importers.task import Draft, Task
from asr.data.names import named
from asr.errors import DataError, shown
from asr.units import Seconds

_MAX_BYTES = 1 << 26
_SUFFIXES = frozenset({".textgrid"})
_VALUE = re.compile(
    r'"(?P<text>(?:[^"]|"")*+)(?P<closed>")?'
    r"|(?P<flag><[^<>\s]*>)"
    r"|(?<!\S)(?P<number>[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\S)"
    r"|(?<!\S)![^\n]*"
)


@dataclass(frozen=True, slots=True)
class Interval:
    """A labelled stretch of a tier: [start, end) in seconds, and its label."""

    start: Seconds
    end: Seconds
    text: str


def read(task: Task) -> list[Draft]:
    """Return the labelled intervals of all TextGrids, in the order of their names; empty ones are left out.

    Raises: DataError if the folder cannot be read or there is no TextGrid.
    """
    grids = _grids(task)
    if not grids:
        raise DataError(f"{task.source}: no .TextGrid file in it; give the folder that holds them")
    recordings = files_by_stem(task.audio_root, AUDIO_SUFFIXES)
    drafts: list[Draft] = []
    empty = 0
    for stem, (name, path) in grids.items():
        audio = recordings.get(stem, [])
        if len(audio) != 1:
            detail = ", ".join(audio) or f"no recording {stem} with {', '.join(sorted(AUDIO_SUFFIXES))}"
            task.problems.add(AMBIGUOUS if audio else MISSING_AUDIO, name, detail)
            continue
        try:
            tier = _chosen(parse_textgrid(read_text(path, max_bytes=_MAX_BYTES)), task.options.tier)
        except (DataError, ValueError) as error:
            task.problems.add(BAD_ROW, name, str(error))
            continue
        labelled = [interval for interval in tier if interval.text.strip()]
        empty += len(tier) - len(labelled)
        drafts += _drafts(stem, task.resolve(audio[0]), labelled)
    if empty:
        task.notes.append(f"{counted(empty, 'empty interval')} left out")
    return drafts


def _grids(task: Task) -> dict[str, tuple[str, Path]]:
    """Return stem -> (name, path) of the TextGrids in the source, which may also be one of them."""
    if not task.source.is_dir():
        return {task.source.stem: (task.source.name, task.source)}
    found = files_by_stem(task.source, _SUFFIXES)
    return {stem: (names[0], task.source / names[0]) for stem, names in found.items()}


def _drafts(stem: str, audio: str, intervals: list[Interval]) -> Iterator[Draft]:
    digits = max(3, len(str(len(intervals))))  # so that ids sort in the order of time
    for number, interval in enumerate(intervals, start=1):
        name = f"{stem.replace('/', '-')}-{number:0{digits}}"
        yield Draft(name, audio, interval.start, between(interval.start, interval.end), interval.text.strip())


def _chosen(tiers: dict[str, list[Interval]], name: str | None) -> list[Interval]:
    """Return the tier of that name, or the only one.  Raises: ValueError naming those that there are."""
    if name is not None and name in tiers:
        return tiers[name]
    if not tiers:
        raise ValueError("it has no interval tier")
    if name is None and len(tiers) == 1:
        return next(iter(tiers.values()))
    wanted = "several tiers" if name is None else f"no tier '{name}'"
    raise ValueError(f"{wanted}: it has {named(list(tiers))}; choose with --tier NAME")


def parse_textgrid(text: str) -> dict[str, list[Interval]]:
    """Return the interval tiers of a TextGrid, by name (tiers of points are no utterances).

    Of several tiers with one name the first is returned.  Raises: ValueError saying what is wrong.
    """
    if text.startswith("ooBinaryFile"):
        raise ValueError("binary; in Praat, save it with 'Save as text file'")
    values = _Values(text)
    if values.next_text() != "ooTextFile" or values.next_text() != "TextGrid":
        raise ValueError("no TextGrid; in Praat, save it with 'Save as text file'")
    values.next_span()
    if values.next_flag() != "<exists>":
        return {}
    tiers: dict[str, list[Interval]] = {}
    for _ in range(values.next_count()):
        kind, name = values.next_text(), values.next_text()
        values.next_span()
        count = values.next_count()
        if kind == "IntervalTier":
            intervals = [Interval(*values.next_span(), values.next_text()) for _ in range(count)]
            tiers.setdefault(name, intervals)
        elif kind == "TextTier":
            for _ in range(count):
                values.next_number()
                values.next_text()
        else:
            raise ValueError(f"a tier of class {shown(kind)}; known are IntervalTier and TextTier")
    return tiers


class _Values:
    """The values of a Praat text file, one after another; whatever is no value is skipped."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = _VALUE.finditer(text)

    def next_text(self) -> str:
        return self._next("text").replace('""', '"')

    def next_flag(self) -> str:
        return self._next("flag")

    def next_number(self) -> float:
        return float(self._next("number"))

    def next_span(self) -> tuple[Seconds, Seconds]:
        return self.next_number(), self.next_number()

    def next_count(self) -> int:
        number = self.next_number()
        if not 0 <= number <= len(self._text):
            raise ValueError(f"{number:g} intervals or tiers cannot be in it")
        return int(number)

    def _next(self, kind: str) -> str:
        """Return the next value.  Raises: ValueError if it is of another kind, or there is none."""
        for match in self._found:
            found = match.lastgroup
            if found is None:  # a comment
                continue
            if found == "text":
                raise ValueError(f"a quote opens on line {self._line(match)} and never closes")
            found = "text" if found == "closed" else found
            if found != kind:
                raise ValueError(f"line {self._line(match)}: a {kind} was expected, found {shown(match[0])}")
            return match[kind]
        raise ValueError(f"it ends where a {kind} was expected; export it again")

    def _line(self, match: re.Match[str]) -> int:
        return self._text.count("\n", 0, match.start()) + 1
