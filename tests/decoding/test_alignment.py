"""Forced alignment against every path there is, and against torchaudio's."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio
from numpy.typing import NDArray

from asr.decoding import alignment
from asr.decoding.alignment import best_alignment
from asr.errors import DataError, UsageError


def random_log_probs(frames: int, tokens: int, seed: int) -> NDArray[np.float32]:
    logits = torch.randn(frames, tokens, generator=torch.Generator().manual_seed(seed)) * 2
    log_probs: NDArray[np.float32] = logits.log_softmax(1).numpy()
    return log_probs


def merged(path: NDArray[np.int64]) -> list[int]:
    return [int(token) for token, _ in itertools.groupby(path) if token]


def plain(function: Any) -> Any:
    """Return a compiled function as it is written."""
    kept = next(cell.cell_contents for cell in function.__closure__ if hasattr(cell.cell_contents, "py_func"))
    return kept.py_func


@pytest.mark.parametrize("text", [[], [1], [1, 1], [2, 1], [1, 2, 1], [2, 2, 3]])
def test_no_path_that_spells_the_text_is_better(text: list[int]) -> None:
    log_probs = random_log_probs(6, 4, len(text))
    paths = [path for path in itertools.product(range(4), repeat=6) if merged(np.array(path)) == text]
    best = max(sum(float(log_probs[frame, token]) for frame, token in enumerate(path)) for path in paths)
    found = best_alignment(log_probs, text)
    assert merged(found.token_ids) == text
    assert found.log_probs.sum() == pytest.approx(best, abs=1e-5)
    assert np.array_equal(found.log_probs, log_probs[np.arange(6), found.token_ids])


@pytest.mark.parametrize("seed", range(5))
def test_it_is_as_good_as_torchaudio_s(seed: int) -> None:
    log_probs = random_log_probs(60, 9, seed)
    text = np.random.default_rng(seed).integers(1, 9, 20).tolist()
    found = best_alignment(log_probs, text)
    _, scores = torchaudio.functional.forced_align(torch.from_numpy(log_probs)[None], torch.tensor([text]))
    assert merged(found.token_ids) == text
    assert found.log_probs.sum() == pytest.approx(float(scores.sum()), abs=1e-3)


def test_where_tokens_are_expected_nothing_else_is_found() -> None:
    log_probs = random_log_probs(3000, 6, 1)
    text = np.random.default_rng(1).integers(1, 6, 900).tolist()
    whole = best_alignment(log_probs, text)
    starts = [
        index for index in range(3000) if whole.token_ids[index] and (index == 0 or whole.token_ids[index - 1] == 0)
    ]
    near = np.interp(np.arange(900), np.linspace(0, 899, len(starts)), starts).round().astype(int)
    found = best_alignment(log_probs, text, near=near.tolist())
    assert np.array_equal(found.token_ids, whole.token_ids)


@pytest.mark.parametrize(("frames", "tokens"), [(1, 1), (4, 3), (5, 5), (9, 4), (16, 10), (40, 3), (41, 30)])
def test_segment_by_segment_is_as_in_one_go(monkeypatch: pytest.MonkeyPatch, frames: int, tokens: int) -> None:
    """The compiled functions see no other SEGMENT: they are called as Python here."""
    log_probs = random_log_probs(frames, 5, frames)
    text = [1 + index % 4 for index in range(tokens)]
    whole = best_alignment(log_probs, text)
    for name in ("_keep_scores", "_trace"):
        monkeypatch.setattr(alignment, name, plain(getattr(alignment, name)))
    for segment in (1, 2, 3, 4, 8):
        monkeypatch.setattr(alignment, "SEGMENT", segment)
        found = best_alignment(log_probs, text)
        assert np.array_equal(found.token_ids, whole.token_ids), segment
        near = [round(index * (frames - 1) / tokens) for index in range(tokens)]
        assert np.array_equal(best_alignment(log_probs, text, near=near).token_ids, whole.token_ids), segment


@pytest.mark.parametrize("segments", [1, 2, 5])
def test_many_frames_are_as_good_as_torchaudio_s(segments: int) -> None:
    log_probs = random_log_probs(alignment.SEGMENT * segments - 1, 9, segments)
    text = np.random.default_rng(segments).integers(1, 9, 300 * segments).tolist()
    found = best_alignment(log_probs, text)
    _, scores = torchaudio.functional.forced_align(torch.from_numpy(log_probs)[None], torch.tensor([text]))
    assert merged(found.token_ids) == text
    assert found.log_probs.sum(dtype=np.float64) == pytest.approx(float(scores.double().sum()), abs=1e-3)


def test_four_hours_and_their_text_can_be_aligned() -> None:
    frames, states = 4 * 3600 * 25, 2 * 4 * 3600 * 10 + 1
    assert -(-frames // alignment.SEGMENT) * states <= alignment.MAX_SCORES


def test_more_than_can_be_aligned_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "MAX_SCORES", 5)
    with pytest.raises(UsageError, match="3 tokens in 9 frames are too many at once; cut the recording"):
        best_alignment(random_log_probs(9, 4, 1), [1, 2, 3])


@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_a_text_without_any_probability_is_told(value: float) -> None:
    log_probs = random_log_probs(3 * alignment.SEGMENT, 4, 1)
    log_probs[:, 2] = value
    with pytest.raises(DataError, match="no path that spells the 3 tokens has any probability; check the text"):
        best_alignment(log_probs, [1, 2, 3])
    found = best_alignment(log_probs, [1, 3, 1])
    assert merged(found.token_ids) == [1, 3, 1]


def test_no_frames_spell_no_tokens() -> None:
    assert best_alignment(random_log_probs(0, 4, 1), []).token_ids.tolist() == []


def test_as_many_frames_as_it_needs_are_enough() -> None:
    found = best_alignment(random_log_probs(5, 3, 1), [1, 1, 2, 1])
    assert found.token_ids.tolist() == [1, 0, 1, 2, 1]
    with pytest.raises(DataError, match="4 encoder frames cannot spell 4 tokens, which need 5; check the text"):
        best_alignment(random_log_probs(4, 3, 1), [1, 1, 2, 1])


@pytest.mark.parametrize("text", [[3], [-1], [1, 0]])
def test_ids_that_are_no_tokens_are_refused(text: list[int]) -> None:
    with pytest.raises(UsageError, match=r"token ids must lie in \[0, 3\) and none may be the blank, 0"):
        best_alignment(random_log_probs(9, 3, 1), text)
