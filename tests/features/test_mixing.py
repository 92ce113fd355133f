"""Mixing spectra: the wanted ratio, over the utterance's own frames."""

import pytest
import torch

from asr.config import parse
from asr.errors import UsageError
from asr.features.mixing import MixingConfig, draw_snr_db, mix
from asr.masking import time_mask


def energies(rows: int, length: int, seed: int) -> torch.Tensor:
    return torch.rand(rows, length, 6, generator=torch.Generator().manual_seed(seed)) * 100


@pytest.mark.parametrize("partner_length", [1, 13, 50, 90])
def test_the_ratio_is_the_wanted_one(partner_length: int) -> None:
    clean, mask = energies(3, 50, 1), time_mask(torch.tensor([50, 20, 1]), 50)
    partner = energies(3, 90, 2)
    snr_db = torch.tensor([-5.0, 0.0, 25.0])
    mixed = mix(clean, mask, partner, torch.full((3,), partner_length), snr_db)
    added = (mixed - clean) * mask.unsqueeze(2)
    assert (added >= 0).all()
    power, noise = (clean * mask.unsqueeze(2)).sum((1, 2)), added.sum((1, 2))
    torch.testing.assert_close(10 * torch.log10(power / noise), snr_db, atol=0.01, rtol=0)


def test_a_short_partner_is_repeated_and_a_long_one_cut() -> None:
    clean, mask = energies(1, 10, 1), torch.ones(1, 10, dtype=torch.bool)
    partner = energies(1, 30, 2)
    repeated = mix(clean, mask, partner, torch.tensor([4]), torch.zeros(1)) - clean
    torch.testing.assert_close(repeated[:, :4], repeated[:, 4:8], atol=1e-3, rtol=0)
    cut = mix(clean, mask, partner, torch.tensor([30]), torch.zeros(1)) - clean
    scale = (cut / partner[:, :10]).mean()
    torch.testing.assert_close(cut, partner[:, :10] * scale, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("speech", "noise"), [(100.0, 0.0), (0.0, 100.0), (0.0, 0.0)])
def test_silence_on_either_side_leaves_the_utterance_as_it_is(speech: float, noise: float) -> None:
    clean, partner = torch.full((1, 5, 6), speech), torch.full((1, 5, 6), noise)
    mixed = mix(clean, torch.ones(1, 5, dtype=torch.bool), partner, torch.tensor([5]), torch.zeros(1))
    assert torch.equal(mixed, clean)


def test_ratios_are_even_in_their_range() -> None:
    drawn = draw_snr_db(MixingConfig(snr_db=(10.0, 25.0)), torch.arange(5000))
    assert drawn.min() >= 10
    assert drawn.max() < 25
    assert drawn.mean() == pytest.approx(17.5, abs=0.25)


def test_a_range_from_high_to_low_is_refused() -> None:
    with pytest.raises(UsageError, match="snr_db: the lowest value must come first"):
        parse(MixingConfig, {"snr_db": [25, 10]}, where="x.yaml")
