"""CSV and TSV tables with a line of column names: spreadsheets, Common Voice, DeepSpeech.

    wav_filename,wav_filesize,transcript
    clips/a.wav,64044,good morning

The delimiter is the one of , ; TAB | that yields names of columns that are known.  Quotes enclose cells, a doubled
one is a quote, as in RFC 4180.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from asr.data.check_report import counted
from asr.data.importers.columns import column_notes, match_columns
from asr.data.importers.problems import BAD_ROW
from asr.data.importers.reading import between, read_text, seconds, text_lines
from asr.data.importers.task import Draft, Task
from asr.errors import DataError, UsageError, shown
from asr.units import Seconds

_DELIMITERS = (",", ";", "\t", "|")
_MAX_HEADER = 100_000  # characters
_AGREE: Seconds = 0.05  # start + duration and end of one row differ by no more, which rounding can do
_CURE = "close it, double the quotes inside a cell, or use --no-quotes if quotes are characters like others here"


def read(task: Task) -> list[Draft]:
    """Return the rows of a table; rows that are wrong, blank rows and unused columns go to the task.

    Raises: DataError if the columns are not known or a quote does not close.
    """
    text = read_text(task.source)
    delimiter, columns = _layout(task, text)
    records = _records(task, text, delimiter)
    _, header = next(records)
    task.notes += column_notes(header, columns)
    drafts, blank = [], 0
    for line, cells in records:
        if not any(cell.strip() for cell in cells):
            blank += len(cells) > 0  # csv makes an empty line a row without cells
            continue
        try:
            drafts.append(_draft(_row(cells, len(header), columns), line, task))
        except ValueError as error:
            task.problems.add(BAD_ROW, f"line {line}", str(error))
    if blank:
        task.notes.append(f"{counted(blank, 'row')} without any value skipped")
    return drafts


def _layout(task: Task, text: str) -> tuple[str, dict[str, int]]:
    """Return the delimiter and the columns: the ones with which most columns have names that are known."""
    first = next(iter(text_lines(text[:_MAX_HEADER].lstrip("\r\n"))), "")
    if not first.strip():
        raise DataError(f"{task.source}: empty; the first line must name the columns")
    found: list[tuple[int, str, dict[str, int]]] = []
    errors = []
    for delimiter in sorted(_DELIMITERS, key=first.count, reverse=True):
        header = next(csv.reader([first], delimiter=delimiter), [])
        try:
            columns = match_columns(header, task.options.columns, str(task.source))
        except (DataError, UsageError) as error:
            errors.append(error)
            continue
        found.append((len(columns), delimiter, columns))
    if not found:
        raise errors[0]  # of the delimiter that is there most often
    _, delimiter, columns = max(found, key=lambda one: one[0])
    return delimiter, columns


def _records(task: Task, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, cells) of each record, the header first.

    Raises: DataError naming the line where a quote opens that does not close, or closes too late.
    """
    lines = io.StringIO(text, newline="")
    if task.options.quotes:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    width, last = 0, 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise _bad_quote(task.source, text, delimiter, last) from None
        width = width or len(cells)
        if reader.line_num > last + 1:
            _refuse_swallowed_rows(task.source, cells, delimiter, width, last)
        if cells or width:
            yield last + 1, cells
        last = reader.line_num


def _refuse_swallowed_rows(source: Path, cells: Sequence[str], delimiter: str, width: int, last: int) -> None:
    """Raise DataError if a cell looks like rows: as many delimiters for each of its line breaks as rows have.

    Two quotes that were never meant as quotes would otherwise make one cell of all rows between them.
    """
    for cell in cells:
        breaks = cell.count("\n") or cell.count("\r")
        if breaks and width > 1 and cell.count(delimiter) >= breaks * (width - 1):
            raise DataError(
                f"{source}:{last + 1}: a quote opens here and closes on line {last + 1 + breaks}, "
                f"with other rows between; {_CURE}"
            )


def _bad_quote(source: Path, text: str, delimiter: str, last: int) -> DataError:
    """Return the error for the record that starts after line `last`, with the line where its bad quote opens."""
    rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n", last)[-1]
    quoted = re.compile(r'"((?:[^"]|"")*+)(")?')
    position = 0
    while True:
        starts_cell = position == 0 or rest[position - 1] in (delimiter, "\n")
        if starts_cell and rest.startswith('"', position):
            match = quoted.match(rest, position)
            assert match is not None, "it starts with a quote"
            line = last + 1 + rest.count("\n", 0, position)
            if match[2] is None:
                return DataError(f"{source}:{line}: a quote opens here and never closes; {_CURE}")
            position = match.end()
            if position < len(rest) and rest[position] not in (delimiter, "\n"):
                end, after = last + 1 + rest.count("\n", 0, position), rest[position : position + 20].split("\n")[0]
                return DataError(
                    f"{source}:{line}: a quote opens here and closes on line {end} before {shown(after)}; {_CURE}"
                )
        step = re.compile(f"[{re.escape(delimiter)}\n]").search(rest, position)
        if step is None:
            return DataError(f"{source}:{last + 1}: a cell is too long; {_CURE}")
        position = step.end()


def _row(cells: Sequence[str], width: int, columns: Mapping[str, int]) -> dict[str, str]:
    """Return the cells by key.  Raises: ValueError if there are too few or too many."""
    if len(cells) < width or any(cells[width:]):
        raise ValueError(f"{counted(len(cells), 'cell')} under {width} column names")
    return {key: cells[index] for key, index in columns.items()}


def _draft(row: Mapping[str, str], line: int, task: Task) -> Draft:
    """Return one row.  Raises: ValueError saying what is wrong."""
    path = row["audio"].strip()
    if not path:
        raise ValueError("no audio file named")
    start, duration = _span(row)
    channel = row.get("channel", "").strip()
    if channel and not (channel.isascii() and channel.isdigit()):
        raise ValueError(f"channel must be a number from 0, found {shown(channel)}")
    return Draft(
        row.get("id", "").strip() or Path(path).stem,
        task.resolve(path),
        start,
        duration,
        row.get("text"),
        row.get("speaker", "").strip() or None,
        int(channel) if channel else None,
        row.get("language", "").strip() or None,
        line=line,
    )


def _span(row: Mapping[str, str]) -> tuple[Seconds, Seconds | None]:
    """Return start and duration, None where the row does not say it."""
    times = {key: seconds(row[key]) for key in ("start", "end", "duration") if row.get(key, "").strip()}
    start, duration = times.get("start", 0.0), times.get("duration")
    if "end" not in times:
        return start, duration
    to_end = between(start, times["end"])
    if duration is not None and abs(duration - to_end) > _AGREE:
        raise ValueError(f"start {start:g}, end {times['end']:g} and duration {duration:g} do not agree")
    return start, to_end if duration is None else duration
