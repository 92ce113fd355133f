"""Entries of wav.scp that are pipes, such as `sph2pipe -f wav -p a.sph |`.

They are taken only when the user allows it.  A pipe is one program, or several joined by "|", each with plain words
as its arguments: no shell is started, and what would need one (variables, redirections, wildcards, `;`, `&`) is
refused.  A pipe that does no more than decode a file that we read ourselves is not run at all: its file is taken.
What the others print is written to WAV files, within limits of time and size.
"""

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

import numpy as np

from asr.audio.files import AudioInfo, audio_info, read_audio, write_audio
from asr.data.check_report import counted
from asr.data.importers.problems import BAD_AUDIO, Kind
from asr.data.importers.task import Task
from asr.data.names import named, unique_names
from asr.errors import DataError, MachineError, writing

MAX_SECONDS = 600.0  # that one pipe may take
MAX_BYTES = 1 << 32  # that one pipe may print: what a WAV file can hold
_BLOCK = 1 << 20
NEEDS_SHELL = Kind(
    "needs-shell",
    "pipe that is more than programs with plain words",
    "pipes that are more than programs with plain words",
    "write these recordings to files",
)
# One word of a command line: letters that mean nothing to a shell, and texts in quotes.
_WORD = re.compile(r"""(?:[^\s'"|&;<>()$`\\*?\[\]{}~#!]|'[^']*'|"[^"$`\\]*")+""", re.ASCII)
_PART = re.compile(r"""'[^']*'|"[^"]*"|[^'"]+""")
_FLAC_FLAGS = {"--decode": "d", "--stdout": "c", "--silent": "s"}


class PipeError(Exception):
    """What a pipe did wrong, or what it needs that it is not given."""


def files_of_pipes(pipes: Mapping[str, str], task: Task) -> dict[str, tuple[str, int | None]]:
    """Return recording -> (file, its channel or None) for entries of wav.scp that are pipes; what fails to the task.

    Raises: MachineError if a program is not there, or a file cannot be written.
    """
    commands: dict[str, list[list[str]]] = {}
    for name, entry in pipes.items():
        try:
            commands[name] = parse_pipe(entry)
        except PipeError as error:
            task.problems.add(NEEDS_SHELL, name, str(error))
    files = _decoded(commands, task)
    waiting = [name for name in commands if name not in files]
    if files:
        task.notes.append(f"{counted(len(files), 'pipe')} not run: they only decode files that are read directly")
    if waiting and not task.is_lost:
        programs = sorted({stage[0] for name in waiting for stage in commands[name]})
        task.notes.append(
            f"{counted(len(waiting), 'pipe')} run ({named(programs)}), the audio is in {task.written.folder}"
        )
        files |= _run_all({name: commands[name] for name in waiting}, task)
    return files


def parse_pipe(entry: str) -> list[list[str]]:
    """Return the programs of a pipe, each with its arguments.  Raises: PipeError if it is more than that."""
    stages: list[list[str]] = [[]]
    position, text = 0, entry.strip().removesuffix("|")
    while position < len(text):
        if text[position] in " \t":
            position += 1
        elif text[position] == "|":
            stages.append([])
            position += 1
        else:
            word = _WORD.match(text, position)
            if word is None:
                raise PipeError(f"{text[position]!r} has a meaning to shells only, in {entry!r}")
            stages[-1].append(
                "".join(part.strip(part[0]) if part[0] in "'\"" else part for part in _PART.findall(word[0]))
            )
            position = word.end()
    for stage in stages:
        if not stage or not stage[0] or "=" in stage[0]:
            raise PipeError(f"a program is missing, in {entry!r}")
    return stages


def decoded_file(words: Sequence[str]) -> tuple[str, int | None] | None:
    """Return (file, channel from 0 or None) if a command does no more than decode a file, else None.

    Known are `flac -c -d -s FILE`, `sph2pipe -f wav -p [-c N] FILE`, `cat FILE`, and of sox what our own export writes:
    `sox FILE -t wav -b 16 - [remix N|-]`.
    """
    program, arguments = os.path.basename(words[0]), list(words[1:])
    if program == "cat" and len(arguments) == 1 and not arguments[0].startswith("-"):
        return arguments[0], None
    if program == "flac":
        return _flac_file(arguments)
    if program == "sph2pipe":
        return _sphere_file(arguments)
    if program == "sox" and len(arguments) in (6, 8) and arguments[1:6] == ["-t", "wav", "-b", "16", "-"]:
        return _sox_file(arguments)
    return None


def _flac_file(arguments: Sequence[str]) -> tuple[str, int | None] | None:
    flags = [word for word in arguments if word.startswith("-")]
    files = [word for word in arguments if not word.startswith("-")]
    letters = set("".join(_FLAC_FLAGS.get(flag, flag[1:]) for flag in flags))
    return (files[0], None) if {"c", "d"} <= letters <= {"c", "d", "s"} and len(files) == 1 else None


def _sphere_file(arguments: list[str]) -> tuple[str, int | None] | None:
    files, container, channel = [], "", None
    words = iter(arguments)
    for word in words:
        if word == "-f":
            container = next(words, "")
        elif word == "-c" and (number := next(words, "")) in ("1", "2"):
            channel = int(number) - 1
        elif not word.startswith("-"):
            files.append(word)
        elif word != "-p":
            return None
    return (files[0], channel) if container in ("wav", "rif") and len(files) == 1 else None


def _sox_file(arguments: Sequence[str]) -> tuple[str, int | None] | None:
    if len(arguments) == 6 or arguments[6:] == ["remix", "-"]:
        return arguments[0], None
    number = arguments[7]
    is_channel = arguments[6] == "remix" and number.isascii() and number.isdigit() and int(number) > 0
    return (arguments[0], int(number) - 1) if is_channel else None


def _decoded(commands: Mapping[str, Sequence[Sequence[str]]], task: Task) -> dict[str, tuple[str, int | None]]:
    """Return recording -> (file, channel) where a pipe only decodes a file that we can read."""
    named_files = {name: decoded_file(stages[0]) for name, stages in commands.items() if len(stages) == 1}
    files = {name: (task.resolve(file[0]), file[1]) for name, file in named_files.items() if file is not None}
    task.look_at(path for path, _ in files.values())
    return {name: file for name, file in files.items() if isinstance(task.files.info(file[0]), AudioInfo)}


def _run_all(commands: Mapping[str, Sequence[Sequence[str]]], task: Task) -> dict[str, tuple[str, int | None]]:
    """Return recording -> the WAV file made of what its pipe prints; pipes that fail go to the task."""
    files: dict[str, tuple[str, int | None]] = {}
    for done, (name, file_name) in enumerate(zip(commands, unique_names(commands), strict=True), start=1):
        target = task.written.path(f"{file_name}.wav")
        try:
            _write_printed(commands[name], task.audio_root, target)
            files[name] = (target, None)
        except PipeError as error:
            task.problems.add(BAD_AUDIO, name, f"its pipe {error}")
        if task.progress is not None:
            task.progress(done, len(commands), 0.0)
    return files


def _write_printed(stages: Sequence[Sequence[str]], folder: str, target: str) -> None:
    """Write what a pipe prints, of any format, to a 16-bit WAV file.  Raises: PipeError; MachineError."""
    printed = f"{target}.printed"
    try:
        with writing(target):
            run_pipe(stages, folder, printed)
        info = audio_info(printed)
        channels = [read_audio(printed, channel=channel)[0] for channel in range(info.channels)]
        write_audio(target, channels[0] if len(channels) == 1 else np.stack(channels, axis=1), info.sample_rate)
    except DataError as error:
        raise PipeError(f"prints no audio: {str(error).removeprefix(f'{printed}: ')}") from None
    finally:
        with suppress(FileNotFoundError):
            os.unlink(printed)


def run_pipe(
    stages: Sequence[Sequence[str]],
    folder: str,
    target: str,
    *,
    max_seconds: float = MAX_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> None:
    """Write to the file `target` what the last of some programs prints, each reading what the one before it prints.

    Args: folder: where the programs run.
    Raises: PipeError if one fails, prints too much or takes too long; MachineError if one is not there.
    """
    running: list[subprocess.Popen[bytes]] = []
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        _kill(running)

    timer = threading.Timer(max_seconds, end)
    with tempfile.TemporaryFile() as messages, open(target, "wb") as output:
        try:
            for words in stages:
                running.append(_start(words, folder, running[-1].stdout if running else None, messages))
            timer.start()
            _copy(running[-1], output, max_bytes)
            codes = [process.wait() for process in running]
        finally:
            timer.cancel()
            _kill(running)
        if is_late.is_set():
            raise PipeError(f"was ended after {max_seconds:g} s")
        # A program whose reader has all it wants is ended by SIGPIPE; that is how pipes work.
        failed = [code for code in codes[:-1] if code not in (0, -signal.SIGPIPE)] + [
            code for code in codes[-1:] if code
        ]
        if failed:
            raise PipeError(f"ended with {failed[0]}: {_last_line(messages)}")


def _start(
    words: Sequence[str], folder: str, source: IO[bytes] | None, messages: IO[bytes]
) -> "subprocess.Popen[bytes]":
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL if source is None else source,
            stdout=subprocess.PIPE,
            stderr=messages,
            cwd=folder,
            start_new_session=True,  # so that what a program starts itself ends with it
        )
    except OSError as error:
        raise MachineError(
            f"{words[0]}: cannot run it, and a pipe in wav.scp needs it: {error.strerror}; install it"
        ) from None
    if source is not None:
        source.close()  # the program has it; it must see the end when the one before it ends
    return process


def _copy(process: "subprocess.Popen[bytes]", output: IO[bytes], max_bytes: int) -> None:
    assert process.stdout is not None, "it is a pipe"
    total = 0
    while block := process.stdout.read(_BLOCK):
        total += len(block)
        if total > max_bytes:
            raise PipeError(f"prints more than {max_bytes} bytes")
        output.write(block)


def _kill(running: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in running:
        if process.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _last_line(messages: IO[bytes]) -> str:
    messages.seek(max(0, messages.seek(0, 2) - 1000))
    lines = messages.read().decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no message")
