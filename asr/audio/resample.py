"""One resampler for everything: windowed-sinc, polyphase, with a carried state.

Output sample n lies at the time of input sample `n * source_rate / target_rate` (no delay); outside the
waveform there is silence.  What comes out does not depend on how the input was cut into blocks.

Source: Smith, "Digital Audio Resampling" (the windowed sinc); Kaiser 1974 (the window and its length).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from numpy.typing import NDArray

from asr.errors import UsageError

Waveform = NDArray[np.float32]

# Flat up to 0.9 of the lower Nyquist frequency, nothing above it: a Kaiser window for 76 dB whose transition
# is 0.1 Nyquist wide needs (76 - 7.95) / (2.285 * 0.1 pi) = 95 samples of the lower rate.
_CUTOFF = 0.95  # middle of the transition, as a share of the lower Nyquist frequency
_HALF_WIDTH = 48  # samples of the lower rate on either side
_BETA = 0.1102 * (76 - 8.7)
_MAX_MATRIX = 4_000_000  # entries; beyond (rates without a small ratio) rows are taken one by one
_CHUNK = 1 << 17  # entries of the window matrix made at a time: half a megabyte stays in the cache


def num_output(num_samples: int, source_rate: int, target_rate: int) -> int:
    """Return the samples that `num_samples` become: ceil(num_samples * target_rate / source_rate).

    These are all output samples whose time lies before the end of the input.
    """
    return -(-num_samples * target_rate // source_rate)


def resample(waveform: Waveform, source_rate: int, target_rate: int) -> Waveform:
    """Return a waveform (S,) at another rate, (num_output(S),) float32.

    Rates may be any positive integers; only their ratio counts, so resample(x, 9, 10) plays x at 0.9 speed.
    """
    resampler = Resampler(source_rate, target_rate)
    return np.concatenate([resampler.accept(waveform), resampler.finish()])


class Resampler:
    """Resamples a stream: accept(block) any number of times, then finish().

    The blocks that come out, joined, are `resample` of the blocks that went in, joined (within 1e-6).
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        """Args: source_rate, target_rate: in Hz, or any integers in their ratio.  Raises: UsageError if not > 0."""
        if source_rate < 1 or target_rate < 1:
            raise UsageError(f"cannot resample {source_rate} Hz -> {target_rate} Hz; rates must be at least 1 Hz")
        divisor = math.gcd(source_rate, target_rate)
        self._plan = _plan(target_rate // divisor, source_rate // divisor)
        self._pending = np.zeros(self._plan.before, np.float32)  # the silence before the first sample
        self._accepted = 0
        self._returned = 0
        self._begun = 0  # outputs of the first group of what is pending that were returned

    def accept(self, block: Waveform) -> Waveform:
        """Return the output samples (any number, also 0) that can be known once `block` (S,) has come."""
        block = np.asarray(block, np.float32)
        assert block.ndim == 1, f"a waveform has one axis, found shape {block.shape}"
        self._accepted += len(block)
        output = block.copy() if self._plan.copies else self._advance(block)
        self._returned += len(output)
        return output

    def finish(self) -> Waveform:
        """Return the last output samples and start anew, as if no block had been accepted."""
        plan = self._plan
        remaining = num_output(self._accepted, plan.down, plan.up) - self._returned
        silence = np.zeros(plan.span, np.float32)  # one more group than the pending samples begin
        output = np.zeros(0, np.float32) if plan.copies else self._advance(silence)[:remaining]
        self._pending = np.zeros(plan.before, np.float32)
        self._accepted = self._returned = self._begun = 0
        return output

    def _advance(self, block: Waveform) -> Waveform:
        plan = self._plan
        pending = np.concatenate([self._pending, block])
        num_groups = max(0, (len(pending) - plan.span) // plan.step + 1)
        self._pending = pending[num_groups * plan.step :].copy()
        output = plan.apply(pending, num_groups)[self._begun :]
        if plan.matrix is not None:  # groups are short
            return output
        begun = 0 if num_groups else self._begun
        self._begun = plan.num_ready(len(self._pending))
        return np.concatenate([output, plan.apply_some(self._pending, begun, self._begun)])


@dataclass(frozen=True)
class _Plan:
    """The filter of one ratio, laid out for groups of outputs that each move on by a whole number of inputs.

    Attributes:
        up, down: target and source rate without common factors.
        before: input samples that the first output looks back.
        outputs, step, span: of a group: outputs made, inputs to the next group, inputs looked at.
        matrix: (span, outputs) float32, or None where it would be too large.
        filters: (outputs, taps) float32 and positions: (outputs,) of the first tap of each in the span.
    """

    up: int
    down: int
    before: int
    outputs: int
    step: int
    span: int
    filters: Waveform
    positions: NDArray[np.int64]
    matrix: Waveform | None

    @property
    def copies(self) -> bool:
        """Whether the rates are equal."""
        return self.up == self.down

    def apply(self, samples: Waveform, num_groups: int) -> Waveform:
        """Return the outputs of `num_groups` groups, the first of which starts at samples[0]."""
        output = np.empty((num_groups, self.outputs), np.float32)
        if self.matrix is None:
            for index in range(num_groups):
                output[index] = self.apply_some(samples[index * self.step :], 0, self.outputs)
        else:
            self._multiply(samples, self.matrix, output)
        return output.reshape(-1)

    def num_ready(self, num_samples: int) -> int:
        """Return how many outputs of a group, whose samples are so many yet, can be made."""
        return int(np.searchsorted(self.positions, num_samples - self.filters.shape[1], side="right"))

    def apply_some(self, samples: Waveform, first: int, last: int) -> Waveform:
        """Return the outputs [first, last) of a group that starts at samples[0]."""
        if first == last:
            return np.zeros(0, np.float32)
        windows = sliding_window_view(samples, self.filters.shape[1])
        output: Waveform = np.einsum("pt,pt->p", windows[self.positions[first:last]], self.filters[first:last])
        return output

    def _multiply(self, samples: Waveform, matrix: Waveform, output: Waveform) -> None:
        num_groups, stride = len(output), samples.strides[0]
        chunk = max(1, _CHUNK // self.span)
        for first in range(0, num_groups, chunk):
            count = min(chunk, num_groups - first)
            windows = as_strided(samples[first * self.step :], (count, self.span), (self.step * stride, stride))
            # Copied, as BLAS cannot read rows that overlap and numpy would fall back on its own slow loop.
            np.matmul(np.ascontiguousarray(windows), matrix, out=output[first : first + count])


@lru_cache(maxsize=32)
def _plan(up: int, down: int) -> _Plan:
    lower = min(1.0, up / down)
    half = math.ceil(_HALF_WIDTH / lower)
    # A group about as long as the filter: half of the matrix is zeros, but no window is copied often.
    repeat = max(1, round(2 * half / down))
    outputs, step = repeat * up, repeat * down
    span = step + 2 * half - 1
    positions = np.arange(outputs, dtype=np.int64) * down // up
    phases = (np.arange(outputs, dtype=np.int64) * down % up) / up
    rows = max(1, _MAX_MATRIX // (2 * half))  # at a time, as the tables on the way are larger than the filters
    filters = np.concatenate([_filters(phases[at : at + rows], half, lower) for at in range(0, outputs, rows)])
    matrix = None
    if outputs * span <= _MAX_MATRIX:
        matrix = np.zeros((span, outputs), np.float32)
        columns = np.arange(outputs)
        for tap in range(2 * half):
            matrix[positions + tap, columns] = filters[:, tap]
    return _Plan(up, down, half - 1, outputs, step, span, filters, positions, matrix)


def _filters(phases: NDArray[np.float64], half: int, lower: float) -> Waveform:
    """Return (P, 2 * half) taps for outputs that lie `phases` (P,) of an input sample after tap half - 1."""
    times = np.arange(1 - half, half + 1) - phases[:, None]
    window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1 - (times / half) ** 2)))
    taps = np.sinc(_CUTOFF * lower * times) * window
    taps /= taps.sum(1, keepdims=True)  # so that a constant stays itself at every phase
    return np.asarray(taps, np.float32)
