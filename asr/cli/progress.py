"""Progress of long work on standard error: a bar on a terminal, otherwise plain lines.

Rooms above take the callback; they never print:

    with progress_bar("decode", unit="utterances") as progress:
        decode(..., progress=progress)
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_INTERVAL = 10.0  # seconds between plain lines: a log of an hour stays readable


class ProgressCallback(Protocol):
    """What rooms above call after each piece of work; all values count from the start of the work."""

    def __call__(self, done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
        """Report `done` of `total` pieces (None: unknown), the audio dealt with, and a short note."""


@contextmanager
def progress_bar(label: str, unit: str, stream: TextIO | None = None) -> Iterator[ProgressCallback]:
    """Yield the callback that shows the progress of one piece of long work on `stream` (standard error)."""
    target = sys.stderr if stream is None else stream
    if not target.isatty():
        plain = _PlainLines(label, unit, target)
        try:
            yield plain
        finally:
            plain.close()
        return
    with _rich_progress(target) as progress:
        yield _Bar(progress, progress.add_task(label, total=None, detail=""))


def describe(elapsed: float, done: int, total: int | None, audio_seconds: float, note: str) -> str:
    """Return audio hours per hour, time left and the note, as far as they are known."""
    parts = []
    if audio_seconds > 0 and elapsed > 0:
        parts.append(f"{audio_seconds / elapsed:.3g} audio h/h")
    if total is not None and 0 < done < total:
        parts.append(f"{clock(elapsed * (total - done) / done)} left")
    if note:
        parts.append(note)
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Return whole seconds as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _PlainLines:
    def __init__(self, label: str, unit: str, stream: TextIO) -> None:
        self._label, self._unit, self._stream = label, unit, stream
        self._start = self._printed = time.monotonic()
        self._pending = ""

    def __call__(self, done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
        now = time.monotonic()
        count = f"{done}/{total}" if total is not None else f"{done}"
        detail = describe(now - self._start, done, total, audio_seconds, note)
        self._pending = f"{self._label}: {count} {self._unit}" + (f", {detail}" if detail else "")
        if now - self._printed >= PLAIN_INTERVAL:
            self._printed = now
            self.close()

    def close(self) -> None:
        """Print the last state if it has not been printed."""
        if self._pending:
            print(self._pending, file=self._stream, flush=True)
            self._pending = ""


class _Bar:
    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress, self._task = progress, task
        self._start = time.monotonic()

    def __call__(self, done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
        detail = describe(time.monotonic() - self._start, done, total, audio_seconds, note)
        self._progress.update(self._task, completed=done, total=total, detail=detail)


def _rich_progress(stream: TextIO) -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(file=stream),
        # printed text goes above the bar only where both share a terminal; a redirected standard output
        # must get its lines itself
        redirect_stdout=sys.stdout.isatty(),
        transient=True,
    )
