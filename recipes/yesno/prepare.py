"""yesno (OpenSLR 1) -> manifests: train, valid and test.

60 files of one man who says eight times yes or no in Hebrew; the file's name tells which: 1 is yes.  The corpus
has no split of its own: Kaldi trains on the first 30 by name, lhotse on every second one, from the first.  Of
those 30, 5 are held out as valid: the first by the SHA-256 of their names.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Literal

from asr.cli.preparing import prepare_command
from asr.data.corpus import CorpusSignature
from asr.data.published import PublishedCorpus, held_out, whole_file, write_manifests
from asr.errors import DataError

YESNO = PublishedCorpus(
    name="yesno",
    urls=["https://www.openslr.org/resources/1/waves_yesno.tar.gz"],
    top="waves_yesno",
    landmark="[01]_*.*",
    signatures={
        "all": CorpusSignature(
            num_files=60,
            samples_sha256="a46240d0154aef71175944259bf1eb18f91d9242809ce28f0b8ccf0330dc43c7",
            transcripts_sha256="9646febb0d2da6c4553053dde5df64615064ac3f85457c0cc1c4f6c277ce6539",
        ),
    },
    archive_sha256="c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73",
)
NUM_HELD_OUT = 5  # files
_WORDS = {"0": "no", "1": "yes"}

Split = Literal["kaldi", "lhotse"]


def prepare(corpus: Path, out: Path, *, split: Split = "kaldi", accept: bool = True) -> None:
    """Write the manifests of the yesno in `corpus` to the folder `out`.

    Args: accept: refuse a corpus that is not the published one.
    Raises: DataError if the corpus is incomplete or another; MachineError if `out` cannot be written.
    """
    root = YESNO.root(corpus)
    stems = sorted({file.with_suffix("") for file in root.glob(YESNO.landmark) if file.is_file()})
    utterances = [
        whole_file(stem, out / "converted", text=_text(stem), speaker="yesno", language="he") for stem in stems
    ]
    if accept:
        YESNO.accept("all", utterances)
    half = len(utterances) // 2
    first, test = (utterances[:half], utterances[half:]) if split == "kaldi" else (utterances[::2], utterances[1::2])
    names = held_out([utterance.id for utterance in first], NUM_HELD_OUT)
    manifests = {
        "train": [utterance for utterance in first if utterance.id not in names],
        "valid": [utterance for utterance in first if utterance.id in names],
        "test": test,
    }
    write_manifests(out, manifests)


def _text(stem: Path) -> str:
    """Return what is said in a file, from its name: 0_1_..."""
    if not re.fullmatch("[01](_[01])*", stem.name):
        raise DataError(f"{stem}: not a name made of 0 and 1; get the corpus again")
    return " ".join(_WORDS[word] for word in stem.name.split("_"))


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=("kaldi", "lhotse"), default="kaldi", help="which files are the test set")


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command(
        "yesno",
        YESNO,
        lambda args: prepare(args.corpus, args.out, split=args.split, accept=args.accept == "published"),
        _add_split,
    )


if __name__ == "__main__":
    sys.exit(main())
