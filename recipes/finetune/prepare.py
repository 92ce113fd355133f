"""Somebody's own recordings -> manifests: train, valid and test.

The corpus is a folder with one of: a manifest (.jsonl), a table (.csv, .tsv), a Kaldi data folder (wav.scp), or
recordings with a .txt of the same name each.  The SHA-256 of what a split goes by decides the part, so everybody
splits alike, and recordings that are added later move none.
"""

import argparse
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from asr.cli.preparing import prepare_command
from asr.data.importers import import_manifest
from asr.data.manifest import Utterance, read_manifest
from asr.data.published import write_manifests
from asr.data.splits import sentence_key
from asr.errors import DataError

SHARE_OF_VALID, SHARE_OF_TEST = 0.1, 0.2
SPLITS: dict[str, Callable[[Utterance], str]] = {
    "utterance": lambda utterance: utterance.id,
    "text": lambda utterance: sentence_key(utterance.text or ""),
    "speaker": lambda utterance: utterance.speaker or utterance.id,
}


def prepare(corpus: Path, out: Path, *, split: str = "utterance") -> None:
    """Write the manifests of the recordings in `corpus` to the folder `out`.

    Args: split: what may not stand in two parts: an "utterance" (for phrases that come again, as commands do), a
        "text", or a "speaker".
    Raises: DataError if there are no recordings, or too few for three parts; MachineError if `out` cannot be written.
    """
    utterances = _utterances(corpus, out)
    parts: dict[str, list[Utterance]] = {"train": [], "valid": [], "test": []}
    for utterance in utterances:
        parts[_part(SPLITS[split](utterance))].append(utterance)
    empty = [part for part, rows in parts.items() if not rows]
    if empty:
        raise DataError(
            f"{corpus}: {len(utterances)} utterances, split by {split}, leave none for {' and '.join(empty)};"
            " record more, or choose another --split"
        )
    write_manifests(out, parts)


def _utterances(corpus: Path, out: Path) -> list[Utterance]:
    """Return what the folder holds, by the kind of list that lies in it.  Raises: DataError if there is none or two."""
    lists = sorted(path for path in corpus.iterdir() if path.suffix.lower() in (".jsonl", ".csv", ".tsv"))
    if len(lists) > 1:
        raise DataError(f"{corpus}: {len(lists)} lists ({', '.join(path.name for path in lists)}); leave one there")
    if lists and lists[0].suffix.lower() == ".jsonl":
        return read_manifest(lists[0])
    everything = out / "imported" / "all.jsonl"
    everything.parent.mkdir(parents=True, exist_ok=True)
    if lists:
        import_manifest("table", lists[0], everything)
    else:
        import_manifest("kaldi" if (corpus / "wav.scp").is_file() else "folder", corpus, everything)
    return read_manifest(everything)


def _part(key: str) -> str:
    place = int(sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:13], 16) / 16**13
    if place < 1 - SHARE_OF_VALID - SHARE_OF_TEST:
        return "train"
    return "valid" if place < 1 - SHARE_OF_TEST else "test"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=SPLITS, default="utterance", help="what may not stand in two parts")


def main() -> int:
    """Run the command line; return the exit code."""
    return prepare_command("finetune", None, lambda args: prepare(args.corpus, args.out, split=args.split), _arguments)


if __name__ == "__main__":
    sys.exit(main())
