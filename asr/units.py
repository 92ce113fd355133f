"""Samples, frames and seconds, with the one rounding rule: pure integers, so lengths are known without torch.

A feature frame is one window of samples; an encoder frame is what is left of the feature frames after the
strided convolutions.  Everything is counted from the first sample of the recording; the silence that the
model pads at both ends ("edge") lies before sample 0 and after the last one.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite

Seconds = float


def is_number(value: object) -> bool:
    """Return whether a value from a file is a finite number, and no integer so long that float() overflows."""
    return (type(value) is float and isfinite(value)) or (type(value) is int and abs(value) < 1 << 62)


def samples_from_seconds(seconds: Seconds, sample_rate: int) -> int:
    """Return the number of samples in `seconds`, rounded half up: the one rule of this project."""
    return int(seconds * sample_rate + 0.5)


@dataclass(frozen=True)
class FrameGeometry:
    """How waveform samples become feature frames and encoder frames.

    Attributes:
        sample_rate: in Hz.
        edge: samples of silence padded before and after the waveform.
        window, hop: of a feature frame, in samples.
        strided: (kernel, stride) of each subsampling convolution along time; each pads (kernel - 1) // 2
            zeros on both sides, so an output frame is centred on input frame `index * stride`.
    """

    sample_rate: int
    edge: int
    window: int
    hop: int
    strided: tuple[tuple[int, int], ...] = ()

    def num_frames(self, num_samples: int) -> int:
        """Return T, the feature frames of a waveform of `num_samples` samples (0 for an empty one)."""
        if num_samples <= 0:
            return 0
        padded = num_samples + 2 * self.edge
        return 0 if padded < self.window else 1 + (padded - self.window) // self.hop

    def subsampled(self, num_frames: int) -> int:
        """Return E, the encoder frames of `num_frames` feature frames."""
        for kernel, stride in self.strided:
            if num_frames <= 0:
                return 0
            num_frames = (num_frames + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
        return num_frames

    def encoder_frames(self, num_samples: int) -> int:
        """Return E, the encoder frames of a waveform of `num_samples` samples."""
        return self.subsampled(self.num_frames(num_samples))

    def frames_known(self, num_samples: int) -> int:
        """Return how many feature frames are known once `num_samples` samples have come, and more will.

        A frame is known when its window is full; those that begin in the edge before the first sample are silence.
        """
        full = max(0, (num_samples + self.edge - self.window) // self.hop + 1)
        return min(self.num_frames(num_samples), max(self.silent_frames, full))

    @property
    def silent_frames(self) -> int:
        """Feature frames that begin before the first sample."""
        return -(-self.edge // self.hop)

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """Return the feature frames [from, to) that the encoder frames [first, last) are made of; some lie outside."""
        for kernel, stride in reversed(self.strided):
            first, last = (padded * stride - (kernel - 1) // 2 for padded in (first, last - 1))
            last += kernel
        return first, last

    @cached_property
    def subsampling(self) -> int:
        """Feature frames per encoder frame."""
        factor = 1
        for _, stride in self.strided:
            factor *= stride
        return factor

    @cached_property
    def encoder_hop(self) -> int:
        """Samples from one encoder frame to the next."""
        return self.hop * self.subsampling

    def later(self, first: int) -> "FrameGeometry":
        """Return the geometry of what begins at encoder frame `first`: its own frames from 0 on, by this clock."""
        return replace(self, edge=self.edge - first * self.encoder_hop)

    def encoder_frame_start(self, index: int) -> Seconds:
        """Return the time in seconds at which encoder frame `index` starts (may lie before 0, in the edge).

        The frame is centred on the window of feature frame `index * subsampling`; frames tile the time
        axis, so it ends where the next one starts.
        """
        centre = index * self.encoder_hop + self.window / 2 - self.edge
        return (centre - self.encoder_hop / 2) / self.sample_rate
