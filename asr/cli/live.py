"""asr transcribe --live: a microphone or raw samples of standard input -> utterances, as they are spoken."""

import argparse
import json
import os
import select
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from asr.audio.headers import audio_suffix
from asr.cli import searching
from asr.cli.notes import log_on_stderr
from asr.cli.settings import Settings
from asr.errors import EXIT_DONE, DataError, InputError, MachineError, UsageError, to_install
from asr.standard_input import standard_input

if TYPE_CHECKING:
    from asr.live import Event, LiveRecognizer
    from asr.recognizer import Recognizer

DEFAULT_RATE = 16000
MAX_RATE = 384_000
STANDARD_INPUT = "-"
_BLOCK_SECONDS = 0.05  # of audio handed on at a time
_FULL_SCALE = 32768  # of 16-bit samples
_CLEAR = "\r\x1b[K"  # to the start of the line, and all of it away


def refuse_rate(args: argparse.Namespace) -> None:
    """Raise UsageError if --rate is given, which is of raw samples."""
    if args.rate is not None:
        raise UsageError("--rate is of raw samples, with --live; a file holds its own")


def listen(args: argparse.Namespace, settings: Settings) -> int:
    """Transcribe a stream until it ends, and return the exit code.

    Raises: UsageError for options that a stream cannot take, or a model that cannot stream; MachineError without a
        microphone.
    """
    _check(args)
    if settings.encoder.chunk_ms == 0:
        raise UsageError("encoder.chunk_ms=0 is all of a recording, for whose end --live does not wait; leave it out")
    from asr.live import LiveRecognizer

    rate = args.rate or DEFAULT_RATE
    with log_on_stderr("asr transcribe"):
        recognizer = searching.recognizer_of(args, context=settings.encoder.context)
        _warm_up(recognizer, rate)
        # text that nobody watches is written when it is certain
        partials = args.format == "json" or sys.stdout.isatty()
        live = LiveRecognizer(recognizer, rate, settings.endpoint, partials=partials)
        blocks = _standard_input(rate) if args.files else _microphone(rate)
        _follow(live, blocks, args.format or "txt")
    return EXIT_DONE


def _warm_up(recognizer: "Recognizer", rate: int) -> None:
    """Let what is compiled at first be compiled, the search too, before somebody speaks."""
    import torch

    from asr.live import LiveRecognizer

    live = LiveRecognizer(recognizer, rate)
    live.accept(np.zeros(rate, np.float32))
    live.finish()
    # in silence nothing is said, so nothing was read: let the reader hear anything
    log_probs = torch.randn(1, 8, recognizer.model.tokenizer.size).log_softmax(-1)
    (heard,) = recognizer.reader.hear(log_probs, torch.tensor([8]))
    recognizer.transcript_of(heard, live.stream.seconds)


def _check(args: argparse.Namespace) -> None:
    if args.files not in ([], [STANDARD_INPUT]):
        raise UsageError(
            f"--live hears the microphone, or - for standard input; '{args.files[0]}' is a file: leave --live out"
        )
    if args.format not in (None, "txt", "json"):
        raise UsageError(f"--live writes txt or json as it is spoken, not {args.format}")
    for option, given in (("--out", args.out), ("--ray", args.ray), ("--workers", args.workers)):
        if given is not None:
            raise UsageError(f"--live prints what it hears; leave out {option}")
    if args.channels != "mix":
        raise UsageError("--live hears one channel; leave out --channels")
    if args.rate is not None and not 1000 <= args.rate <= MAX_RATE:
        raise UsageError(f"--rate {args.rate}: give the samples a second, 1000 to {MAX_RATE}")


def _follow(live: "LiveRecognizer", blocks: Iterator[np.ndarray], style: str) -> None:
    """Print what is heard of each block; what was not over yet is printed at the end, also where the blocks fail."""
    try:
        for block in blocks:
            _put(live.accept(block), style)
    except (KeyboardInterrupt, InputError):
        _put(live.finish(), style)
        raise
    _put(live.finish(), style)


def _put(events: "list[Event]", style: str) -> None:
    for event in events:
        if style == "json":
            row = {"event": event.kind, "start": round(event.start, 3), **event.transcript.row()}
            row["warnings"] = event.transcript.warnings
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
        elif event.kind == "final":
            line = event.transcript.text + "\n" if event.transcript.text else ""
            sys.stdout.write((_CLEAR if sys.stdout.isatty() else "") + line)
            _warn(event)
        elif sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write(_CLEAR + _end_of(event.transcript.text, width))
    sys.stdout.flush()


def _end_of(text: str, width: int) -> str:
    """Return as much of a text's end as fits into the columns of a terminal, where some characters take two."""
    used = 0
    for index in reversed(range(len(text))):
        used += 0 if unicodedata.combining(text[index]) else 1 + (unicodedata.east_asian_width(text[index]) in "WF")
        if used > width:
            return text[index + 1 :]
    return text


def _warn(event: "Event") -> None:
    sys.stdout.flush()
    for warning in event.transcript.warnings:
        _say(f"{event.start:.1f} s: {warning}")


def _say(message: str) -> None:
    print(f"asr transcribe: {message}", file=sys.stderr, flush=True)


def _standard_input(rate: int) -> Iterator[np.ndarray]:
    """Yield raw 16-bit little-endian samples of one channel as floats, as soon as they come.

    Raises: DataError for the header of an audio file, which would be heard as noise, or no sample at all.
    """
    size, rest, begun = 2 * max(1, int(_BLOCK_SECONDS * rate)), b"", False
    number = standard_input().fileno()
    while data := _read(number, size):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        if whole and not begun:
            begun = True
            _refuse_file(data)
        yield np.frombuffer(data[:whole], "<i2").astype(np.float32) / _FULL_SCALE
    if not begun:
        raise DataError("standard input ended before any sample; see whether the recorder runs")


def _read(number: int, size: int) -> bytes:
    """Return up to so many bytes of an open file as soon as there are any, none at its end.

    Raises: DataError if it cannot be read.
    """
    while True:
        try:
            return os.read(number, size)
        except BlockingIOError:  # whoever started us set it so
            select.select([number], [], [])
        except OSError as error:
            raise DataError(f"standard input cannot be read: {error.strerror}; pipe raw samples to it") from None


def _refuse_file(head: bytes) -> None:
    if suffix := audio_suffix(head):
        raise DataError(
            f"standard input is a {suffix} file, and --live reads raw samples of 16 bits: leave --live out, or have the"
            " recorder write them (arecord -t raw)"
        )


def _microphone(rate: int) -> Iterator[np.ndarray]:
    """Yield what the microphone hears.  Raises: MachineError if there is none."""
    try:
        import sounddevice
    except ImportError:
        raise MachineError(
            f"no way to a microphone: the package sounddevice is missing: {to_install('sounddevice')}, or pipe raw"
            " samples: arecord -f S16_LE -r 16000 -c 1 -t raw | asr transcribe --live -"
        ) from None
    except OSError as error:  # the package is there, and not the library that it calls
        raise MachineError(
            f"no way to a microphone: {error}; install PortAudio, or pipe raw samples to --live -"
        ) from None
    try:
        stream = sounddevice.InputStream(
            samplerate=rate, channels=1, dtype="float32", blocksize=int(_BLOCK_SECONDS * rate)
        )
        stream.start()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MachineError(
            f"no microphone to hear at {rate} Hz: {error}; connect one, or pipe raw samples to --live -"
        ) from None
    with stream:
        _say("listening; Ctrl-C ends it")
        late = False
        while True:
            try:
                block, overflowed = stream.read(stream.blocksize)
            except sounddevice.PortAudioError as error:
                raise MachineError(f"the microphone is gone: {error}; connect it and start again") from None
            if overflowed and not late:
                _say("samples of the microphone were lost, as they came faster than they were heard")
            late = overflowed
            yield np.asarray(block[:, 0], np.float32)
