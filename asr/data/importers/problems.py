"""What is wrong in a source that is imported: collected by kind, told as one line, listed row by row."""

from collections.abc import Iterator
from dataclasses import dataclass

from asr.data.check_report import counted
from asr.data.names import named

_MAX_DETAIL = 200  # characters


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its name in lists, what is counted, what to do."""

    name: str
    one: str
    many: str
    cure: str


BAD_ROW = Kind("bad-row", "row that cannot be read", "rows that cannot be read", "correct them")
REPEATED = Kind("repeated", "id given twice", "ids given twice", "keep one row for each")
MISSING_AUDIO = Kind(
    "missing-audio",
    "utterance without its audio file",
    "utterances without their audio file",
    "correct the paths, or name the folder where they start with --audio-root DIR",
)
BAD_AUDIO = Kind("bad-audio", "unusable audio file", "unusable audio files", "get or convert them again")
OUTSIDE = Kind(
    "outside",
    "utterance outside its recording",
    "utterances outside their recordings",
    "correct their times and channels",
)
NO_TEXT = Kind("no-text", "recording without a text", "recordings without a text", "write the missing texts")
AMBIGUOUS = Kind("ambiguous", "name of several files", "names of several files", "keep one file of each name")


@dataclass(frozen=True, slots=True)
class Problem:
    """One of them: its kind, the utterance, recording, file or line concerned, and what exactly is wrong."""

    kind: Kind
    name: str
    detail: str = ""

    def __str__(self) -> str:
        """Return the name, with the detail if there is one."""
        return f"{self.name} ({self.detail[:_MAX_DETAIL]})" if self.detail else self.name


class Problems:
    """All problems of one import."""

    def __init__(self) -> None:
        self._by_kind: dict[Kind, list[Problem]] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(map(len, self._by_kind.values()))

    def __iter__(self) -> Iterator[Problem]:
        """Yield them, kind by kind."""
        for problems in self._by_kind.values():
            yield from problems

    def add(self, kind: Kind, name: str, detail: str = "") -> None:
        """Note one problem."""
        self._by_kind.setdefault(kind, []).append(Problem(kind, name, detail))

    def message(self) -> str:
        """Return all of them in one line: each kind with its count and first names, and each cure once."""
        by_cure: dict[str, list[str]] = {}
        for kind, problems in self._by_kind.items():
            # What exactly is wrong is told of the first: the others are alike, and the line stays readable.
            names = [str(problems[0]), *(problem.name for problem in problems[1:])]
            by_cure.setdefault(kind.cure, []).append(f"{counted(len(problems), kind.one, kind.many)}: {named(names)}")
        return "; ".join("; ".join([*parts, cure]) for cure, parts in by_cure.items())
