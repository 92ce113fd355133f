"""SpecAugment: how many masks, how wide, where; adaptive to the length of the utterance."""

import pytest
import torch
from torch import Tensor

from asr.features.specaugment import SpecAugmentConfig, specaugment_mask

COUNT = 3000


def masks(config: SpecAugmentConfig, length: int, num_features: int = 80, padding: int = 0) -> Tensor:
    lengths = torch.full((COUNT,), length)
    shape = (length + padding, num_features)
    return specaugment_mask(config, torch.arange(COUNT) * 7919, lengths, shape, frames_per_second=100)


def runs(row: Tensor) -> int:
    """Return the number of separate masked runs of a (T,) mask, True = keep."""
    masked = torch.cat([torch.zeros(1, dtype=torch.bool), ~row])
    return int((masked[1:] & ~masked[:-1]).sum())


def test_off_by_default() -> None:
    assert masks(SpecAugmentConfig(), 100).all()


def test_widths_and_places_of_one_time_mask_are_even() -> None:
    config = SpecAugmentConfig(time_masks_per_second=1.0, time_masks=1, time_width_ms=200.0, time_share=1.0)
    keep = masks(config, 100)[:, :, 0]
    widths = (~keep).sum(1)
    assert int(widths.max()) == 20
    counts = torch.bincount(widths, minlength=21).float()
    expected = COUNT / 21
    assert ((counts - expected) ** 2 / expected).sum() < 46, "20 degrees of freedom: exceeded once in 1,000 draws"
    assert all(runs(row) <= 1 for row in keep)
    centre = (~keep).float().mean(0)[20:80]
    assert centre.min() > 0.07
    assert centre.max() < 0.17
    assert (~keep).float().mean(0)[[0, 99]].min() > 0, "the ends are reached"


def test_one_frequency_mask_covers_all_frames_and_is_at_most_its_width() -> None:
    keep = masks(SpecAugmentConfig(frequency_masks=1, frequency_width=20), 30)
    assert torch.equal(keep, keep[:, :1].expand_as(keep))
    widths = (~keep[:, 0]).sum(1)
    assert int(widths.max()) == 20
    assert widths.float().mean() == pytest.approx(10, abs=0.5)


def test_the_number_of_time_masks_follows_the_length_up_to_its_limit() -> None:
    config = SpecAugmentConfig(time_masks_per_second=2.0, time_masks=5, time_width_ms=20.0, time_share=1.0)
    for seconds, most in ((0.4, 0), (0.5, 1), (1.0, 2), (2.2, 4), (30.0, 5)):
        keep = masks(config, round(seconds * 100), 1)[:, :, 0]
        assert max(runs(row) for row in keep[:500]) == most


def test_the_width_is_limited_by_a_share_of_the_utterance() -> None:
    config = SpecAugmentConfig(time_masks_per_second=20.0, time_masks=1, time_width_ms=1000.0, time_share=0.05)
    for length, most in ((20, 1), (100, 5), (400, 20)):
        assert int((~masks(config, length, 1)[:, :, 0]).sum(1).max()) == most


def test_time_masks_lie_within_the_utterance() -> None:
    config = SpecAugmentConfig(time_masks_per_second=10.0, time_width_ms=500.0, time_share=1.0)
    assert masks(config, 60, padding=40)[:, 60:].all()


def test_masks_wider_than_the_features_stay_inside() -> None:
    keep = masks(SpecAugmentConfig(frequency_masks=1, frequency_width=500), 5, num_features=8)
    assert int((~keep[:, 0]).sum(1).max()) == 8


def test_another_seed_another_mask_and_the_same_seed_the_same() -> None:
    config = SpecAugmentConfig(frequency_masks=2, time_masks_per_second=2.0)
    first, second = masks(config, 200), masks(config, 200)
    assert torch.equal(first, second)
    assert len({tuple(row.flatten().tolist()) for row in first[:50, ::20, ::4]}) > 45
