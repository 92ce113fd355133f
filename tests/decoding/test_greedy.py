"""Best path decoding against a plain loop, whatever lies in the padding."""

import numpy as np
import pytest
import torch

from asr.decoding.greedy import (
    FramePath,
    best_paths,
    collapse,
    ctc_greedy,
    hypotheses_from_greedy,
    hypothesis_from_path,
    join_paths,
)
from asr.errors import DataError, UsageError
from tests.oracles.best_path import best_path, most_probable_path


def random_log_probs(batch: int, frames: int, tokens: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(batch, frames, tokens, generator=generator)).log_softmax(-1)


def path_of(ids: list[int], probability: float = 1.0) -> FramePath:
    return FramePath(np.array(ids, np.int64), np.full(len(ids), np.log(probability), np.float32))


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_the_plain_loop(seed: int) -> None:
    log_probs = random_log_probs(7, 40, 4, seed)
    lengths = torch.tensor([40, 0, 1, 39, 17, 2, 40])
    spans = ctc_greedy(log_probs, lengths)
    paths = best_paths(log_probs, lengths)
    for row, length in enumerate(lengths.tolist()):
        expected, score = best_path(log_probs[row, :length].tolist())
        assert [(span.token_id, span.start, span.end) for span in spans[row]] == expected
        assert paths[row].log_probs.sum() == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_path_is_the_most_probable_of_all_paths(seed: int) -> None:
    log_probs = random_log_probs(1, 4, 3, seed)
    path = best_paths(log_probs, torch.tensor([4]))[0]
    assert path.log_probs.sum() == pytest.approx(most_probable_path(log_probs[0].tolist()), abs=1e-5)


@pytest.mark.parametrize("padding", [float("nan"), float("inf"), 70.0])
def test_frames_beyond_the_length_are_never_read(padding: float) -> None:
    log_probs = random_log_probs(2, 9, 5)
    alone = ctc_greedy(log_probs[:1, :6], torch.tensor([6]))[0]
    log_probs[0, 6:] = padding
    assert ctc_greedy(log_probs, torch.tensor([6, 9]))[0] == alone


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], []),
        ([0, 0, 0], []),
        ([1], [(1, 0, 1)]),
        ([1, 1, 1], [(1, 0, 3)]),
        ([1, 0, 1], [(1, 0, 1), (1, 2, 3)]),
        ([0, 1, 1, 2, 2, 0], [(1, 1, 3), (2, 3, 5)]),
    ],
)
def test_collapse(ids: list[int], expected: list[tuple[int, int, int]]) -> None:
    assert [(span.token_id, span.start, span.end) for span in collapse(path_of(ids))] == expected


def test_a_token_across_a_border_of_joined_parts_stays_one() -> None:
    whole = path_of([0, 1, 1, 1, 2, 0])
    for cut in range(7):
        parts = [FramePath(whole.token_ids[part], whole.log_probs[part]) for part in (slice(cut), slice(cut, None))]
        assert collapse(join_paths(parts)) == collapse(whole)
    assert collapse(join_paths([])) == []


def test_blank_need_not_be_zero() -> None:
    spans = ctc_greedy(random_log_probs(1, 30, 3), torch.tensor([30]), blank_id=2)[0]
    assert {span.token_id for span in spans} == {0, 1}
    with pytest.raises(UsageError, match="blank_id 3 is outside the 3 tokens"):
        ctc_greedy(random_log_probs(1, 30, 3), torch.tensor([30]), blank_id=3)


def test_logits_are_refused_with_what_they_sum_to() -> None:
    log_probs = torch.full((1, 3, 4), -np.log(4.0))
    log_probs[0, 1] = torch.log(torch.tensor([70.0, 0.1, 0.1, 0.0]))
    with pytest.raises(DataError, match=r"rows sum to 70\.2: logits passed, or log taken twice\?"):
        best_paths(log_probs, torch.tensor([3]))


def test_probabilities_and_twice_taken_logs_are_refused() -> None:
    log_probs = random_log_probs(2, 8, 6)
    lengths = torch.tensor([8, 8])
    for wrong in (log_probs.exp(), log_probs.log_softmax(-1).exp().log_softmax(-1) - 1.0):
        with pytest.raises(DataError, match="rows sum to"):
            best_paths(wrong, lengths)
    log_probs[1, 7, 2] = float("nan")
    with pytest.raises(DataError, match="NaN"):
        best_paths(log_probs, lengths)


def test_log_probs_in_training_are_accepted() -> None:
    log_probs = random_log_probs(1, 5, 3)
    assert ctc_greedy(log_probs.requires_grad_(), torch.tensor([5])) == ctc_greedy(log_probs, torch.tensor([5]))


def test_lower_precision_log_probs_are_accepted() -> None:
    best_paths(random_log_probs(2, 50, 300).to(torch.bfloat16), torch.tensor([50, 50]))


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [((3, 4), [3]), ((2, 3, 4), [3]), ((1, 3, 4), [4]), ((1, 3, 4), [-1]), ((1, 3, 4), [1.0])],
)
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...], lengths: list[float]) -> None:
    with pytest.raises(UsageError):
        best_paths(torch.zeros(shape).log_softmax(-1), torch.tensor(lengths))


def test_an_empty_batch_and_an_empty_utterance(tokenizer, geometry) -> None:
    assert best_paths(torch.zeros(0, 5, 4), torch.zeros(0, dtype=torch.int64)) == []
    hypothesis = hypothesis_from_path(path_of([]), tokenizer, geometry, 0.0)
    assert (hypothesis.text, hypothesis.words, hypothesis.score) == ("", (), 0.0)


def test_hypotheses_hold_text_score_and_words(tokenizer, geometry) -> None:
    ids = [*tokenizer.encode("ab"), 0, *tokenizer.encode("b c")]
    log_probs = torch.full((1, len(ids), 12), 0.1 / 11).log()
    log_probs[0, range(len(ids)), ids] = torch.log(torch.tensor(0.9))
    (hypothesis,) = hypotheses_from_greedy(log_probs, torch.tensor([len(ids)]), tokenizer, geometry, [1.0])
    assert hypothesis.text == "abb c"
    assert list(hypothesis.token_ids) == tokenizer.encode("abb c")
    assert hypothesis.score == hypothesis.acoustic_score == pytest.approx(len(ids) * np.log(0.9), abs=1e-4)
    assert [word.confidence for word in hypothesis.words] == pytest.approx([0.9, 0.9])
    with pytest.raises(UsageError, match="2 durations for 1 utterances"):
        hypotheses_from_greedy(log_probs, torch.tensor([6]), tokenizer, geometry, [1.0, 1.0])
