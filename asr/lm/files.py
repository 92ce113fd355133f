"""Files of n-gram models: the form is told by the content when reading, by the name when writing."""

import ctypes
import sys
from pathlib import Path

from asr.errors import DataError
from asr.lm.arpa import read_arpa
from asr.lm.arpa_writing import write_arpa
from asr.lm.binary import is_binary, read_binary, write_binary
from asr.lm.binding import binding_of
from asr.lm.ngram import NgramModel

ARPA_SUFFIXES = (".arpa", ".arpa.gz")


def load_ngram(path: str | Path) -> NgramModel:
    """Return the model of a file of ours, or of an ARPA file, plain or gzip.

    Raises: DataError if it is neither, or says of the recogniser that it is for what cannot be.
    """
    if is_binary(path):
        model = read_binary(path)
        try:
            binding_of(model)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        return model
    if is_lstm(path):
        raise DataError(
            f"{path}: no n-gram model but a file of tensors; an LSTM language model goes with --rescore, a recogniser"
            " with --model"
        )
    model = read_arpa(path)
    _give_memory_back()
    return model


def _give_memory_back() -> None:
    """Let the C library return what sorting took: glibc keeps it otherwise, twice as much as the model."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)


def is_lstm(path: str | Path) -> bool:
    """Return whether a file is of the form in which LSTM language models are kept.  Raises: DataError if unreadable."""
    try:
        with open(path, "rb") as file:
            return file.read(9)[8:] == b"{"  # eight bytes of length, then JSON
    except OSError as error:
        raise DataError(f"{path}: cannot read the language model: {error.strerror}; check the path") from None


def is_arpa(path: str | Path) -> bool:
    """Return whether a file of this name is written as ARPA."""
    return str(path).endswith(ARPA_SUFFIXES)


def save_ngram(path: str | Path, model: NgramModel, *, arpa: bool = False) -> None:
    """Write a model: as ARPA if the name ends in .arpa or .arpa.gz or `arpa` is set, otherwise in our own form.

    Raises: MachineError.
    """
    if arpa or is_arpa(path):
        write_arpa(path, model)
    else:
        write_binary(path, model)
