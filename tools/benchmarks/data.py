"""What a large corpus costs before the first batch: time and memory, no audio read.

    tools/bench data [--utterances N] [--sharded N] [--rounds N] [--out FILE]

A synthetic manifest in the likeness of LibriSpeech is loaded, checked, hashed and planned as `asr train` does it; so is
a synthetic index of shards.  Each round is a process of its own.  Memory is the peak (resident set) above that of the
same process before the manifest or the index.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from _common import run, say, table, use_cores
from _corpus import RATE, write_synthetic_index, write_synthetic_manifest

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, DataError, UsageError

LIBRISPEECH = 280_000
SHARDED = 10_000_000
AUGMENT = {"waveform": {"speed_factors": [0.9, 1.0, 1.1]}}
RANKS = 8  # the parts of the shards' epoch are those of one of so many


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("--utterances", type=int, default=LIBRISPEECH, metavar="N", help="default: 280,000")
    found.add_argument("--sharded", type=int, default=SHARDED, metavar="N", help="in shards (default: 10,000,000)")
    found.add_argument("--rounds", type=int, default=3, metavar="N", help="repetitions (default: 3)")
    found.add_argument("--threads", type=int, default=1, metavar="N", help="cores to use, 0 = all (default: 1)")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    return found


def bench(args: argparse.Namespace) -> int:
    """Measure, print, and write the receipt; return the exit code."""
    if args.rounds < 1 or min(args.utterances, args.sharded) < 10:
        raise UsageError(
            f"--rounds {args.rounds} --utterances {args.utterances} --sharded {args.sharded}: give at least 1 round and"
            " 10 utterances"
        )
    use_cores(args.threads)
    from asr import receipts

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as name:
        manifest = Path(name) / "train.jsonl"
        say(f"writing a manifest of {args.utterances} utterances")
        write_synthetic_manifest(manifest, args.utterances)
        say(f"writing an index of {args.sharded} utterances in shards")
        write_synthetic_index(Path(name) / "shards", args.sharded)
        rounds, sharded = [], []
        for number in range(args.rounds):
            say(f"round {number + 1} of {args.rounds}")
            rounds.append(_in_a_process("measure", manifest))
            sharded.append(_in_a_process("measure_shards", Path(name) / "shards"))
        size = manifest.stat().st_size
    result = {"utterances": args.utterances, "manifest_mb": round(size / 1e6, 1)} | _spread(rounds)
    of_shards = {"utterances": args.sharded} | _spread(sharded)
    title = "before the first batch: median (least to greatest) of the rounds"
    print(table(f"a manifest {title}", result), table(f"shards {title}", of_shards), sep="\n", flush=True)
    if args.out:
        receipt = receipts.collect(
            ["tools/bench", "data", *sys.argv[1:]],
            config=None,
            seed=None,
            inputs=[],
            result={"manifest": result, "shards": of_shards},
            utterances=args.utterances,
            wall_seconds=time.monotonic() - started,
        )
        receipts.write(args.out, receipt)
    return EXIT_DONE


def measure(manifest: Path) -> dict[str, float]:
    """Return seconds and MB of all that a training does with a manifest before its first batch."""
    import torch

    from asr.config import parse
    from asr.data.loader import TrainingData
    from asr.data.manifest import read_manifest
    from asr.text.normalize import Normalizer, NormalizerConfig
    from asr.text.tokenizer import train_char
    from asr.training.config import ExperimentConfig
    from asr.training.identity import data_hash
    from asr.training.request import Request
    from asr.training.selection import trainable

    torch.set_num_threads(1)
    found: dict[str, float] = {}
    timed = partial(_timed, found)
    values = {"augment": AUGMENT, "train": {"loader": {"max_seconds": 40}}}
    experiment = parse(ExperimentConfig, values, where="tools/bench data")
    before = _peak()
    utterances = timed("load", lambda: read_manifest(manifest))
    found["load_mb"] = _peak() - before
    tokenizer = train_char((utterance.text or "" for utterance in utterances[:1000]), Normalizer(NormalizerConfig()))
    request = Request(experiment, tokenizer, utterances, [], Path("."), seed=1)
    usable, _ = timed("usable", lambda: trainable(request, lambda message: None))
    timed("hash", lambda: data_hash(usable))
    loader = experiment.train.loader
    data = timed("data", lambda: TrainingData(usable, tokenizer, RATE, loader, experiment.augment, seed=1))
    timed("plan", lambda: data.plan(1))
    parts = timed("parts", lambda: data.parts(1, rank=0, ranks=1))
    found["steps"] = float(len(parts))
    found["all_mb"] = _peak() - before
    return found


def measure_shards(folder: Path) -> dict[str, float]:
    """Return seconds and MB of all that a training does with an index of shards before its first batch is read."""
    from asr.config import parse
    from asr.data.loader import AugmentConfig, LoaderConfig
    from asr.data.shard_reader import read_index
    from asr.data.sharded import ShardedData, refuse_untrainable
    from asr.text.normalize import Normalizer, NormalizerConfig
    from asr.text.tokenizer import train_char

    found: dict[str, float] = {}
    timed = partial(_timed, found)
    loader, augment = LoaderConfig(), parse(AugmentConfig, AUGMENT, where="tools/bench data")
    tokenizer = train_char(["a"], Normalizer(NormalizerConfig()))
    before = _peak()
    index = timed("load", lambda: read_index(str(folder)))
    timed("usable", lambda: refuse_untrainable(index, tokenizer, loader, augment))
    data = ShardedData(index, tokenizer, RATE, loader, augment, seed=1)
    parts = data.parts(1, rank=0, ranks=RANKS)
    found["steps"] = float(timed("plan_epoch", lambda: len(parts)))
    middle = data.parts(1, rank=0, ranks=RANKS, first_step=len(parts) // 2)
    timed("resume_in_the_middle", lambda: next(iter(middle)))
    found["all_mb"] = _peak() - before
    found["bytes_an_utterance"] = (_peak() - before) * 1e6 / len(index)
    return found


def _timed(found: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    """Return what `work` returns, and note its seconds."""
    began = time.perf_counter()
    result = work()
    found[f"{name}_seconds"] = time.perf_counter() - began
    return result


def _peak() -> float:
    """Return the peak of this process's resident set, MB."""
    from asr.receipts import system_value

    own = system_value(Path("/proc/self/status"), "VmHWM")  # that of getrusage starts at the size of the parent
    if own is not None:
        return int(own.split()[0]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _in_a_process(function: str, path: Path) -> dict[str, float]:
    code = f"import json, sys, pathlib; import data; print(json.dumps(data.{function}(pathlib.Path(sys.argv[1]))))"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, cwd=Path(__file__).parent)
    if done.returncode:
        raise DataError(f"a round ended with exit code {done.returncode}; its own message stands above")
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _spread(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    columns = {name: [found[name] for found in rounds] for name in rounds[0]}
    return {
        name: [round(value, 3) for value in (min(values), median(values), max(values))]
        for name, values in columns.items()
    }


if __name__ == "__main__":
    sys.exit(run("tools/bench data", parser(), bench))
