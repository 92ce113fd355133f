"""Forced alignment against every path there is, and against torchaudio's."""

import itertools

import numpy as np
import pytest
import torch
import torchaudio
from numpy.typing import NDArray

from asr.decoding.alignment import best_alignment
from asr.errors import DataError, UsageError


def random_log_probs(frames: int, tokens: int, seed: int) -> NDArray[np.float32]:
    logits = torch.randn(frames, tokens, generator=torch.Generator().manual_seed(seed)) * 2
    log_probs: NDArray[np.float32] = logits.log_softmax(1).numpy()
    return log_probs


def merged(path: NDArray[np.int64]) -> list[int]:
    return [int(token) for token, _ in itertools.groupby(path) if token]


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


def test_as_many_frames_as_it_needs_are_enough() -> None:
    found = best_alignment(random_log_probs(5, 3, 1), [1, 1, 2, 1])
    assert found.token_ids.tolist() == [1, 0, 1, 2, 1]
    with pytest.raises(DataError, match="4 encoder frames cannot spell 4 tokens, which need 5; check the text"):
        best_alignment(random_log_probs(4, 3, 1), [1, 1, 2, 1])


@pytest.mark.parametrize("text", [[3], [-1], [1, 0]])
def test_ids_that_are_no_tokens_are_refused(text: list[int]) -> None:
    with pytest.raises(UsageError, match=r"token ids must lie in \[0, 3\) and none may be the blank, 0"):
        best_alignment(random_log_probs(9, 3, 1), text)
