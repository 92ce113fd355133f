"""Where a waveform comes from: a file, or a stretch of one of its channels."""

from dataclasses import dataclass
from pathlib import Path

from asr.audio.files import audio_info, read_audio
from asr.audio.resample import Waveform
from asr.units import Seconds


@dataclass(frozen=True, slots=True)
class AudioSource:
    """A stretch of a file: [start, start + duration) in seconds (None: to the end) of one channel.

    channel: counted from 0; None mixes all channels.
    """

    path: Path
    start: Seconds = 0.0
    duration: Seconds | None = None
    channel: int | None = None

    @property
    def is_whole_file(self) -> bool:
        """Whether nothing of the file is left out."""
        return self.start == 0 and self.duration is None

    def measure(self) -> Seconds:
        """Return its length as the file's header says it.  Raises: DataError as `audio_info`."""
        rest = max(audio_info(self.path).duration - self.start, 0.0)
        return rest if self.duration is None else min(rest, self.duration)

    def read(self, sample_rate: int) -> Waveform:
        """Return its waveform (S,) at `sample_rate` in Hz.  Raises: DataError as `read_audio`."""
        waveform, _ = read_audio(
            self.path, start=self.start, duration=self.duration, channel=self.channel, sample_rate=sample_rate
        )
        return waveform
