"""The waveform of a manifest's row: the one place where training, validation and augmentation read it."""

from asr.audio.files import read_audio
from asr.audio.resample import Waveform
from asr.data.manifest import Utterance


def read_utterance(utterance: Utterance, sample_rate: int) -> Waveform:
    """Return an utterance's waveform (S,) float32 at `sample_rate` in Hz.  Raises: DataError as read_audio."""
    waveform, _ = read_audio(
        utterance.audio,
        start=utterance.start,
        duration=utterance.duration,
        channel=utterance.channel,
        sample_rate=sample_rate,
    )
    return waveform
