"""Features, encoder and tokenizer as one thing, kept in one file and loaded without any other."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from asr.config import Config, parse
from asr.errors import DataError, UsageError
from asr.features.frontend import FeatureConfig, Frontend
from asr.features.normalization import Moments
from asr.nn.chunks import WHOLE, Context
from asr.nn.encoder import Encoder, EncoderConfig
from asr.store import Storage, compress, load, load_stored, refuse_other_kinds, save
from asr.text.tokenizer import Tokenizer
from asr.units import FrameGeometry

TOKENIZER_TENSOR = "tokenizer.model"
STATE_PREFIX = "state/"


class ModelConfig(Config):
    """Everything that decides what the model computes."""

    features: FeatureConfig = Field(FeatureConfig(), description="waveform to features")
    encoder: EncoderConfig = Field(EncoderConfig(), description="features to log-probs")

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        for key in ("chunk_ms", "right_context_ms", "lookahead_ms"):
            value = getattr(self.encoder, key)
            if 0 < value < self.frame_ms:
                raise ValueError(
                    f"encoder.{key}={value:g} is shorter than one encoder frame of {self.frame_ms:g} ms;"
                    f" give at least that, or 0 ({'all' if key == 'chunk_ms' else 'none'})"
                )
        return self

    @property
    def frame_ms(self) -> float:
        """From one encoder frame to the next, in milliseconds."""
        return self.features.hop_ms * self.encoder.factor

    @property
    def streams(self) -> bool:
        """Whether the model says the same of a recording that it hears piece by piece."""
        return self.encoder.streams and self.features.normalization != "utterance"

    @property
    def context(self) -> Context:
        """What the backward direction sees."""
        return self.context_of(self.encoder.chunk_ms, self.encoder.right_context_ms)

    def context_of(self, chunk_ms: float, right_context_ms: float) -> Context:
        """Return a chunk and its right context in encoder frames; a chunk of 0 is all that there is."""
        return Context(self._frames(chunk_ms), self._frames(right_context_ms)) if chunk_ms else WHOLE

    def seeing(self, chunk_ms: float, right_context_ms: float) -> "ModelConfig":
        """Return the same with another chunk and right context.  Raises: UsageError for what is none."""
        values = self.model_dump(mode="json")
        values["encoder"] |= {"chunk_ms": chunk_ms, "right_context_ms": right_context_ms}
        return parse(ModelConfig, values, where="the model's context")

    @property
    def lookahead(self) -> int:
        """Encoder frames of the future that a model of one direction sees."""
        return self._frames(self.encoder.lookahead_ms)

    def _frames(self, milliseconds: float) -> int:
        return int(milliseconds / self.frame_ms + 0.5)

    def geometry(self) -> FrameGeometry:
        """Return how samples become encoder frames."""
        return self.features.geometry(self.encoder.strided)


@dataclass(frozen=True)
class ModelNotes:
    """What a model file carries beside what it computes.

    Attributes:
        storage: how matrices are kept in the file.
        domain: thresholds below which a transcript looks unlike the training data, or None.
        training: configuration and receipt of the training as text; never needed.
        calibration: from the confidence of words to their probability of being right, or None (docs/formats.md).
    """

    storage: Storage = "float32"
    domain: dict[str, float] | None = None
    training: dict[str, Any] | None = None
    calibration: dict[str, Any] | None = None


class AcousticModel(nn.Module):
    """Waveforms → token log-probabilities, with the tokenizer that reads them."""

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer, notes: ModelNotes | None = None) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        self.notes = notes or ModelNotes()
        self.geometry = config.geometry()
        self._in_chunks = config.encoder.chunk_ms > 0  # whether it was trained so; `see` changes the configuration
        with torch.device("cpu"):  # its constants are computed even where the weights are only shapes yet
            self.frontend = Frontend(config.features)
        self.encoder = Encoder(
            config.encoder,
            config.features.num_features,
            tokenizer.size,
            context=config.context,
            lookahead=config.lookahead,
        )

    @property
    def sample_rate(self) -> int:
        """Of the waveforms it takes, in Hz."""
        return self.config.features.sample_rate

    def see(self, chunk_ms: float, right_context_ms: float | None = None) -> None:
        """Let the backward direction see another chunk and right context than it was saved with; a chunk of 0 is all.

        Args: right_context_ms: None: as it was, behind a chunk.
        Raises: UsageError for a model that was not trained in chunks, or a context that is none.
        """
        if chunk_ms and not self.config.encoder.bidirectional:
            raise UsageError(
                f"encoder.chunk_ms={chunk_ms:g}: this model reads in one direction, without chunks; leave it out"
            )
        if right_context_ms is None:
            right_context_ms = self.config.encoder.right_context_ms if chunk_ms else 0
        if chunk_ms and not self._in_chunks:
            raise UsageError(
                f"encoder.chunk_ms={chunk_ms:g}: this model was trained on whole recordings and mishears chunks;"
                " take one that was trained in chunks, such as an4-live"
            )
        self.config = self.config.seeing(chunk_ms, right_context_ms)
        self.encoder.config, self.encoder.context = self.config.encoder, self.config.context

    def forward(self, waveform: Tensor, lengths: Tensor, moments: Moments | None = None) -> tuple[Tensor, Tensor]:
        """Return (log_probs (B, E, V), encoder frame lengths (B,)).

        Args:
            waveform: (B, S) float32 in [-1, 1] at `sample_rate`.
            lengths: (B,) int64 samples.
            moments: of the recording that all rows are windows of (`Frontend.moments`); None: each row's own.
        """
        features, frame_lengths = self.frontend(waveform, lengths, moments=moments)
        output = self.encoder(features, frame_lengths)
        return output.log_probs, output.lengths

    def save(self, path: str | Path, *, notes: ModelNotes | None = None) -> None:
        """Write the model file, its matrices stored as `notes.storage` says.  Raises: MachineError."""
        tensors, header = self.packed(notes or self.notes)
        save(path, tensors, header)

    def packed(self, notes: ModelNotes) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the (tensors, header) of the model file."""
        description, model_bytes = self.tokenizer.state()
        tensors = compress(self.state_dict(), notes.storage)
        if model_bytes:
            tensors[TOKENIZER_TENSOR] = torch.frombuffer(bytearray(model_bytes), dtype=torch.uint8)
        header = {
            "kind": "model",
            "model": self.config.model_dump(mode="json"),
            "sample_rate": self.sample_rate,
            "tokenizer": description,
            "storage": notes.storage,
            "domain": notes.domain,
            "training": notes.training,
        }
        if notes.calibration is not None:
            header["calibration"] = notes.calibration
        return tensors, header

    @staticmethod
    def load(path: str | Path) -> "AcousticModel":
        """Return the model of a model file or checkpoint, in evaluation mode, on the CPU.

        Raises: DataError if the file is missing, truncated, newer than this version, or not a model.
        """
        tensors, header = load(path)
        return AcousticModel.unpacked(tensors, header, where=str(path))

    @staticmethod
    def unpacked(tensors: dict[str, Tensor], header: dict[str, Any], *, where: str) -> "AcousticModel":
        """Return the model of `packed` tensors and header.  Raises: DataError naming `where`."""
        refuse_other_kinds(header, where)
        config = _parse_stored(header["model"], where)
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(STATE_PREFIX)}
        model_bytes = tokenizer_bytes(tensors.pop(TOKENIZER_TENSOR, None), where)
        tokenizer = Tokenizer.from_state(header.get("tokenizer", {}), model_bytes, where=where)
        notes = _notes(header, where)
        with torch.device("meta"):  # no time is lost on random weights
            model = AcousticModel(config, tokenizer, notes)
        check_tensors(model, tensors, where)
        model.load_state_dict(tensors, strict=True, assign=True)
        return model.eval()

    def with_notes(self, **changes: Any) -> ModelNotes:
        """Return this model's notes with some replaced."""
        return replace(self.notes, **changes)


def save_calibrated(model: Path, out: Path, calibration: dict[str, Any]) -> None:
    """Write a copy of a model file with another calibration; its weights stay as they are stored, bit by bit.

    The state of a training is left out.  Raises: DataError if `model` cannot be read; MachineError.
    """
    tensors, header = load_stored(model)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(STATE_PREFIX)}
    save(out, kept, {key: value for key, value in header.items() if key != "state"} | {"calibration": calibration})


def _parse_stored(values: dict[str, Any], where: str) -> ModelConfig:
    try:
        return parse(ModelConfig, values, where=where)
    except ValueError as error:
        raise DataError(f"{error}; the model was made by another version: upgrade the toolkit") from None


def _notes(header: dict[str, Any], where: str) -> ModelNotes:
    kept = (header.get(key) for key in ("domain", "training", "calibration"))
    notes = ModelNotes(header.get("storage", "float32"), *kept)
    sound = {
        "storage": notes.storage in get_args(Storage),
        "domain": notes.domain is None or _are_thresholds(notes.domain),
        "training": notes.training is None or isinstance(notes.training, dict),
        "calibration": notes.calibration is None or isinstance(notes.calibration, dict),
    }
    for key, fits in sound.items():
        if not fits:
            raise DataError(f"{where}: '{key}' is {str(header[key])[:80]!r} in its header: get the file again")
    return notes


def _are_thresholds(values: object) -> bool:
    return isinstance(values, dict) and all(type(value) in (int, float) for value in values.values())


def tokenizer_bytes(tensor: Tensor | None, where: str) -> bytes:
    """Return the tokenizer's model as a file holds it, b"" for none.  Raises: DataError naming `where`."""
    if tensor is None:
        return b""
    if tensor.dtype != torch.uint8:
        raise DataError(f"{where}: tensor '{TOKENIZER_TENSOR}' is {tensor.dtype}, not bytes: get the file again")
    return tensor.numpy().tobytes()


def check_tensors(model: nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    """Raise DataError naming `where` unless the tensors have the names, shapes and types of the model's weights."""
    expected = model.state_dict()
    for name in sorted(expected.keys() ^ tensors.keys()):
        state = "missing" if name in expected else "unknown"
        raise DataError(f"{where}: {state} tensor '{name}'; the file does not fit its own description: get it again")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise DataError(
                f"{where}: tensor '{name}' is {tuple(tensor.shape)} where {tuple(expected[name].shape)} is needed;"
                " the file does not fit its own description: get it again"
            )
        if tensor.dtype != expected[name].dtype:
            raise DataError(
                f"{where}: tensor '{name}' is {tensor.dtype} where {expected[name].dtype} is needed;"
                " the file does not fit its own description: get it again"
            )
