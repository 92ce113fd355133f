"""`asr tokens`: from manifests or text files to tokens.json."""

import json
import re
from pathlib import Path

import pytest

from asr.cli import main as command
from asr.cli import tokens
from asr.text.tokenizer import Tokenizer

BOM_CRLF = "\ufeffHello World\r\nnaïve cafe\u0301\r\n\r\nit’s\r\n"


def asr_tokens(*arguments: str) -> int:
    return command.main(["tokens", *arguments])


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_bytes(BOM_CRLF.encode())
    return path


def test_help_is_the_one_in_the_table() -> None:
    assert command.COMMANDS["tokens"] == tokens.HELP


def test_characters_of_a_text_file(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "tokens.json"
    arguments = ["--out", str(out), "--kind", "char", "--case", "lower"]
    assert asr_tokens(str(text_file), *arguments, 'text.map={’: "\'"}') == 0
    tokenizer = Tokenizer.load(out)
    assert tokenizer.decode(tokenizer.encode("IT’S café")) == "it's café"
    assert "\r" not in tokenizer.symbols
    assert "\ufeff" not in tokenizer.symbols
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0] == f"{out}: {tokenizer.size} symbols (char, blank included) from 3 texts (1 more without text)"
    assert lines[1].startswith("coverage: 25 of 25 characters (100.00 %)")
    assert lines[2].startswith("rarest: ''' 1, 'c' 1, 'd' 1")
    assert lines[3].startswith("hint: symbols with fewer than 10 examples")
    assert printed.err == ""


def test_counts_of_the_rarest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("aaab\n" * 30 + "é\n" * 11, encoding="utf-8")
    assert asr_tokens(str(tmp_path / "a.txt"), "--kind", "char", "--out", str(tmp_path / "t.json")) == 0
    out = capsys.readouterr().out
    assert "rarest: 'é' (U+00E9) 11, 'b' 30, 'a' 90\n" in out
    assert "hint" not in out


def test_manifests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for name, texts in {"train": ["سلام دنیا", None], "more": ["नमस्ते", ""]}.items():
        rows = [{"id": f"{name}{i}", "audio": "a.wav", "duration": 1, "text": text} for i, text in enumerate(texts)]
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert asr_tokens(*map(str, paths), "--kind", "char", "--out", str(tmp_path / "t.json")) == 0
    assert "from 2 texts (2 more without text)" in capsys.readouterr().out
    assert Tokenizer.load(tmp_path / "t.json").unknown("سلام دنیا नमस्ते") == []


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_pieces(kind: str, text_file: Path, tmp_path: Path) -> None:
    for run in ("a.json", "b.json"):
        arguments = ["--kind", kind, "--size", "276", "--byte-fallback", "--out", str(tmp_path / run)]
        assert asr_tokens(str(text_file), *arguments, "text.case=lower") == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    tokenizer = Tokenizer.load(tmp_path / "a.json")
    assert tokenizer.size == 276
    assert tokenizer.decode(tokenizer.encode("日本")) == "日本"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["TEXT", "--kind", "char", "--size", "9"], 2, "--size 9: the texts decide the characters"),
        (["TEXT", "--kind", "char", "--byte-fallback"], 2, "--byte-fallback: the texts decide"),
        (["TEXT", "--kind", "bpe"], 2, "--kind bpe needs the number of symbols, for example --size 128"),
        (
            ["TEXT", "--kind", "bpe", "--size", "9999"],
            2,
            "9999 symbols are too many .* the largest possible is [0-9]+$",
        ),
        (["TEXT", "--kind", "word"], 2, "invalid choice: 'word'"),
        (["TEXT", "--kind", "char", "text.cas=lower"], 2, "text: cas: unknown key; did you mean 'case'"),
        (["TEXT", "--kind", "char", "tex.case=lower"], 2, "tex: unknown key; did you mean 'text'"),
        (["TEXT", "--kind", "char", "--case", "upper", "text.case=lower"], 2, "--case upper against text.case=lower"),
        (["text.case=lower", "--kind", "char"], 2, "no texts given"),
        (
            ["none.txt", "--kind", "char"],
            3,
            "none.txt: cannot read the texts: No such file or directory; check the path",
        ),
        (["none.jsonl", "--kind", "char"], 3, "none.jsonl: cannot read the manifest"),
        (["LATIN1", "--kind", "char"], 3, "latin1.txt:2: not UTF-8 at byte 3 of the line"),
        (["EMPTY", "--kind", "char"], 3, "empty.txt: no texts"),
        (["TEXT", "--kind", "char", "text.remove=HeloWrdnaïvecafé’ts i"], 3, "texts.txt: the texts hold no characters"),
    ],
)
def test_errors(
    arguments: list[str], code: int, message: str, text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin1.txt").write_bytes(b"ok\ncaf\xe9\n")
    (tmp_path / "empty.txt").write_bytes(b"\n\n")
    files = {"TEXT": text_file, "LATIN1": tmp_path / "latin1.txt", "EMPTY": tmp_path / "empty.txt"}
    filled = [str(files.get(argument, argument)) for argument in arguments]
    assert asr_tokens(*filled, "--out", str(tmp_path / "out" / "tokens.json")) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert re.search(message, printed.err.rstrip("\n"))
    assert not (tmp_path / "out").exists()


def test_out_is_a_folder(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asr_tokens(str(text_file), "--kind", "char", "--out", str(tmp_path)) == 2
    assert "a folder; give the name of the file" in capsys.readouterr().err


def test_out_cannot_be_written(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asr_tokens(str(text_file), "--kind", "char", "--out", str(text_file / "tokens.json")) == 4
    assert "cannot write" in capsys.readouterr().err


def test_the_configuration_of_the_training_says_how_texts_are_normalised(tmp_path: Path) -> None:
    texts, config, out = tmp_path / "texts.txt", tmp_path / "conf.yaml", tmp_path / "tokens.json"
    texts.write_text("Ab\n")
    config.write_text("text:\n  case: upper\n  map: {B: C}\ntrain:\n  epochs: 3\n")
    made = ["--config", str(config), str(texts), "--kind", "char", "--out", str(out)]
    assert asr_tokens(*made, "train.epochs=2") == 0
    assert json.loads(out.read_text())["symbols"] == ["<blank>", "A", "C"]
    assert asr_tokens(*made, "text.map={}") == 0
    assert json.loads(out.read_text())["symbols"] == ["<blank>", "A", "B"]


def test_the_texts_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("ab\n")
    assert asr_tokens(str(texts), "--kind", "char", "--out", str(texts)) == 2
    assert texts.read_text() == "ab\n"
    assert capsys.readouterr().err.count("\n") == 1


def test_phones_of_a_lexicon(text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lexicon, out = tmp_path / "a.dic", tmp_path / "t.json"
    lexicon.write_text("HELLO HH AH L OW\nworld W ER L D\nnaïve N AY IY V\ncafé K AE F EY\nit’s IH T S\n")
    arguments = [str(text_file), "--kind", "lexicon", "--case", "lower", "--out", str(out)]
    assert asr_tokens(*arguments, "--lexicon", str(lexicon)) == 0
    assert Tokenizer.load(out).decode(Tokenizer.load(out).encode("Hello café")) == "hello café"
    assert capsys.readouterr().out.startswith(f"{out}: 20 symbols (lexicon, blank included) from 3 texts")
    lexicon.write_text("HELLO HH AH L OW\nworld W ER L D\n")
    assert asr_tokens(*arguments, "--lexicon", str(lexicon)) == 3
    assert "a.dic: lacks 'naïve' (1 times), 'café' (1 times), 'it’s' (1 times)" in capsys.readouterr().err
    assert asr_tokens(*arguments) == 2
    assert "--kind lexicon needs --lexicon FILE" in capsys.readouterr().err
    assert asr_tokens(*arguments, "--lexicon", str(lexicon), "--size", "9") == 2
    assert "--size 9: the lexicon decides the phones" in capsys.readouterr().err
    assert asr_tokens(*arguments[:2], "char", *arguments[3:], "--lexicon", str(lexicon)) == 2
    assert "is for --kind lexicon, not for --kind char" in capsys.readouterr().err
