"""asr lm: a text to a model, its perplexity, what a file holds, pruning; what goes wrong ends in one line."""

import gzip
import io
import sys
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.errors import EXIT_DATA, EXIT_DONE, EXIT_MACHINE, EXIT_USAGE
from asr.lm.files import load_ngram
from tests.lm.texts import TOY, random_text, write_text


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write_text(tmp_path / "text", random_text(1, 150, num_words=20))


@pytest.mark.parametrize(
    ("name", "flags", "start"),
    [
        ("model.lm", [], b"asr-ngram"),
        ("model.arpa", [], b"\\data\\"),
        ("model.arpa.gz", [], b"\x1f\x8b"),
        ("model.lm", ["--arpa"], b"\\data\\"),
    ],
)
def test_a_model_is_trained_and_looked_at(
    text: Path, name: str, flags: list[str], start: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    out = text.parent / name
    assert main(["lm", "train", str(text), "--order", "2", "--out", str(out), *flags]) == EXIT_DONE
    written = capsys.readouterr()
    assert written.out == ""
    assert f"wrote {out}: 23 1-grams, " in written.err
    assert "150 sentences, " in written.err
    assert out.read_bytes().startswith(start)
    assert main(["lm", "info", str(out)]) == EXIT_DONE
    shown = capsys.readouterr().out
    for line in ("order: 2", "1-grams: 23", f"form: {'ours' if start.startswith(b'asr') else 'ARPA'}, ", "nothing"):
        assert line in shown
    assert main(["lm", "perplexity", str(out), str(text)]) == EXIT_DONE
    assert "unknown words: 0 of " in capsys.readouterr().out


def test_cut_offs_and_a_vocabulary(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (text.parent / "words").write_text("w0 w1 w2 other")
    out = text.parent / "lm"
    arguments = [
        "lm",
        "train",
        "--vocab",
        str(text.parent / "words"),
        str(text),
        "--out",
        str(out),
        "--prune",
        "0",
        "3",
    ]
    assert main(arguments) == EXIT_DONE
    assert set(load_ngram(out).symbols) == {"<unk>", "<s>", "</s>", "w0", "w1", "w2", "other"}
    err = capsys.readouterr().err
    assert "asr lm train: 17 words of the text are not in the vocabulary" in err
    assert "asr lm train: 1 words of the vocabulary are not in the text" in err


def test_standard_input_and_unknown_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed(content: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content.encode()))))  # type: ignore[arg-type]

    typed(TOY)
    assert main(["lm", "train", "-", "--out", str(tmp_path / "lm")]) == EXIT_DONE
    capsys.readouterr()
    typed("the bird sat\n")
    assert main(["lm", "perplexity", str(tmp_path / "lm"), "-"]) == EXIT_DONE
    shown = capsys.readouterr().out.splitlines()
    assert shown[2:4] == ["unknown words: 1 of 3 (33.33 %)", "sentences: 1"]
    with_unknown, without = (float(line.split(": ")[1]) for line in shown[:2])
    assert 1 < without < with_unknown


def test_pruning_makes_a_smaller_model(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, small = text.parent / "whole.lm", text.parent / "small.arpa.gz"
    assert main(["lm", "train", str(text), "--out", str(whole)]) == EXIT_DONE
    assert main(["lm", "prune", str(whole), "--threshold", "1e-3", "--out", str(small)]) == EXIT_DONE
    assert f"wrote {small}: " in capsys.readouterr().err
    assert len(load_ngram(small).words) < len(load_ngram(whole).words) / 2
    assert gzip.decompress(small.read_bytes()).startswith(b"\\data\\")


def test_a_model_for_a_recogniser_is_spelled_as_that_one_spells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_text(tmp_path / "text", [["SEVEN", "Eight"], ["seven", "nine"], ["naïve", "nine"]])
    (tmp_path / "words").write_text("SEVEN nine eight naïve")
    out = tmp_path / "lm"
    for options in ([], ["--vocab", str(tmp_path / "words")]):
        assert main(["lm", "train", str(text), "--model", "an4", "--out", str(out), *options]) == EXIT_DONE
        said = capsys.readouterr().err
        assert "asr lm train: " in said
        assert "% of the words hold what the model cannot write: 'ï'; they are never found" in said
        assert set(load_ngram(out).symbols[3:]) == {"seven", "eight", "nine", "naïve"}
    assert main(["lm", "info", str(out)]) == EXIT_DONE
    shown = capsys.readouterr().out.splitlines()
    assert shown[-2:] == [
        "bound to: models that write 'abcdefghijklmnopqrstuvwxyz', case lower",
        "weights: not tuned, see asr lm tune",
    ]
    assert main(["lm", "prune", str(out), "--threshold", "1", "--out", str(tmp_path / "small")]) == EXIT_DONE
    assert load_ngram(tmp_path / "small").binding == load_ngram(out).binding, "pruning keeps it"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "TEXT", "--out", "OUT", "--order", "6"], EXIT_USAGE, "order 6"),
        (["train", "TEXT", "--out", "OUT", "--order", "0"], EXIT_USAGE, "order 0"),
        (["train", "TEXT", "--out", "OUT", "--prune", "2", "1"], EXIT_USAGE, "cut-offs 2 1"),
        (["train", "TEXT", "--out", "TEXT"], EXIT_USAGE, "one of the files to read"),
        (["train", "TEXT"], EXIT_USAGE, "--out"),
        (["train", "DIR/none", "--out", "OUT"], EXIT_DATA, "cannot read"),
        (["train", "DIR/empty", "--out", "OUT"], EXIT_DATA, "no words"),
        (["train", "TEXT", "--out", "OUT", "--vocab", "DIR/empty"], EXIT_DATA, "no words"),
        (["train", "TEXT", "--out", "TEXT/lm"], EXIT_MACHINE, "cannot write"),
        (["prune", "LM", "--threshold", "0", "--out", "OUT"], EXIT_USAGE, "--threshold 0"),
        (["prune", "LM", "--threshold", "nan", "--out", "OUT"], EXIT_USAGE, "--threshold nan"),
        (["prune", "LM", "--threshold", "1e-3", "--out", "LM"], EXIT_USAGE, "one of the files to read"),
        (["prune", "TEXT", "--threshold", "1e-3", "--out", "OUT"], EXIT_DATA, "not an ARPA file"),
        (["info", "DIR/none"], EXIT_DATA, "cannot read"),
        (["perplexity", "LM", "DIR/empty"], EXIT_DATA, "no line"),
        (["perplexity", "DIR/empty", "TEXT"], EXIT_DATA, "the file ends"),
        (["train", "TEXT", "--out", "DIR"], EXIT_USAGE, "is a folder; name the file to write"),
        (["train", "TEXT", "--out", "OUT", "--prune", "9999"], EXIT_DATA, "the cut-offs 9999 leave no word"),
        (
            ["train", "DIR/foreign", "--out", "OUT", "--model", "an4"],
            EXIT_DATA,
            "foreign: 100 % of the words hold what",
        ),
        (["train", "TEXT", "--out", "OUT.arpa", "--model", "an4"], EXIT_USAGE, "ARPA cannot say which model it is for"),
        (["train", "TEXT", "--out", "OUT", "--model", "LM"], EXIT_DATA, "not a model file"),
        (["prune", "LM", "--threshold", "1e-3", "--out", "DIR"], EXIT_USAGE, "is a folder; name the file to write"),
        (["tokens"], EXIT_USAGE, "invalid choice"),
        ([], EXIT_USAGE, "COMMAND"),
    ],
)
def test_what_is_wrong_ends_in_one_line(
    text: Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = text.parent / "lm"
    (text.parent / "empty").write_text("")
    (text.parent / "foreign").write_text("мир привет\n")
    assert main(["lm", "train", str(text), "--out", str(lm)]) == EXIT_DONE
    before = {path: path.read_bytes() for path in text.parent.iterdir()}
    capsys.readouterr()
    places = {"TEXT": str(text), "LM": str(lm), "OUT": str(text.parent / "out"), "DIR": str(text.parent)}
    places["OUT.arpa"] = f"{places['OUT']}.arpa"
    filled = [places.get(word, word) for word in arguments]
    filled = [word.replace("DIR/", f"{text.parent}/").replace("TEXT/", f"{text}/") for word in filled]
    assert main(["lm", *filled]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("read:")]
    assert lines[-1].startswith("asr lm: ")
    assert message in lines[-1]
    assert len([line for line in lines if not line.startswith("asr lm train: ")]) == 1
    assert {path: path.read_bytes() for path in text.parent.iterdir()} == before


def test_it_is_said_that_arpa_keeps_no_binding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("four one\nsix one\n")
    bound = str(tmp_path / "bound.lm")
    assert main(["lm", "train", str(tmp_path / "text"), "--model", "an4", "--out", bound]) == 0
    capsys.readouterr()
    assert main(["lm", "prune", bound, "--threshold", "1e-8", "--out", str(tmp_path / "pruned.arpa")]) == 0
    assert "ARPA keeps neither what the model is bound to nor weights" in capsys.readouterr().err
