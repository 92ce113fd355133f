"""Waveforms → normalised features: the part of the model before the network."""

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from asr.config import Config
from asr.features.filterbank import INT16_SCALE, MelFilterBank, cepstral_matrix
from asr.features.mixing import MixingConfig, Partners, draw_snr_db, mix
from asr.features.normalization import Moments, Normalization, Normalizer
from asr.features.random import normal
from asr.masking import time_mask
from asr.units import FrameGeometry

_DITHER_STREAM = 1


class FeatureConfig(Config):
    """What the network sees of the waveform."""

    sample_rate: int = Field(16000, ge=4000, le=96000, description="Hz; every recording is resampled to it")
    kind: Literal["logmel", "mfcc"] = Field("logmel", description="log mel energies, or cepstra of them")
    num_bins: int = Field(80, ge=4, le=256, description="mel bands")
    num_cepstra: int = Field(13, ge=1, description="cepstra kept (mfcc)")
    lifter: float = Field(22.0, ge=0, description="Kaldi's cepstral lifter (mfcc); 0 = none")
    window_ms: float = Field(25.0, gt=0, le=200, description="length of a frame, milliseconds")
    hop_ms: float = Field(10.0, gt=0, le=100, description="from one frame to the next, milliseconds")
    edge_ms: float = Field(100.0, ge=0, le=1000, description="silence padded at both ends, so short words fit CTC")
    low_hz: float = Field(20.0, ge=0, description="lower edge of the lowest band")
    high_hz: float = Field(0.0, description="upper edge of the highest band; 0 or less: below the Nyquist frequency")
    preemphasis: float = Field(0.97, ge=0, le=1, description="coefficient of the pre-emphasis")
    dither: float = Field(0.0, ge=0, description="noise added in training only, in steps of 16-bit samples")
    normalization: Normalization = Field("utterance", description="none, utterance, global or running")

    @model_validator(mode="after")
    def _check(self) -> "FeatureConfig":
        top = self.high_hz if self.high_hz > 0 else self.sample_rate / 2 + self.high_hz
        if not self.low_hz < top <= self.sample_rate / 2:
            raise ValueError(f"high_hz must lie between low_hz and {self.sample_rate / 2:g} Hz, got {top:g}")
        if self.kind == "mfcc" and self.num_cepstra > self.num_bins:
            raise ValueError(f"num_cepstra must be at most num_bins ({self.num_bins}), got {self.num_cepstra}")
        if self.samples(self.hop_ms) < 1 or self.samples(self.window_ms) < 2:
            raise ValueError(
                f"hop_ms must hold at least 1 sample and window_ms 2 at {self.sample_rate} Hz,"
                f" got {self.hop_ms:g} and {self.window_ms:g}"
            )
        if self.window_ms < self.hop_ms:
            raise ValueError(f"window_ms must be at least hop_ms ({self.hop_ms:g}), got {self.window_ms:g}")
        return self

    @property
    def num_features(self) -> int:
        """F, the width of a feature frame."""
        return self.num_bins if self.kind == "logmel" else self.num_cepstra

    def samples(self, milliseconds: float) -> int:
        """Return milliseconds as samples, rounded down as Kaldi does."""
        return int(self.sample_rate * milliseconds / 1000)

    def geometry(self, strided: tuple[tuple[int, int], ...] = ()) -> FrameGeometry:
        """Return how samples become frames, and with `strided` convolutions encoder frames."""
        return FrameGeometry(
            sample_rate=self.sample_rate,
            # one window fits whatever the length, so that a single sample gives a frame
            edge=max(self.samples(self.edge_ms), self.samples(self.window_ms) // 2),
            window=self.samples(self.window_ms),
            hop=self.samples(self.hop_ms),
            strided=strided,
        )


class Frontend(nn.Module):
    """Kaldi-compatible log mel energies or MFCC of a batch of waveforms, padded with silence and normalised."""

    cepstra: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry = config.geometry()
        self.filterbank = MelFilterBank(
            sample_rate=config.sample_rate,
            window=self.geometry.window,
            hop=self.geometry.hop,
            num_bins=config.num_bins,
            low_hz=config.low_hz,
            high_hz=config.high_hz,
            preemphasis=config.preemphasis,
        )
        cepstra = cepstral_matrix(config.num_bins, min(config.num_cepstra, config.num_bins), config.lifter)
        self.register_buffer("cepstra", cepstra, persistent=False)
        self.normalizer = Normalizer(config.normalization, config.num_features)

    def forward(
        self,
        waveform: Tensor,
        lengths: Tensor,
        *,
        seeds: Tensor | None = None,
        partners: Partners | None = None,
        mixing: MixingConfig | None = None,
        moments: Moments | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return (features (B, T, F), frame_lengths (B,)); frames of the edges and beyond a row's length are 0.

        Args:
            waveform: (B, S) float32 in [-1, 1]; samples beyond a row's length are never read.
            lengths: (B,) int64 samples.
            seeds: (B,) int64; given in training only, they turn dither on.
            partners, mixing: spectra to mix in (training only; needs seeds).
            moments: of the recording that all rows are pieces of; see `Normalizer`.
        """
        features, frame_lengths = self.unnormalized(waveform, lengths, seeds=seeds, partners=partners, mixing=mixing)
        heard = self.heard(lengths, features.shape[1])
        normalised = self.normalizer(features, heard, moments)
        return torch.where(heard.unsqueeze(2), normalised, 0), frame_lengths

    def moments(self, waveform: Tensor, lengths: Tensor) -> Moments:
        """Return the moments of all frames heard in a batch; arguments as `forward`."""
        features, _ = self.unnormalized(waveform, lengths)
        return Moments.of(features[self.heard(lengths, features.shape[1])])

    def pieces(self, waveform: Tensor, counts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features (B, T, F) of pieces of recordings without edges, and the normaliser's state after them.

        Args:
            waveform: (B, S), each row from the start of its first frame.
            counts: (B,) int64 frames of each row.
            state: of the normaliser before them, see `Normalizer.stream`.
        """
        features = self.filterbank.log(self.filterbank(waveform))
        features = features @ self.cepstra if self.config.kind == "mfcc" else features
        return self.normalizer.stream(features, time_mask(counts, features.shape[1]), state)

    def unnormalized(
        self,
        waveform: Tensor,
        lengths: Tensor,
        *,
        seeds: Tensor | None = None,
        partners: Partners | None = None,
        mixing: MixingConfig | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return features before normalisation; arguments as `forward`."""
        energies, frame_lengths = self._energies(waveform, lengths, seeds)
        if partners is not None and len(partners.rows) and mixing is not None and seeds is not None:
            noise, noise_lengths = self._energies(partners.waveform, partners.lengths, None)
            mask = time_mask(frame_lengths[partners.rows], energies.shape[1])
            snr_db = draw_snr_db(mixing, seeds[partners.rows])
            mixed = mix(energies[partners.rows], mask, noise, noise_lengths, snr_db)
            energies = energies.index_copy(0, partners.rows, mixed)
        features = self.filterbank.log(energies)
        return (features @ self.cepstra if self.config.kind == "mfcc" else features), frame_lengths

    def heard(self, lengths: Tensor, num_frames: int) -> Tensor:
        """Return (B, num_frames) bool, True where a frame's window holds recorded samples only: not in the edges.

        Args: lengths (B,) int64 samples.
        Such frames alone are normalised and shown to the network, which sees 0 elsewhere.
        The silence of the edges is digital: log energies of -16 among 5 to 20.  Counted in the statistics it would
        halve the scale of what was recorded, and the more so the shorter the recording.
        """
        start = torch.arange(num_frames, device=lengths.device) * self.geometry.hop - self.geometry.edge
        return (start >= 0) & (start + self.geometry.window <= lengths.unsqueeze(1))

    def _energies(self, waveform: Tensor, lengths: Tensor, seeds: Tensor | None) -> tuple[Tensor, Tensor]:
        edge = self.geometry.edge
        valid = time_mask(lengths, waveform.shape[1])
        waveform = torch.where(valid, waveform, 0)  # a product would let a NaN beyond the end through
        if seeds is not None and self.config.dither > 0:
            noise = normal(seeds, _DITHER_STREAM, waveform.shape[1])
            waveform = waveform + noise * valid * (self.config.dither / INT16_SCALE)
        padded = nn.functional.pad(waveform, (edge, edge))
        frame_lengths = (lengths + 2 * edge - self.geometry.window) // self.geometry.hop + 1
        return self.filterbank(padded), torch.where(lengths > 0, frame_lengths, 0)
