"""asr decode and asr transcribe with a language model and hotwords."""

import json
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.cli.searching import read_hotwords
from asr.decoding.scorer import fuse
from asr.errors import DataError
from asr.text.tokenizer import Tokenizer
from tests.tiny_model import babble, tiny_model, write_wav


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a recording, its manifest, a text of the model's letters and a language model of it."""
    folder = tmp_path_factory.mktemp("search")
    tiny_model().save(folder / "model.safetensors")
    write_wav(folder / "a.wav", babble(6, seed=4))
    row = {"id": "a", "audio": "a.wav", "duration": 6.0, "text": "abc"}
    (folder / "m.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "text").write_text("gbd igb\ndig gbd igb\nbad dig\n" * 4)
    (folder / "hotwords").write_text("gbd\t4\n\nigb\n")
    (folder / "words").write_text("gbd\nigb\na\nzzz\n")
    (folder / "strange").write_text("gbd\nwort\n")
    assert main(["lm", "train", str(folder / "text"), "--order", "2", "--out", str(folder / "lm")]) == 0
    return folder


def transcribed(folder: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    arguments = ["transcribe", str(folder / "a.wav"), "--model", str(folder / "model.safetensors")]
    assert main([*arguments, *options]) == 0
    return capsys.readouterr().out


def test_a_language_model_and_hotwords_change_what_is_heard(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = transcribed(folder, capsys=capsys)
    beam = transcribed(folder, "--beam", "20", capsys=capsys)
    lm = transcribed(folder, "--beam", "20", "--lm", str(folder / "lm"), capsys=capsys)
    hotwords = transcribed(folder, "--beam", "20", "--hotwords", str(folder / "hotwords"), capsys=capsys)
    assert len({plain, beam, lm, hotwords}) == 4
    known = {"gbd", "igb", "dig", "bad"}
    assert sum(word in known for word in lm.split()) > sum(word in known for word in beam.split())
    assert hotwords.split().count("gbd") > beam.split().count("gbd")


def test_a_lexicon_closes_the_vocabulary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = transcribed(folder, "--lexicon", str(folder / "words"), "--lm", str(folder / "lm"), capsys=capsys).split()
    assert len(words) > 3
    assert set(words) <= {"gbd", "igb", "a"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list", "gbd igb\nbad dig\n"),
        ("a.jsgf", "#JSGF V1.0;\npublic <all> = gbd igb | <other>;\n<other> = bad dig;\n"),
        ("a.regex", "gbd igb | bad dig\n"),
    ],
)
def test_a_grammar_gives_one_of_its_phrases(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    assert transcribed(folder, "--grammar", str(tmp_path / name), capsys=capsys).strip() in ("gbd igb", "bad dig")


def test_what_is_too_short_for_the_grammar_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "long").write_text("gbd " * 500)
    arguments = ["decode", str(folder / "m.jsonl"), "--model", str(folder / "model.safetensors")]
    assert main([*arguments, "--out", str(folder / "empty.jsonl"), "--grammar", str(folder / "long")]) == 0
    assert "utterance 'a': too short for any phrase of the grammar: nothing is written" in capsys.readouterr().err
    assert json.loads((folder / "empty.jsonl").read_text())["text"] == ""
    assert json.loads((folder / "empty.receipt.json").read_text())["result"]["out_of_domain"] == 0


def test_decode_takes_them_and_names_them_in_the_receipt(folder: Path) -> None:
    out = folder / "hyp.jsonl"
    options = ["--lm", str(folder / "lm"), "--hotwords", str(folder / "hotwords"), "--beam", "20"]
    options += ["--lexicon", str(folder / "words")]
    arguments = [str(folder / "m.jsonl"), "--model", str(folder / "model.safetensors"), "--out", str(out)]
    assert main(["decode", *arguments, *options]) == 0
    row = json.loads(out.read_text())
    assert row["text"] == " ".join(word["word"] for word in row["words"])
    receipt = json.loads((folder / "hyp.receipt.json").read_text())
    assert {Path(name).name for name in receipt["inputs"]} == {
        "m.jsonl",
        "lm",
        "hotwords",
        "words",
        "model.safetensors",
    }
    assert receipt["config"]["beam"] == 20


@pytest.mark.parametrize("options", [[], ["--lm", "lm"], ["--hotwords", "hotwords", "--beam", "20"]])
def test_decode_lists_the_best_texts(folder: Path, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    decode = ["decode", "m.jsonl", "--model", "model.safetensors", "--out", "nbest.jsonl", *options]
    assert main([*decode, *([] if options else ["--beam", "100"])]) == 0
    plain = json.loads((folder / "nbest.jsonl").read_text())
    assert main([*decode, "--nbest", "4"]) == 0
    row = json.loads((folder / "nbest.jsonl").read_text())
    nbest = row.pop("nbest")
    assert row == plain
    assert nbest[0]["text"] == row["text"]
    assert nbest[0]["score"] == row["score"]
    assert len({item["text"] for item in nbest}) == len(nbest) == 4
    assert all((item["lm_score"] < 0) == ("lm" in options) for item in nbest)
    assert json.loads((folder / "nbest.receipt.json").read_text())["config"]["nbest"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nbest", "0"], "--nbest 0: give a number of texts from 1 to 100, the prefixes of --beam"),
        (["--nbest", "6", "--beam", "5"], "--nbest 6: give a number of texts from 1 to 5, the prefixes of --beam"),
        (["--nbest", "many"], "argument --nbest: invalid int value: 'many'"),
    ],
)
def test_a_list_that_the_search_cannot_fill_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    arguments = [str(folder / "m.jsonl"), "--model", str(folder / "model.safetensors"), "--out", str(folder / "no")]
    assert main(["decode", *arguments, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "no").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--beam", "0"], 2, "--beam 0: give a number of prefixes from 1 to 65536"),
        (["--lm", "none.arpa"], 3, "none.arpa"),
        (["--lexicon", "none.dic"], 3, "none.dic: cannot read the lexicon: No such file or directory; check --lexicon"),
        (["--grammar", "none"], 3, "none: cannot read the grammar: No such file or directory; check --grammar"),
        (["--grammar", "none", "--beam", "5"], 2, "--beam 5 is no use with --grammar"),
        (
            ["--lm", "model.safetensors"],
            3,
            "model.safetensors: no n-gram model but a file of tensors; an LSTM language",
        ),
        (["--hotwords", "strange"], 3, "strange:2: hotword 'wort' holds 'w' (U+0077), 'o' (U+006F), 'r' (U+0072), 't'"),
        (["--hotwords", "none"], 3, "none: cannot read the hotwords: No such file or directory; check --hotwords"),
    ],
)
def test_what_cannot_be_is_one_line(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    arguments = ["transcribe", "a.wav", "--model", "model.safetensors"]
    assert main([*arguments, *options]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc\tmuch\n", ":1: 'much' is no weight; write PHRASE, a tab, and a number"),
        (b"abc\nbad\tnan\n", ":2: a weight of nan is not from -100 to 100"),
        (b"\n \n", "holds no hotwords; write a phrase a line"),
        (b"abc\n\t3\n", ":2: a weight without a phrase; write PHRASE, a tab, and a number"),
        (b"abc\t\n", ":1: '' is no weight; write PHRASE, a tab, and a number"),
        (b"ab\xff", "not UTF-8 at byte 3; save it as UTF-8"),
    ],
)
def test_hotwords_that_cannot_be_used_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "hotwords").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_hotwords(tmp_path / "hotwords")
    assert message in str(caught.value)


def test_of_a_phrase_that_is_spelled_in_two_ways_the_last_line_counts(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *"▁abcd"]})
    (tmp_path / "hotwords").write_text("bad cab\t1\nbad  cab\t2\nbad cab\t3\n")
    fusion = fuse(tokenizer, hotwords=read_hotwords(tmp_path / "hotwords"))
    assert fusion.hotwords.trie.values.max() == 3


def test_an_archive_is_searched_but_not_by_ray(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = ["transcribe", str(folder / "m.jsonl"), "--model", str(folder / "model.safetensors"), "--out"]
    out = folder / "out"
    assert main([*archive, str(out), "--beam", "5"]) == 0
    searched = [json.loads(line) for line in (out / "transcripts.jsonl").read_text("utf-8").splitlines()]
    decoded = folder / "decoded.jsonl"
    model = str(folder / "model.safetensors")
    assert main(["decode", str(folder / "m.jsonl"), "--model", model, "--beam", "5", "--out", str(decoded)]) == 0
    rows = [json.loads(line) for line in decoded.read_text("utf-8").splitlines()]
    assert [(row["text"], row["score"]) for row in searched] == [(row["text"], row["score"]) for row in rows]
    capsys.readouterr()
    assert main([*archive, str(out), "--beam", "6"]) == 2
    assert "this folder holds another job: another search; give another --out" in capsys.readouterr().err
    assert main([*archive, str(folder / "ray"), "--beam", "5", "--ray", "local"]) == 2
    assert "workers of Ray read the best path" in capsys.readouterr().err
    assert main([*archive, str(folder / "nothing"), "--lm", str(folder / "none.lm")]) == 3
    assert not (folder / "nothing").exists(), "a file that cannot be read is said before anything is written"
