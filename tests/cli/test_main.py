"""The command's framework: lazy table, one-line errors, exit codes, quiet pipes."""

import errno
import importlib
import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

import asr
from asr.cli import main as cli
from asr.errors import DataError, MachineError, UsageError

ROOT = Path(__file__).parents[2]


def _python(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_table_says_what_the_subcommand_says(name: str) -> None:
    module = importlib.import_module(cli.module_name(name))
    assert cli.COMMANDS[name] == module.HELP
    parser = cli.Parser(prog=f"asr {name}", allow_abbrev=False)
    module.add_arguments(parser)
    parser.format_help()
    assert callable(module.run)


def test_every_subcommand_is_in_the_table() -> None:
    files = {path.stem for path in (ROOT / "asr" / "cli").glob("*.py")}
    commands = {name for name in files if hasattr(importlib.import_module(f"asr.cli.{name}"), "HELP")}
    assert {f"asr.cli.{name}" for name in commands} == set(map(cli.module_name, cli.COMMANDS))


def test_help_imports_nothing_heavy_and_is_fast() -> None:
    program = (
        "import sys; from asr.cli.main import main; code = main(['--help']); "
        "heavy = {'torch', 'numpy', 'pydantic', 'rich', 'lightning', 'soundfile', 'numba'} & set(sys.modules); "
        "commands = [name for name in sys.modules if name.startswith('asr.cli.') and name != 'asr.cli.main']; "
        "sys.exit(f'{heavy} {commands}' if heavy or commands else code)"
    )
    done = _python("-c", program)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in cli.COMMANDS)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert _python("-m", "asr", "--help").returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 0.3


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"asr {asr.__version__}\n"


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "transcribe" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scor"], "asr: 'scor': no such command; did you mean 'score'?"),
        (["--nonsense"], "asr: unrecognized arguments: --nonsense; see asr --help"),
        (["score"], "asr score: the following arguments are required: REFERENCE.jsonl, HYPOTHESES.jsonl"),
        (["score", "a", "b", "--ou", "x"], "asr score: unrecognized arguments: --ou x; see asr score --help"),
        (["score", "a", "b", "--case", "title"], "asr score: argument --case: invalid choice: 'title'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
    assert captured.err.count("\n") == 1


def test_help_of_a_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "--help"]) == 0
    assert "usage: asr score" in capsys.readouterr().out


class OutOfMemoryError(RuntimeError):
    """Bears the name of torch's error."""


def _raising(error: BaseException) -> Callable[[], int]:
    def work() -> NoReturn:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("a.yaml: bad"), 2, "asr x: a.yaml: bad"),
        (DataError("a.wav: bad\nsecond line"), 3, "asr x: a.wav: bad second line"),
        (MachineError("no GPU"), 4, "asr x: no GPU"),
        (MemoryError(), 4, "asr x: out of memory"),
        (OutOfMemoryError("CUDA out of memory"), 4, "asr x: out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 4, "asr x: out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "out.json"), 4, "asr x: out.json: No space left on device"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "xx"), 2, "asr x: xx: File name too long; give a shorter"),
        (KeyboardInterrupt(), 130, "asr x: interrupted"),
    ],
)
def test_errors_of_users_and_machines_are_one_line(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.guarded("asr x", _raising(error)) == code
    shown = capsys.readouterr().err
    assert shown.startswith(message)
    assert shown.count("\n") == 1


@pytest.mark.parametrize("error", [RuntimeError("shape"), OSError(errno.EIO, "Input/output error"), BrokenPipeError()])
def test_defects_show_their_traceback(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken pipe to a worker process is one too: standard output is still read here."""
    assert cli.guarded("asr x", _raising(error)) == 1
    assert "Traceback" in capsys.readouterr().err


def test_other_defects_leave_as_they_are() -> None:
    """Python itself prints their traceback and ends with 1."""
    with pytest.raises(ZeroDivisionError):
        cli.guarded("asr x", _raising(ZeroDivisionError()))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_behind_standard_output(unbuffered: str) -> None:
    program = "import sys; from asr.cli.main import guarded; sys.exit(guarded('asr', lambda: print('line') or 0))"
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == "asr: output: No space left on device; free some space\n"
    assert done.returncode == 4


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lines", [1, 100_000])
def test_closed_pipe_is_quiet(lines: int, unbuffered: str) -> None:
    program = (
        "import sys; from asr.cli.main import guarded\n"
        f"def work():\n for _ in range({lines}): print('line')\n return 0\n"
        "sys.exit(guarded('asr', work))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_is_utf8_in_any_locale() -> None:
    program = "from asr.cli.main import guarded, main; main(['--version']); print('é\\udcff')"
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.endswith("é".encode() + b"\xff\n")


def test_flags_between_positionals_and_the_command_as_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def add_arguments(parser: ArgumentParser) -> None:
        parser.add_argument("config")
        parser.add_argument("overrides", nargs="*")
        parser.add_argument("--out")

    module = ModuleType("asr.cli.score")
    module.__dict__.update(HELP="x", add_arguments=add_arguments, run=lambda args: seen.update(vars(args)) or 0)
    monkeypatch.setitem(sys.modules, "asr.cli.score", module)
    assert cli.main(["score", "a.yaml", "--out", "runs/a", "train.epochs=3"]) == 0
    assert seen == {
        "config": "a.yaml",
        "overrides": ["train.epochs=3"],
        "out": "runs/a",
        "command_line": ["asr", "score", "a.yaml", "--out", "runs/a", "train.epochs=3"],
    }
    assert cli.main(["score", "--", "-odd.yaml"]) == 0
    assert seen["config"] == "-odd.yaml"


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("OPENBLAS_NUM_THREADS", {}, "1"),
        ("OPENBLAS_NUM_THREADS", {"OPENBLAS_NUM_THREADS": "3"}, "3"),
        ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", {}, "64"),
    ],
)
def test_libraries_are_told_before_they_are_imported(name: str, given: dict[str, str], kept: str) -> None:
    """numpy's threads spin after a product, a sixth of a training step; oneDNN's cache grows to gigabytes."""
    script = f"""if True:
        import os, sys
        from asr.cli.main import guarded
        guarded("a", lambda: print("numpy" in sys.modules, os.environ["{name}"]))
        """
    environment = {key: value for key, value in os.environ.items() if key != name} | given
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"False {kept}\n"
