"""Run one recipe, from the raw corpus to its score, and fail if it is worse than it must be.

    python -m tests.recipes.end_to_end yesno --out DIR

`tools/test` does this.  Without real recordings, yesno runs on a miniature, and the others are left out.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import CORPORA
from tests.recipes.miniature import make_yesno

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Trial:
    """What a recipe must reach with seed 1."""

    corpus: str  # the folder in CORPORA
    max_wer: float  # percent


TRIALS = {"yesno": Trial("waves_yesno", 2.5), "an4": Trial("an4", 10.0)}


def main() -> int:
    """Return 0 if the recipe reached its figure or cannot run here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=TRIALS)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an empty folder")
    args = parser.parse_args()
    trial = TRIALS[args.recipe]
    corpus, options = CORPORA / trial.corpus, []
    if not corpus.is_dir():
        if args.recipe != "yesno":
            print(f"{args.recipe}: left out, as there are no real recordings at {corpus}")
            return 0
        corpus, options = make_yesno(args.out / "corpus"), ["--accept", "any"]
    command = [ROOT / "recipes" / args.recipe / "run.sh", "--corpus", corpus, "--out", args.out / "run"]
    done = subprocess.run([*command, "--seed", "1", *options], check=False)
    if done.returncode:
        print(f"{args.recipe}: run.sh ended with exit code {done.returncode}")
        return 1
    wer = 100 * float(json.loads((args.out / "run" / "test.score.json").read_bytes())["words"]["rate"])
    verdict = "as it must be" if wer <= trial.max_wer else "TOO MUCH"
    print(f"{args.recipe}: WER {wer:.2f} %, at most {trial.max_wer:g} % allowed: {verdict}")
    return int(wer > trial.max_wer)


if __name__ == "__main__":
    sys.exit(main())
