"""Normalisation: mean 0 and variance 1 of what it normalises over; running: streamed in pieces = whole."""

import itertools

import pytest
import torch

from asr.features import normalization
from asr.features.normalization import MEMORY_FRAMES, PRIOR_FRAMES, Moments, Normalizer
from asr.masking import time_mask
from tests.oracles.running import running


def features(length: int = 200, rows: int = 2, width: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(rows, length, width, generator=generator) * 3 - 8


def test_utterance_has_mean_0_and_variance_1_over_its_valid_frames() -> None:
    values, lengths = features(), torch.tensor([200, 60])
    output = Normalizer("utterance", 5)(values, time_mask(lengths, 200))
    for row, length in zip(output, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[:length].mean(0), torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(row[:length].var(0, correction=0), torch.ones(5), atol=1e-4, rtol=0)


def test_a_constant_dimension_becomes_zero() -> None:
    values = torch.full((1, 9, 5), 3.0)
    output = Normalizer("utterance", 5)(values, torch.ones(1, 9, dtype=torch.bool))
    assert torch.equal(output, torch.zeros(1, 9, 5))


def test_global_uses_the_stored_statistics() -> None:
    values = features()
    normalizer = Normalizer("global", 5)
    normalizer.set_statistics(values.mean((0, 1)), values.var((0, 1)))
    output = normalizer(values, torch.ones(2, 200, dtype=torch.bool))
    torch.testing.assert_close(output.mean((0, 1)), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.var((0, 1)), torch.ones(5), atol=1e-4, rtol=0)


def test_none_is_the_identity() -> None:
    values = features()
    assert Normalizer("none", 5)(values, torch.ones(2, 200, dtype=torch.bool)) is values


@pytest.mark.parametrize(("kind", "needed"), [("none", 0), ("utterance", 0), ("global", 1), ("running", 1)])
def test_which_kinds_need_the_training_sets_statistics(kind: str, needed: int) -> None:
    assert Normalizer(kind, 5).needs_statistics == bool(needed)


def test_a_dimension_that_never_varies_in_training_is_not_divided_by_zero() -> None:
    normalizer = Normalizer("global", 5)
    normalizer.set_statistics(torch.zeros(5), torch.zeros(5))
    assert normalizer(features(), torch.ones(2, 200, dtype=torch.bool)).isfinite().all()


def running_normalizer() -> Normalizer:
    normalizer = Normalizer("running", 5)
    normalizer.set_statistics(torch.tensor([-8.0, -7, -9, 0, 1]), torch.tensor([9.0, 4, 16, 1, 2]))
    return normalizer


@pytest.mark.parametrize("frames", [200, 6000])
def test_running_equals_the_plain_reference(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalization, "_AT_ONCE", 2500)
    normalizer, values = running_normalizer(), features(frames)
    values[:, frames // 2 :] -= 12  # it is quiet from there on
    output = normalizer(values, torch.ones(2, frames, dtype=torch.bool))
    known = normalizer.mean.tolist(), normalizer.variance.tolist()
    for row, expected in zip(output, values, strict=True):
        plain = running(expected.tolist(), *known, PRIOR_FRAMES, MEMORY_FRAMES)
        torch.testing.assert_close(row, torch.tensor(plain), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cuts", [[1], [199], [1, 2, 3, 50], list(range(1, 200)), [7, 7, 100], [1899, 2500, 4321]])
def test_running_in_pieces_equals_whole(cuts: list[int]) -> None:
    frames = 200 if cuts[-1] < 200 else 5000
    normalizer, values = running_normalizer(), features(frames)
    mask = torch.rand(2, frames, generator=torch.Generator().manual_seed(4)) < 0.9
    whole, _ = normalizer._running(values, mask)
    state, parts = None, []
    for first, last in itertools.pairwise([0, *cuts, frames]):
        part, state = normalizer._running(values[:, first:last], mask[:, first:last], state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-6, rtol=0)


def test_running_never_looks_ahead() -> None:
    normalizer, values = running_normalizer(), features()
    changed = values.clone()
    changed[:, 120:] += 5
    mask = torch.ones(2, 200, dtype=torch.bool)
    assert torch.equal(normalizer(values, mask)[:, :120], normalizer(changed, mask)[:, :120])


def test_running_forgets_its_start_on_long_audio() -> None:
    normalizer, values = running_normalizer(), features(20000, rows=1)
    output, _ = normalizer._running(values, torch.ones(1, 20000, dtype=torch.bool))
    late = output[0, 10000:]
    torch.testing.assert_close(late.mean(0), torch.zeros(5), atol=0.1, rtol=0)
    torch.testing.assert_close(late.std(0), torch.ones(5), atol=0.1, rtol=0)


def test_running_hears_again_after_an_hour_of_silence() -> None:
    normalizer, values = running_normalizer(), features(6000, rows=1)
    mask = torch.ones(1, 6000, dtype=torch.bool)
    _, state = normalizer._running(torch.full((1, 360_000, 5), -16.0), torch.ones(1, 360_000, dtype=torch.bool))
    late = normalizer._running(values, mask, state)[0][0, 4000:]
    torch.testing.assert_close(late.mean(0), torch.zeros(5), atol=0.5, rtol=0)


def test_what_was_heard_fades_to_the_frames_that_are_wanted() -> None:
    normalizer, values = running_normalizer(), features(500, rows=1)
    prior = normalizer.prior()
    _, state = normalizer._running(values, torch.ones(1, 500, dtype=torch.bool))
    torch.testing.assert_close(normalizer.faded(state, 50), prior + (state - prior) / 10)
    torch.testing.assert_close(normalizer.faded(state, 0), prior)
    assert torch.equal(normalizer.faded(state, 500), state)
    assert torch.equal(normalizer.faded(prior, 50), prior)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    values = features().flatten(0, 1) * 3 - 7
    parts = Moments.of(values[:37]) + Moments.of(values[37:200]) + Moments.of(values[200:])
    torch.testing.assert_close(parts.mean, values.double().mean(0))
    torch.testing.assert_close(parts.variance, values.double().var(0, unbiased=False))


def test_a_piece_is_normalised_as_in_its_recording() -> None:
    values, mask = features(), torch.ones(2, 200, dtype=torch.bool)
    normalizer = Normalizer("utterance", 5)
    whole = normalizer(values[:1], mask[:1])
    piece = normalizer(values[:1, 50:90], mask[:1, 50:90], Moments.of(values[0]))
    torch.testing.assert_close(piece, whole[:, 50:90], atol=1e-5, rtol=1e-5)
