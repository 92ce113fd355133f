"""Mel energies → a waveform that has them: for listening to what augmentation leaves of an utterance.

Mel energies know neither phases nor what lies between their bands, so the waveform sounds hoarse; what is
silent in the energies is silent in it.
"""

import math

import torch
from torch import Tensor, nn

from asr.features.filterbank import ENERGY_FLOOR, INT16_SCALE
from asr.features.frontend import Frontend
from asr.features.random import uniform
from asr.masking import time_mask

_PHASE_STREAM = 31
_POWER_UPDATES = 20
_MORE_THAN_ROUNDING = 1.001  # of log and exp
_LEAST_WEIGHT = 1e-2  # of the windows over a sample; where they all but vanish, division would blow up rounding
_MOST_DEEMPHASIS = 0.995  # a filter with a pole at 1 would add errors up for ever


def mel_energies(frontend: Frontend, features: Tensor) -> Tensor:
    """Return mel energies (B, T, bins) of features before normalisation that SpecAugment has masked.

    Frames and dimensions that are 0 throughout count as masked: a masked frame or mel band becomes silence.
    Mel energies at the filter bank's floor are none: nothing was heard there.  Of cepstra a masked one stays 0, so it
    gives the envelope no shape; dropped ones are taken as 0 too.

    Args: features (B, T, F), the `Frontend.unnormalized` ones times their mask; F as the frontend's.
    """
    if frontend.config.kind == "logmel":
        energies: Tensor = features.exp()
        heard = energies > frontend.filterbank.floor * _MORE_THAN_ROUNDING
        return energies * (heard & ~_masked(features))
    envelope: Tensor = features @ torch.linalg.pinv(frontend.cepstra)
    return envelope.exp() * features.any(2, keepdim=True)


def masked_parts(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return masked (frames (B, T), dimensions (B, F)), bool, True = masked: 0 in every place.

    Args: features (B, T, F), masked; frames beyond a row's length, being 0, count as masked.
    """
    return ~features.any(2), ~features.any(1)


def griffin_lim(
    frontend: Frontend,
    energies: Tensor,
    lengths: Tensor,
    seeds: Tensor,
    *,
    iterations: int = 100,
    momentum: float = 0.99,
) -> Tensor:
    """Return waveforms (B, S) float32 whose mel energies, as `frontend` measures them, are close to those given.

    Samples beyond a row's length are 0.  May exceed [-1, 1] where the energies ask for it.

    Args:
        energies: (B, T, bins) float32 mel energies, not negative.
        lengths: (B,) int64 samples of each waveform; frames beyond those of its length are never read.
        seeds: (B,) int64, from which the phases to start with are drawn.
        iterations: projections on the given magnitudes; momentum: how far each step overshoots, 0 = not.
    Source: Griffin & Lim 1984, "Signal estimation from modified short-time Fourier transform", section III;
        the momentum is that of Perraudin, Balazs, Søndergaard 2013, "A fast Griffin-Lim algorithm", algorithm 2.
    """
    frames = _Frames(frontend, energies.shape[1], lengths)
    bank = frontend.filterbank
    power = power_spectra(energies * frames.valid, bank.mel_matrix)
    magnitude = power.sqrt() / INT16_SCALE
    turns = uniform(seeds, _PHASE_STREAM, magnitude[0].numel()).view_as(magnitude)
    spectra = torch.polar(magnitude, 2 * math.pi * turns)
    before = torch.zeros_like(spectra)
    for _ in range(iterations):
        consistent = frames.analyse(frames.synthesise(spectra))
        ahead = consistent + momentum * (consistent - before)
        spectra = magnitude * torch.sgn(ahead)
        before = consistent
    return frames.inside(_deemphasised(frames.synthesise(spectra), bank.preemphasis))


def power_spectra(energies: Tensor, mel_matrix: Tensor) -> Tensor:
    """Return non-negative power spectra (B, T, K) that come close to the mel energies (B, T, F).

    The pseudo-inverse with negative powers raised to 0, then multiplicative updates, which keep 0 at 0 and what
    is positive positive, towards the least Kullback-Leibler divergence of the energies.

    Args: mel_matrix (K, F), not negative.
    Source: Lee & Seung 2001, "Algorithms for non-negative matrix factorization", equation 5, one factor fixed.
    """
    power: Tensor = (energies @ torch.linalg.pinv(mel_matrix)).clamp_min(0)
    heard = mel_matrix.sum(1).clamp_min(ENERGY_FLOOR)
    power = power + 1e-3 * (energies @ mel_matrix.T) / heard  # 0 would stay 0
    for _ in range(_POWER_UPDATES):
        ratio = energies / (power @ mel_matrix).clamp_min(ENERGY_FLOOR)
        power = power * (ratio @ mel_matrix.T) / heard
    return power


class _Frames:
    """Spectra of frames ↔ pre-emphasised waveforms with their silent edges, for rows of given lengths.

    The filter bank pre-emphasises frame by frame; as its window is 0 at a frame's first sample, that equals
    one filter over the waveform, but for the mean that it takes off each frame.
    """

    def __init__(self, frontend: Frontend, num_frames: int, lengths: Tensor) -> None:
        bank, geometry = frontend.filterbank, frontend.geometry
        self._window, self._hop, self._fft_size = bank.povey_window, geometry.hop, bank.fft_size
        counts = [geometry.num_frames(int(length)) for length in lengths]
        assert max(counts) <= num_frames, f"{max(counts)} frames are needed for the lengths, got {num_frames}"
        self.valid = time_mask(torch.tensor(counts, device=lengths.device), num_frames).unsqueeze(2)
        last = geometry.edge + int(lengths.max())
        self._size = max(last, (num_frames - 1) * geometry.hop + geometry.window)
        self._inside = slice(geometry.edge, last)
        self._spoken = nn.functional.pad(time_mask(lengths, last - geometry.edge), (geometry.edge, self._size - last))
        weight = self._added(self._window.square() * self.valid)
        self._scale = self._spoken / weight.clamp_min(_LEAST_WEIGHT)

    def analyse(self, waveform: Tensor) -> Tensor:
        """Return spectra (B, T, K) of what `synthesise` returns."""
        frames = waveform.unfold(1, len(self._window), self._hop)
        spectra: Tensor = torch.fft.rfft(frames * self._window, n=self._fft_size)
        return spectra

    def synthesise(self, spectra: Tensor) -> Tensor:
        """Return the waveforms whose spectra come closest, silence outside the utterances."""
        frames = torch.fft.irfft(spectra, n=self._fft_size)[..., : len(self._window)]
        return self._added(frames * self._window) * self._scale

    def inside(self, waveform: Tensor) -> Tensor:
        """Return (B, S), the waveforms without their edges."""
        return (waveform * self._spoken)[:, self._inside]

    def _added(self, frames: Tensor) -> Tensor:
        """Return frames (B, T, window) added where they overlap, (B, all samples)."""
        window = frames.shape[2]
        added = nn.functional.fold(frames.transpose(1, 2), (1, self._size), (1, window), stride=(1, self._hop))
        return added.flatten(1)


def _deemphasised(waveform: Tensor, coefficient: float) -> Tensor:
    """Return x (B, S) with x[n] - coefficient * x[n - 1] = waveform[n], by division of spectra."""
    pole = min(coefficient, _MOST_DEEMPHASIS)
    if pole == 0:
        return waveform
    size = waveform.shape[1] + math.ceil(math.log(1e-6) / math.log(pole))  # the filter's tail must not wrap round
    angle = 2 * math.pi * torch.arange(size // 2 + 1, device=waveform.device, dtype=torch.float64) / size
    response = (1 - pole * torch.polar(torch.ones_like(angle), -angle)).to(torch.complex64)
    output: Tensor = torch.fft.irfft(torch.fft.rfft(waveform, n=size) / response, n=size)[:, : waveform.shape[1]]
    return output


def _masked(features: Tensor) -> Tensor:
    frames, dimensions = masked_parts(features)
    return frames.unsqueeze(2) | dimensions.unsqueeze(1)
