"""FSDD (free spoken digits, 8 kHz) -> manifests: train, train_all, valid and test.

A file says one digit: DIGIT_SPEAKER_INDEX.  Index 0 to 4 are the test set, by the corpus's own rule.  Of the others
5 to 19 are used, whatever the distribution holds, so that everybody trains on the same 900 files; of these 5 and 6
are held out as valid to decide by, and train_all has all.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from asr.cli.preparing import prepare_command
from asr.data.corpus import CorpusSignature
from asr.data.manifest import Utterance
from asr.data.published import AUDIO_SUFFIXES, PublishedCorpus, whole_file, write_manifests
from asr.errors import DataError, UsageError

FSDD = PublishedCorpus(
    name="FSDD",
    urls=["https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz"],
    top="free-spoken-digit-dataset-1.0.10",
    landmark="recordings/0_*_0.*",
    signatures={
        "train": CorpusSignature(
            num_files=900,
            samples_sha256="33d4bfc7d19c85ab5d00f6c716e281e40c1caa48e536dba874e5a1e025d1fa82",
            transcripts_sha256="b266885ad6a11eb7e5a1234ec4efbbc57b9a15947907733a40ef7357f1f98b30",
        ),
        "test": CorpusSignature(
            num_files=300,
            samples_sha256="97300261a14acc7a16985e51800b20687db44a45adc5c8dbe9c69828c6267986",
            transcripts_sha256="f4b797f85efd5012c2496d8f221a72741ce8be112f18644010ea01f8dc09fd33",
        ),
    },
)
_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>[a-z]+)_(?P<index>[0-9]{1,2})")
_TEST, _VALID, _USED = range(5), range(5, 7), range(20)  # by index


@dataclass(frozen=True)
class Choice:
    """Which part of the training files to learn from.

    Attributes:
        minutes: of speech at most, drawn by the SHA-256 of the files' names; None: all.
        speaker: a new speaker: the test set is theirs alone, and the training files are everybody else's.
        own_seconds: of that speaker's training files that are trained on nevertheless.
        others: whether everybody else's are: without them, only the speaker's own (from a model that knows the others).
    """

    minutes: float | None = None
    speaker: str | None = None
    own_seconds: float = 0.0
    others: bool = True


def prepare(corpus: Path, out: Path, *, choice: Choice | None = None, accept: bool = True) -> None:
    """Write the manifests of the FSDD in `corpus` to the folder `out`.

    Args: accept: refuse a corpus whose files are not the published ones.
    Raises: DataError if the corpus is incomplete or another; UsageError for a speaker that it does not have;
        MachineError if `out` cannot be written.
    """
    recordings = FSDD.root(corpus) / "recordings"
    stems = {path.with_suffix("") for path in recordings.iterdir() if path.suffix in AUDIO_SUFFIXES}
    indexed = [(index, item) for stem in sorted(stems) for index, item in _utterances(stem, out) if index in _USED]
    test = [item for index, item in indexed if index in _TEST]
    everything = [item for index, item in indexed if index not in _TEST]
    if accept:
        FSDD.accept("train", everything)
        FSDD.accept("test", test)
    held_out = {item.id for index, item in indexed if index in _VALID}
    chosen = _chosen(everything, choice or Choice())
    manifests = {
        "train": [item for item in chosen if item.id not in held_out],
        "train_all": chosen,
        "valid": [item for item in everything if item.id in held_out],
        "test": [item for item in test if choice is None or choice.speaker in (None, item.speaker)],
    }
    write_manifests(out, manifests)


def _utterances(stem: Path, out: Path) -> list[tuple[int, Utterance]]:
    match = _NAME.fullmatch(stem.name)
    if match is None:
        raise DataError(f"{stem}: not a name such as 7_jackson_32; get the corpus again")
    text, speaker = _WORDS[int(match["digit"])], match["speaker"]
    return [(int(match["index"]), whole_file(stem, out / "converted", text=text, speaker=speaker, language="en"))]


def _chosen(utterances: Sequence[Utterance], choice: Choice) -> list[Utterance]:
    """Return the utterances to train on, in their order."""
    if choice.speaker is not None:
        own = [item for item in utterances if item.speaker == choice.speaker]
        if not own:
            known = ", ".join(sorted({str(item.speaker) for item in utterances}))
            raise UsageError(f"--speaker {choice.speaker}: not in the corpus; there are: {known}")
        theirs = [item for item in utterances if item.speaker != choice.speaker]
        utterances = (theirs if choice.others else []) + _drawn(own, choice.own_seconds)
        if not utterances:
            raise UsageError(f"--others no --own-seconds {choice.own_seconds:g}: leaves nothing to train on; give more")
    return list(utterances) if choice.minutes is None else _drawn(utterances, 60 * choice.minutes)


def _drawn(utterances: Sequence[Utterance], seconds: float) -> list[Utterance]:
    """Return as many as fit into `seconds`, drawn by the SHA-256 of their names, in their order."""
    drawn, room = set(), seconds
    for item in sorted(utterances, key=lambda item: sha256(item.id.encode()).hexdigest()):
        if item.duration <= room:
            drawn.add(item.id)
            room -= item.duration
    return [item for item in utterances if item.id in drawn]


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", default="all", metavar="N", help="of training speech (default: all)")
    parser.add_argument("--speaker", default="nobody", metavar="NAME", help="test on this speaker, train on the others")
    parser.add_argument("--others", default="yes", choices=("yes", "no"), help="no: train on the speaker alone")
    parser.add_argument("--own-seconds", default="0", metavar="N", help="of that speaker, trained on nevertheless")


def _choice(args: argparse.Namespace) -> Choice:
    if args.others == "no" and args.speaker == "nobody":
        raise UsageError("--others no: whose voice is left? name it with --speaker")
    return Choice(
        minutes=None if args.minutes == "all" else _number("--minutes", args.minutes),
        speaker=None if args.speaker == "nobody" else args.speaker,
        own_seconds=_number("--own-seconds", args.own_seconds),
        others=args.others == "yes",
    )


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{flag} {text}: expected a number") from None


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command(
        "fsdd",
        FSDD,
        lambda args: prepare(args.corpus, args.out, choice=_choice(args), accept=args.accept == "published"),
        _add_choice,
    )


if __name__ == "__main__":
    sys.exit(main())
