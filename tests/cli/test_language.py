"""asr lm train --kind lstm, and what asr lm, decode and transcribe do with its file."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.errors import EXIT_DATA, EXIT_DONE, EXIT_USAGE
from asr.lm.lstm import LstmLanguageModel
from tests.tiny_model import babble, tiny_model, write_wav

TINY = ["model.width=8", "model.layers=1", "train.epochs=2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser, a recording, its manifest, a text of the recogniser's letters, and both kinds of models of it."""
    folder = tmp_path_factory.mktemp("language")
    tiny_model().save(folder / "model.safetensors")
    write_wav(folder / "a.wav", babble(6, seed=4))
    row = {"id": "a", "audio": "a.wav", "duration": 6.0, "text": "abc"}
    (folder / "m.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "text").write_text("gbd igb\ndig gbd igb\nbad dig\nbad\n" * 4)
    (folder / "one").write_text("gbd igb\n")
    (folder / "empty").write_text("")
    (folder / "foreign").write_text("xyz\n")
    (folder / "bad.yaml").write_text("train:\n  epoch: 3\n")
    assert main(["lm", "train", str(folder / "text"), "--order", "2", "--out", str(folder / "ngram")]) == 0
    assert main(trained(folder, *TINY)) == 0
    return folder


def trained(folder: Path, *more: str, text: str = "text", out: str = "lstm.safetensors") -> list[str]:
    model = ["--kind", "lstm", "--model", str(folder / "model.safetensors")]
    return ["lm", "train", str(folder / text), *model, "--out", str(folder / out), *more]


def test_the_receipt_says_how_well_it_foresees(folder: Path) -> None:
    receipt = json.loads((folder / "lstm.receipt.json").read_text())
    assert receipt["config"]["model"] == {"width": 8, "layers": 1, "dropout": 0.3}
    assert {Path(name).name for name in receipt["inputs"]} == {"text", "model.safetensors"}
    result = receipt["result"]
    assert 1 < result["perplexity_per_token"] < 12
    assert (result["held_out_sentences"], result["sentences"], result["epochs"]) == (4, 12, 2)


def test_perplexity_and_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "lstm.safetensors"
    (total,) = LstmLanguageModel.load(path).log_prob(["gbd igb"])
    assert main(["lm", "perplexity", str(path), str(folder / "one")]) == EXIT_DONE
    shown = capsys.readouterr().out.splitlines()
    assert shown[2:] == ["sentences: 1, words: 2, tokens: 7", f"log10 probability: {total / 2.302585093:.4f}"]
    assert shown[0].startswith("perplexity of a word: ")
    assert main(["lm", "info", str(path)]) == EXIT_DONE
    shown = capsys.readouterr().out.splitlines()
    assert shown[2:] == ["layers: 1 of 8 cells", "parameters: 684", "tokens: 12, char", "rescoring: not fitted"]


def test_standard_input_a_validation_text_and_a_configuration(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = b"gbd\ndig\nGBD\n\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))  # type: ignore[arg-type]
    (tmp_path / "tiny.yaml").write_text("model: {width: 8, layers: 1}\ntrain: {epochs: 1}\n")
    model = ["--kind", "lstm", "--model", str(folder / "model.safetensors"), "--config", str(tmp_path / "tiny.yaml")]
    out = tmp_path / "lm"
    assert main(["lm", "train", *model, "-", "--valid", str(folder / "one"), "--out", str(out), "--seed", "3"]) == 0
    told = capsys.readouterr().err
    assert (
        "standard input: 1 of 3 sentences left out, as they hold what is not in the alphabet: 'G' (U+0047, 1)" in told
    )
    assert "standard input: 1 lines without words left out" in told
    assert "asr lm: 2 sentences, 6 tokens; 1 held out; " in told


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "one", "LSTM"], EXIT_DATA, "holds one sentence (1 times), and some must be held out to judge by"),
        (["train", "empty", "LSTM"], EXIT_DATA, "no words in it; give a text with one sentence a line"),
        (["train", "foreign", "LSTM"], EXIT_DATA, "none of its 1 sentences can be spelled"),
        (["train", "none", "LSTM"], EXIT_DATA, "cannot read"),
        (["train", "text", "LSTM", "--valid", "empty"], EXIT_DATA, "empty: no words in it"),
        (["train", "text", "LSTM", "--config", "bad.yaml"], EXIT_USAGE, "train.epoch: unknown key; did you mean"),
        (["train", "text", "LSTM", "model.width=0"], EXIT_USAGE, "the command line: model.width: input should be"),
        (["train", "text", "LSTM", "--seed", "-1"], EXIT_USAGE, "--seed -1: must lie between 0"),
        (["train", "text", "LSTM", "--order", "2"], EXIT_USAGE, "--order is for --kind ngram; leave it out, or give"),
        (["train", "text", "--kind", "lstm", "--out", "out"], EXIT_USAGE, "--model is missing; name the recogniser"),
        (["train", "text", "--kind", "lstm", "--model", "an5", "--out", "out"], EXIT_DATA, "did you mean 'an4'?"),
        (
            ["train", "text", "--kind", "lstm", "--model", "lstm.safetensors", "--out", "out"],
            EXIT_DATA,
            "not a recogniser; it goes with --rescore",
        ),
        (
            ["train", "text", "--kind", "lstm", "--model", "model.safetensors", "--out", "text"],
            EXIT_USAGE,
            "files to r",
        ),
        (["train", "text", "--kind", "lstm", "--model", "model.safetensors", "--out", "."], EXIT_USAGE, "is a folder;"),
        (["train", "text", "--out", "out", "--valid", "one"], EXIT_USAGE, "--valid is for --kind lstm; leave it out"),
        (["train", "text", "--out", "out", "model.width=8"], EXIT_USAGE, "model.width=8 is for --kind lstm"),
        (["perplexity", "model.safetensors", "text"], EXIT_DATA, "holds a 'model', not an LSTM language model"),
        (["info", "model.safetensors"], EXIT_DATA, "holds a 'model', not an LSTM language model"),
        (
            ["weigh", "lstm.safetensors", "m.jsonl", "m.jsonl", "--out", "out"],
            EXIT_DATA,
            "utterance 'a' has no n-best l",
        ),
        (["weigh", "lstm.safetensors", "m.jsonl", "none", "--out", "out"], EXIT_DATA, "none: cannot read"),
        (
            ["weigh", "lstm.safetensors", "m.jsonl", "m.jsonl", "--out", "m.jsonl"],
            EXIT_USAGE,
            "one of the files to read",
        ),
        (["weigh", "ngram", "m.jsonl", "m.jsonl", "--out", "out"], EXIT_DATA, "ngram: not a model file"),
        (["prune", "lstm.safetensors", "--threshold", "1", "--out", "out"], EXIT_DATA, "lstm.safetensors"),
    ],
)
def test_what_is_wrong_ends_in_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    at = arguments.index("LSTM") if "LSTM" in arguments else len(arguments)
    lstm = ["--kind", "lstm", "--model", "model.safetensors", "--out", "out"] if at < len(arguments) else []
    assert main(["lm", *arguments[:at], *lstm, *arguments[at + 1 :]]) == code
    error = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("read: ")]
    assert message in error[-1]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before, "nothing is left behind"


def test_answers_that_the_lstm_cannot_spell_are_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [{"text": "a 7", "score": -1.0}, {"text": "a", "score": -2.0}]
    (tmp_path / "hyp.jsonl").write_text(json.dumps({"id": "a", "text": "a 7", "nbest": answers}))
    lists = [str(folder / "m.jsonl"), str(tmp_path / "hyp.jsonl")]
    assert main(["lm", "weigh", str(folder / "lstm.safetensors"), *lists, "--out", str(tmp_path / "out")]) == EXIT_DATA
    assert "hyp.jsonl: utterance 'a': '7' (U+0037) in its answers, which the LSTM" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rescoring_changes_what_is_heard(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heard = []
    for options in (["--beam", "20"], ["--beam", "20", "--rescore", str(folder / "lstm.safetensors")]):
        out = folder / "hyp.jsonl"
        arguments = [str(folder / "m.jsonl"), "--model", str(folder / "model.safetensors"), "--out", str(out)]
        assert main(["decode", *arguments, *options, "--nbest", "5"]) == 0
        heard.append(json.loads(out.read_text()))
    plain, rescored = heard
    assert plain["text"] != rescored["text"] == rescored["nbest"][0]["text"]
    scores = [candidate["score"] for candidate in rescored["nbest"]]
    assert scores == sorted(scores, reverse=True)
    receipt = json.loads((folder / "hyp.receipt.json").read_text())
    assert {Path(name).name for name in receipt["inputs"]} == {"m.jsonl", "lstm.safetensors", "model.safetensors"}
    options = ["--beam", "20", "--rescore", str(folder / "lstm.safetensors")]
    capsys.readouterr()
    arguments = ["transcribe", str(folder / "a.wav"), "--model", str(folder / "model.safetensors"), *options]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{rescored['text']}\n"


def test_the_weight_is_fitted_on_kept_answers(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ["--model", str(folder / "model.safetensors"), "--out", str(tmp_path / "hyp.jsonl")]
    assert main(["decode", str(folder / "m.jsonl"), *model, "--beam", "20", "--nbest", "20"]) == 0
    lstm, out = folder / "lstm.safetensors", tmp_path / "weighed.safetensors"
    lists = [str(folder / "m.jsonl"), str(tmp_path / "hyp.jsonl")]
    assert main(["lm", "weigh", str(lstm), *lists, "--out", str(out)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("weight: ")
    assert second.startswith("word errors: ")
    found = LstmLanguageModel.load(out)
    assert found.notes.rescoring is not None
    assert first == f"weight: {found.notes.rescoring['weight']:g}, bonus: {found.notes.rescoring['bonus']:g}"
    assert main(["lm", "info", str(out)]) == 0
    assert f"rescoring: weight {found.notes.rescoring['weight']:g}, bonus " in capsys.readouterr().out
    scores = []
    for weights in ({"weight": 0.0, "bonus": 0.0}, {"weight": 0.0, "bonus": 2.0}):
        found.notes = replace(found.notes, rescoring=weights)
        found.save(out)
        assert main(["decode", str(folder / "m.jsonl"), *model, "--beam", "20", "--rescore", str(out)]) == 0
        row = json.loads((tmp_path / "hyp.jsonl").read_text())
        scores.append(row["score"] - weights["bonus"] * len(row["text"].split()))
    assert scores[0] >= scores[1], "what the file says is what counts"
    found.notes = replace(found.notes, rescoring={"strength": 1.0})
    found.save(out)
    capsys.readouterr()
    assert main(["decode", str(folder / "m.jsonl"), *model, "--rescore", str(out)]) == EXIT_DATA
    error = capsys.readouterr().err
    assert f"{out}: strength: unknown key" in error
    assert error.endswith("get the file again, or fit its weights anew: asr lm weigh\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "none: cannot read the model: No such file"),
        ("ngram", "ngram: not a model file but an n-gram language model, which goes with --lm; see asr lm info"),
        ("model.safetensors", "holds a 'model', not an LSTM language model"),
    ],
)
def test_what_cannot_rescore_is_one_line(
    folder: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["transcribe", str(folder / "a.wav"), "--model", str(folder / "model.safetensors")]
    capsys.readouterr()
    assert main([*arguments, "--rescore", str(folder / name)]) == EXIT_DATA
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", [["transcribe", "a.wav", "--model"], ["info"], ["align", "m.jsonl", "--model"]])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ngram", "ngram: not a model file but an n-gram language model, which goes with --lm; see asr lm info"),
        ("a.arpa", "a.arpa: not a model file but an n-gram language model, which goes with --lm"),
        ("a.arpa.gz", "a.arpa.gz: not a model file but a gzip file, perhaps an n-gram language model"),
        ("lstm.safetensors", "holds an LSTM language model, not a recogniser; it goes with --rescore, see asr lm info"),
    ],
)
def test_a_language_model_as_the_recogniser_is_told(
    folder: Path,
    command: list[str],
    name: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    if ".arpa" in name:
        assert main(["lm", "prune", "ngram", "--threshold", "1e-9", "--out", name]) == EXIT_DONE
    capsys.readouterr()
    assert main([*command, name]) == EXIT_DATA
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
