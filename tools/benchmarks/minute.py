"""One minute of spoken digits: a model fine-tuned on it against one trained on it alone, and what is left of the old.

    tools/bench minute --corpus FSDD --an4 AN4 [--seeds 1 2 3] [--work DIR] [--out FILE] [key.path=value ...]

All take the same minute, the same steps and `recipes/fsdd`.  The bundled `an4` is fine-tuned with its letters; from
scratch the ten words are the tokens, which is learnt sooner, and of three learning rates the best is taken, chosen with
the first seed on held-out training files; a model that says nothing has all words wrong.  `an4` is scored untouched
too, and fine-tuned so that it keeps what it knew: with a replay of AN4's training part, its own normalisation, a lower
learning rate, and its weights blended in at the end.  What was fine-tuned is scored on AN4's test part.  Runs that are
done are not done again.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from _common import ROOT, prepare_an4, run, say, table
from _recipes import Score, decoded, run_recipe, score_of

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, DataError
from asr.tuning.domain import NO_WORDS  # what asr average ends with where a model says nothing

MODEL = "an4"
MINUTE = ("--minutes", "1", "train.epochs=20", "train.validate_every=20")
LETTERS = ("--tokens", "letters")
# what the digits are best learnt with changes what all else sounds like; old speech needs the features it was learnt in
KEEPING = (
    *(*LETTERS, "--old-share", "0.3"),
    *("model.features.normalization=utterance", "train.optimizer.learning_rate=0.0005"),
)
# the shape of an4, so that the start alone differs
SCRATCH = ("--from", "nothing", "text.case=lower", "model.encoder.factor=3", "model.encoder.intermediate=2")
RATES = (0.0015, 0.003, 0.006)


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench minute",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("overrides", nargs="*", metavar="key.path=value", help="over the values of conf/fsdd.yaml")
    found.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="FSDD")
    found.add_argument("--an4", type=Path, required=True, metavar="DIR", help="AN4")
    found.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="default: 1 2 3")
    found.add_argument("--work", type=Path, default=ROOT / "runs" / "minute", metavar="DIR", help="for the runs")
    found.add_argument("--accept", default="published", choices=("published", "any"), help="any: other corpora")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    return found


def bench(args: argparse.Namespace) -> int:
    """Run all, print, and write the receipt; return the exit code."""
    from asr import receipts

    started = time.monotonic()
    work = args.work.absolute()
    old = prepare_an4(args.an4.absolute(), work / "an4", accept=args.accept == "published")
    trained = _Trainings(args, work)
    result: dict[str, Any] = {}
    rate, result["scratch, held out"] = _best_rate(trained, args.seeds[0])
    scratch = [score_of(out, "test") for out in trained.all("scratch", [*SCRATCH, _rate(rate)])]
    tuned = trained.all("tuned", LETTERS)
    kept = trained.all("kept", [*KEEPING, f"finetune.replay.manifest={old['train_all']}"])
    untouched = decoded(kept[0] / "data" / "test.jsonl", MODEL, work / "untouched", "digits")
    errors = _errors(score_of(out, "test") for out in tuned)
    result |= {
        "scratch": _rates(scratch),
        "untouched": _rates([untouched]),
        "fine-tuned": _rates(score_of(out, "test") for out in tuned),
        "fine-tuned, share of the errors of scratch": errors / max(1, _errors(scratch)),
        "fine-tuned, AN4 replayed": _rates(score_of(out, "test") for out in kept),
        "AN4, untouched": _rates([decoded(old["test"], MODEL, work / "untouched", "an4")]),
        "AN4, fine-tuned": _rates(decoded(old["test"], out, out, "an4") for out in tuned),
        "AN4, fine-tuned, AN4 replayed": _rates(decoded(old["test"], out, out, "an4") for out in kept),
    }
    worse = result["AN4, fine-tuned, AN4 replayed"]["mean"] - result["AN4, untouched"]["mean"]
    result["AN4 replayed, points worse on AN4"] = round(worse, 3)
    print(table("one minute of FSDD, error rates of words on its test part, and of AN4's", result))
    if args.out:
        collected = receipts.collect(
            ["tools/bench", "minute", *sys.argv[1:]],
            config={"overrides": args.overrides, "seeds": args.seeds, "rates": RATES},
            seed=None,
            inputs=[ROOT / "conf" / "fsdd.yaml"],
            result=result,
            wall_seconds=time.monotonic() - started,
        )
        receipts.write(args.out, collected)
    return EXIT_DONE


class _Trainings:
    """Trainings on the same minute, each in a folder of its name and seed."""

    def __init__(self, args: argparse.Namespace, work: Path) -> None:
        self._args, self._work = args, work

    def one(self, name: str, seed: int, options: Sequence[str]) -> Path:
        """Return the run folder of one training."""
        out = self._work / f"{name}-{seed}"
        given = ["--corpus", str(self._args.corpus.absolute()), "--accept", self._args.accept, "--seed", str(seed)]
        try:
            run_recipe("fsdd", out, [*given, *MINUTE, *options, *self._args.overrides])
        except DataError:
            if NO_WORDS not in (out / "log").read_text("utf-8").splitlines()[-1]:
                raise
            for part in ("valid", "test"):
                _write_silent(out, part)
        say(f"{out.name}: {100 * score_of(out, 'test')['words']['rate']:.2f} %")
        return out

    def all(self, name: str, options: Sequence[str]) -> list[Path]:
        """Return the run folders of all seeds."""
        return [self.one(name, seed, options) for seed in self._args.seeds]


def _write_silent(out: Path, part: str) -> None:
    """Write the score of a model that says nothing: each of the manifest's words, one an utterance, is an error."""
    words = len((out / "data" / f"{part}.jsonl").read_bytes().splitlines())
    (out / f"{part}.score.json").write_text(json.dumps({"words": {"errors": words, "rate": 1.0}}), "utf-8")


def _best_rate(trained: _Trainings, seed: int) -> tuple[float, dict[str, float]]:
    """Return the learning rate whose training from scratch is best on held-out files, and the error rates of all."""
    rates: dict[float, float] = {}
    for rate in RATES:
        out = trained.one(f"scratch-{rate:g}", seed, [*SCRATCH, "--train", "train", _rate(rate)])
        rates[rate] = _percent(score_of(out, "valid"))
    return min(rates, key=lambda rate: rates[rate]), {f"{rate:g}": value for rate, value in rates.items()}


def _rate(rate: float) -> str:
    return f"train.optimizer.learning_rate={rate:g}"


def _rates(scores: Iterable[Score]) -> dict[str, Any]:
    """Return the error rates in per cent, and their mean."""
    rates = [_percent(score) for score in scores]
    return {"mean": round(sum(rates) / len(rates), 3), "seeds": rates}


def _errors(scores: Iterable[Score]) -> int:
    return sum(int(score["words"]["errors"]) for score in scores)


def _percent(score: Score) -> float:
    return round(100 * float(score["words"]["rate"]), 2)


if __name__ == "__main__":
    sys.exit(run("tools/bench minute", parser(), bench))
