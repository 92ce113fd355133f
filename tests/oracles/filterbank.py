"""Kaldi's features as its source describes them, one frame and one band at a time, in float64."""

import math

import numpy as np


def mel(hz: float) -> float:
    return 1127.0 * math.log(1.0 + hz / 700.0)


def band_weights(sample_rate: int, fft_size: int, num_bins: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Return (num_bins, fft_size // 2 + 1): triangles over the mel scale."""
    step = (mel(high_hz) - mel(low_hz)) / (num_bins + 1)
    weights = np.zeros((num_bins, fft_size // 2 + 1))
    for band in range(num_bins):
        left, centre, right = (mel(low_hz) + (band + corner) * step for corner in (0, 1, 2))
        for index in range(fft_size // 2):
            place = mel(index * sample_rate / fft_size)
            if left < place <= centre:
                weights[band, index] = (place - left) / (centre - left)
            elif centre < place < right:
                weights[band, index] = (right - place) / (right - centre)
    return weights


def log_mel(
    waveform: np.ndarray,
    *,
    sample_rate: int,
    window: int,
    hop: int,
    num_bins: int,
    low_hz: float = 20.0,
    high_hz: float | None = None,
    preemphasis: float = 0.97,
) -> np.ndarray:
    """Return (T, num_bins) log energies of a waveform (S,) in [-1, 1]; frames lie wholly inside it."""
    fft_size = 1
    while fft_size < window:
        fft_size *= 2
    weights = band_weights(sample_rate, fft_size, num_bins, low_hz, high_hz or sample_rate / 2)
    taper = [(0.5 - 0.5 * math.cos(2 * math.pi * n / (window - 1))) ** 0.85 for n in range(window)]
    rows = []
    for start in range(0, len(waveform) - window + 1, hop):
        frame = waveform[start : start + window].astype(np.float64) * 32768
        frame -= frame.mean()
        before = np.concatenate([frame[:1], frame[:-1]])
        spectrum = np.fft.rfft((frame - preemphasis * before) * taper, fft_size)
        energies = weights @ np.abs(spectrum) ** 2
        rows.append(np.log(np.maximum(energies, float(np.finfo(np.float32).eps))))
    return np.array(rows)


def cepstra(log_energies: np.ndarray, num_cepstra: int, lifter: float) -> np.ndarray:
    """Return (T, num_cepstra): orthonormal DCT-II of each row, liftered."""
    num_bins = log_energies.shape[1]
    rows = np.zeros((len(log_energies), num_cepstra))
    for index in range(num_cepstra):
        norm = math.sqrt((1 if index == 0 else 2) / num_bins)
        lift = 1 + lifter / 2 * math.sin(math.pi * index / lifter) if lifter else 1.0
        wave = [math.cos(math.pi * index * (band + 0.5) / num_bins) for band in range(num_bins)]
        rows[:, index] = norm * lift * (log_energies @ wave)
    return rows
