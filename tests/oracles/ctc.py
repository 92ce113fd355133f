"""Connectionist temporal classification by trying every path: the definition itself (Graves et al. 2006, eq. 3)."""

import itertools

import torch
from torch import Tensor


def collapse(path: tuple[int, ...], blank_id: int = 0) -> tuple[int, ...]:
    """Return the labels that a path spells: repeats merged, then blanks dropped."""
    return tuple(token for token, _ in itertools.groupby(path) if token != blank_id)


def ctc_by_enumeration(log_probs: Tensor, labels: tuple[int, ...]) -> Tensor:
    """Return -log of the summed probability of all V ** E paths of (E, V) that spell `labels`; inf for none."""
    num_frames, num_tokens = log_probs.shape
    scores = [
        torch.stack([log_probs[frame, token] for frame, token in enumerate(path)]).sum()
        for path in itertools.product(range(num_tokens), repeat=num_frames)
        if collapse(path) == labels
    ]
    return -torch.stack(scores).logsumexp(0) if scores else torch.tensor(torch.inf, dtype=log_probs.dtype)
