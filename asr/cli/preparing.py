"""The command line of `recipes/CORPUS/prepare.py`: the same for every published corpus."""

import argparse
from collections.abc import Callable
from pathlib import Path

from asr.cli.main import Parser, guarded
from asr.cli.notes import log_on_stderr
from asr.cli.progress import progress_bar
from asr.data.published import CorpusInParts, PublishedCorpus
from asr.errors import EXIT_DONE

Published = PublishedCorpus | CorpusInParts


def prepare_command(
    recipe: str,
    corpus: Published | Callable[[argparse.Namespace], Published] | None,
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
