"""What a model hears, does inside and says over one utterance, on one axis of seconds."""

from dataclasses import dataclass, replace

import torch

from asr.audio.resample import Waveform
from asr.decoding.greedy import GreedyReader
from asr.nn.gates import Direction, LayerGates, layer_gates
from asr.recognizer import Recognizer, Transcript
from asr.units import FrameGeometry, Seconds


@dataclass(frozen=True)
class Axis:
    """Frames on the axis of time: the first starts at `start`, and each lasts `hop`, in seconds.

    0 is the recording's first sample: the silence that the model pads lies before it.
    """

    start: Seconds
    hop: Seconds
    frames: int

    @property
    def end(self) -> Seconds:
        """Where the last frame ends."""
        return self.start + self.frames * self.hop

    @staticmethod
    def of(geometry: FrameGeometry, frames: int) -> "Axis":
        """Return the axis of the encoder frames of a geometry, of feature frames if it has no strided layers."""
        return Axis(geometry.encoder_frame_start(0), geometry.encoder_hop / geometry.sample_rate, frames)


@dataclass(frozen=True)
class Passage:
    """One utterance through a model.

    Attributes:
        features: (T, F) before normalisation, with their kind and axis.
        layer: gates, memory and log-probs, with their axis of encoder frames.
        symbols: of the tokens, by their ids.
        transcript: of the best path.
    """

    features: torch.Tensor
    kind: str
    feature_axis: Axis
    layer: LayerGates
    axis: Axis
    symbols: tuple[str, ...]
    transcript: Transcript


def listen(recognizer: Recognizer, waveform: Waveform, *, layer: int, direction: Direction) -> Passage:
    """Return what a model does over a waveform (S,) at its sample rate; layers are counted from 1.

    Raises: UsageError as `layer_gates`.
    """
    model = recognizer.model
    batch, lengths = torch.from_numpy(waveform)[None], torch.tensor([len(waveform)])
    with torch.inference_mode():
        shown, _ = model.frontend.unnormalized(batch, lengths)
        features, _ = model.frontend(batch, lengths)
    found = layer_gates(model.encoder, features, layer=layer, direction=direction)
    # what these very log-probs say: a model of chunks reads other ones
    (path,) = GreedyReader().hear(found.log_probs[None], torch.tensor([len(found.log_probs)]))
    return Passage(
        features=shown[0],
        kind=model.config.features.kind,
        feature_axis=Axis.of(replace(model.geometry, strided=()), shown.shape[1]),
        layer=found,
        axis=Axis.of(model.geometry, len(found.log_probs)),
        symbols=tuple(model.tokenizer.symbols),
        transcript=recognizer.with_reader(GreedyReader()).transcript_of(path, len(waveform) / model.sample_rate),
    )
