"""Encoders on streams: the frames that can be known, as soon as they can be."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.nn.cells.cell import State
from asr.nn.chunks import ChunkPlan, Frames
from asr.nn.encoder import Encoder
from asr.nn.lookahead import Lookahead
from asr.units import FrameGeometry


@dataclass
class EncoderStream:
    """How far the encoder of one stream has come.

    Attributes:
        features: (T, F) that encoder frames to come are made of, from feature frame `first` of the recording.
        num_features: feature frames so far.
        num_frames: encoder frames that are subsampled so far.
        frames: (E, D) subsampled, that the recurrent layers have not read.
        states: of the layers, one row each.
        shown: (E, D) of the last layer, which the lookahead has not put out.
        ended: whether no more features come.
    """

    features: Tensor
    frames: Tensor
    shown: Tensor
    states: list[State]
    first: int = 0
    num_features: int = 0
    num_frames: int = 0
    ended: bool = False


def advance_encoder(
    encoder: Encoder,
    geometry: FrameGeometry,
    streams: Sequence[EncoderStream],
    features: Sequence[Tensor],
    ends: Sequence[bool],
) -> list[Tensor]:
    """Return the log-probs (E, V) of each stream that can be known once its features (T, F) have come.

    Streams that are ready step as one batch.  Args: ends: whether a stream ends with these features.
    """
    for stream, values, end in zip(streams, features, ends, strict=True):
        stream.features = torch.cat([stream.features, values])
        stream.num_features += len(values)
        stream.ended = end
    _subsample(encoder, geometry, streams)
    hidden: list[list[Tensor]] = [[] for _ in streams]
    step = _step_in_chunks if encoder.config.bidirectional else _step
    while ready := [row for row, stream in enumerate(streams) if _is_ready(encoder, stream)]:
        for row, values in zip(ready, step(encoder, [streams[row] for row in ready]), strict=True):
            hidden[row].append(values)
    return _log_probs(encoder, streams, hidden)


def _subsample(encoder: Encoder, geometry: FrameGeometry, streams: Sequence[EncoderStream]) -> None:
    """Move what features say of whole encoder frames to the frames of each stream."""
    factor = geometry.subsampling
    behind = geometry.inputs_of(0, 1)[1] - 1  # feature frames behind the one on which an encoder frame is centred
    pieces, cuts = [], []
    for stream in streams:
        first = stream.num_frames
        last = (stream.num_features - 1 - behind) // factor + 1
        last = geometry.subsampled(stream.num_features) if stream.ended else max(last, first)
        # from a multiple of the factor on, and far enough before: zeros in front of a piece touch no frame of it
        begin = max(0, geometry.inputs_of(first, first + 1)[0] // factor * factor)
        end = stream.num_features if stream.ended else geometry.inputs_of(first, last)[1]
        pieces.append(stream.features[begin - stream.first : end - stream.first])
        cuts.append((begin, first, last))
    rows = [row for row, (_, first, last) in enumerate(cuts) if last > first]
    if not rows:
        return
    batch = torch.nn.utils.rnn.pad_sequence([pieces[row] for row in rows], batch_first=True)
    lengths = torch.tensor([len(pieces[row]) for row in rows], device=batch.device)
    subsampled, _ = encoder.subsampling(batch, lengths)
    for values, row in zip(subsampled, rows, strict=True):
        stream, (begin, first, last) = streams[row], cuts[row]
        skipped = first - begin // factor
        stream.frames = torch.cat([stream.frames, values[skipped : skipped + last - first]])
        stream.num_frames = last
        kept = max(0, geometry.inputs_of(last, last + 1)[0] // factor * factor)
        stream.features, stream.first = stream.features[kept - stream.first :], kept


def _is_ready(encoder: Encoder, stream: EncoderStream) -> bool:
    """Return whether the layers can read on."""
    if not encoder.config.bidirectional or stream.ended:
        return len(stream.frames) > 0
    assert encoder.context.chunk is not None
    return len(stream.frames) >= encoder.context.chunk + encoder.context.right


def _step(encoder: Encoder, streams: Sequence[EncoderStream]) -> list[Tensor]:
    """Return the last layer's values (E, D) of as many frames as all of some streams have."""
    count = min(len(stream.frames) for stream in streams)
    own = torch.stack([stream.frames[:count] for stream in streams], dim=1)
    lengths = torch.full((len(streams),), count, device=own.device)
    plan = ChunkPlan(encoder.context, lengths, count)
    hidden = _recur(encoder, plan.frames(own), plan, streams)
    for stream in streams:
        stream.frames = stream.frames[count:]
    return list(hidden.unbind(1))


def _step_in_chunks(encoder: Encoder, streams: Sequence[EncoderStream]) -> list[Tensor]:
    """Return the last layer's values (E, D) of as many chunks as all of some streams have."""
    size, right = encoder.context.chunk, encoder.context.right
    assert size is not None
    count = size * min(_full_chunks(stream, size, right) for stream in streams)
    lengths = [min(len(stream.frames), count + right) for stream in streams]
    seen = streams[0].frames.new_zeros(count + right, len(streams), streams[0].frames.shape[1])
    for row, (stream, length) in enumerate(zip(streams, lengths, strict=True)):
        seen[:length, row] = stream.frames[:length]
    plan = ChunkPlan(encoder.context, torch.tensor(lengths, device=seen.device), count)
    hidden = _recur(encoder, plan.frames(seen[:count], seen[count:]), plan, streams)
    for stream in streams:
        stream.frames = stream.frames[count:]
    return [hidden[: min(length, count), row] for row, length in enumerate(lengths)]


def _full_chunks(stream: EncoderStream, size: int, right: int) -> int:
    """Return how many chunks of a stream can be read, the last one before its end being as long as what is left."""
    return -(-len(stream.frames) // size) if stream.ended else (len(stream.frames) - right) // size


def _recur(encoder: Encoder, frames: Frames, plan: ChunkPlan, streams: Sequence[EncoderStream]) -> Tensor:
    """Return the last layer's values (E, B, D), the streams' states read before and replaced after."""
    before = [stream.states for stream in streams]
    joined = [
        (torch.cat([state[0] for state in layer]), torch.cat([state[1] for state in layer]))
        for layer in zip(*before, strict=True)
    ]
    hidden, _, after = encoder.recur(frames, plan, joined)
    for row, stream in enumerate(streams):
        # copies: a slice would keep the batch, all its steps, for as long as its stream waits
        stream.states = [(state[row : row + 1].clone(), memory[row : row + 1].clone()) for state, memory in after]
    return hidden


def _log_probs(encoder: Encoder, streams: Sequence[EncoderStream], hidden: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Return the log-probs (E, V) of each stream's values of the last layer, after the lookahead if there is one."""
    known = []
    for stream, values in zip(streams, hidden, strict=True):
        shown = torch.cat([stream.shown, *values])
        known.append(shown if encoder.lookahead is None else _looked_ahead(encoder.lookahead, stream, shown))
    every = torch.cat(known)
    log_probs = encoder.log_probs(every.unsqueeze(1))[0]
    return list(log_probs.split([len(values) for values in known]))


def _looked_ahead(lookahead: Lookahead, stream: EncoderStream, values: Tensor) -> Tensor:
    """Return what the lookahead makes of those of a stream's values that have enough behind them."""
    behind = values.new_zeros(lookahead.frames if stream.ended else 0, values.shape[1])
    known = max(0, len(values) + len(behind) - lookahead.frames)
    stream.shown = values[known:]
    if not known:
        return values[:0]
    return lookahead.inside(torch.cat([values, behind]).unsqueeze(1))[:, 0]
