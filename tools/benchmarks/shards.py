"""Shards against single files: how fast bytes and samples come from a cold disk.

    tools/bench shards [--utterances N] [--rounds N] [--folder DIR] [--out FILE]

Synthetic FLAC files of one to two seconds are written, one an utterance, and the same as shards.  Then both are read,
in turns, with the page cache dropped before each: the files in a shuffled order, as a training reads them, and the
shards through the reader of the training, each checked against its hash, in the order of a batch plan.
Bytes are those of the utterances' audio.  The decoded rounds turn a part of them into samples as well.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from _common import run, say, table, use_cores

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, MachineError, UsageError

if TYPE_CHECKING:
    from asr.data.manifest import Utterance
    from asr.data.sharding import Sharded

RATE = 16000
LEVEL = 100  # standard deviation of the noise in 16-bit steps: 9 bits a sample, as FLAC makes of quiet speech
BYTES_EACH = 40_000  # of an utterance, file system included, at most
FILES_IN_A_FOLDER = 100
DECODED = 20_000  # utterances that are turned into samples in a round
_DROP = Path("/proc/sys/vm/drop_caches")


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench shards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("--utterances", type=int, default=100_000, metavar="N", help="default: 100,000")
    found.add_argument("--rounds", type=int, default=3, metavar="N", help="repetitions (default: 3)")
    found.add_argument("--threads", type=int, default=2, metavar="N", help="cores to use, 0 = all (default: 2)")
    found.add_argument("--shard-mb", type=int, default=256, metavar="N", help="size of a shard (default: 256)")
    found.add_argument("--folder", type=Path, metavar="DIR", help="where to write (default: TMPDIR); cleaned up")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    return found


def bench(args: argparse.Namespace) -> int:
    """Measure, print, and write the receipt; return the exit code."""
    if args.rounds < 1 or args.utterances < 10 or args.shard_mb < 1:
        raise UsageError(f"--rounds {args.rounds} --utterances {args.utterances}: give at least 1 round and 10 files")
    use_cores(args.threads)
    from asr import receipts

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="asr-bench-", dir=args.folder) as name:
        folder = Path(name)
        _check_room(folder, 2 * args.utterances * BYTES_EACH)
        say(f"writing {args.utterances} files, and shards of them")
        utterances, done = write_both(folder, args.utterances, args.shard_mb * 1_000_000)
        for warm_up in (
            _from_files(utterances, range(10), decode=True),
            _from_shards(folder / "shards", 0, decode=True),
        ):
            list(islice(warm_up, 10))  # what is imported must not be counted
        rounds = []
        for number in range(args.rounds):
            say(f"round {number + 1} of {args.rounds}")
            rounds.append(_round(utterances, folder / "shards", number))
    result = {
        "utterances": args.utterances,
        "shards": done.shards,
        "audio_seconds": round(done.audio_seconds, 1),
        "cache_dropped_by": "drop_caches" if os.access(_DROP, os.W_OK) else "posix_fadvise",
    } | _spread(rounds)
    print(table("shards against single files: median (least to greatest) of the rounds", result), flush=True)
    if args.out:
        receipt = receipts.collect(
            ["tools/bench", "shards", *sys.argv[1:]],
            config=None,
            seed=None,
            inputs=[],
            result=result,
            utterances=args.utterances,
            audio_seconds=done.audio_seconds,
            wall_seconds=time.monotonic() - started,
        )
        receipts.write(args.out, receipt)
    return EXIT_DONE


def write_both(folder: Path, count: int, shard_bytes: int) -> "tuple[list[Utterance], Sharded]":
    """Write so many FLAC files of noise, 1 to 2 s long, a hundred in a folder, and the same bytes as shards.

    Return their utterances, and what the shards are.
    """
    from asr.audio.files import encode_audio
    from asr.data import sharding
    from asr.data.manifest import Utterance

    random = np.random.default_rng(1)
    noise = random.standard_normal(64 * RATE, dtype=np.float32) * np.float32(LEVEL / 32768)
    (folder / "shards").mkdir()
    found = []
    with closing(sharding._Writer(folder / "shards", shard_bytes)) as writer:
        for number in range(count):
            name, parent = f"u{number:07d}", folder / "files" / f"{number // FILES_IN_A_FOLDER:05d}"
            if number % FILES_IN_A_FOLDER == 0:
                parent.mkdir(parents=True)
            samples, start = (int(value) for value in random.integers(RATE, 2 * RATE, 2))
            path = parent / f"{name}.flac"
            audio = encode_audio(noise[start * 16 : start * 16 + samples], RATE, ".flac", name=path)
            path.write_bytes(audio)  # no fsync for each, as a copy of a corpus makes none
            found.append(Utterance(name, path, 0.0, samples / RATE, "a"))
            writer.add(found[-1], sharding._Encoded(audio, samples, RATE, rounded=True))
        return found, writer.finish()


def drop_cache(paths: Sequence[Path]) -> None:
    """Let the system forget what it has read of the files: all of it as root, else the files' pages."""
    os.sync()
    if os.access(_DROP, os.W_OK):
        _DROP.write_text("3")
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _round(utterances: "Sequence[Utterance]", shards: Path, number: int) -> dict[str, float]:
    """Return the speeds of one turn of each."""
    files = [utterance.audio for utterance in utterances]
    tars = sorted(shards.iterdir())
    order = np.random.default_rng(number).permutation(len(utterances)).tolist()
    found: dict[str, float] = {}
    turns: list[tuple[str, Sequence[Path], Callable[[], Iterator[tuple[int, int]]]]] = [
        ("files", files, lambda: _from_files(utterances, order, decode=False)),
        ("shards", tars, lambda: _from_shards(shards, number, decode=False)),
        ("decoded_shards", tars, lambda: _from_shards(shards, number, decode=True)),
        ("decoded_files", files, lambda: _from_files(utterances, order, decode=True)),
    ]
    for name, paths, read in turns:
        drop_cache(paths)
        began = time.perf_counter()
        sizes = list(islice(read(), DECODED if name.startswith("decoded") else None))
        seconds = time.perf_counter() - began
        found[f"{name}_mb_per_second"] = sum(size for size, _ in sizes) / 1e6 / seconds
        if name.startswith("decoded"):
            found[f"{name}_audio_seconds_per_second"] = sum(samples for _, samples in sizes) / RATE / seconds
    found["shards_to_files"] = found["shards_mb_per_second"] / found["files_mb_per_second"]
    found["decoded_shards_to_files"] = found["decoded_shards_mb_per_second"] / found["decoded_files_mb_per_second"]
    return found


def _from_files(utterances: "Sequence[Utterance]", order: Sequence[int], *, decode: bool) -> Iterator[tuple[int, int]]:
    """Yield (bytes, samples) of each file."""
    from asr.data.reading import read_utterance

    for place in order:
        utterance = utterances[place]
        if decode:
            yield os.stat(utterance.audio).st_size, len(read_utterance(utterance, RATE))
        else:
            yield len(utterance.audio.read_bytes()), 0


def _from_shards(folder: Path, epoch: int, *, decode: bool) -> Iterator[tuple[int, int]]:
    """Yield (bytes, samples) of each utterance, in the order of an epoch's plan."""
    from asr.data.loader import AugmentConfig, LoaderConfig
    from asr.data.shard_reader import read_index
    from asr.data.sharded import ShardedData
    from asr.text.normalize import Normalizer, NormalizerConfig
    from asr.text.tokenizer import train_char

    tokenizer = train_char(["a"], Normalizer(NormalizerConfig()))
    data = ShardedData(read_index(str(folder)), tokenizer, RATE, LoaderConfig(), AugmentConfig(), seed=1)
    for part in data.parts(epoch, rank=0, ranks=1):
        data.prepare(part)
        for row in part.rows:
            utterance = data.reader.read(row)
            samples = len(data.reader.waveform(row, utterance, RATE)) if decode else 0
            yield len(utterance.audio), samples


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MachineError(
            f"{folder}: {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} are free; give another --folder"
        )


def _spread(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    columns = {name: [found[name] for found in rounds] for name in rounds[0]}
    return {
        name: [round(value, 3) for value in (min(values), median(values), max(values))]
        for name, values in columns.items()
    }


if __name__ == "__main__":
    sys.exit(run("tools/bench shards", parser(), bench))
