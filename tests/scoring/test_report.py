"""The printed lines, exactly."""

import json
import math

import pytest

from asr.scoring.bootstrap import Interval
from asr.scoring.error_rate import ErrorCounts, Pair, score
from asr.scoring.report import alignment_text, case_only_substitutions, rate_line, score_values, summary


def test_rate_line_is_kaldis() -> None:
    assert rate_line("WER", ErrorCounts(9, 11, 28, 773)) == "%WER 6.21 [ 48 / 773, 9 ins, 11 del, 28 sub ]"


def test_rate_line_without_reference() -> None:
    assert rate_line("WER", ErrorCounts(2, 0, 0, 0)) == "%WER inf [ 2 / 0, 2 ins, 0 del, 0 sub ]"


def test_summary() -> None:
    result = score([Pair("a", "yes no", "yes"), Pair("b", "no", "no")])
    assert summary(result, Interval(0.0, 0.5, 0.95, 10_000, 0)).splitlines() == [
        "%WER 33.33 [ 1 / 3, 0 ins, 1 del, 0 sub ]",
        "%CER 37.50 [ 3 / 8, 0 ins, 3 del, 0 sub ]",
        "%SER 50.00 [ 1 / 2 ]",
        "95 % interval of the WER: 0.00 to 50.00 (bootstrap over 2 utterances, 10000 replications, seed 0)",
    ]
    assert len(summary(result, None).splitlines()) == 3


def test_alignment_text_lines_words_up() -> None:
    (utterance,) = score([Pair("an406", "rubout e three", "rubout free nine")]).utterances
    assert alignment_text(utterance) == "\n".join(
        [
            "an406: %WER 66.67 [ 2 / 3, 0 ins, 0 del, 2 sub ]",
            "ref: rubout e    three",
            "hyp: rubout free nine",
            "            S    S",
        ]
    )


@pytest.mark.parametrize(
    ("reference", "hypothesis", "rows"),
    [
        ("a", "a b", ["ref: a *", "hyp: a b", "       I"]),
        ("one b", "b", ["ref: one b", "hyp: *** b", "     D"]),
        ("東京 x", "a x", ["ref: 東京 x", "hyp: a    x", "     S"]),
        ("", "", ["ref:", "hyp:", ""]),
    ],
)
def test_alignment_text_marks(reference: str, hypothesis: str, rows: list[str]) -> None:
    (utterance,) = score([Pair("u", reference, hypothesis)]).utterances
    assert alignment_text(utterance).split("\n")[1:] == rows


def test_values_are_finite_json_and_add_up() -> None:
    result = score([Pair("a", "", "x"), Pair("b", "y z", "y")])
    values = score_values(result, None, utterances=True)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["utterances"][0]["words"]["rate"] is None
    assert values["utterances"][0]["alignment"] == [[None, "x"]]
    assert values["words"]["rate"] == 1.0
    assert values["sentences"] == {"reference": 2, "errors": 2, "rate": 1.0}
    assert "utterances" not in score_values(result, None, utterances=False)
    assert math.isinf(result.utterances[0].words.rate)


def test_case_only_substitutions() -> None:
    result = score([Pair("a", "YES no STRASSE", "yes now straße"), Pair("b", "No", "no no")])
    assert case_only_substitutions(result) == 3
