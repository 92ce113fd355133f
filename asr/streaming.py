"""Waveforms that come piece by piece → log-probs, as soon as they can be known.

The log-probs of a stream are those of the whole recording by the same model, however it is cut into pieces: the same
resampler, features, normaliser and network carry their state on.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from asr.audio.resample import Resampler, Waveform
from asr.audio.waveforms import as_samples, waveform_fault
from asr.errors import DataError, UsageError
from asr.features.stream import FeatureStream, advance_features
from asr.model import AcousticModel, ModelConfig
from asr.nn.stream import EncoderStream, advance_encoder
from asr.units import Seconds

MAX_SECONDS = 30.0  # computed at once: an hour may be handed over in one piece


class Stream:
    """One recording as it comes: accept(waveform) any number of times, then finish() once.

    Attributes:
        model: what hears it.
        sample_rate: of what it accepts, in Hz.
        num_samples: accepted so far.
        finished: whether its end has come.
        broken: whether an error came in between, and what was accepted then is lost.
    """

    def __init__(self, model: AcousticModel, sample_rate: float) -> None:
        """Start a stream.

        Raises: UsageError for a model that cannot stream, or a rate that is no whole number of Hz.
        """
        refuse_offline(model.config)
        self.model, self.sample_rate = model, _whole(sample_rate)
        self.num_samples = 0
        self.finished = self.broken = False
        self._resampler = Resampler(self.sample_rate, model.sample_rate)
        encoder, device = model.encoder, next(model.parameters()).device
        self.features = FeatureStream(torch.zeros(0, device=device), model.frontend.normalizer.prior())
        self.encoder = EncoderStream(
            torch.zeros(0, model.config.features.num_features, device=device),
            torch.zeros(0, encoder.config.subsampling_width, device=device),
            torch.zeros(0, encoder.output.in_features, device=device),
            encoder.initial_states(1),
        )

    @property
    def seconds(self) -> Seconds:
        """Length of what was accepted."""
        return self.num_samples / self.sample_rate

    def accept(self, waveform: ArrayLike, sample_rate: int | None = None) -> Tensor:
        """Return the log-probs (E, V) that can be known now, often of no frame at all.

        Args:
            waveform: (S,) floats in [-1, 1] that follow those before; any number, also none.
            sample_rate: of it, in Hz, to be checked; None: the stream's.
        Raises: DataError for NaN, integers or another shape; UsageError for another rate, or after `finish`.
        """
        return accept_together([self], [waveform], sample_rate)[0]

    def finish(self) -> Tensor:
        """Return the log-probs (E, V) that were waiting for what comes behind them.

        Raises: UsageError if called twice.
        """
        return finish_together([self])[0]

    def forget(self, seconds: Seconds) -> None:
        """Let a running normaliser count what it has heard so far as so long at most; the rest is what training told.

        A recording that goes on after this is no longer what one call on the whole of it says.
        """
        frames = 1000 * seconds / self.model.config.features.hop_ms
        self.features.moments = self.model.frontend.normalizer.faded(self.features.moments, frames)

    def check(self, waveform: ArrayLike, sample_rate: int | None) -> Waveform:
        """Return a waveform that may follow.  Raises: as `accept`."""
        if self.broken:
            raise UsageError("an error broke the stream, and what it was given then is lost; start another one")
        if self.finished:
            raise UsageError("the stream is finished; start another one for what comes next")
        if sample_rate not in (None, self.sample_rate):
            raise UsageError(
                f"the stream began at {self.sample_rate} Hz and goes on at {sample_rate} Hz;"
                " finish it and start another"
            )
        samples = as_samples(waveform)
        if fault := waveform_fault(samples):
            raise DataError(f"the stream's piece from {self.seconds:.3f} s on {fault}")
        checked: Waveform = samples.astype(np.float32, copy=False)
        return checked

    def nothing(self) -> Tensor:
        """Return the log-probs (0, V) of no frame."""
        return torch.zeros(0, self.model.tokenizer.size, device=self.features.samples.device)

    def resampled(self, waveform: Waveform, *, end: bool) -> Tensor:
        """Return what a checked waveform adds at the model's rate."""
        self.num_samples += len(waveform)
        self.finished = end
        parts = [self._resampler.accept(waveform)]
        if end:
            parts.append(self._resampler.finish())
        return torch.from_numpy(np.concatenate(parts)).to(self.features.samples)


def accept_together(
    streams: Sequence[Stream], waveforms: Sequence[ArrayLike], sample_rate: int | None = None
) -> list[Tensor]:
    """Return what `accept` of each stream returns for its waveform, all computed as one batch of one model.

    Raises: as `Stream.accept`, before anything has changed; UsageError for streams of several models, or one twice.
    """
    _refuse_mixed(streams)
    checked = [stream.check(waveform, sample_rate) for stream, waveform in zip(streams, waveforms, strict=True)]
    sizes = [int(MAX_SECONDS * stream.sample_rate) + 1 for stream in streams]
    found: list[list[Tensor]] = [[] for _ in streams]
    while any(len(waveform) for waveform in checked):
        parts = [waveform[:size] for waveform, size in zip(checked, sizes, strict=True)]
        for kept, log_probs in zip(found, _advance(streams, parts, end=False), strict=True):
            kept.append(log_probs)
        checked = [waveform[size:] for waveform, size in zip(checked, sizes, strict=True)]
    return [torch.cat([stream.nothing(), *kept]) for stream, kept in zip(streams, found, strict=True)]


def finish_together(streams: Sequence[Stream]) -> list[Tensor]:
    """Return what `finish` of each stream returns, all computed as one batch.  Raises: as `accept_together`."""
    _refuse_mixed(streams)
    nothing = [stream.check(np.zeros(0, np.float32), None) for stream in streams]
    return _advance(streams, nothing, end=True)


@torch.inference_mode()
def _advance(streams: Sequence[Stream], waveforms: Sequence[Waveform], *, end: bool) -> list[Tensor]:
    if not streams:
        return []
    model, ends = streams[0].model, [end] * len(streams)
    try:
        samples = [stream.resampled(waveform, end=end) for stream, waveform in zip(streams, waveforms, strict=True)]
        features = advance_features(model.frontend, [stream.features for stream in streams], samples, ends)
        encoders = [stream.encoder for stream in streams]
        return advance_encoder(model.encoder, model.geometry, encoders, features, ends)
    except Exception:  # a lack of memory, say: not Ctrl-C, after which the last words may still be asked for
        for stream in streams:
            stream.broken = True
        raise


def _refuse_mixed(streams: Sequence[Stream]) -> None:
    if any(stream.model is not streams[0].model for stream in streams):
        raise UsageError("streams that step together must be of one model; step those of each model by themselves")
    if len({id(stream) for stream in streams}) < len(streams):
        raise UsageError("a stream is given twice; join its pieces to one")


def _whole(sample_rate: object) -> int:
    if not isinstance(sample_rate, (int, float, np.integer, np.floating)) or sample_rate % 1 != 0:
        raise UsageError(f"a sample rate of {sample_rate!r}; give a whole number of samples a second")
    return int(sample_rate)


def refuse_offline(config: ModelConfig) -> None:
    """Return if a model can stream.  Raises: UsageError that says what to use instead."""
    if not config.encoder.streams:
        raise UsageError(
            "this model is offline: its backward direction begins at the end of the recording; take one that streams,"
            " such as an4-live, or teach this one to (docs/lstm.md, 'Speaking before the utterance has ended')"
        )
    if config.features.normalization == "utterance":
        raise UsageError(
            "this model normalises over the whole utterance, which a stream does not know before its end; train one"
            " with model.features.normalization=running"
        )
