"""Errors: exit codes, suggestions, and what the system says turned to one line."""

import errno
import os
from pathlib import Path

import pytest

from asr.errors import DataError, InputError, MachineError, UsageError, did_you_mean, writing


def test_exit_codes_are_those_of_the_design() -> None:
    assert (UsageError.exit_code, DataError.exit_code, MachineError.exit_code) == (2, 3, 4)
    assert issubclass(InputError, ValueError)


@pytest.mark.parametrize(
    ("name", "known", "answer"),
    [
        ("beamsize", ["beam_size", "words"], "; did you mean 'beam_size'?"),
        ("x", ["beam_size", "alpha"], "; known: alpha, beam_size"),
        ("x", [], ""),
    ],
)
def test_did_you_mean(name: str, known: list[str], answer: str) -> None:
    assert did_you_mean(name, known) == answer


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EACCES, "may write to"),
        (errno.EROFS, "may write to"),
        (errno.ENOTDIR, "check the path"),
    ],
)
def test_a_failed_write_says_what_where_and_the_cure(tmp_path: Path, number: int, cure: str) -> None:
    with pytest.raises(MachineError) as caught, writing(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'a.txt'}: cannot write: {os.strerror(number)}; ")
    assert cure in message
    assert "\n" not in message


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), writing("a.txt"):
        raise KeyError("x")
