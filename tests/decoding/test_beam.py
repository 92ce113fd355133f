"""The prefix beam search against the sum over all alignments, in parts and in one go, with hotwords."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from asr.decoding.beam import BeamConfig, BeamSearch
from asr.decoding.fusion import Fusion
from asr.decoding.scorer import fuse
from asr.errors import DataError, UsageError
from asr.text.tokenizer import Tokenizer

EVERYTHING = BeamConfig(beam=5000, beam_margin=1e9, token_margin=1e9)


def random_log_probs(frames: int, tokens: int, seed: int, sharpness: float = 2.0) -> NDArray[np.float32]:
    logits = sharpness * np.random.default_rng(seed).normal(size=(frames, tokens))
    normalised: NDArray[np.float32] = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
    return normalised


def all_alignments(log_probs: NDArray[np.float32]) -> Mapping[tuple[int, ...], float]:
    """Return the log-probability of every token sequence, summed path by path."""
    frames, tokens = log_probs.shape
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(tokens), repeat=frames):
        merged = tuple(token for token, _ in itertools.groupby(path) if token)
        score = float(sum(log_probs[frame, token] for frame, token in enumerate(path)))
        found[merged] = float(np.logaddexp(found.get(merged, -np.inf), score))
    return found


def search(
    log_probs: NDArray[np.float32], config: BeamConfig | None = None, fusion: Fusion | None = None
) -> BeamSearch:
    found = BeamSearch(log_probs.shape[1], config, fusion)
    found.accept(log_probs)
    return found


def greedy(log_probs: NDArray[np.float32]) -> tuple[tuple[int, ...], float]:
    ids = log_probs.argmax(1)
    return tuple(int(token) for token, _ in itertools.groupby(ids) if token), float(log_probs.max(1).sum())


@pytest.mark.parametrize("seed", range(8))
def test_a_huge_beam_is_the_sum_over_all_alignments(seed: int) -> None:
    log_probs = random_log_probs(6, 4, seed)
    expected = all_alignments(log_probs)
    found = search(log_probs, EVERYTHING).finish(10**6)
    assert {prefix.token_ids for prefix in found} == expected.keys()
    for prefix in found:
        assert prefix.score == pytest.approx(expected[prefix.token_ids], abs=1e-5)
        assert (prefix.acoustic_score, prefix.lm_score) == (prefix.score, 0)
    assert [prefix.score for prefix in found] == sorted((prefix.score for prefix in found), reverse=True)


@pytest.mark.parametrize("cuts", [[], [1], [0, 1, 2, 3], [600, 601], [512], list(range(1, 700))])
def test_in_parts_as_in_one_go(cuts: list[int]) -> None:
    log_probs = random_log_probs(700, 12, 5, sharpness=3.0)
    parts = BeamSearch(12)
    for first, last in itertools.pairwise([0, *cuts, 700]):
        parts.accept(log_probs[first:last])
    assert parts.finish(5) == search(log_probs).finish(5)


@pytest.mark.parametrize("seed", range(20))
def test_a_beam_of_one_never_scores_below_the_best_path(seed: int) -> None:
    log_probs = random_log_probs(40, 6, seed, sharpness=1.0)
    ids, score = greedy(log_probs)
    (best,) = search(log_probs, BeamConfig(beam=1)).finish()
    assert best.score >= score - 1e-4
    by_tokens = {prefix.token_ids: prefix.score for prefix in search(log_probs, BeamConfig(beam=1)).finish(9)}
    assert ids in by_tokens, "the best path is never dropped"


def test_a_wider_beam_finds_better_answers() -> None:
    scores = []
    for beam in (1, 4, 100):
        found = [search(random_log_probs(30, 8, seed, 1.5), BeamConfig(beam=beam)).finish()[0] for seed in range(20)]
        scores.append(sum(prefix.score for prefix in found))
    assert scores[0] < scores[1] < scores[2]


def test_a_blank_penalty_gives_longer_answers() -> None:
    log_probs = random_log_probs(60, 6, 1)
    lengths = [len(search(log_probs, BeamConfig(blank_penalty=price)).finish()[0].token_ids) for price in (0, 1, 3)]
    assert lengths[0] < lengths[1] < lengths[2]


def test_nothing_heard_is_the_empty_answer() -> None:
    (only,) = search(np.zeros((0, 5), np.float32)).finish(3)
    assert (only.token_ids, only.score) == ((), 0)


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        (np.zeros((3, 70), np.float32), DataError, "rows sum to 70.0: logits passed, or log taken twice?"),
        (np.full((3, 70), np.nan, np.float32), DataError, "log_probs hold NaN"),
        (np.full((3, 70), 1000, np.float32), DataError, "rows sum to inf: logits passed"),
        (np.zeros((3, 70), np.int64), UsageError, "log_probs of int64: expected a NumPy array of floats"),
        ([[0.0] * 70], UsageError, "log_probs of list: expected a NumPy array of floats"),
        (torch.zeros(3, 70), UsageError, r"log_probs of torch.float32: expected .* a tensor .detach\(\).cpu"),
        (np.full((3, 4), np.log(0.25), np.float32), UsageError, r"log_probs \(3, 4\): expected \(E, 70\)"),
    ],
)
def test_what_is_no_log_probability_is_refused(rows: NDArray[np.float32], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        BeamSearch(70).accept(rows)


def test_a_finished_search_hears_no_more() -> None:
    found = search(random_log_probs(3, 4, 1))
    found.finish()
    with pytest.raises(UsageError, match="the search is finished"):
        found.accept(random_log_probs(3, 4, 1))


def spoken(tokenizer: Tokenizer, text: str, unsure: Mapping[int, str] | None = None) -> NDArray[np.float32]:
    """Return log-probs in which a text is the best path; at some places of it another letter is nearly as probable."""
    ids = [token for letter in tokenizer.encode(text) for token in (letter, 0)]
    logits = np.random.default_rng(0).normal(size=(len(ids), tokenizer.size))
    logits[np.arange(len(ids)), ids] = 9.0
    for place, letter in (unsure or {}).items():
        logits[2 * place, tokenizer.encode(letter)] = 8.0
    normalised: NDArray[np.float32] = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
    return normalised


def heard(tokenizer: Tokenizer, log_probs: NDArray[np.float32], hotwords: Mapping[str, float]) -> str:
    (best,) = search(log_probs, None, fuse(tokenizer, hotwords=hotwords)).finish()
    return tokenizer.decode(best.token_ids)


def test_hotwords_are_heard_and_leave_the_other_words_whole(tokenizer: Tokenizer) -> None:
    log_probs = spoken(tokenizer, "abba cab bead", {7: "d"})
    assert heard(tokenizer, log_probs, {}) == "abba cab bead"
    assert heard(tokenizer, log_probs, {"cad": 0.0}) == "abba cab bead", "a weight of 0 changes nothing"
    assert heard(tokenizer, log_probs, {"cad": 1.0}) == "abba cad bead"
    assert heard(tokenizer, log_probs, {"cad bead": 1.0}) == "abba cad bead", "phrases"
    assert heard(tokenizer, log_probs, {"abbacabb": 1.0}) == "abba cab bead", "paid back where a phrase fails"


def test_what_a_hotword_gains_is_its_weight_for_each_letter(tokenizer: Tokenizer) -> None:
    log_probs = spoken(tokenizer, "ab cd abe")
    plain = search(log_probs, None, fuse(tokenizer)).finish()[0]
    for phrases, gain in (
        ({"ab": 1.0}, 2),
        ({"ab cd": 1.0}, 4),
        ({"ab cd": 1.0, "abe": 0.5}, 6.5),  # letters that they share count with the greater weight
        ({"ab cd j": 1.0}, 0),
        ({"abeg": 1.0}, 0),
        ({"ab": 1.0, "ab cd j": 1.0}, 2),
        ({"ab cd": -1.0}, -4),
        ({"ab cd j": -1.0, "abeg": -50.0}, 0),  # only begun
        ({"ab": -1.0, "ab cd": 1.0}, 2),
        ({"ab": -1.0, "ab cd j": 1.0}, -2),
    ):
        found = search(log_probs, None, fuse(tokenizer, hotwords=phrases)).finish()[0]
        assert found.token_ids == plain.token_ids
        assert found.score - plain.score == pytest.approx(gain, abs=1e-3), phrases


@pytest.mark.parametrize("weight", [30.0, 100.0, -100.0])
def test_a_phrase_that_is_not_said_leaves_what_is_said(tokenizer: Tokenizer, weight: float) -> None:
    """At 100 a letter all else fell below the smallest float while the phrase was spelled."""
    log_probs = spoken(tokenizer, "abba cab bead")
    assert heard(tokenizer, log_probs, {"abba cab feed chief ahead beige jade": weight}) == "abba cab bead"


def test_a_phrase_counts_300_at_most(tokenizer: Tokenizer) -> None:
    assert fuse(tokenizer, hotwords={"ab cd": 1e9}).hotwords.trie.values.max() == 75
    assert fuse(tokenizer, hotwords={"ab cd": -1e9}).hotwords.found.min() == -300


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(tokenizer: Tokenizer, weight: float) -> None:
    with pytest.raises(UsageError, match="hotword 'cab' has the weight"):
        fuse(tokenizer, hotwords={"cab": weight})


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("caf\u00e9", r"hotword 'café' holds 'f' \(U\+0066\), 'é' \(U\+00E9\), which"),
        ("  ", "is empty once normalised"),
    ],
)
def test_a_hotword_that_cannot_be_written_is_refused(tokenizer: Tokenizer, phrase: str, message: str) -> None:
    tokens = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *"▁abcde"]})
    with pytest.raises(DataError, match=message):
        fuse(tokens, hotwords={phrase: 1.0})
