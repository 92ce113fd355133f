"""The `asr` command: finds the subcommand, imports that one only, and turns errors into exit codes.

Each file asr/cli/NAME.py (import_.py for `import`) defines `HELP` (one line), `add_arguments(parser)` and
`run(args) -> exit code`.
One with commands of its own, as `asr lm train`, lists them in `SUBCOMMANDS`.
`args.command_line` holds the arguments as typed, for receipts.
"""

import argparse
import errno
import importlib
import io
import keyword
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

import asr
from asr.errors import (
    EXIT_DEFECT,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_MACHINE,
    EXIT_USAGE,
    InputError,
    UsageError,
    did_you_mean,
)

# The help lines are repeated here so that `asr --help` imports no subcommand (a test compares them).
COMMANDS = {
    "import": "make a manifest of recordings and texts in another format",
    "export": "write a manifest as the utterance list of another program",
    "check": "report everything wrong in manifests and their audio, and write cleaned ones",
    "tokens": "make the tokens of a model from the texts of manifests",
    "shard": "put a manifest and its audio into tar shards to train on",
    "augment": "write augmented audio to disk, to listen to",
    "train": "train a model, or fine-tune one",
    "curve": "train on growing parts of the data, and say what more of it would bring",
    "average": "average checkpoints into one model file",
    "calibrate": "make confidence the probability of being right, or judge how far it is",
    "decode": "recognise the utterances of a manifest",
    "transcribe": "print what is said in audio files",
    "align": "find when the words of known texts are said",
    "score": "compare hypotheses with references: word and character error rates",
    "compare": "say whether one set of hypotheses is better than another, or only luckier",
    "info": "print all that a model file knows about itself",
    "plot": "draw what a model does inside",
    "lm": "train, judge, prune and tune language models",
    "doctor": "say what this machine has, what is missing, what that costs and how to cure it",
}

# What libraries read from the environment when they are first used, unless it is set already.
_LIBRARIES = {
    # The threads of numpy's OpenBLAS go on spinning after a product (a resampling), and beside torch's own threads
    # that cost a sixth of a training step on two cores.
    "OPENBLAS_NUM_THREADS": "1",
    # Batches of ever other lengths fill oneDNN's cache of 1,024 compiled products with gigabytes; a step needs few.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are UsageErrors, so that they end as one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of printing the whole usage."""
        raise UsageError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `asr` with `argv` (default: the arguments of this process) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _write_utf8()
    name = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    if name:
        return guarded(f"asr {name}", lambda: _run(name, arguments[1:]))
    return guarded("asr", lambda: _without_command(arguments))


def guarded(label: str, work: Callable[[], int]) -> int:
    """Return the exit code of `work()`, its errors written to standard error as `label: message`."""
    for setting, value in _LIBRARIES.items():
        os.environ.setdefault(setting, value)
    try:
        code = work()
        sys.stdout.flush()  # so that a full disk or a closed pipe shows here, not at the interpreter's end
    except SystemExit as end:  # argparse leaves this way after --help and --version
        return EXIT_DONE if end.code in (None, 0) else EXIT_USAGE
    except InputError as error:
        return _complain(label, str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain(label, "interrupted", EXIT_INTERRUPTED)
    except MemoryError:
        return _complain(label, _OUT_OF_MEMORY, EXIT_MACHINE)
    except OSError as error:
        return _ended_by_system(label, error)
    except RuntimeError as error:
        return _complain(label, _OUT_OF_MEMORY, EXIT_MACHINE) if _is_out_of_memory(error) else _defect()
    return code


def module_name(command: str) -> str:
    """Return the module of a subcommand; where its name is a word of Python, the module's ends in "_"."""
    return f"asr.cli.{command}_" if keyword.iskeyword(command) else f"asr.cli.{command}"


_OUT_OF_MEMORY = "out of memory; use smaller batches, shorter pieces or a machine with more memory"


def _run(name: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(module_name(name))
    parser = Parser(prog=f"asr {name}", description=module.HELP, allow_abbrev=False)
    module.add_arguments(parser)
    # intermixed: `asr train conf.yaml --out runs/a train.epochs=3` has positionals on both sides of a flag
    # (but it forgets a leading `--`, as in `asr transcribe -- -odd-name.wav`, and knows no `asr lm train`)
    plain = "--" in arguments or hasattr(module, "SUBCOMMANDS")
    parse = parser.parse_args if plain else parser.parse_intermixed_args
    args = parse(arguments)
    args.command_line = ["asr", name, *arguments]
    return int(module.run(args))


def _without_command(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog="asr",
        usage="asr COMMAND ...",
        description="Train speech recognisers built on the LSTM, and transcribe with them.",
        epilog="commands:\n" + "\n".join(f"  {name:<11} {text}" for name, text in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"asr {asr.__version__}")
    if arguments and not arguments[0].startswith("-"):
        raise UsageError(f"'{arguments[0]}': no such command{did_you_mean(arguments[0], COMMANDS)}")
    parser.parse_args(arguments)
    parser.print_help()
    return EXIT_DONE


def _complain(label: str, message: str, code: int) -> int:
    print(f"{label}: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _defect() -> int:
    traceback.print_exc()
    return EXIT_DEFECT


def _ended_by_system(label: str, error: OSError) -> int:
    if isinstance(error, BrokenPipeError) and _reader_left():
        _abandon_output()
        return EXIT_DONE  # the reader has what it wanted
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        _abandon_output()
        return _complain(label, f"{error.filename or 'output'}: {error.strerror}; free some space", EXIT_MACHINE)
    if error.errno == errno.ENAMETOOLONG:
        return _complain(label, f"{error.filename}: {error.strerror}; give a shorter name", EXIT_USAGE)
    return _defect()


def _reader_left() -> bool:
    """Return whether standard output is a pipe that nobody reads (a broken pipe to a worker is a defect)."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, AttributeError):  # no file descriptor, or no poll() on this system
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _abandon_output() -> None:
    """Drop what standard output still holds if it cannot be written: Python would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch ran out of memory (it raises RuntimeError; torch need not be imported to know)."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _write_utf8() -> None:
    """Print UTF-8 whatever the locale; file names that are not UTF-8 come out with their own bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


if __name__ == "__main__":
    sys.exit(main())
