"""yesno (OpenSLR 1) -> manifests: train, valid and test.

60 files of one man who says eight times yes or no in Hebrew; the file's name tells which: 1 is yes.  The corpus
has no split of its own: Kaldi trains on the first 30 by name, lhotse on every second one, from the first.  Of
those 30, 5 are held out as valid: the first by the SHA-256 of their names.

25 files hold few of the orders that eight words may come in, and in Kaldi's split every training file starts with
no and every test file with yes: a network learns the orders instead of the words.  So the words are also put
together anew, in random orders and from several files, cut in their pauses.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from asr.audio.files import read_audio, write_audio
from asr.audio.resample import Waveform
from asr.cli.preparing import prepare_command
from asr.data.corpus import CorpusSignature
from asr.data.manifest import Utterance
from asr.data.published import PublishedCorpus, held_out, whole_file, write_manifests
from asr.errors import DataError, writing
from asr.randomness import stream

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
NUM_RECOMBINED = 400
_GAIN_DB = 6.0  # by which each of their words is at most louder or softer
_LEFT_OF_A_PAUSE = 0.3  # share of a pause that stays at least
_WORDS = {"0": "no", "1": "yes"}

_LOUD = 0.5  # of the way from the level of the pauses to that of the vowels, in dB: above it there is a word
_SHORTEST_PAUSE, _SHORTEST_WORD = 5, 8  # in hundredths of a second
_SMOOTHED = 5  # hundredths of a second over which levels are averaged

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
    train = [utterance for utterance in first if utterance.id not in names]
    folder = out / "recombined"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    manifests = {
        "train": train + recombined(train, NUM_RECOMBINED, folder),
        "valid": [utterance for utterance in first if utterance.id in names],
        "test": test,
    }
    write_manifests(out, manifests)


@dataclass(frozen=True)
class _Word:
    """A word with half of the pause on either side.

    Attributes:
        first, last: the samples that are loud.
    """

    text: str
    waveform: Waveform
    first: int
    last: int


@dataclass(frozen=True)
class _Pieces:
    """A recording in pieces, cut in its pauses: silence, words, silence."""

    rate: int
    before: Waveform
    words: list[_Word]
    after: Waveform


def recombined(utterances: Sequence[Utterance], count: int, folder: Path) -> list[Utterance]:
    """Return `count` utterances of one word up to as many as theirs, drawn from all of them, yes as often as no.

    Training on short ones first finds the words; on long ones alone it may take a label for the silence before them.
    The waveforms are written to `folder`.  Recordings whose words the level does not tell apart, or of another sample
    rate than the first, are not used; none come of recordings that do not hold both words.
    Raises: DataError if one cannot be read; MachineError if `folder` cannot be written.
    """
    recordings = [pieces for pieces in map(_pieces, utterances) if pieces]
    recordings = [pieces for pieces in recordings if pieces.rate == recordings[0].rate]
    words = [word for recording in recordings for word in recording.words]
    known = {text: [word for word in words if word.text == text] for text in _WORDS.values()}
    if not all(known.values()):
        return []
    draw, rate = stream(0, "recombined"), recordings[0].rate
    found = []
    for number in range(count):
        before, after = (recordings[index] for index in draw.integers(len(recordings), size=2))
        length = 1 + draw.integers(len(before.words))
        texts = [_WORDS["01"[digit]] for digit in draw.integers(2, size=length)]
        spoken = [_said_anew(known[text][draw.integers(len(known[text]))], draw) for text in texts]
        waveform = np.concatenate([before.before, *spoken, after.after])
        path = folder / f"recombined-{number:03d}.flac"
        write_audio(path, waveform, rate)
        found.append(
            replace(utterances[0], id=path.stem, audio=path, duration=len(waveform) / rate, text=" ".join(texts))
        )
    return found


def _said_anew(word: _Word, draw: np.random.Generator) -> Waveform:
    """Return the word louder or softer, with less of the pauses around it."""
    first = round(word.first * draw.uniform(0, 1 - _LEFT_OF_A_PAUSE))
    last = len(word.waveform) - round((len(word.waveform) - word.last) * draw.uniform(0, 1 - _LEFT_OF_A_PAUSE))
    return word.waveform[first:last] * np.float32(10 ** (draw.uniform(-_GAIN_DB, _GAIN_DB) / 20))


def _pieces(utterance: Utterance) -> _Pieces | None:
    """Return the pieces of a recording, or None where its loud stretches are not as many as its words."""
    waveform, rate = read_audio(utterance.audio)
    words, spans = (utterance.text or "").split(), loud_spans(waveform, rate)
    if not words or len(spans) != len(words):
        return None
    edge = rate // 10  # silence that stays with the first and the last word
    inner = [(last + first) // 2 for (_, last), (first, _) in itertools.pairwise(spans)]
    borders = [max(0, spans[0][0] - edge), *inner, min(len(waveform), spans[-1][1] + edge)]
    found = [
        _Word(text, waveform[first:last], loud[0] - first, loud[1] - first)
        for text, (first, last), loud in zip(words, itertools.pairwise(borders), spans, strict=True)
    ]
    return _Pieces(rate, waveform[: borders[0]], found, waveform[borders[-1] :])


def loud_spans(waveform: Waveform, rate: int) -> list[tuple[int, int]]:
    """Return (first, last + 1) sample of each stretch as loud as words, in order."""
    step = max(1, rate // 100)
    if len(waveform) < step * _SMOOTHED:
        return []
    power = np.square(waveform[: len(waveform) // step * step].reshape(-1, step), dtype=np.float64).mean(1)
    level = 10 * np.log10(np.convolve(power, np.full(_SMOOTHED, 1 / _SMOOTHED), "same") + 1e-9)
    pauses, vowels = np.percentile(level, [10, 98])
    loud = level > pauses + _LOUD * (vowels - pauses)
    borders = np.flatnonzero(np.diff(np.concatenate([[False], loud, [False]]).astype(np.int8)))
    spans: list[tuple[int, int]] = []
    for first, last in borders.reshape(-1, 2).tolist():
        if spans and first - spans[-1][1] < _SHORTEST_PAUSE:
            first = spans.pop()[0]
        spans.append((first, last))
    return [(first * step, last * step) for first, last in spans if last - first >= _SHORTEST_WORD]


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
