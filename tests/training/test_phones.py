"""Phones as tokens, from texts and a lexicon to a score: trained, searched and scored through the command line."""

import json
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.data.manifest import read_manifest
from asr.model import AcousticModel
from tests.training.miniature import Corpus, make_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus whose texts are words of up to six phones, each a tone, and its tokens; two words sound as `aa` does."""
    corpus = make_corpus(tmp_path_factory.mktemp("phones"), num_train=8, num_valid=2)
    words = {item.text for part in (corpus.train, corpus.valid) for item in read_manifest(part)}
    rows = [f"{word}  {' '.join(letter.upper() * 2 for letter in word)}" for word in sorted(words)]
    (corpus.folder / "a.dic").write_text("\n".join([*rows, "other  AA AA", "another  AA AA", ""]))
    arguments = ["--kind", "lexicon", "--lexicon", str(corpus.folder / "a.dic"), "--out", str(corpus.tokens)]
    assert main(["tokens", str(corpus.train), str(corpus.valid), *arguments]) == 0
    return corpus


def test_phones_are_learned_searched_and_scored(corpus: Corpus, tmp_path: Path) -> None:
    out, hyp, score = tmp_path / "run", tmp_path / "hyp.jsonl", tmp_path / "score.json"
    assert main(corpus.arguments(out, "--overfit", "8", "train.epochs=1")) == 0
    receipt = json.loads((out / "overfit" / "train.receipt.json").read_text("utf-8"))
    assert receipt["result"]["valid_cer"] < 5
    model = next((out / "overfit" / "checkpoints").glob("*.safetensors"))
    assert AcousticModel.load(model).tokenizer.symbols == ["<blank>", "▁", "AA", "BB", "CC", "DD"]
    texts = {}
    for name, options in {"greedy": [], "searched": ["--beam", "50"]}.items():
        assert main(["decode", str(corpus.train), "--model", str(model), "--out", str(hyp), *options]) == 0
        assert main(["score", str(corpus.train), str(hyp), "--out", str(score)]) == 0
        assert json.loads(score.read_text("utf-8"))["words"]["rate"] < 0.2
        texts[name] = [json.loads(line)["text"] for line in hyp.read_text("utf-8").splitlines()]
    known = {item.text for part in (corpus.train, corpus.valid) for item in read_manifest(part)}
    assert {word for text in texts["searched"] for word in text.split()} <= known | {"other"}


def test_words_that_the_lexicon_lacks_are_found_before_training(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in corpus.train.read_text("utf-8").splitlines()]
    rows[1]["text"] = "abba mamma"
    for row in rows:
        row["audio"] = str(corpus.folder / row["audio"])
    manifest = tmp_path / "train.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["check", str(manifest), "--tokens", str(corpus.tokens)]) == 3
    assert "'mamma' is not in the lexicon" in capsys.readouterr().out
    arguments = ["train", str(corpus.config), "--train", str(manifest), "--tokens", str(corpus.tokens)]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 3
    assert "lacks 'abba', 'mamma'; add the pronunciation" in capsys.readouterr().err
