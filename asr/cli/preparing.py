"""The command line of `recipes/CORPUS/prepare.py`: the same for every published corpus."""

import argparse
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from asr.cli.main import Parser, guarded
from asr.cli.notes import log_on_stderr
from asr.cli.progress import progress_bar
from asr.data.debian import DebianCorpus, Selection
from asr.errors import EXIT_DONE


class Fetchable(Protocol):
    """A corpus that can be downloaded."""

    def fetch(self, folder: Path, progress: Callable[[int, int | None], None] | None = None) -> Path:
        """Return `folder`, filled with the corpus unless it is there."""


def prepare_command(
    recipe: str,
    corpus: Fetchable | Callable[[argparse.Namespace], Fetchable] | None,
    prepare: Callable[[argparse.Namespace], None],
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> int:
    """Fetch the corpus if asked, prepare it, and return the exit code.

    Args:
        recipe: the folder below recipes/, for messages.
        corpus: what to fetch (or which that is, by the arguments); None: it cannot be fetched, and nothing is known
            of it that it could be accepted by.
        prepare: is given the arguments `corpus`, `out`, `accept` (unless `corpus` is None), those of
            `add_arguments`, and `progress` to call; what it logs goes to standard error.
    """
    label = f"recipes/{recipe}/prepare.py"

    def work() -> int:
        parser = Parser(prog=label, allow_abbrev=False)
        parser.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="the folder of the corpus")
        parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of the manifests")
        if corpus is not None:
            parser.add_argument("--download", action="store_true", help="download the corpus if it is not there")
            parser.add_argument(
                "--accept",
                choices=("published", "any"),
                default="published",
                help="any: even one that is not as published",
            )
        if add_arguments is not None:
            add_arguments(parser)
        args = parser.parse_args()
        if corpus is not None and args.download:
            published = corpus(args) if callable(corpus) else corpus
            with progress_bar("download", unit="bytes") as progress:
                published.fetch(args.corpus, progress)
        with log_on_stderr(label), progress_bar("prepare", unit="files") as args.progress:
            prepare(args)
        return EXIT_DONE

    return guarded(label, work)


def languages_command(
    recipe: str,
    corpus: DebianCorpus,
    languages: Iterable[str],
    prepare: Callable[[Path, Path, Selection], str],
) -> int:
    """Do the same for one language of a corpus in Debian's archive, and print what `prepare` says.

    Args: prepare: is given the folder of the corpus, that of the manifests, and what to prepare.
    """

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--language", choices=tuple(languages), required=True, help="of the recordings")
        parser.add_argument(
            "--train-minutes", type=_minutes, default="all", metavar="N", help="how much to train on (default: all)"
        )

    def work(args: argparse.Namespace) -> None:
        selection = Selection(args.language, args.train_minutes, accept=args.accept == "published")
        print(prepare(args.corpus, args.out, selection))

    return prepare_command(recipe, corpus, work, add_arguments)


def _minutes(value: str) -> float:
    """Return a number of minutes above 0, or infinity for "all"; for argparse, which shows what is wrong."""
    if value == "all":
        return math.inf
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of minutes above 0, or 'all', got '{value}'")
    return number
