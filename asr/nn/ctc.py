"""Connectionist temporal classification in float32, with infeasible utterances told apart, never hidden."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BLANK_ID = 0


@dataclass(frozen=True)
class CtcLosses:
    """CTC losses of a batch.

    Attributes:
        losses: (B,) float32, natural log; 0 where the utterance is not feasible or not finite.
        feasible: (B,) bool, False where no alignment fits.
        finite: (B,) bool, False where the loss is infinite or NaN although an alignment fits.
    """

    losses: Tensor
    feasible: Tensor
    finite: Tensor


def ctc_losses(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> CtcLosses:
    """Return the negative log-likelihood of each utterance, summed over all alignments.

    Args:
        log_probs: (B, E, V), natural log, normalised over V; blank is 0.
        lengths: (B,) int64 valid encoder frames.
        targets: (B, U) int64 token ids, never blank; beyond target_lengths ignored.
        target_lengths: (B,) int64.
    Source: Graves et al. 2006.
    """
    feasible = lengths >= frames_needed(targets, target_lengths)
    with torch.autocast(log_probs.device.type, enabled=False):
        raw = nn.functional.ctc_loss(
            log_probs.float().transpose(0, 1),
            targets,
            lengths,
            target_lengths,
            blank=BLANK_ID,
            reduction="none",
            zero_infinity=True,  # gradients of what is left out below must be 0, not NaN
        )
    # zero_infinity turns an infinite loss to 0, which a perfect output costs too: only one of them holds a log 0
    holds_log_zero = log_probs.detach().amin((1, 2)).isneginf()
    finite = raw.isfinite() & ~((raw == 0) & holds_log_zero & (target_lengths > 0) & feasible)
    kept = feasible & finite
    return CtcLosses(torch.where(kept, raw, torch.zeros_like(raw)), feasible, finite)


def frames_needed(targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Return (B,) int64: labels plus adjacent repeats, the fewest frames that can spell the targets.

    Equal neighbours need a blank between them.
    """
    position = torch.arange(targets.shape[1], device=targets.device)[1:]  # also where no row has a target
    repeats = (targets[:, 1:] == targets[:, :-1]) & (position < target_lengths.unsqueeze(1))
    return target_lengths + repeats.sum(1)


def frames_to_spell(target: NDArray[np.int64]) -> int:
    """Return `frames_needed` of one target (U,), without tensors: for passes over a whole corpus."""
    return len(target) + int(np.count_nonzero(target[1:] == target[:-1]))


def consistency_losses(log_probs: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    """Return (B,): the symmetric Kullback-Leibler divergence of two views, summed over valid frames.

    Each view learns from the other with the other held fixed.

    Args: log_probs, other (B, E, V) of two augmented views of the same frames; mask (B, E), True = valid.
    Source: Yao et al. 2024, "CR-CTC: consistency regularization on CTC", section 3.
    """
    total = _divergence(log_probs, other.detach()) + _divergence(other, log_probs.detach())
    return 0.5 * (total * mask).sum(1)


def _divergence(learner: Tensor, teacher: Tensor) -> Tensor:
    return (teacher.exp() * (teacher - learner)).sum(-1)
