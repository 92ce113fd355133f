"""CTC against every path by enumeration, against torch's own loss, and what is told apart."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asr.nn.ctc import consistency_losses, ctc_losses, frames_needed, frames_to_spell
from tests.oracles.ctc import collapse, ctc_by_enumeration


def random_logits(rows: int, frames: int, tokens: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, frames, tokens, generator=generator, dtype=torch.float64) * 2


def label_sequences(num_tokens: int, longest: int) -> list[tuple[int, ...]]:
    return [labels for count in range(longest + 1) for labels in itertools.product(range(1, num_tokens), repeat=count)]


@pytest.mark.parametrize(("frames", "tokens"), [(1, 2), (2, 3), (3, 3), (4, 2), (4, 3)])
def test_values_and_gradients_equal_the_sum_over_all_paths(frames: int, tokens: int) -> None:
    for labels in label_sequences(tokens, min(frames, 3) + 1):
        logits = random_logits(1, frames, tokens, seed=len(labels)).requires_grad_()
        plain = ctc_by_enumeration(logits[0].log_softmax(-1), labels)
        targets = torch.tensor([[*labels, 0]])
        found = ctc_losses(logits.log_softmax(-1), torch.tensor([frames]), targets, torch.tensor([len(labels)]))
        assert found.feasible.item() == plain.isfinite().item(), labels
        assert found.finite.item()
        (gradient,) = torch.autograd.grad(found.losses.sum(), logits)
        if not plain.isfinite():
            assert found.losses.item() == 0
            assert not gradient.any()
            continue
        (expected,) = torch.autograd.grad(plain, logits)
        assert found.losses.item() == pytest.approx(plain.item(), abs=1e-5)
        torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


def test_the_probabilities_of_all_transcripts_sum_to_one() -> None:
    log_probs = random_logits(1, 4, 3).log_softmax(-1)
    spelled = {collapse(path) for path in itertools.product(range(3), repeat=4)}
    total = 0.0
    for labels in spelled:
        targets = torch.tensor([[*labels, 0]])
        losses = ctc_losses(log_probs, torch.tensor([4]), targets, torch.tensor([len(labels)])).losses
        total += (-losses).exp().item()
    assert total == pytest.approx(1, abs=1e-6)


def random_batch(rows: int = 300) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (log_probs, lengths, targets, target_lengths); about half of the rows fit."""
    generator = torch.Generator().manual_seed(5)
    log_probs = random_logits(rows, 14, 4).float().log_softmax(-1)
    lengths = torch.randint(1, 15, (rows,), generator=generator)
    target_lengths = torch.randint(0, 11, (rows,), generator=generator)
    targets = torch.randint(1, 4, (rows, 10), generator=generator)
    return log_probs, lengths, targets, target_lengths


def test_feasible_exactly_where_torchs_loss_is_finite_and_then_equal() -> None:
    log_probs, lengths, targets, target_lengths = random_batch()
    found = ctc_losses(log_probs, lengths, targets, target_lengths)
    torchs = nn.functional.ctc_loss(log_probs.transpose(0, 1), targets, lengths, target_lengths, reduction="none")
    assert 80 < int(found.feasible.sum()) < 220, "the test needs both"
    assert torch.equal(found.feasible, torchs.isfinite())
    assert found.finite.all()
    torch.testing.assert_close(found.losses[found.feasible], torchs[found.feasible], atol=0, rtol=0)
    assert not found.losses[~found.feasible].any()


def test_frames_needed_counts_labels_and_repeats() -> None:
    _, _, targets, target_lengths = random_batch()
    needed = frames_needed(targets, target_lengths)
    for row, count, found in zip(targets.tolist(), target_lengths.tolist(), needed.tolist(), strict=True):
        labels = row[:count]
        assert found == len(labels) + sum(a == b for a, b in itertools.pairwise(labels))
        assert found == frames_to_spell(np.array(labels, dtype=np.int64))


def test_gradients_are_finite_and_zero_where_nothing_fits() -> None:
    log_probs, lengths, targets, target_lengths = random_batch()
    logits = log_probs.clone().requires_grad_()
    found = ctc_losses(logits.log_softmax(-1), lengths, targets, target_lengths)
    found.losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    touched = logits.grad.abs().sum((1, 2)) > 0
    assert torch.equal(touched, found.feasible)


def test_a_batch_without_any_label() -> None:
    log_probs = random_logits(2, 3, 4).log_softmax(-1)
    nothing = torch.zeros(2, dtype=torch.int64)
    for width in (0, 1):
        found = ctc_losses(log_probs, torch.tensor([3, 2]), torch.zeros(2, width, dtype=torch.int64), nothing)
        expected = torch.stack([-log_probs[0, :3, 0].sum(), -log_probs[1, :2, 0].sum()]).float()
        torch.testing.assert_close(found.losses, expected)
        assert found.feasible.all()


def test_a_perfect_output_costs_nothing_and_is_finite() -> None:
    """A loss of exactly 0 was once taken for torch's zero_infinity."""
    log_probs = torch.full((1, 3, 3), -200.0)
    log_probs[0, :, 1] = 0.0
    found = ctc_losses(log_probs, torch.tensor([3]), torch.tensor([[1]]), torch.tensor([1]))
    assert found.losses.item() == 0
    assert found.finite.item()


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_what_is_not_finite_is_told_apart_and_the_others_stay(value: float) -> None:
    log_probs = random_logits(3, 4, 3).float().log_softmax(-1)
    targets, counts = torch.tensor([[1], [1], [1]]), torch.tensor([1, 1, 1])
    good = ctc_losses(log_probs, torch.tensor([4, 4, 4]), targets, counts)
    broken = log_probs.clone()
    broken[1] = value
    found = ctc_losses(broken, torch.tensor([4, 4, 4]), targets, counts)
    assert found.finite.tolist() == [True, False, True]
    assert found.feasible.all()
    assert found.losses[1] == 0
    assert torch.equal(found.losses[[0, 2]], good.losses[[0, 2]])


def test_half_precision_and_autocast_are_computed_in_float32() -> None:
    log_probs = random_logits(2, 6, 5).log_softmax(-1).to(torch.bfloat16)
    lengths, targets, counts = torch.tensor([6, 5]), torch.tensor([[1, 2], [3, 3]]), torch.tensor([2, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ctc_losses(log_probs, lengths, targets, counts)
    assert found.losses.dtype == torch.float32
    assert torch.equal(found.losses, ctc_losses(log_probs.float(), lengths, targets, counts).losses)


def test_consistency_is_the_symmetric_divergence_over_valid_frames() -> None:
    first, second = (random_logits(2, 3, 4, seed).log_softmax(-1) for seed in (1, 2))
    mask = torch.tensor([[True, True, True], [True, False, False]])
    found = consistency_losses(first, second, mask)
    for row, count in enumerate((3, 1)):
        expected = 0.0
        for p, q in zip(first[row, :count].tolist(), second[row, :count].tolist(), strict=True):
            for a, b in zip(torch.tensor(p).tolist(), torch.tensor(q).tolist(), strict=True):
                expected += 0.5 * (torch.tensor(a).exp() * (a - b) + torch.tensor(b).exp() * (b - a)).item()
        assert found[row].item() == pytest.approx(expected, abs=1e-5)
    assert consistency_losses(first, first, mask).abs().max() == 0


def test_each_view_learns_from_the_other_held_fixed() -> None:
    """The gradient of a divergence from a fixed teacher is the difference of the probabilities."""
    first, second = (random_logits(2, 3, 4, seed).requires_grad_() for seed in (1, 2))
    mask = torch.tensor([[True, True, True], [True, False, False]])
    consistency_losses(first.log_softmax(-1), second.log_softmax(-1), mask).sum().backward()
    difference = 0.5 * (first.softmax(-1) - second.softmax(-1)) * mask.unsqueeze(2)
    torch.testing.assert_close(first.grad, difference.detach(), atol=1e-9, rtol=0)
    torch.testing.assert_close(second.grad, -difference.detach(), atol=1e-9, rtol=0)
