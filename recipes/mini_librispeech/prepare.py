"""Mini LibriSpeech (OpenSLR 31) -> manifests: train, train_all, valid and test.

As in Kaldi's recipe, dev-clean-2 is what results are reported on: here it is `test`, and nothing is decided by it.
To decide by, 3 speakers of train-clean-5 are held out as valid, the first by the SHA-256 of their names; train_all
has all of train-clean-5, as Kaldi trains.
"""

import sys
from pathlib import Path

from asr.cli.preparing import prepare_command
from asr.data.librispeech import librispeech_part, librispeech_recordings
from asr.data.published import CorpusInParts, hold_out_speakers
from asr.data.recordings import Progress, measured, write_parts

_URL = "https://www.openslr.org/resources/31"
MINI_LIBRISPEECH = CorpusInParts(
    {
        "train-clean-5": librispeech_part("train-clean-5", _URL, 1519, md5="5df7d4e78065366204ca6845bb08f490"),
        "dev-clean-2": librispeech_part("dev-clean-2", _URL, 1089, md5="6d7ab67ac6a1d2c993d050e16d61080d"),
    }
)
NUM_HELD_OUT = 3  # speakers


def prepare(corpus: Path, out: Path, *, accept: bool = True, progress: Progress | None = None) -> None:
    """Write the manifests of the Mini LibriSpeech in `corpus` to the folder `out`.

    Args: accept: refuse a corpus with another number of files than was published.
    Raises: DataError if the corpus is incomplete or another; MachineError if `out` cannot be written.
    """
    roots = {name: MINI_LIBRISPEECH.root(corpus, name) / name for name in MINI_LIBRISPEECH.parts}
    parts, _ = measured({name: librispeech_recordings(root) for name, root in roots.items()}, "en", progress=progress)
    if accept:
        for name, utterances in parts.items():
            MINI_LIBRISPEECH.parts[name].accept(name, utterances)
    write_parts(out, hold_out_speakers(parts["train-clean-5"], NUM_HELD_OUT) | {"test": parts["dev-clean-2"]})


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command(
        "mini_librispeech",
        MINI_LIBRISPEECH,
        lambda args: prepare(args.corpus, args.out, accept=args.accept == "published", progress=args.progress),
    )


if __name__ == "__main__":
    sys.exit(main())
