"""What a test set can be sliced by: the label of every utterance."""

from collections.abc import Callable, Mapping
from pathlib import Path

from asr.errors import DataError
from asr.scoring import spoken
from asr.scoring.error_rate import Score
from asr.scoring.slices import DECIBELS, SECONDS, WORDS, in_bins
from asr.scoring.texts import Text

WAYS = ("speaker", "length", "words", "snr")


def labels(
    way: str,
    score: Score,
    references: Mapping[str, Text],
    manifest: str | Path,
    progress: "spoken.Progress | None" = None,
) -> dict[str, str]:
    """Return the label of each utterance by id, in the order in which the slices shall stand.

    Args: way: one of `WAYS`; manifest: the file of the references, for messages and the paths of its audio.
    Raises: DataError if an utterance has no speaker, no duration or no audio that can be read.
    """
    if way == "speaker":
        return spoken.speakers(references, manifest)
    if way == "length":
        return in_bins(spoken.durations(references, manifest), SECONDS, "s")
    if way == "words":
        counts = {item.id: float(item.words.reference) for item in score.utterances}
        return in_bins(counts, WORDS, "words", whole=True)
    return in_bins(snrs(references, manifest, progress), DECIBELS, "dB")


def snrs(
    references: Mapping[str, Text], manifest: str | Path, progress: "spoken.Progress | None" = None
) -> dict[str, float | None]:
    """Return the estimated signal-to-noise ratio of each utterance, dB, None for digital silence.

    Raises: DataError naming the utterance whose audio cannot be read.
    """
    from asr.audio.files import read_audio
    from asr.scoring.snr import estimate_snr

    report: Callable[[int, int | None, float], None] = progress or (lambda done, total, seconds: None)
    found: dict[str, float | None] = {}
    heard = 0.0
    for name, text in references.items():
        source = spoken.source_of(name, text, manifest)
        try:
            waveform, rate = read_audio(
                source.path, start=source.start, duration=source.duration, channel=source.channel
            )
        except DataError as error:
            raise DataError(f"{text.where}: utterance {name!r}: {error}") from None
        found[name] = estimate_snr(waveform, rate)
        heard += len(waveform) / rate
        report(len(found), len(references), heard)
    return found
