"""Data sets of Hugging Face on disk: what `save_to_disk` wrote, or Parquet files, one or a folder of them.

Each row is one whole recording.  Audio that lies inside of the data set is written, byte by byte as it is, to files
beside the manifest.  Only pyarrow is needed, which reads tables and runs nothing.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.audio.headers import audio_suffix
from asr.data.importers.columns import column_notes, match_columns
from asr.data.importers.problems import BAD_ROW
from asr.data.importers.reading import read_text
from asr.data.importers.task import Draft, Task
from asr.data.names import legal_name, named
from asr.errors import DataError, MachineError, UsageError, shown, to_install, writing

if TYPE_CHECKING:
    import pyarrow

_KEYS = ("id", "audio", "text", "speaker", "language")
_MAX_JSON_BYTES = 1 << 26
_ROWS = 64  # held at a time: a row may hold minutes of audio
_MAX_NAME = 100  # letters of an id that become part of a file's name
_SHARD = re.compile(r"(?P<split>.+?)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?")


def read(task: Task) -> list[Draft]:
    """Return the rows of a data set, its audio written to files; rows that are wrong go to the task.

    Raises: MachineError without pyarrow; DataError if it is no data set that can be read.
    """
    _need_pyarrow()
    drafts: list[Draft] = []
    number = 0
    for path in _files(task):
        with _opened(path) as table:
            columns, classes = _columns(table.schema, task, has_notes=number == 0), _classes(table.schema)
            for row in table.rows(list(columns.values())):
                number += 1
                values = {key: _of_class(row[name], classes.get(name)) for key, name in columns.items()}
                try:
                    drafts.append(_draft(values, number, task))
                except ValueError as error:
                    task.problems.add(BAD_ROW, f"row {number}", str(error))
                if task.progress is not None:
                    task.progress(number, None, 0.0)
    return drafts


def _need_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401 (whether it is there)
    except ImportError:
        raise MachineError(
            f"the package pyarrow is missing, which reads data sets of Hugging Face: {to_install('pyarrow')}"
        ) from None


def _files(task: Task) -> list[Path]:
    """Return the files that hold the rows of the chosen split, in their order."""
    source = task.source
    if source.is_file():
        return _chosen({"": [source]}, task)
    if (source / "dataset_dict.json").is_file():
        names = _json(source / "dataset_dict.json").get("splits")
        if not isinstance(names, list):
            raise DataError(f"{source / 'dataset_dict.json'}: it lists no splits; save the data set again")
        (folder,) = _chosen({str(name): [source / _plain_name(name, source)] for name in names}, task)
        return _saved_files(folder)
    if (source / "state.json").is_file():
        return _saved_files(*_chosen({"": [source]}, task))
    splits: dict[str, list[Path]] = {}
    for path in sorted(source.rglob("*.parquet")):
        splits.setdefault(_split_of(path, source), []).append(path)
    return _chosen(splits, task)


def _chosen(splits: Mapping[str, list[Path]], task: Task) -> list[Path]:
    """Return what belongs to the chosen split, or to the only one ("" where the source does not name it)."""
    wanted = task.options.split
    if not splits:
        raise DataError(
            f"{task.source}: no data set in it (no dataset_dict.json, state.json or .parquet files); "
            "give the folder that save_to_disk wrote, or Parquet files"
        )
    if wanted is None and len(splits) == 1:
        return next(iter(splits.values()))
    if wanted is None:
        raise UsageError(f"{task.source}: it has several splits ({named(list(splits))}); choose with --split NAME")
    if wanted not in splits:
        found = named([name for name in splits if name]) or "that are not named"
        raise UsageError(f"--split {wanted}: {task.source} has splits {found}; name one of them, or leave it out")
    return splits[wanted]


def _split_of(path: Path, source: Path) -> str:
    """Return the split of a Parquet file: `train-00000-of-00002.parquet`, `train/0000.parquet`, `train.parquet`."""
    shard = _SHARD.fullmatch(path.stem)
    if shard is not None:
        return shard["split"]
    return path.parent.name if path.stem.isdigit() and path.parent != source else path.stem


def _saved_files(folder: Path) -> list[Path]:
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(f"{folder}: its rows are in another order than its files; save it again with a newer datasets")
    listed = state.get("_data_files")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise DataError(f"{folder / 'state.json'}: it lists no files; save the data set again")
    return [folder / _plain_name(one.get("filename"), folder) for one in listed]


def _plain_name(name: object, folder: Path) -> str:
    """Return a name that stays in its folder.  Raises: DataError."""
    if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", ".."):
        raise DataError(f"{folder}: {shown(name)} is no name of a file or folder in it; save the data set again")
    return name


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_text(path, max_bytes=_MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not JSON; save the data set again") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected an object, found {shown(value)}; save the data set again")
    return value


class _Table:
    """An open file of rows: Parquet, or the Arrow stream that `save_to_disk` writes."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        if path.suffix == ".parquet":
            self._parquet = pyarrow.parquet.ParquetFile(path)
            self._stream = None
            self.schema: pyarrow.Schema = self._parquet.schema_arrow
        else:
            self._parquet = None
            self._stream = pyarrow.ipc.open_stream(pyarrow.memory_map(os.fspath(path)))
            self.schema = self._stream.schema

    def rows(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the values of some columns, row by row, a few rows in memory."""
        for batch in self._batches(list(names)):
            batch.validate(full=True)  # the columns of a damaged file may point anywhere, and reading them would crash
            for first in range(0, batch.num_rows, _ROWS):
                yield from batch.slice(first, _ROWS).to_pylist()

    def _batches(self, names: list[str]) -> "Iterator[pyarrow.RecordBatch]":
        if self._parquet is not None:
            yield from self._parquet.iter_batches(_ROWS, columns=names)
        else:
            assert self._stream is not None, "it is one or the other"
            for batch in self._stream:
                yield batch.select(names)


@contextmanager
def _opened(path: Path) -> Iterator[_Table]:
    import pyarrow

    try:
        yield _Table(path)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot read the table: {problem}; get or save it again") from None


def _columns(schema: "pyarrow.Schema", task: Task, *, has_notes: bool) -> dict[str, str]:
    """Return manifest key -> column.  The audio is the column that holds sound, whatever it is called."""
    chosen = dict(task.options.columns)
    unknown = chosen.keys() - set(_KEYS)
    if unknown:
        raise UsageError(f"--column {min(unknown)}=...: rows are whole recordings; keys are {', '.join(_KEYS)}")
    sounds = [field.name for field in schema if _is_sound(field)]
    if len(sounds) == 1:
        chosen.setdefault("audio", sounds[0])
    columns = match_columns(schema.names, chosen, str(task.source), keys=_KEYS)
    if has_notes:
        task.notes += column_notes(schema.names, columns)
    return {key: schema.names[index] for key, index in columns.items()}


def _is_sound(field: "pyarrow.Field") -> bool:
    import pyarrow

    kind = field.type
    return bool(pyarrow.types.is_struct(kind)) and {"bytes", "path"} <= {part.name for part in kind}


def _classes(schema: "pyarrow.Schema") -> dict[str, list[str]]:
    """Return column -> the names of its classes: such columns hold numbers."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: one["names"] for name, one in features.items() if isinstance(one, dict) and "names" in one}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}  # a table that another program wrote


def _of_class(value: Any, names: Sequence[str] | None) -> Any:
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


def _draft(values: Mapping[str, Any], number: int, task: Task) -> Draft:
    """Return one row, its audio written.  Raises: ValueError saying what is wrong."""
    for key in ("id", "speaker", "language"):
        if not isinstance(values.get(key), str | int | None):
            raise ValueError(f"{key} {shown(str(values[key]))}; expected a name")
    if not isinstance(values.get("text"), str | None):
        raise ValueError(f"text {shown(str(values['text']))}; expected a text")
    audio = values["audio"]
    path = audio.get("path") if isinstance(audio, dict) else audio
    name = str(values.get("id") or (Path(path).stem if isinstance(path, str) else "") or f"row-{number:06}")
    data = audio.get("bytes") if isinstance(audio, dict) else None
    if isinstance(data, bytes):
        file = _written(data, name, number, task)
    elif isinstance(path, str) and path:
        file = task.resolve(path)
    else:
        raise ValueError("no audio; in datasets, cast_column('audio', Audio(decode=False)) and save it again")
    return Draft(
        name, file, text=values.get("text"), speaker=_text(values, "speaker"), language=_text(values, "language")
    )


def _text(values: Mapping[str, Any], key: str) -> str | None:
    value = values.get(key)
    return None if value is None or value == "" else str(value)


def _written(data: bytes, name: str, number: int, task: Task) -> str:
    """Write the bytes of an audio file; return its path."""
    suffix = audio_suffix(data)
    if suffix is None and data[:1] == b"\xff" and data[1:2] >= b"\xe0":
        suffix = ".mp3"  # a frame without tags before it
    if suffix is None:
        raise ValueError(f"its audio starts with {shown(data[:8].decode('latin-1'))}, as no known format does")
    stem = legal_name(name)[:_MAX_NAME]
    path = task.written.path(f"{stem}{suffix}")
    if os.path.exists(path):
        path = task.written.path(f"{stem}-{number}{suffix}")
    with writing(path), open(path, "wb") as file:
        file.write(data)
    return path
