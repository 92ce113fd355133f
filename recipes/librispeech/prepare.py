"""LibriSpeech (OpenSLR 12) -> manifests: train, dev-clean, dev-other, test-clean, test-other, and valid.

train is train-clean-100, or with --hours 960 all three parts.  valid, which training looks at after each epoch, is
2,000 utterances of dev-clean and dev-other: the first by the SHA-256 of their ids.
"""

import argparse
import logging
import sys
from itertools import chain
from pathlib import Path

from asr.cli.preparing import prepare_command
from asr.data.librispeech import librispeech_part, librispeech_recordings
from asr.data.published import CorpusInParts, sample
from asr.data.recordings import Progress, measured, write_parts

_URL = "https://www.openslr.org/resources/12"
# Number of files, and SHA-256 of the archive, as published with torchaudio.
_PUBLISHED = {
    "train-clean-100": (28539, "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"),
    "train-clean-360": (104014, "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf"),
    "train-other-500": (148688, "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2"),
    "dev-clean": (2703, "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
    "dev-other": (2864, "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
    "test-clean": (2620, "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
    "test-other": (2939, "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"),
}
LIBRISPEECH = CorpusInParts(
    {name: librispeech_part(name, _URL, count, sha256=digest) for name, (count, digest) in _PUBLISHED.items()}
)
TRAIN = {"100": ["train-clean-100"], "960": ["train-clean-100", "train-clean-360", "train-other-500"]}
DEV, TEST = ["dev-clean", "dev-other"], ["test-clean", "test-other"]
NUM_VALID = 2000  # utterances

_LOGGER = logging.getLogger("asr")


def prepare(
    corpus: Path, out: Path, *, hours: str = "960", accept: bool = True, progress: Progress | None = None
) -> None:
    """Write the manifests of the LibriSpeech in `corpus` to the folder `out`.

    Args: hours: "100" or "960" to train on.
        accept: refuse a corpus of which a part is missing, or has another number of files than was published.
    Raises: DataError if the corpus is incomplete or another; MachineError if `out` cannot be written.
    """
    names = [*TRAIN[hours], *DEV, *TEST]
    if not accept:
        missing = [name for name in names if LIBRISPEECH.find(corpus, name) is None]
        if missing and missing != names:
            names = [name for name in names if name not in missing]
            _LOGGER.info(f"{corpus}: without {', '.join(missing)}")
    roots = {name: LIBRISPEECH.root(corpus, name) / name for name in names}
    parts, _ = measured({name: librispeech_recordings(root) for name, root in roots.items()}, "en", progress=progress)
    if accept:
        for name, utterances in parts.items():
            LIBRISPEECH.parts[name].accept(name, utterances)
    manifests = {name: parts[name] for name in [*DEV, *TEST] if name in parts}
    if train := list(chain.from_iterable(parts[name] for name in TRAIN[hours] if name in parts)):
        manifests["train"] = train
    if dev := list(chain.from_iterable(parts[name] for name in DEV if name in parts)):
        manifests["valid"] = sample(dev, NUM_VALID)
    write_parts(out, manifests)


def _add_hours(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hours", choices=tuple(TRAIN), default="960", help="to train on (default: 960)")


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command(
        "librispeech",
        lambda args: LIBRISPEECH.only([*TRAIN[args.hours], *DEV, *TEST]),
        lambda args: prepare(
            args.corpus, args.out, hours=args.hours, accept=args.accept == "published", progress=args.progress
        ),
        _add_hours,
    )


if __name__ == "__main__":
    sys.exit(main())
