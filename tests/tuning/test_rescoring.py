"""Fitting how much a second language model counts: the errors that it finds are those of rescoring."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from asr.decoding.beam import Prefix
from asr.decoding.rescoring import Rescorer, RescoringConfig
from asr.errors import DataError
from asr.text.tokenizer import Tokenizer
from asr.tuning.rescoring import WEIGHTS, fit_rescoring, read_answers

WORDS = ["ab", "cab", "dig", "jig", "fig"]


def costs(texts: Sequence[str]) -> list[float]:
    """Return a log-prob for each text: its words are likely, but for 'jig' and 'fig'."""
    return [-sum(5.0 if word in ("jig", "fig") else 1.0 for word in text.split()) for text in texts]


def spoken(count: int) -> tuple[dict[str, str], dict[str, list[tuple[str, float]]]]:
    """Return references of likely words, and answers among which the search prefers unlikely ones a little."""
    random = np.random.default_rng(4)
    references, answers = {}, {}
    for number in range(count):
        words = random.choice(WORDS[:3], 4).tolist()
        wrong = [random.choice(["jig", "fig"]) if random.random() < 0.5 else word for word in words]
        lists = [" ".join(wrong), " ".join(words), " ".join(words[:2])]
        references[f"u{number}"] = " ".join(words)
        answers[f"u{number}"] = [(text, -float(place) * 1.5) for place, text in enumerate(dict.fromkeys(lists))]
    return references, answers


def test_what_helps_is_found() -> None:
    references, answers = spoken(40)
    found = fit_rescoring(references, answers, costs)
    assert found.before > 40
    assert found.errors == found.least == 0
    assert found.words == 160
    assert 0.4 <= found.config.weight <= 1.5


def test_the_errors_are_those_of_rescoring() -> None:
    tokenizer = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *"▁abcdefghij"]})
    references, answers = spoken(20)
    found = fit_rescoring(references, answers, costs)
    for config, expected in ((found.config, found.errors), (RescoringConfig(weight=0, bonus=0), found.before)):
        rescorer, errors = Rescorer(tokenizer, costs, config), 0
        for name, some in answers.items():
            best = rescorer([Prefix(tuple(tokenizer.encode(text)), (), score, score, 0.0) for text, score in some])[0]
            pairs = zip(tokenizer.decode(best.token_ids).split(), references[name].split(), strict=True)
            errors += sum(left != right for left, right in pairs)
        assert errors == expected


def test_a_model_that_knows_nothing_keeps_the_defaults() -> None:
    references, answers = spoken(10)
    certain = {
        name: [(references[name], 0.0), *[(text, score - 1e3) for text, score in some]]
        for name, some in answers.items()
    }
    assert fit_rescoring(references, certain, lambda texts: [0.0] * len(texts)).config == RescoringConfig()


def test_a_lucky_point_is_not_taken() -> None:
    """Only at one weight the answer is right; where all around it nothing is, the plateau of fewer errors decides."""
    scores = {"a": 0.0, "b": -float(WEIGHTS[20]), "c": -float(WEIGHTS[21]) * 2 + 0.05}
    references = {"x": "b", "y": "q r s"}
    answers = {"x": list(scores.items()), "y": [("q r t", 0.0), ("q r s", -0.6)]}

    def scorer(texts: Sequence[str]) -> list[float]:
        return [{"a": 0.0, "b": 1.0, "c": 2.0, "q r t": 0.0, "q r s": 1.0}[text] for text in texts]

    found = fit_rescoring(references, answers, scorer)
    assert found.errors == 1
    assert found.config.weight > 0.6


@pytest.mark.parametrize(
    ("references", "answers", "message"),
    [
        ({"a": "x", "b": "x"}, {"a": [("x", 0.0)]}, "utterance 'b' has no n-best list"),
        ({"a": "x"}, {"a": [("x", 0.0)], "c": [("x", 0.0)]}, "utterance 'c' has no reference"),
        ({"a": "x"}, {"a": [("x", 0.0)]}, "no utterance has more than one answer"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    references: dict[str, str], answers: dict[str, list[tuple[str, float]]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fit_rescoring(references, answers, costs)


@pytest.mark.parametrize("nbest", [None, [], 3, ["x"], [{"text": "x"}], [{"text": "x", "score": "1"}]])
def test_hypotheses_without_lists_are_refused(tmp_path: Path, nbest: object) -> None:
    (tmp_path / "hyp.jsonl").write_text(json.dumps({"id": "a", "text": "x", "nbest": nbest}) + "\n")
    with pytest.raises(DataError, match="utterance 'a' has no n-best list; make them with asr decode --nbest 100"):
        read_answers(tmp_path / "hyp.jsonl")
