"""AN4 (CMU Census) -> manifests: train, train_all, valid and test.

train and valid share no speaker: of the 74 speakers of the training set, 8 are held out (102 utterances, 11 %)
to decide by; train_all has all 948 utterances.  Held out are the first by the SHA-256 of their names: fbbh,
fjam, fkdo, fmjc, mcel, mmaf, mnjl, mtje.  The test set is the official one, its 10 speakers are in no other.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from asr.cli.preparing import prepare_command
from asr.data.corpus import CorpusSignature
from asr.data.lines import numbered_lines
from asr.data.manifest import Utterance
from asr.data.published import PublishedCorpus, hold_out_speakers, whole_file, write_manifests
from asr.errors import DataError

AN4 = PublishedCorpus(
    name="AN4",
    urls=["http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"],
    top="an4",
    landmark="etc/an4_train.fileids",
    signatures={
        "train": CorpusSignature(
            num_files=948,
            samples_sha256="0ef7be55282d0363a7b2939b35c0eb43dddc895b3f5900e2c27fc123900c6b57",
            transcripts_sha256="8c698dbd8bfaf67733c2a4fdcfc97f031e170da4a45fb5dd6645a311a628a248",
        ),
        "test": CorpusSignature(
            num_files=130,
            samples_sha256="8b2d238016b8ec597f410ab07741c6d5779c210b622c60923ec88e44e5223d8f",
            transcripts_sha256="c33b5cd7321b174b8cf253f2b8fb1b643f6eaa1c8931ea0fb1ce0daff8e3b2f1",
        ),
    },
)
NUM_HELD_OUT = 8  # speakers
# Training lines: "<s> YES </s> (an251-fash-b)"; test lines: "GO (an409-fcaw-b)".
_LINE = re.compile(r"(?:<s> )?(?P<text>.*?)(?: </s>)? \((?P<id>[^\s()]+)\)")


def prepare(corpus: Path, out: Path, *, accept: bool = True) -> None:
    """Write the manifests of the AN4 in `corpus` to the folder `out`.

    Args: accept: refuse a corpus that is not the published one.
    Raises: DataError if the corpus is incomplete or another; MachineError if `out` cannot be written.
    """
    root = AN4.root(corpus)
    parts = {part: list(_utterances(root, part, out / "converted")) for part in ("train", "test")}
    if accept:
        for part, utterances in parts.items():
            AN4.accept(part, utterances)
    write_manifests(out, hold_out_speakers(parts["train"], NUM_HELD_OUT) | {"test": parts["test"]})


def _utterances(root: Path, part: str, converted: Path) -> Iterator[Utterance]:
    """Yield the utterances of one part, in the corpus's order."""
    transcripts = root / "etc" / f"an4_{part}.transcription"
    ids, lines = _lines(root / "etc" / f"an4_{part}.fileids"), _lines(transcripts)
    if len(ids) != len(lines):
        raise DataError(f"{transcripts}: {len(lines)} lines for {len(ids)} files; get the corpus again")
    for number, (file_id, line) in enumerate(zip(ids, lines, strict=True), start=1):
        stem = root / "wav" / file_id
        match = _LINE.fullmatch(line)
        if match is None or match["id"] != stem.name:
            raise DataError(f"{transcripts}:{number}: '{line}' is not 'TEXT ({stem.name})'; get the corpus again")
        yield whole_file(stem, converted, text=match["text"], speaker=stem.parent.name, language="en")


def _lines(path: Path) -> list[str]:
    return [line.strip() for _, line in numbered_lines(path) if line.strip()]


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command("an4", AN4, lambda args: prepare(args.corpus, args.out, accept=args.accept == "published"))


if __name__ == "__main__":
    sys.exit(main())
