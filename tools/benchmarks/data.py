"""What a large corpus costs before the first batch: time and memory, no audio read.

    tools/bench data [--utterances N] [--rounds N] [--out FILE]

A synthetic manifest in the likeness of LibriSpeech is loaded, checked, hashed and planned as `asr train` does it, each
round in a process of its own.  Memory is the peak (resident set) above that of the same process before the manifest.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from _common import run, say, table, use_cores
from _corpus import write_synthetic_manifest

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, DataError, UsageError

LIBRISPEECH = 280_000


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("--utterances", type=int, default=LIBRISPEECH, metavar="N", help="default: 280,000")
    found.add_argument("--rounds", type=int, default=3, metavar="N", help="repetitions (default: 3)")
    found.add_argument("--threads", type=int, default=1, metavar="N", help="cores to use, 0 = all (default: 1)")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    return found


def bench(args: argparse.Namespace) -> int:
    """Measure, print, and write the receipt; return the exit code."""
    if args.rounds < 1 or args.utterances < 10:
        raise UsageError(f"--rounds {args.rounds} --utterances {args.utterances}: give at least 1 round and 10 rows")
    use_cores(args.threads)
    from asr import receipts

    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as name:
        manifest = Path(name) / "train.jsonl"
        say(f"writing a manifest of {args.utterances} utterances")
        write_synthetic_manifest(manifest, args.utterances)
        rounds = []
        for number in range(args.rounds):
            say(f"round {number + 1} of {args.rounds}")
            rounds.append(_in_a_process(manifest))
        size = manifest.stat().st_size
    result = {"utterances": args.utterances, "manifest_mb": round(size / 1e6, 1)} | _spread(rounds)
    print(table("a large corpus before the first batch: median (least to greatest) of the rounds", result), flush=True)
    if args.out:
        receipt = receipts.collect(
            ["tools/bench", "data", *sys.argv[1:]],
            config=None,
            seed=None,
            inputs=[],
            result=result,
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
    from asr.training import fit
    from asr.training.config import ExperimentConfig

    torch.set_num_threads(1)
    found: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        found[f"{name}_seconds"] = time.perf_counter() - began
        return result

    experiment = parse(
        ExperimentConfig,
        {"augment": {"waveform": {"speed_factors": [0.9, 1.0, 1.1]}}, "train": {"loader": {"max_seconds": 40}}},
        where="tools/bench data",
    )
    before = _peak()
    utterances = timed("load", lambda: read_manifest(manifest))
    found["load_mb"] = _peak() - before
    tokenizer = train_char((utterance.text or "" for utterance in utterances[:1000]), Normalizer(NormalizerConfig()))
    request = fit.Request(experiment, tokenizer, utterances, [], Path("."), seed=1)
    usable, _ = timed("usable", lambda: fit._usable(request, lambda message: None))
    timed("hash", lambda: fit._data_hash(usable))
    loader = experiment.train.loader
    data = timed("data", lambda: TrainingData(usable, tokenizer, 16000, loader, experiment.augment, seed=1))
    timed("plan", lambda: data.plan(1))
    parts = timed("parts", lambda: data.parts(1, rank=0, ranks=1))
    found["steps"] = float(len(parts))
    found["all_mb"] = _peak() - before
    return found


def _peak() -> float:
    """Return the peak of this process's resident set, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _in_a_process(manifest: Path) -> dict[str, float]:
    code = "import json, sys, pathlib; import data; print(json.dumps(data.measure(pathlib.Path(sys.argv[1]))))"
    command = [sys.executable, "-c", code, str(manifest)]
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
