"""asr calibrate: a map from confidence to probability, fitted on a manifest, kept in a model, judged on hypotheses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr import store
from asr.cli.main import main
from asr.data.manifest import Utterance, write_manifest
from asr.model import AcousticModel
from asr.recognizer import Recognizer
from asr.text.normalize import Normalizer, NormalizerConfig
from tests.tiny_model import babble, tiny_model, write_wav

NUM_UTTERANCES = 30


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_model().save(path)
    return path


@pytest.fixture(scope="module")
def heard(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, list[tuple[str, float]]]]:
    """Recordings, and the words that the model hears in each with their confidences."""
    folder = tmp_path_factory.mktemp("audio")
    files = [write_wav(folder / f"{index}.wav", babble(1.5, seed=index)) for index in range(NUM_UTTERANCES)]
    transcripts = Recognizer.load(model).transcribe_files(files)
    return [
        (file, [(word.word, word.confidence) for word in transcript.words])
        for file, transcript in zip(files, transcripts, strict=True)
    ]


def manifest(path: Path, heard, is_right: Callable[[float], bool]) -> Path:
    """Write a manifest in whose texts the words stand that are right, "zz" in place of the others."""
    texts = [" ".join(word if is_right(confidence) else "zz" for word, confidence in words) for _, words in heard]
    rows = [
        Utterance(f"u{number}", file, 0.0, 1.5, text, f"s{number % 6}")
        for number, ((file, _), text) in enumerate(zip(heard, texts, strict=True))
    ]
    write_manifest(path, rows)
    return path


@pytest.fixture
def dev(tmp_path: Path, heard) -> Path:
    """The surer a word, the more often it is right, but less often than it claims."""
    generator = np.random.default_rng(1)
    return manifest(tmp_path / "dev.jsonl", heard, lambda confidence: generator.random() < confidence**4)


def test_the_calibration_is_kept_and_applied(model: Path, dev: Path, heard, tmp_path: Path, capsys) -> None:
    out = tmp_path / "calibrated.safetensors"
    assert main(["calibrate", str(dev), "--model", str(model), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("words: ")
    assert "temperature" in printed.out
    before, after = (float(line.split("ECE ")[1].split()[0]) for line in printed.out.splitlines()[1:3])
    assert after < before / 2
    kept = AcousticModel.load(out).notes.calibration
    assert kept["words"]["kind"] == "temperature"
    assert kept["words"]["bias"] < 0
    assert "words (" in kept["fitted"]
    assert kept["fitted"].endswith("best path")
    tensors = store.load(model)[0]
    assert all((tensor == tensors[name]).all() for name, tensor in store.load(out)[0].items())
    told = [word.confidence for word in Recognizer.load(out).transcribe(heard[0][0]).words]
    raw = [confidence for _, confidence in heard[0][1]]
    assert np.argsort(told).tolist() == np.argsort(raw).tolist()
    assert sum(told) < sum(raw)
    receipt = json.loads((tmp_path / "calibrated.receipt.json").read_text("utf-8"))
    assert receipt["result"]["words"]["raw"]["ece"] == pytest.approx(before, abs=1e-4)
    assert receipt["config"]["calibration"] == kept


def test_a_calibrated_model_is_calibrated_anew(model: Path, dev: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert main(["calibrate", str(dev), "--model", str(model), "--out", str(first)]) == 0
    assert main(["calibrate", str(dev), "--model", str(first), "--out", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()


def test_what_was_fitted_depends_on_the_search_and_the_method(model: Path, dev: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    options = ["--method", "isotonic", "--beam", "8"]
    assert main(["calibrate", str(dev), "--model", str(model), "--out", str(out), *options]) == 0
    kept = AcousticModel.load(out).notes.calibration
    assert kept["words"]["kind"] == "isotonic"
    assert kept["fitted"].endswith("--beam 8")


def test_info_tells_of_it_without_the_knots(model: Path, dev: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out.safetensors"
    main(["info", str(model)])
    assert "calibration none: confidence ranks words" in capsys.readouterr().out
    main(["calibrate", str(dev), "--model", str(model), "--out", str(out), "--method", "isotonic"])
    main(["info", str(out)])
    shown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("calibration"))
    assert "isotonic, " in shown
    assert "knots" in shown
    assert len(shown) < 400


def test_averaging_in_an_old_model_drops_it(model: Path, dev: Path, tmp_path: Path) -> None:
    out, stored = tmp_path / "out.safetensors", tmp_path / "stored.safetensors"
    assert main(["calibrate", str(dev), "--model", str(model), "--out", str(out)]) == 0
    assert main(["average", str(out), "--out", str(stored), "--storage", "float16"]) == 0
    assert AcousticModel.load(stored).notes.calibration == AcousticModel.load(out).notes.calibration
    assert main(["average", str(out), "--out", str(stored), "--old", str(model)]) == 0
    assert AcousticModel.load(stored).notes.calibration is None


def test_hypotheses_are_judged_and_drawn(model: Path, dev: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("matplotlib")
    out, hypotheses, picture = (tmp_path / name for name in ("out.safetensors", "hyp.jsonl", "words.png"))
    assert main(["calibrate", str(dev), "--model", str(model), "--out", str(out), "--plot", str(picture)]) == 0
    fitted = capsys.readouterr().out.splitlines()
    drawn = picture.read_bytes()
    assert main(["decode", str(dev), "--model", str(model), "--out", str(hypotheses)]) == 0
    judge = ["calibrate", str(dev), "--judge", str(hypotheses), "--plot", str(picture)]
    assert main(judge) == 0
    words, measures, *_ = capsys.readouterr().out.splitlines()
    assert fitted[0].startswith(words)
    raw, judged = ([float(part) for part in line.split() if part[0].isdigit()] for line in (fitted[1], measures))
    assert judged == pytest.approx(raw, abs=2e-3)  # what is written has four digits
    assert picture.read_bytes() != drawn
    rows = [json.loads(line) for line in dev.read_text("utf-8").splitlines()]
    dev.write_text("".join(json.dumps(row | {"text": row["text"].upper()}) + "\n" for row in rows), "utf-8")
    assert main(judge) == 0
    assert "no word is right; where letters are written otherwise, --model spells" in capsys.readouterr().err
    spelling, lower = tmp_path / "lower.safetensors", tiny_model()
    lower.tokenizer.normalizer = Normalizer(NormalizerConfig(case="lower"))
    lower.save(spelling)
    assert main([*judge, "--model", str(spelling)]) == 0
    assert capsys.readouterr().out.splitlines()[1] == measures


@pytest.mark.parametrize(
    ("is_right", "message"),
    [
        (lambda confidence: True, "words are right, so there is no error to learn from"),
        (lambda confidence: False, "words is right; check that the texts are those of the recordings"),
        (lambda confidence: confidence < 0.8, "have no higher confidence than wrong ones"),
    ],
)
def test_nothing_to_learn_from_is_one_line(
    model: Path, heard, tmp_path: Path, capsys, is_right: Callable[[float], bool], message: str
) -> None:
    dev, out = manifest(tmp_path / "dev.jsonl", heard, is_right), tmp_path / "out.safetensors"
    assert main(["calibrate", str(dev), "--model", str(model), "--out", str(out)]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"asr calibrate: {dev}: ")
    assert message in last
    assert not out.exists()


def test_where_all_utterances_have_errors_only_words_are_calibrated(model: Path, heard, tmp_path: Path, capsys) -> None:
    generator = np.random.default_rng(1)
    dev = manifest(tmp_path / "dev.jsonl", heard, lambda confidence: generator.random() < confidence**4)
    rows = [json.loads(line) for line in dev.read_text("utf-8").splitlines()]
    dev.write_text("".join(json.dumps(row | {"text": row["text"] + " zz"}) + "\n" for row in rows), "utf-8")
    out = tmp_path / "out.safetensors"
    assert main(["calibrate", str(dev), "--model", str(model), "--out", str(out)]) == 0
    assert "utterances keep the mean confidence of their words: none of 30 utterances" in capsys.readouterr().err
    assert AcousticModel.load(out).notes.calibration["utterances"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give --model and --out to fit, or --judge"),
        (["--model", "MODEL"], 2, "give --model and --out to fit, or --judge"),
        (["--out", "x.safetensors"], 2, "give --model and --out to fit, or --judge"),
        (["--judge", "DEV", "--model", "MODEL", "--out", "x.safetensors"], 2, "leave out --out, --method"),
        (["--judge", "DEV", "--beam", "5"], 2, "leave out --out, --method and the options of a search"),
        (["--judge", "DEV", "--method", "isotonic"], 2, "leave out --out, --method"),
        (["--judge", "DEV"], 3, "dev.jsonl:1: 'words' must be a list with a confidence each, has none"),
        (["--judge", "absent.jsonl"], 3, "absent.jsonl: cannot read"),
        (["--model", "MODEL", "--out", "DEV"], 2, "is one of the files to read"),
        (["--model", "MODEL", "--out", "MODEL"], 2, "is one of the files to read"),
        (["--model", "MODEL", "--out", "x.safetensors", "--plot", "DEV"], 2, "cannot draw a picture of that name"),
        (["--model", "nobody", "--out", "x.safetensors"], 3, "'nobody': neither a bundled model"),
        (["--model", "MODEL", "--out", "x.safetensors", "--lm", "absent.lm"], 3, "absent.lm"),
    ],
)
def test_wrong_calls_are_one_line(
    model: Path, dev: Path, tmp_path: Path, capsys, monkeypatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"DEV": str(dev), "MODEL": str(model)}
    assert main(["calibrate", str(dev), *(named.get(word, word) for word in arguments)]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev.jsonl"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": None}, "utterance 'u0' has no text to be compared with"),
        ({"audio": "gone.wav"}, "utterance 'u0': "),
    ],
)
def test_an_utterance_that_cannot_be_used_is_named(
    model: Path, dev: Path, tmp_path: Path, capsys, row, message
) -> None:
    first, *others = dev.read_text("utf-8").splitlines()
    dev.write_text("\n".join([json.dumps(json.loads(first) | row), *others]) + "\n", "utf-8")
    assert main(["calibrate", str(dev), "--model", str(model), "--out", str(tmp_path / "x.safetensors")]) == 3
    assert message in capsys.readouterr().err.splitlines()[-1]
    dev.write_text("", "utf-8")
    assert main(["calibrate", str(dev), "--model", str(model), "--out", str(tmp_path / "x.safetensors")]) == 3
    assert "holds no utterances" in capsys.readouterr().err
