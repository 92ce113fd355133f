"""How much of two cores an archive's workers turn into transcripts: Ray with workers against one process.

    tools/bench archive --corpus DIR [--hours N] [--rounds N] [--model NAME|FILE|RUN] [--threads N] [--out FILE]

A manifest repeats the recordings of a folder until it holds so many hours.  One process with all threads of torch
and workers on Ray with one thread each transcribe it in turns, both by asr.archive.  The time is that from the first
ready worker to the last written piece: the start of Ray and the loading of the model are left out on both sides, and
told beside it.  The texts must be the same.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from _common import run, say, table, use_cores

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, DataError, UsageError

if TYPE_CHECKING:
    from asr.archive import Crew, Job


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench archive",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument(
        "--corpus", type=Path, required=True, metavar="DIR", help="a folder with recordings, such as AN4"
    )
    found.add_argument("--hours", type=float, default=2.0, metavar="N", help="of audio (default: 2)")
    found.add_argument("--model", default="an4", metavar="NAME|FILE|RUN", help="as asr transcribe (default: an4)")
    found.add_argument("--threads", type=int, default=2, metavar="N", help="cores and workers, 0 = all (default: 2)")
    found.add_argument("--rounds", type=int, default=3, metavar="N", help="repetitions (default: 3)")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    return found


def bench(args: argparse.Namespace) -> int:
    """Measure, print, and write the receipt; return the exit code."""
    if args.rounds < 1 or args.hours <= 0:
        raise UsageError(f"--rounds {args.rounds} --hours {args.hours:g}: give at least 1 round and some audio")
    threads, load = use_cores(args.threads), os.getloadavg()[0]
    import torch

    from asr import receipts
    from asr.archive import LOCAL, Job, RayWorkers, ThisProcess
    from asr.data.archives import open_archive
    from asr.recognizer import resolve_model

    torch.set_num_threads(threads)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as name:
        folder = Path(name)
        say(f"listing {args.hours:g} hours")
        rows = write_manifest(args.corpus, folder / "archive.jsonl", args.hours * 3600)
        job = Job(open_archive(str(folder / "archive.jsonl")), resolve_model(args.model), folder)
        crews: dict[str, Crew] = {"one_process": ThisProcess(), "ray": RayWorkers(LOCAL, threads)}
        rounds = [_round(job, crews, number) for number in range(args.rounds)]
    result = {"workers": threads, "load_before": round(load, 2)} | _spread(rounds)
    print(table("an archive: median (least to greatest) of the rounds", result), flush=True)
    if args.out:
        receipt = receipts.collect(
            ["tools/bench", "archive", *sys.argv[1:]],
            config={"recognizer": job.config.model_dump(mode="json")},
            seed=None,
            inputs=[job.model],
            result=result,
            utterances=rows,
            audio_seconds=float(job.archive.seconds.sum()),
            wall_seconds=time.monotonic() - started,
        )
        receipts.write(args.out, receipt)
    return EXIT_DONE


def write_manifest(corpus: Path, path: Path, seconds: float) -> int:
    """Write a manifest of the recordings of a folder, again and again until it holds so many seconds.

    Return its rows.  Raises: DataError if the folder holds no recording.
    """
    from asr.data.archives import FolderArchive
    from asr.data.manifest import Utterance
    from asr.data.manifest import write_manifest as write

    archive = FolderArchive.scan(str(corpus), lambda done, total: None)
    known = [(name, length) for name, length in zip(archive.paths, archive.seconds.tolist(), strict=True) if length > 0]
    if not known:
        raise DataError(f"{corpus}: holds no recording that can be read; give another --corpus")
    rows: list[Utterance] = []
    left = seconds
    for name, length in cycle(known):
        if left <= 0:
            break
        rows.append(Utterance(f"u{len(rows):06d}", corpus.absolute() / name, 0.0, length))
        left -= length
    write(path, rows)
    return len(rows)


def _round(job: "Job", crews: "dict[str, Crew]", number: int) -> dict[str, float]:
    """Return the speeds of one turn of each; the first to go changes from round to round."""
    from asr.archive import transcribe_archive

    found: dict[str, float] = {}
    texts: dict[str, bytes] = {}
    for name, crew in sorted(crews.items(), reverse=bool(number % 2)):
        say(f"round {number + 1}: {name}")
        mine = replace(job, out=job.out / f"{number}-{name}")
        began = time.monotonic()
        outcome = transcribe_archive(mine, crew)
        wall = time.monotonic() - began
        if outcome.num_failed:
            raise DataError(f"{next(iter(outcome.failed))} ({outcome.num_failed} failed); see asr check")
        found[f"{name}_audio_hours_per_hour"] = outcome.work_audio_seconds / outcome.work_seconds
        found[f"{name}_start_and_end_seconds"] = wall - outcome.work_seconds
        texts[name] = (mine.out / "transcripts.jsonl").read_bytes()
    found["ray_to_one_process"] = found["ray_audio_hours_per_hour"] / found["one_process_audio_hours_per_hour"]
    found["lines_that_differ"] = _differing(*texts.values())
    return found


def _differing(one: bytes, other: bytes) -> int:
    """Return how many transcripts have another text (scores may differ in their last digit)."""
    import json

    pairs = zip(one.splitlines(), other.splitlines(), strict=True)
    return sum(json.loads(first)["text"] != json.loads(second)["text"] for first, second in pairs)


def _spread(rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    columns = {name: [found[name] for found in rounds] for name in rounds[0]}
    return {
        name: [round(value, 3) for value in (min(values), median(values), max(values))]
        for name, values in columns.items()
    }


if __name__ == "__main__":
    sys.exit(run("tools/bench archive", parser(), bench))
