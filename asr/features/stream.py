"""Features of streams: what the frontend makes of a recording, as it comes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.features.frontend import Frontend


@dataclass
class FeatureStream:
    """How far the features of one stream have come.

    Attributes:
        samples: (S,) that frames to come are made of, from sample `first` of the recording.
        moments: (1, 3, F) state of the normaliser.
        num_samples: of the recording so far.
        num_frames: feature frames so far.
    """

    samples: Tensor
    moments: Tensor
    first: int = 0
    num_samples: int = 0
    num_frames: int = 0


def advance_features(
    frontend: Frontend, streams: Sequence[FeatureStream], waveforms: Sequence[Tensor], ends: Sequence[bool]
) -> list[Tensor]:
    """Return the features (T, F) of each stream that are known once its waveform (S,) has come.

    All that was heard is computed as one batch.  Args: ends: whether a stream ends with its waveform.
    """
    for stream, waveform in zip(streams, waveforms, strict=True):
        stream.samples = torch.cat([stream.samples, waveform])
        stream.num_samples += len(waveform)
    cuts = [_cut(frontend, stream, end) for stream, end in zip(streams, ends, strict=True)]
    rows = [row for row, cut in enumerate(cuts) if cut.heard]
    heard = _heard(frontend, [streams[row] for row in rows], [cuts[row] for row in rows])
    found = []
    for row, (stream, cut) in enumerate(zip(streams, cuts, strict=True)):
        width = frontend.config.num_features
        parts = [stream.samples.new_zeros(cut.silent, width)]
        if cut.heard:
            parts.append(heard[rows.index(row)][: cut.heard])
        parts.append(stream.samples.new_zeros(cut.behind, width))
        found.append(torch.cat(parts))
        stream.num_frames += cut.silent + cut.heard + cut.behind
        _drop(frontend, stream)
    return found


@dataclass(frozen=True)
class _Cut:
    """The frames that a stream puts out next: in the edge before it, heard, and not full at its end."""

    silent: int
    heard: int
    behind: int


def _cut(frontend: Frontend, stream: FeatureStream, end: bool) -> _Cut:
    geometry, done = frontend.geometry, stream.num_frames
    known = geometry.frames_known(stream.num_samples)
    silent = max(0, min(known, geometry.silent_frames) - done)
    heard = max(0, known - max(done, geometry.silent_frames))
    behind = geometry.num_frames(stream.num_samples) - done - silent - heard if end else 0
    return _Cut(silent, heard, behind)


def _heard(frontend: Frontend, streams: Sequence[FeatureStream], cuts: Sequence[_Cut]) -> list[Tensor]:
    """Return the features of each stream's next full windows; fill in the state of its normaliser."""
    if not streams:
        return []
    geometry = frontend.geometry
    counts = torch.tensor([cut.heard for cut in cuts])
    size = (int(counts.max()) - 1) * geometry.hop + geometry.window
    waveform = streams[0].samples.new_zeros(len(streams), size)
    for row, stream, cut in zip(waveform, streams, cuts, strict=True):
        begin = (stream.num_frames + cut.silent) * geometry.hop - geometry.edge - stream.first
        piece = stream.samples[begin : begin + (cut.heard - 1) * geometry.hop + geometry.window]
        row[: len(piece)] = piece
    state = torch.cat([stream.moments for stream in streams])
    features, moments = frontend.pieces(waveform, counts.to(waveform.device), state)
    for stream, kept in zip(streams, moments.split(1), strict=True):
        stream.moments = kept.clone()  # a slice would keep the batch
    return list(features)


def _drop(frontend: Frontend, stream: FeatureStream) -> None:
    """Let go of the samples that no later frame holds."""
    begin = stream.num_frames * frontend.geometry.hop - frontend.geometry.edge
    unused = min(max(0, begin - stream.first), len(stream.samples))
    stream.samples = stream.samples[unused:]
    stream.first += unused
