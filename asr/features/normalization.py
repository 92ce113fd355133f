"""Normalisation of features over time: none, per utterance, global, or running (the one that can stream)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Normalization = Literal["none", "utterance", "global", "running"]

# A running estimate starts from the statistics of the training set, weighted as this many frames (1 s at 10 ms).
PRIOR_FRAMES = 100.0
# When it has so many, all of them count half from then on: what was heard half a minute ago says little of what comes.
MEMORY_FRAMES = 2000.0
_AT_ONCE = 1 << 15  # frames; weights double with every halving in them
_VARIANCE_FLOOR = 1e-5


@dataclass(frozen=True)
class Moments:
    """Sums over frames, from which mean and variance follow; those of parts add up.

    Attributes:
        count: frames.
        total, squares: (F,) float64, the sums of the features and of their squares.
    """

    count: int
    total: Tensor
    squares: Tensor

    @staticmethod
    def of(features: Tensor) -> "Moments":
        """Return the moments of frames (N, F)."""
        wide = features.double()
        return Moments(len(wide), wide.sum(0), wide.square().sum(0))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> Tensor:
        """Return the mean (F,) float64; 0 of no frames."""
        return self.total / max(1, self.count)

    @property
    def variance(self) -> Tensor:
        """Return the variance (F,) float64; 0 of no frames."""
        return self.squares / max(1, self.count) - self.mean.square()


class Normalizer(nn.Module):
    """Shift and scale each feature dimension to mean 0 and variance 1.

    utterance: over the frames heard in the utterance; cannot stream.
    global: with the statistics of the training set, stored in the model.
    running: over the frames heard lately, starting from the training set's statistics; streams exactly.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, kind: Normalization, num_features: int) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("variance", torch.ones(num_features))

    @property
    def needs_statistics(self) -> bool:
        """Whether training must call `set_statistics` first."""
        return self.kind in ("global", "running")

    def set_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Store the training set's mean and variance, (F,) each."""
        self.mean.copy_(mean)
        self.variance.copy_(variance.clamp_min(_VARIANCE_FLOOR))

    def forward(self, features: Tensor, mask: Tensor, moments: Moments | None = None) -> Tensor:
        """Return normalised features.

        Args:
            features: (B, T, F).
            mask: (B, T), True = counts in the statistics.
            moments: of the recording that all rows are pieces of, in place of each row's own (utterance only).
        """
        if self.kind == "none":
            return features
        if self.kind == "global":
            return (features - self.mean) * torch.rsqrt(self.variance)
        if self.kind == "utterance" and moments is not None:
            scale = torch.rsqrt(moments.variance.clamp_min(_VARIANCE_FLOOR))
            return ((features - moments.mean) * scale).float()
        if self.kind == "utterance":
            return self._over_utterance(features, mask)
        return self._running(features, mask)[0]

    def prior(self) -> Tensor:
        """Return the state (1, 3, F) float64 before a recording: count, sum and sum of squares of what is known."""
        mean, variance = self.mean.double(), self.variance.double()
        return (torch.stack([torch.ones_like(mean), mean, variance + mean.square()]) * PRIOR_FRAMES).unsqueeze(0)

    def faded(self, state: Tensor, frames: float) -> Tensor:
        """Return a state of streams (B, 3, F) in which what was heard counts as so many frames at most."""
        if self.kind != "running":
            return state
        prior = self.prior()
        heard = (state[:, :1] - PRIOR_FRAMES).clamp_min(1)
        return prior + (state - prior) * (frames / heard).clamp_max(1)

    def stream(self, features: Tensor, mask: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised features of pieces of recordings, and what is to be handed over with the next pieces.

        Args: features, mask: as `forward`; state (B, 3, F) float64: of each row, `prior` at its start.
        """
        assert self.kind != "utterance", "the utterance is not known before its end"
        if self.kind == "running":
            return self._running(features, mask, state)
        return self.forward(features, mask), state

    def _over_utterance(self, features: Tensor, mask: Tensor) -> Tensor:
        valid = mask.unsqueeze(-1)
        count = mask.sum(1).clamp_min(1).view(-1, 1, 1)
        mean = (features * valid).sum(1, keepdim=True) / count
        centred = (features - mean) * valid
        variance = centred.square().sum(1, keepdim=True) / count
        return centred * torch.rsqrt(variance.clamp_min(_VARIANCE_FLOOR))

    def _running(self, features: Tensor, mask: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (normalised, state); state (B, 3, F) float64 holds count, sum and sum of squares so far."""
        if state is None:
            state = self.prior().expand(len(features), -1, -1)
        if features.shape[1] == 0:  # an empty piece of a stream
            return features, state
        parts = []
        for values, counted in zip(features.split(_AT_ONCE, 1), mask.split(_AT_ONCE, 1), strict=True):
            normalised, state = _run_on(values, counted.unsqueeze(2).double(), state)
            parts.append(normalised)
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0], state


def _run_on(features: Tensor, counted: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return as `Normalizer._running` for few enough frames; counted (B, T, 1) is 1 or 0.

    Halving what was heard is doubling what comes, for the mean; the state alone must be halved in the end.
    """
    wide = features.double()
    heard = state[:, :1, :1] + counted.cumsum(1)
    weight = counted * _halvings(heard - counted).exp2()
    count = state[:, :1] + weight.cumsum(1)
    total = state[:, 1:2] + (wide * weight).cumsum(1)
    squares = state[:, 2:] + (wide.square() * weight).cumsum(1)
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(_VARIANCE_FLOOR)
    normalised = ((wide - mean) * torch.rsqrt(variance)).float()
    last = torch.cat([count[:, -1:], total[:, -1:], squares[:, -1:]], dim=1)
    return normalised, last * (-_halvings(heard[:, -1:])).exp2()


def _halvings(heard: Tensor) -> Tensor:
    """Return how often the memory was halved by the time that so many frames were heard, each half refilled."""
    return ((heard - MEMORY_FRAMES) / (MEMORY_FRAMES / 2)).floor().clamp_min(-1) + 1
