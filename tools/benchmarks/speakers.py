"""A new speaker: what half a minute of their own voice brings a model of spoken digits.

    tools/bench speakers --corpus DIR [--seeds 1 2 3] [--seconds 30] [--work DIR] [--out FILE] [key.path=value ...]

Each speaker of FSDD is left out in turn: `recipes/fsdd/run.sh` trains on the others, with the first seed, and tests on
that speaker alone; then that model is fine-tuned with each seed on some seconds of the speaker, the others replayed
beside them, and tested again.  All errors are pooled, those of the model of the others once a seed; the interval of the
share of errors that the seconds take away is the bootstrap's over the test utterances, drawn alike with and without.
Runs that are done are not done again.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _common import ROOT, run, say, table
from _recipes import Score, run_recipe, score_of

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, DataError, UsageError
from asr.randomness import stream

REPLICATIONS = 10_000
OTHERS = ("train.epochs=12", "train.validate_every=12")
OWN = ("train.epochs=10", "train.validate_every=10")  # half a minute a pass, and as much of the others


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench speakers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("overrides", nargs="*", metavar="key.path=value", help="over the values of conf/fsdd.yaml")
    found.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="FSDD")
    found.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="default: 1 2 3")
    found.add_argument("--seconds", type=float, default=30.0, metavar="N", help="of the speaker (default: 30)")
    found.add_argument("--work", type=Path, default=ROOT / "runs" / "speakers", metavar="DIR", help="for the runs")
    found.add_argument("--accept", default="published", choices=("published", "any"), help="any: another FSDD")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    return found


def bench(args: argparse.Namespace) -> int:
    """Run all, pool, print, and write the receipt; return the exit code."""
    from asr import receipts

    started = time.monotonic()
    corpus = args.corpus.absolute()
    found: dict[str, list[Score]] = {"none": [], "own": []}
    for speaker in speakers(corpus):
        others = args.work.absolute() / f"{speaker}-0"
        none = _scored(args, corpus, others, ["--speaker", speaker, "--seed", str(args.seeds[0]), *OTHERS])
        for seed in args.seeds:
            own = others.with_name(f"{speaker}-{args.seconds:g}-{seed}")
            options = ["--speaker", speaker, "--seed", str(seed), *_own(others, args.seconds)]
            found["own"].append(_scored(args, corpus, own, options))
            found["none"].append(none)
    result = pooled(found["none"], found["own"])
    print(table(f"a new speaker of FSDD, {args.seconds:g} s of theirs against none", result))
    if args.out:
        collected = receipts.collect(
            ["tools/bench", "speakers", *sys.argv[1:]],
            config={"overrides": args.overrides, "seeds": args.seeds, "seconds": args.seconds},
            seed=None,
            inputs=[ROOT / "conf" / "fsdd.yaml"],
            result=result,
            words=result["words"],
            wall_seconds=time.monotonic() - started,
        )
        receipts.write(args.out, collected)
    return EXIT_DONE


def speakers(corpus: Path) -> list[str]:
    """Return the speakers, from the names of the files.  Raises: DataError if there are none."""
    names = {path.stem.split("_")[1] for path in corpus.glob("recordings/0_*_0.*")}
    if len(names) < 2:
        raise DataError(f"{corpus}: {len(names)} speakers in recordings/; give the folder of FSDD")
    return sorted(names)


def pooled(without: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the error rates of all scores together, and the share of errors that `own` has fewer than `without`.

    Args: scores as `asr score --out` writes them, of the same utterances in the same order.
    Raises: UsageError if they are of others.
    """
    errors, words = [], []
    for scores in (without, own):
        rows = [row for score in scores for row in score["utterances"]]
        errors.append(np.array([row["words"]["errors"] for row in rows], dtype=np.int64))
        words.append(np.array([row["words"]["reference"] for row in rows], dtype=np.int64))
    if not np.array_equal(*words):
        raise UsageError("the scores to compare are not of the same utterances")
    draws = stream(0, "speakers").integers(0, len(words[0]), size=(REPLICATIONS, len(words[0])))
    before, after = (counts[draws].sum(1) for counts in errors)
    fewer = 1 - after / np.maximum(1, before)
    rates = [100 * counts[draws].sum(1) / words[0][draws].sum(1) for counts in errors]
    return {
        "wer_without": _interval(rates[0], 100 * errors[0].sum() / words[0].sum()),
        "wer_own": _interval(rates[1], 100 * errors[1].sum() / words[0].sum()),
        "errors_without": int(errors[0].sum()),
        "errors_own": int(errors[1].sum()),
        "words": int(words[0].sum()),
        "fewer_errors": _interval(fewer, 1 - errors[1].sum() / max(1, errors[0].sum())),
    }


def _interval(values: np.ndarray, middle: float) -> list[float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return [round(float(value), 4) for value in (low, middle, high)]


def _own(others: Path, seconds: float) -> list[str]:
    """Return the options that fine-tune the model of the others to the speaker's own seconds."""
    return [
        *("--from", str(others), "--others", "no", "--own-seconds", f"{seconds:g}"),
        f"finetune.replay.manifest={others / 'data' / 'train_all.jsonl'}",
        *OWN,
    ]


def _scored(args: argparse.Namespace, corpus: Path, out: Path, options: Sequence[str]) -> Score:
    """Return the score of one run of the recipe.  Raises: DataError if it fails; its own lines say why."""
    run_recipe("fsdd", out, ["--corpus", str(corpus), "--accept", args.accept, *options, *args.overrides])
    score = score_of(out, "test")
    say(f"{out.name}: {100 * score['words']['rate']:.2f} %")
    return score


if __name__ == "__main__":
    sys.exit(run("tools/bench speakers", parser(), bench))
