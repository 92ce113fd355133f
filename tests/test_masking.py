"""Masks: True = valid."""

import torch

from asr.masking import time_mask


def test_true_before_each_rows_length() -> None:
    mask = time_mask(torch.tensor([2, 0, 3, 9]), 3)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[True, True, False], [False] * 3, [True] * 3, [True] * 3]
