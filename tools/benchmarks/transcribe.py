"""Speed, start-up and memory of transcription, in one run.

    tools/bench transcribe --corpus DIR [--model NAME|FILE|RUN] [--threads N] [--rounds N] [--out FILE]

Measured on the test part of AN4: the real-time factor with the model loaded (Recognizer.transcribe_files); the
time from the start of `asr transcribe` to its first line; and the peak memory of `asr transcribe` of an hour of
audio above that of ten seconds.  The hour is the test part, repeated.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from _common import prepare_an4, run, say, table, use_cores

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, DataError, UsageError

HOUR = 3600.0
SHORT = 10.0
WARMUP_FILES = 16


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench transcribe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="AN4")
    found.add_argument("--model", default="an4", metavar="NAME|FILE|RUN", help="as asr transcribe (default: an4)")
    found.add_argument("--threads", type=int, default=2, metavar="N", help="cores to use, 0 = all (default: 2)")
    found.add_argument("--rounds", type=int, default=5, metavar="N", help="repetitions (default: 5)")
    found.add_argument("--seconds", type=float, default=HOUR, help="of the long recording (default: an hour)")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    found.add_argument(
        "--accept", choices=("published", "any"), default="published", help="any: even a corpus not as published"
    )
    return found


def bench(args: argparse.Namespace) -> int:
    """Measure, print, and write the receipt; return the exit code."""
    if args.rounds < 1 or args.seconds <= 0:
        raise UsageError(f"--rounds {args.rounds} --seconds {args.seconds:g}: give at least 1 round and some audio")
    use_cores(args.threads)
    from asr import receipts
    from asr.data.manifest import read_manifest
    from asr.recognizer import resolve_model

    model = resolve_model(args.model)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as name:
        folder = Path(name)
        manifests = prepare_an4(args.corpus, folder, accept=args.accept == "published")
        files = [utterance.audio for utterance in read_manifest(manifests["test"])]
        result = _memory(files, model, folder, args.seconds)
        result |= _start_up(folder / "short.wav", model, args.rounds)
        result |= _speed(files, model, args.rounds)
        print(table("transcription: median (least to greatest) of the rounds", result), flush=True)
        receipt = receipts.collect(
            ["tools/bench", "transcribe", *sys.argv[1:]],
            config=None,
            seed=None,
            inputs=[model],
            result=result,
            utterances=len(files),
            audio_seconds=result["audio_seconds"],
            wall_seconds=time.monotonic() - started,
        )
    if args.out:
        receipts.write(args.out, receipt)
    return EXIT_DONE


def _memory(files: Sequence[Path], model: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """Return the peak memory of `asr transcribe` of a long and a short recording, in MB, and the long one's time."""
    say(f"joining {seconds:g} s of audio")
    join(files, folder / "short.wav", min(SHORT, seconds))
    join(files, folder / "long.wav", seconds)
    say("transcribing it")
    started = time.perf_counter()
    long = peak_bytes(_command(folder / "long.wav", model))
    wall = time.perf_counter() - started
    short = peak_bytes(_command(folder / "short.wav", model))
    return {
        "long_seconds": seconds,
        "long_peak_mb": round(long / 1e6, 1),
        "short_peak_mb": round(short / 1e6, 1),
        "long_above_short_mb": round((long - short) / 1e6, 1),
        "long_real_time_factor": round(wall / seconds, 6),
    }


def _start_up(file: Path, model: Path, rounds: int) -> dict[str, Any]:
    """Return the seconds from the start of `asr transcribe` to its first line of text, the first try left out."""
    times = [seconds_to_first_line(_command(file, model)) for _ in range(rounds + 1)]
    return {"seconds_to_first_line": _spread(times[1:])}


def _speed(files: Sequence[Path], model: Path, rounds: int) -> dict[str, Any]:
    """Return the real-time factor with the model loaded, decoding of audio files included."""
    import torch

    from asr.recognizer import Recognizer, Transcript

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else torch.get_num_threads())
    recognizer = Recognizer.load(model)
    list(recognizer.transcribe_files(files[:WARMUP_FILES]))
    factors = []
    for _ in range(rounds):
        started = time.perf_counter()
        results = list(recognizer.transcribe_files(files))
        wall = time.perf_counter() - started
        found = [result for result in results if isinstance(result, Transcript)]
        if len(found) < len(files):
            raise DataError(f"{len(files) - len(found)} of {len(files)} test files cannot be read; see asr check")
        audio = sum(transcript.duration for transcript in found)
        factors.append(wall / audio)
    return {"audio_seconds": round(audio, 2), "rounds": rounds, "real_time_factor": _spread(factors)}


def join(files: Sequence[Path], target: Path, seconds: float) -> None:
    """Write the files one after another, again and again, as a 16-bit WAV of `seconds`.

    Raises: DataError if they differ in sample rate.
    """
    import numpy as np

    from asr.audio.files import audio_info

    rate = audio_info(files[0]).sample_rate
    left = int(seconds * rate)
    with wave.open(str(target), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        for waveform in _repeated(files, rate):
            part = waveform[:left]
            writer.writeframesraw(np.rint(part * 32767).astype("<i2").tobytes())
            left -= len(part)
            if left <= 0:
                return


def _repeated(files: Sequence[Path], rate: int) -> Iterator[Any]:
    from asr.audio.files import read_audio

    while True:
        for file in files:
            waveform, found = read_audio(file)
            if found != rate:
                raise DataError(f"{file}: {found} Hz where the files before have {rate} Hz; give one kind of audio")
            yield waveform


def peak_bytes(command: Sequence[str]) -> int:
    """Return the peak memory (resident set) of a command and what it waited for.  Raises: DataError if it fails.

    A process's peak starts at the size of the one that forked it, so a small one stands in between.
    """
    watched = subprocess.run([sys.executable, "-c", _WATCHER, *command], stdout=subprocess.PIPE, check=False)
    _check(command, watched.returncode)
    return int(watched.stdout) * (1 if sys.platform == "darwin" else 1024)


_WATCHER = """\
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def seconds_to_first_line(command: Sequence[str]) -> float:
    """Return the seconds from the start of a command to its first line on standard output, which must hold text.

    Raises: DataError if it fails.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        seconds = time.perf_counter() - started
        child.stdout.read()
    _check(command, child.returncode)
    if not line.endswith(b"\n"):
        raise DataError(f"{' '.join(command)}: printed no line; try it by hand")
    return seconds


def _check(command: Sequence[str], code: int) -> None:
    if code:
        raise DataError(f"{' '.join(command)}: ended with exit code {code}; its own message stands above")


def _command(file: Path, model: Path) -> list[str]:
    return [sys.executable, "-m", "asr", "transcribe", "--model", str(model), str(file)]


def _spread(values: Sequence[float]) -> list[float]:
    return [round(value, 6) for value in (min(values), median(values), max(values))]


if __name__ == "__main__":
    sys.exit(run("tools/bench transcribe", parser(), bench))
