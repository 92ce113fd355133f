"""Learning curves: which amounts, which parts, and what the next minutes would bring."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from asr.cli.main import main
from asr.data.manifest import Utterance
from asr.errors import DataError, UsageError
from asr.training.curve import CurvePoint, amounts, forecast, parts
from tests.training.miniature import Corpus, make_corpus, train


def utterances(count: int, seconds: float = 3.0) -> list[Utterance]:
    return [Utterance(f"u{number}", Path("a.wav"), 0.0, seconds, "a") for number in range(count)]


@pytest.mark.parametrize(
    ("minutes", "found"),
    [
        (2, [1, 2]),
        (2.4, [1, 2.4]),
        (7, [1, 2, 5, 7]),
        (12, [1, 2, 5, 12]),
        (60, [1, 2, 5, 10, 20, 60]),
        (130, [1, 2, 5, 10, 20, 50, 100, 130]),
    ],
)
def test_amounts(minutes: float, found: list[float]) -> None:
    assert amounts(utterances(round(minutes * 20))) == pytest.approx(found)


def test_three_utterances_are_no_curve() -> None:
    with pytest.raises(DataError, match=r"0\.1 min of speech in 3 training utterances; .* at least 2 min"):
        amounts(utterances(3))


def test_each_part_lies_within_the_next_and_holds_its_minutes() -> None:
    everything = [Utterance(f"u{n}", Path("a.wav"), 0.0, 1 + n % 7, "a") for n in range(200)]
    minutes = amounts(everything)
    found = parts(everything, minutes, seed=1)
    for smaller, larger in itertools.pairwise(found):
        assert {item.id for item in smaller} < {item.id for item in larger}
    for amount, part in zip(minutes, found, strict=True):
        seconds = sum(item.duration for item in part)
        assert 60 * amount - 7 < seconds <= 60 * amount + 1e-6
    assert found[-1] == everything
    assert parts(everything, minutes, seed=2)[0] != found[0]


def point(minutes: float, errors: list[int], words: int) -> CurvePoint:
    return CurvePoint("model", minutes, 1, tuple(errors), (words,) * len(errors), 0, 0, 0)


def test_a_power_law_is_followed() -> None:
    """Errors that halve with every doubling go on so."""
    points = [point(minutes, [round(80_000 / minutes)] * 50, 100_000) for minutes in (1, 2, 5, 10)]
    found = forecast(points, "model", more=10)
    assert found.minutes == 20
    assert found.rate == pytest.approx(100 * 0.8 / 20, rel=0.01)
    assert found.low <= found.rate <= found.high


def test_the_interval_is_wide_where_the_test_set_is_small() -> None:
    random = np.random.default_rng(1)

    def width(count: int) -> float:
        points = [
            point(minutes, random.binomial(10, 0.5 / math.sqrt(minutes), count).tolist(), 10) for minutes in (1, 2, 5)
        ]
        found = forecast(points, "model")
        return found.high - found.low

    assert width(20) > 2 * width(2000)


def test_errors_that_rise_by_chance_foresee_no_rise() -> None:
    found = forecast([point(1, [10] * 9, 100), point(2, [12] * 9, 100)], "model")
    assert found.rate == pytest.approx(11, rel=0.02)


def test_no_error_at_all_is_no_logarithm() -> None:
    found = forecast([point(1, [0] * 9, 100), point(2, [0] * 9, 100)], "model")
    assert 0 <= found.rate < 0.1


def test_one_point_is_too_few() -> None:
    with pytest.raises(UsageError, match="two amounts of data, got 1"):
        forecast([point(1, [1], 10)], "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two minutes and a bit of the miniature corpus."""
    return make_corpus(tmp_path_factory.mktemp("data"), num_train=170, num_valid=10)


@pytest.mark.slow
def test_asr_curve_trains_draws_tells_and_goes_on(
    data: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "base", "train.epochs=2", "train.keep_best=0") == 0
    model = tmp_path / "base" / "checkpoints" / "last.safetensors"
    given = ["curve", str(data.config), "--from", str(model), "--train", str(data.train), "--test", str(data.valid)]
    given += ["--out", str(tmp_path / "out"), "train.epochs=1"]
    capsys.readouterr()
    assert main(given) == 0
    first = capsys.readouterr()
    table = first.out.splitlines()
    assert table[0].startswith("minutes  utterances  WER from the model")
    assert len(table) == 4
    assert "would bring the model from" in table[3]
    told = json.loads((tmp_path / "out" / "curve.json").read_bytes())
    assert [(row["start"], round(row["minutes"])) for row in told["points"]] == [
        ("model", 1),
        ("scratch", 1),
        ("model", 2),
        ("scratch", 2),
    ]
    assert all(0 <= row["low"] <= row["rate"] <= row["high"] for row in told["points"])
    assert (tmp_path / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert not list((tmp_path / "out").glob("*/checkpoints"))
    (tmp_path / "out" / "1-min-from-the-model.json").unlink()  # as if killed before: this one is trained again
    assert main(given) == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert second.err.count("utterances\n") == 1


def test_asr_curve_on_three_utterances(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(corpus, tmp_path / "base", "train.epochs=1", "train.keep_best=0") == 0
    few = tmp_path / "few.jsonl"
    few.write_text("".join(corpus.train.read_text().splitlines(keepends=True)[:3]))
    for path in corpus.folder.glob("*.wav"):
        (tmp_path / path.name).symlink_to(path)
    model = str(tmp_path / "base" / "checkpoints" / "last.safetensors")
    given = ["--from", model, "--train", str(few), "--test", str(corpus.valid), "--out", str(tmp_path / "out")]
    capsys.readouterr()
    assert main(["curve", str(corpus.config), *given]) == 3
    message = capsys.readouterr().err.strip()
    assert message.startswith("asr curve: 0.1 min of speech in 3 training utterances")
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "out").exists()
