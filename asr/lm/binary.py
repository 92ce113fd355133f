"""The toolkit's own file of an n-gram model: arrays as they lie in memory, so that loading is mapping.

`docs/formats.md` has the layout.  Nothing in such a file is executed, and all that a search relies on is checked.
"""

import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import DataError
from asr.lm.ngram import ARRAYS, MAX_ORDER, NgramModel
from asr.lm.words import MARKS
from asr.store import json_text, replacing

MAGIC = b"asr-ngram\n"
FORMAT_VERSION = 1
MAX_HEADER_BYTES = 16 << 20
LOWEST = -1e6  # no logarithm is lower
_PART = 1 << 18  # values checked at a time
_ALIGNMENT = 64  # bytes: of arrays in the file
_SIZE_AT = len(MAGIC)  # where the length of the header stands, 6 bytes
_HEADER_AT = 16


def write_binary(path: str | Path, model: NgramModel) -> None:
    """Write a model, its binding included, through a temporary file.  Raises: MachineError."""
    letters = "\n".join(model.symbols).encode()
    header = {
        "format": FORMAT_VERSION,
        "order": model.order,
        "words": len(model.symbols),
        "states": model.num_states,
        "arcs": len(model.words),
        "symbol_bytes": len(letters),
        "binding": model.binding,
    }
    text = json_text(header).encode()
    parts: list[Any] = [
        MAGIC + len(text).to_bytes(6, "little") + text,
        letters,
        *(array.view(np.uint8).data for array in model.arrays),
    ]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part)
            file.write(bytes(-file.tell() % _ALIGNMENT))


def is_binary(path: str | Path) -> bool:
    """Return whether the file starts as ours do.  Raises: DataError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise DataError(f"{path}: cannot read the language model: {error.strerror or error}; check the path") from None


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the header of a file.  Raises: DataError if it is not such a file, broken, or of a newer format."""
    if not is_binary(path):
        raise _broken(path, f"it does not start with '{MAGIC.decode().strip()}'")
    with open(path, "rb") as file:
        file.seek(_SIZE_AT)
        size = int.from_bytes(file.read(6), "little")
        text = file.read(size) if size <= MAX_HEADER_BYTES else b""
    try:
        header = json.loads(text)
        version = header["format"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise _broken(path, "its header is not JSON") from None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise DataError(
            f"{path}: format {version}; this version reads 1 to {FORMAT_VERSION}; upgrade the toolkit to read it"
        )
    _check_header(path, header)
    return dict(header, header_bytes=size)


def _check_header(path: str | Path, header: dict[str, Any]) -> None:
    least = {"format": 1, "order": 1, "words": len(MARKS), "states": 1, "arcs": len(MARKS), "symbol_bytes": 1}
    for key, lowest in least.items():
        value = header.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value < 1 << 40:
            raise _broken(path, f"{key} in its header is {value!r}")
    if header["order"] > MAX_ORDER:
        raise _broken(path, f"order in its header is {header['order']}, and {MAX_ORDER} is the most")
    if not isinstance(header.setdefault("binding", None), dict | None):
        raise _broken(path, "the binding in its header is no object")


def read_binary(path: str | Path) -> NgramModel:
    """Return the model of a file, mapped into memory: pages are read when they are used, and shared by processes.

    Raises: DataError as `read_header`, for another size than the header says, and for values that no model has.
    """
    header = read_header(path)
    counts = dict.fromkeys(("words", "log10_probs", "nexts"), header["arcs"])
    counts |= {"first": header["states"] + 1, "backoffs": header["states"], "links": header["states"]}
    sizes = [_HEADER_AT + header["header_bytes"], header["symbol_bytes"]]
    sizes += [counts[name] * kind.itemsize for name, kind in ARRAYS.items()]
    begins = [0, *np.cumsum([-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes]).tolist()]
    if os.path.getsize(path) != begins[-1]:
        raise _broken(path, f"{os.path.getsize(path)} bytes where its header says {begins[-1]}")
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    symbols = _symbols(path, mapped[begins[1] : begins[1] + sizes[1]], header["words"])
    arrays = {
        name: np.frombuffer(mapped, kind, counts[name], begin)
        for (name, kind), begin in zip(ARRAYS.items(), begins[2:-1], strict=True)
    }
    model = NgramModel(order=header["order"], symbols=symbols, binding=header["binding"], **arrays)
    _check_values(path, model)
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)  # checking has touched every page
    return model


def _symbols(path: str | Path, letters: bytes, count: int) -> tuple[str, ...]:
    try:
        symbols = tuple(letters.decode().split("\n"))
    except UnicodeDecodeError:
        raise _broken(path, "its words are not UTF-8") from None
    if len(symbols) != count or symbols[: len(MARKS)] != MARKS or len(set(symbols)) != count:
        raise _broken(path, f"{len(symbols)} words where its header says {count}, or the first are not {MARKS}")
    return symbols


def _check_values(path: str | Path, model: NgramModel) -> None:
    """Refuse what would lead a search out of the arrays or around in circles, what it would not find, and what is no
    log-probability."""
    states, arcs, words = model.num_states, len(model.words), len(model.symbols)
    good = (
        model.first[0] == 0
        and model.first[-1] == arcs
        and (states == 1 or model.first[1] == words)
        and bool((model.words[:words] == np.arange(words)).all())
        and model.links[0] == 0
        and all(bool((np.diff(part) >= 0).all()) for _, part in _parts(model.first))
        and all(_within(part, 0, words) for _, part in _parts(model.words))
        and all(_within(part, 0, states) for _, part in _parts(model.nexts))
        and all(part.min() >= 0 and _below_own_place(begin, part) for begin, part in _parts(model.links))
        and all(_within(part, LOWEST, 0) for _, part in _parts(model.log10_probs))
        and all(_within(part, LOWEST, -LOWEST) for _, part in _parts(model.backoffs))
        and all(_ascend_within_states(begin, part, model.first) for begin, part in _parts(model.words))
        and _levels_fit(model)
    )
    if not good:
        raise _broken(path, "its arrays do not fit together")


def _parts(array: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (where it begins, a part of the array that fits into a cache); the next begins with its last value."""
    for begin in range(0, len(array), _PART):
        yield begin, array[begin : begin + _PART + 1]


def _within(array: NDArray[Any], low: float, high: float) -> bool:
    """Return whether all values are low to high, and none is NaN; of whole numbers, below high."""
    least, most = array.min(), array.max()
    return bool(least >= low and (most <= high if array.dtype.kind == "f" else most < high))


def _below_own_place(begin: int, links: NDArray[np.int32]) -> bool:
    """Return whether each state but the empty one links to a smaller one."""
    return bool((links[begin == 0 :] < np.arange(begin + (begin == 0), begin + len(links))).all())


def _ascend_within_states(begin: int, words: NDArray[np.int32], first: NDArray[np.int64]) -> bool:
    """Return whether a word is greater than the one before wherever no state begins: they are found by bisection."""
    places = begin + 1 + np.flatnonzero(words[1:] <= words[:-1])
    return bool((first[np.searchsorted(first, places)] == places).all())


def _levels_fit(model: NgramModel) -> bool:
    """Return whether there are as many context lengths as the order allows, each state reached by one arc."""
    try:
        return len(model.level_bounds()) - 1 <= model.order
    except ValueError:
        return False


def _broken(path: str | Path, why: str) -> DataError:
    return DataError(
        f"{path}: not a language model of ours, or a broken one ({why}); get the file again or make it anew"
    )
