"""Live streams: how many two cores carry, what one costs, and what an hour of one leaves behind.

    tools/bench streams [--model NAME|FILE|RUN] [--streams 50,100,200] [--threads N] [--out FILE]

Streams in real time: each core has a process with its share of the streams, which send 100 ms of audio ten times a
second, not all at once.  The delay of a piece is the time from its arrival until what it lets be known is known:
waiting for other streams and arithmetic, not the latency of the model.  Its 95th percentile must stay under 200 ms.
One stream: the real-time factor on one core in pieces of 320 ms, as log-probs and as live transcripts (the bundled
sample, a second of silence, the sample again); and by how much the memory of the process grows from the 6th minute of
an hour to its last.
Without --model the weights are random, in the shape of conf/an4-live.yaml: the arithmetic is the same.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import ROOT, run, say, table, use_cores

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from asr.model import AcousticModel

RATE = 16000
PIECE = 1600  # samples that a client sends at a time: 100 ms
BLOCK = 5120  # of a stream alone: 320 ms
LIMIT = 0.2  # seconds


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench streams",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("--model", metavar="NAME|FILE|RUN", help="a model that streams (default: random weights)")
    found.add_argument("--streams", default="50,100,200", help="how many, with commas (default: 50,100,200)")
    found.add_argument("--threads", type=int, default=2, metavar="N", help="cores to use, 0 = all (default: 2)")
    found.add_argument("--seconds", type=float, default=20.0, help="of real time for each number (default: 20)")
    found.add_argument("--minutes", type=float, default=60.0, help="of the one long stream (default: 60)")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    return found


def bench(args: argparse.Namespace) -> int:
    """Measure, print, and write the receipt; return the exit code."""
    numbers = _numbers(args.streams)
    if args.seconds < 1 or args.minutes * 60 < 1:
        raise UsageError(f"--seconds {args.seconds:g} --minutes {args.minutes:g}: give a second of each at least")
    cores = use_cores(args.threads)
    from asr import receipts
    from asr.recognizer import resolve_model

    path = None if args.model is None else resolve_model(args.model)
    started = time.monotonic()
    result: dict[str, Any] = {}
    with multiprocessing.get_context("spawn").Pool(1) as alone:
        say(f"one stream of {args.minutes:g} minutes")
        result |= alone.apply(one_stream, (path, args.minutes))
    for count in numbers:
        say(f"{count} streams on {cores} cores for {args.seconds:g} s")
        result |= _together(path, count, cores, args.seconds)
    print(table("live streams", result), flush=True)
    if args.out:
        command = ["tools/bench", "streams", *sys.argv[1:]]
        inputs = [] if path is None else [path]
        wall = time.monotonic() - started
        receipts.write(
            args.out,
            receipts.collect(command, config=None, seed=None, inputs=inputs, result=result, wall_seconds=wall),
        )
    return EXIT_DONE


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise UsageError(f"--streams {text}: give numbers from 1, with commas")
    return numbers


def model_of(path: Path | None) -> "AcousticModel":
    """Return a model of a file, or one of random weights."""
    import torch

    from asr.config import load_config
    from asr.model import AcousticModel
    from asr.text.tokenizer import Tokenizer
    from asr.training.config import ExperimentConfig

    torch.set_num_threads(1)
    if path is not None:
        return AcousticModel.load(path)
    config = load_config(ExperimentConfig, ROOT / "conf" / "an4-live.yaml").model
    symbols = ["<blank>", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": symbols})
    return AcousticModel(config, tokenizer).eval()


def noise(count: int) -> np.ndarray:
    """Return (count,) samples of noise."""
    return (0.1 * np.random.default_rng(1).standard_normal(count)).astype(np.float32)


def speech() -> np.ndarray:
    """Return the bundled sample with a second of silence behind it, filled to whole blocks."""
    from asr.recognizer import as_source, bundled_sample

    heard = as_source(bundled_sample()).read(RATE)
    return np.concatenate([heard, np.zeros(RATE + -(len(heard) + RATE) % BLOCK, np.float32)])


def one_stream(path: Path | None, minutes: float) -> dict[str, float]:
    """Return the cost of one stream on one core and how the memory of this process grows."""
    from asr.live import LiveRecognizer
    from asr.recognizer import Recognizer
    from asr.streaming import Stream

    _keep_core(0)
    model, block, spoken = model_of(path), noise(BLOCK), np.split(speech(), len(speech()) // BLOCK)
    for stream in (Stream(model, RATE), Stream(model, RATE)):  # the first one warms up
        started, blocks = time.perf_counter(), 200
        for _ in range(blocks):
            stream.accept(block)
        log_probs = (time.perf_counter() - started) / (blocks * BLOCK / RATE)
    live = LiveRecognizer(Recognizer(model), RATE)
    started, total = time.perf_counter(), int(minutes * 60 * RATE / BLOCK)
    before, utterances = 0.0, 0
    for number in range(total):
        utterances += sum(event.kind == "final" for event in live.accept(spoken[number % len(spoken)]))
        if number == total // 10:
            before = _resident_mb()
    wall = time.perf_counter() - started
    return {
        "real_time_factor_log_probs": round(log_probs, 5),
        "real_time_factor_live": round(wall / (total * BLOCK / RATE), 5),
        "stream_minutes": minutes,
        "utterances": utterances,
        "growth_mb": round(_resident_mb() - before, 2),
    }


def _together(path: Path | None, count: int, cores: int, seconds: float) -> dict[str, float]:
    """Return the delays of so many streams, shared by processes of one core each."""
    shares = [count // cores + (core < count % cores) for core in range(cores)]
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        jobs = [(path, share, core, seconds) for core, share in enumerate(shares) if share]
        found = pool.starmap(delays, jobs)
    every = np.sort(np.concatenate([part for part, _ in found]))
    busy = float(np.mean([share for _, share in found]))
    return {
        f"streams_{count}_delay_ms_median": round(1000 * float(np.percentile(every, 50)), 1),
        f"streams_{count}_delay_ms_p95": round(1000 * float(np.percentile(every, 95)), 1),
        f"streams_{count}_busy_share": round(busy, 3),
    }


def delays(path: Path | None, count: int, core: int, seconds: float) -> tuple[np.ndarray, float]:
    """Return the delays of the pieces of `count` streams in real time, and the share of time spent computing."""
    from asr.streaming import Stream, accept_together

    _keep_core(core)
    model, piece = model_of(path), noise(PIECE)
    streams = [Stream(model, RATE) for _ in range(count)]
    for first in range(0, count, 8):  # warm, and not all of them at the same place of a chunk
        for _ in range(first // 8 % 3):
            accept_together(streams[first : first + 8], [piece] * len(streams[first : first + 8]))
    period = PIECE / RATE
    begin = time.perf_counter()
    arrivals = [begin + period * (1 + index / count) for index in range(count)]  # of the next piece of each
    found, busy = [], 0.0
    while (now := time.perf_counter()) < begin + seconds:
        ready = [index for index, arrival in enumerate(arrivals) if arrival <= now]
        if not ready:
            time.sleep(max(0.0, min(arrivals) - now))
            continue
        accept_together([streams[index] for index in ready], [piece] * len(ready))
        done = time.perf_counter()
        busy += done - now
        found += [done - arrivals[index] for index in ready]
        for index in ready:
            arrivals[index] += period
    return np.array(found), busy / seconds


def _keep_core(number: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        cores: Sequence[int] = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[number % len(cores)]})


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    sys.exit(run("tools/bench streams", parser(), bench))
