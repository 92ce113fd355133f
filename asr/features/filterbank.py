"""Kaldi-compatible mel filter bank energies and cepstra of a batch of waveforms."""

import math

import torch
from torch import Tensor, nn

# Kaldi measures waveforms in steps of 16-bit samples, and floors energies at float32's epsilon of that scale.
INT16_SCALE = 32768.0
# On CPU so few rows are worked through at a time that what is between the steps stays in the cache: half the time.
CACHED_SAMPLES = 160_000
ENERGY_FLOOR = torch.finfo(torch.float32).eps


class MelFilterBank(nn.Module):
    """Frames of a waveform → energies in triangular mel bands.

    DC removal, pre-emphasis, Povey window, power spectrum, mel bands, as Kaldi's compute-fbank-feats does
    before the logarithm (Povey et al. 2011).  Frames lie wholly inside the waveform that is given
    (Kaldi's snip_edges = true); the frontend pads silence before, so that no speech is snipped.

    Attributes: floor (F,), the energies that the rounding to 16 bits leaves in each band; see `log`.
    """

    povey_window: Tensor
    mel_matrix: Tensor
    floor: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        window: int,
        hop: int,
        num_bins: int,
        low_hz: float,
        high_hz: float,
        preemphasis: float,
    ) -> None:
        super().__init__()
        self.window, self.hop, self.preemphasis = window, hop, preemphasis
        self.fft_size = 1 << (window - 1).bit_length()
        hann = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(window, dtype=torch.float64) / (window - 1))
        self.register_buffer("povey_window", (hann**0.85).float(), persistent=False)
        matrix = mel_matrix(sample_rate, self.fft_size, num_bins, low_hz, high_hz)
        self.register_buffer("mel_matrix", matrix, persistent=False)
        power = rounding_power(hann**0.85, self.fft_size, preemphasis)
        self.register_buffer("floor", (power @ matrix.double()).float().clamp_min(ENERGY_FLOOR), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Return mel energies (B, T, F) of waveforms (B, S) in [-1, 1]."""
        rows = len(waveform)
        if waveform.device.type == "cpu":
            rows = max(1, CACHED_SAMPLES // max(1, waveform.shape[1]))
        if rows >= len(waveform):
            return self._energies(waveform)
        return torch.cat([self._energies(some) for some in waveform.split(rows)])

    def log(self, energies: Tensor) -> Tensor:
        """Return natural logs of energies (B, T, F), none below what the rounding to 16 bits leaves of silence.

        What lies lower is no sound: bands that a recording of a lower rate does not have hold the rounding errors of
        this machine's arithmetic, which normalisation would raise to the level of speech.
        """
        return torch.maximum(energies, self.floor).log()

    def _energies(self, waveform: Tensor) -> Tensor:
        frames = (waveform * INT16_SCALE).unfold(1, self.window, self.hop)
        frames = frames - frames.mean(-1, keepdim=True)
        first = frames[..., :1] * (1 - self.preemphasis)
        rest = torch.sub(frames[..., 1:], frames[..., :-1], alpha=self.preemphasis)
        frames = torch.cat([first, rest], dim=-1) * self.povey_window
        spectrum = torch.fft.rfft(frames, n=self.fft_size)
        power = spectrum.real.square() + spectrum.imag.square()  # abs() would take a slow, careful root
        energies: Tensor = power @ self.mel_matrix
        return energies


def rounding_power(window: Tensor, fft_size: int, preemphasis: float) -> Tensor:
    """Return the mean power (fft_size // 2 + 1,) of rounding to 16-bit samples after pre-emphasis and window (W,).

    Rounding errors are white, of variance 1/12 of a step squared (Bennett 1948, "Spectra of quantized signals").
    """
    turn = torch.arange(fft_size // 2 + 1, dtype=torch.float64) * (2 * math.pi / fft_size)
    emphasis = 1 + preemphasis**2 - 2 * preemphasis * turn.cos()
    return emphasis * window.square().sum() / 12


def mel_matrix(sample_rate: int, fft_size: int, num_bins: int, low_hz: float, high_hz: float) -> Tensor:
    """Return the (fft_size // 2 + 1, num_bins) weights of triangles equally spaced on the mel scale.

    The triangles are linear in mel, not in Hz, as in Kaldi; the Nyquist bin has weight 0.
    """
    top = high_hz if high_hz > 0 else sample_rate / 2 + high_hz
    low_mel, high_mel = _mel(torch.tensor(low_hz, dtype=torch.float64)), _mel(torch.tensor(top, dtype=torch.float64))
    step = (high_mel - low_mel) / (num_bins + 1)
    left = low_mel + torch.arange(num_bins, dtype=torch.float64) * step
    frequency = _mel(torch.arange(fft_size // 2, dtype=torch.float64) * sample_rate / fft_size)[:, None]
    rising, falling = (frequency - left) / step, (left + 2 * step - frequency) / step
    weights = torch.minimum(rising, falling).clamp_min(0)
    return torch.cat([weights, torch.zeros(1, num_bins, dtype=torch.float64)]).float()


def _mel(hz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hz / 700.0)


def cepstral_matrix(num_bins: int, num_cepstra: int, lifter: float) -> Tensor:
    """Return the (num_bins, num_cepstra) matrix that turns log energies into liftered cepstra.

    Orthonormal DCT-II, then Kaldi's lifter 1 + lifter / 2 * sin(pi * index / lifter); 0 = no lifter.
    """
    bins = torch.arange(num_bins, dtype=torch.float64)[:, None] + 0.5
    index = torch.arange(num_cepstra, dtype=torch.float64)
    matrix = torch.cos(math.pi / num_bins * bins * index) * math.sqrt(2.0 / num_bins)
    matrix[:, 0] = math.sqrt(1.0 / num_bins)
    if lifter > 0:
        matrix = matrix * (1 + lifter / 2 * torch.sin(math.pi * index / lifter))
    return matrix.float()
