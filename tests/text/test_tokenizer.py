"""Tokens and ids: round trips in many scripts, word positions, training, and files that lie."""

import base64
import copy
import json
import pickle
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import DataError, MachineError, UsageError
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import BLANK, SPACE, Tokenizer, train_char, train_sentencepiece

NORMALIZER = Normalizer(NormalizerConfig(case="lower"))
SCRIPTS = {
    "arabic": ["السلام عليكم", "مَرْحَبًا بِكُمْ", "می\u200cخواهم بروم"],
    "devanagari": ["नमस्ते दुनिया", "क्षत्रिय हिन्दी में", "क़ानून"],
    "chinese": ["你好世界", "今天天气很好", "语音识别"],
    "thai": ["สวัสดีครับ", "ภาษาไทย"],
    "emoji": ["ok 👍🏽 👨\u200d👩\u200d👧", "❤\ufe0f yes"],
    "latin": ["Don't  stop", "naïve cafe\u0301", "<unk> <s> <blank> <0x41> and noise"],
    "windows": ["\ufeffhello world\r\n", "good bye\r\n"],
}
EVERYTHING = [text for texts in SCRIPTS.values() for text in texts]


def english(num_lines: int = 300) -> list[str]:
    source = random.Random(0)
    words = ["".join(source.choices("abcdefghij", k=source.randint(2, 6))) for _ in range(100)]
    return [" ".join(source.choices(words, k=8)) for _ in range(num_lines)]


MAKERS: dict[str, Callable[[list[str]], Tokenizer]] = {
    "char": lambda texts: train_char(texts, NORMALIZER),
    "unigram": lambda texts: train_sentencepiece(texts, NORMALIZER, smallest(texts), "unigram"),
    "bpe": lambda texts: train_sentencepiece(texts, NORMALIZER, smallest(texts) + 5, "bpe"),
    "bytes": lambda texts: train_sentencepiece(texts, NORMALIZER, smallest(texts) + 256 + 5, "bpe", True),
}


def smallest(texts: list[str]) -> int:
    """Return the fewest symbols: the blank, the space piece and every character."""
    return len({character for text in texts for character in NORMALIZER(text)} | {" "}) + 1


@pytest.fixture(scope="module", params=["char", "unigram", "bpe", "bytes"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return MAKERS[request.param](EVERYTHING)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", MAKERS)
def test_round_trip(script: str, kind: str) -> None:
    tokenizer = MAKERS[kind](SCRIPTS[script])
    assert tokenizer.symbols[0] == BLANK
    for text in SCRIPTS[script]:
        token_ids = tokenizer.encode(text)
        assert tokenizer.decode(token_ids) == NORMALIZER(text)
        assert all(0 < index < tokenizer.size for index in token_ids)
        assert tokenizer.unknown(text) == []


def test_characters_are_sorted_after_the_space() -> None:
    tokenizer = train_char(["b a", "É"], NORMALIZER)
    assert tokenizer.symbols == [BLANK, SPACE, "a", "b", "é"]
    assert tokenizer.encode("B\u00a0 A") == [3, 1, 2]
    assert train_char(["你好"], NORMALIZER).symbols == [BLANK, "你", "好"]


def test_control_symbols_are_not_ours() -> None:
    for kind in ("unigram", "bpe"):
        tokenizer = train_sentencepiece(english(), NORMALIZER, 40, kind)
        assert tokenizer.size == 40
        assert not {"<unk>", "<s>", "</s>", "<\x01>"} & set(tokenizer.symbols)
        assert len(set(tokenizer.symbols)) == 40


@pytest.mark.parametrize("kind", ["char", "unigram", "bpe"])
def test_ids_are_those_of_the_symbols(kind: str) -> None:
    tokenizer = MAKERS[kind](EVERYTHING)
    for text in EVERYTHING:
        joined = "".join(tokenizer.symbols[index] for index in tokenizer.encode(text))
        assert joined.removeprefix(SPACE) == NORMALIZER(text).replace(" ", SPACE)


@pytest.mark.parametrize("kind", ["char", "unigram", "bpe"])
def test_characters_outside_the_alphabet(kind: str) -> None:
    tokenizer = MAKERS[kind](["hello world"])
    assert tokenizer.unknown("HÉllo é\u0301, \u200bxé") == ["é", "\u0301", ",", "x"]
    with pytest.raises(DataError) as caught:
        tokenizer.encode("hello é")
    assert str(caught.value) == (
        "'é' (U+00E9) is not in the alphabet; take it away by text.remove, map it in text.map, "
        "or train with tokens of your texts (asr tokens, --tokens)"
    )
    with pytest.raises(
        DataError, match=r"^'🙂' \(U\+1F642\), '\\ud800' \(U\+D800\) are not .* map them in text.map, or train with"
    ):
        tokenizer.encode("🙂\ud800")
    with pytest.raises(DataError, match=r" and 9 more are not in the alphabet"):
        tokenizer.encode("ABCFGIJKMNPQSTUVXYZ0123456789".lower())


def test_bytes_spell_everything() -> None:
    tokenizer = MAKERS["bytes"](["hello world"])
    text = "日本 é hello 🙂"
    assert tokenizer.unknown(text) == []
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.words_of(tokenizer.encode("日本 é"))[0][0] == "日本"


def test_the_space_symbol_itself_is_never_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.unknown("a▁b \udc80 a") == ["▁", "\udc80"]
    with pytest.raises(DataError, match=r"U\+2581"):
        tokenizer.encode("a▁b")
    with pytest.raises(DataError, match=r"U\+DC80"):
        tokenizer.encode("\udc80")


@settings(deadline=None, max_examples=150)
@given(text=st.text(st.characters(), max_size=30))
def test_any_text_round_trips_or_is_refused(tokenizer: Tokenizer, text: str) -> None:
    unknown = tokenizer.unknown(text)
    if unknown:
        with pytest.raises(DataError, match="not in the alphabet"):
            tokenizer.encode(text)
    else:
        assert tokenizer.decode(tokenizer.encode(text)) == NORMALIZER(text)


@settings(deadline=None, max_examples=150)
@given(source=st.randoms(use_true_random=False), length=st.integers(0, 30))
def test_any_ids_decode_to_normal_text(tokenizer: Tokenizer, source: random.Random, length: int) -> None:
    token_ids = [source.randrange(tokenizer.size) for _ in range(length)]
    words = tokenizer.words_of(token_ids)
    text = tokenizer.decode(token_ids)
    assert text == " ".join(word for word, _, _ in words) == " ".join(text.split())
    covered = 0
    for word, first, last in words:
        assert word
        assert 0 <= first < last <= length
        assert first >= covered - 1  # one token may end a word and start the next
        covered = last


def test_word_positions_of_characters() -> None:
    tokenizer = train_char(["ab c"], NORMALIZER)
    a, b, c, space = (tokenizer.symbols.index(symbol) for symbol in ("a", "b", "c", SPACE))
    assert tokenizer.words_of([space, a, b, space, space, c, space]) == [("ab", 1, 3), ("c", 5, 6)]
    assert tokenizer.words_of([a, 0, b]) == [("ab", 0, 3)]
    assert tokenizer.words_of([]) == tokenizer.words_of([space]) == []
    assert tokenizer.is_word_start(space)
    assert not tokenizer.is_word_start(a)


def test_word_positions_of_pieces() -> None:
    tokenizer = train_sentencepiece(english(), NORMALIZER, 60, "bpe")
    text = english()[7]
    token_ids = tokenizer.encode(text)
    words = tokenizer.words_of(token_ids)
    assert [word for word, _, _ in words] == text.split()
    for word, first, last in words:
        assert "".join(tokenizer.symbols[index] for index in token_ids[first:last]).removeprefix(SPACE) == word
    assert all(tokenizer.is_word_start(token_ids[first]) for _, first, _ in words[1:] if first > 0)


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=12))
def test_byte_runs_decode_as_python_does(data: bytes) -> None:
    tokenizer = byte_tokenizer()
    token_ids = [tokenizer.symbols.index(f"<0x{value:02X}>") for value in data]
    expected = data.decode(errors="replace").replace(SPACE, " ")
    assert tokenizer.decode(token_ids) == " ".join(expected.split())
    for word, first, last in tokenizer.words_of(token_ids):
        assert data[first:last].decode(errors="replace") == word


def test_broken_bytes_keep_their_positions() -> None:
    tokenizer = byte_tokenizer()
    a, e6, byte_a5 = (tokenizer.symbols.index(symbol) for symbol in ("a", "<0xE6>", "<0xA5>"))
    assert tokenizer.words_of([a, e6, a, byte_a5]) == [("a\ufffda\ufffd", 0, 4)]
    assert tokenizer.words_of([e6, byte_a5]) == [("\ufffd", 0, 2)]


_BYTES: list[Tokenizer] = []


def byte_tokenizer() -> Tokenizer:
    if not _BYTES:
        _BYTES.append(MAKERS["bytes"](["a b"] * 3 + ["hello world again"]))
    return _BYTES[0]


@pytest.mark.parametrize("token_id", [-1, 10**6])
def test_ids_outside_are_refused(tokenizer: Tokenizer, token_id: int) -> None:
    with pytest.raises(IndexError):
        tokenizer.decode([token_id])


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("byte_fallback", [False, True])
def test_size_limits_are_exact(kind: Any, byte_fallback: bool) -> None:
    def made(size: int) -> Tokenizer:
        return train_sentencepiece(english(), NORMALIZER, size, kind, byte_fallback)

    with pytest.raises(
        UsageError, match=r"^9999 symbols are too many for these texts; the largest possible is \d+$"
    ) as e:
        made(9999)
    largest = int(str(e.value).split()[-1])
    assert made(largest).size == largest
    with pytest.raises(UsageError, match=f"the largest possible is {largest}$"):
        made(largest + 1)
    with pytest.raises(UsageError, match=r"^5 symbols cannot hold the characters; the smallest possible is \d+$") as e:
        made(5)
    assert int(str(e.value).split()[-1]) == smallest(english()) + 256 * byte_fallback
    assert made(smallest(english()) + 256 * byte_fallback).encode(english()[0])


@pytest.mark.parametrize("size", [0, -3, 2**40])
def test_impossible_sizes(size: int) -> None:
    with pytest.raises(UsageError, match=f"^{size} symbols are not possible"):
        train_sentencepiece(["a"], NORMALIZER, size)


def test_no_line_is_left_out_for_its_length() -> None:
    long = "ab " * 5000 + "q"
    assert train_sentencepiece([long, "ab"], NORMALIZER, 6, "bpe").unknown("q") == []


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_training_is_deterministic_and_quiet(
    kind: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (train_sentencepiece(english(), NORMALIZER, 60, kind) for _ in range(2))
    assert first.state() == second.state()
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("texts", [[], [""], ["\ufeff", " "]])
def test_nothing_to_train_on(texts: list[str]) -> None:
    with pytest.raises(DataError, match="the texts hold no characters"):
        train_char(texts, NORMALIZER)
    with pytest.raises(DataError, match="the texts hold no characters"):
        train_sentencepiece(texts, NORMALIZER, 10)


def test_characters_that_cannot_be_tokens() -> None:
    with pytest.raises(DataError, match=r"'▁' \(U\+2581\) cannot be a token; drop it with text\.remove"):
        train_char(["a▁b"], NORMALIZER)
    with pytest.raises(DataError, match=r"'\\ud83d' \(U\+D83D\) cannot be a token"):
        train_char(["a\ud83d"], NORMALIZER)
    with pytest.raises(DataError, match=r"'▅' \(U\+2585\) cannot be a token"):
        train_sentencepiece(["ab ▅", "ab"], NORMALIZER, 5)
    assert train_char(["▅"], NORMALIZER).encode("▅") == [1]


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokens.json")
    for other in (Tokenizer.load(tmp_path / "tokens.json"), Tokenizer.from_state(*tokenizer.state())):
        assert other.state() == tokenizer.state()
        assert [other.encode(text) for text in EVERYTHING] == [tokenizer.encode(text) for text in EVERYTHING]
    assert [path.name for path in tmp_path.iterdir()] == ["tokens.json"]
    values = json.loads((tmp_path / "tokens.json").read_bytes())
    assert list(values) == ["kind", "normalizer", "symbols", "model"]
    assert (values["model"] is None) == (tokenizer.kind == "char")


def test_state_is_a_copy(tokenizer: Tokenizer) -> None:
    tokenizer.state()[0]["symbols"].clear()
    assert tokenizer.size > 1


def test_workers_get_an_equal_tokenizer(tokenizer: Tokenizer) -> None:
    for other in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert other.encode(EVERYTHING[0]) == tokenizer.encode(EVERYTHING[0])


def test_save_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot write"):
        train_char(["a"], NORMALIZER).save(tmp_path / "file" / "tokens.json")


GOOD: dict[str, Any] = {"kind": "char", "normalizer": {}, "symbols": [BLANK, "a"], "model": None}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "word"}, "kind 'word' is neither"),
        ({"kind": ["char"]}, "is neither"),
        ({"kind": "sentencepiece"}, "without a sentencepiece model"),
        ({"model": "AAAA"}, "kind 'char' with a sentencepiece model"),
        ({"kind": "sentencepiece", "model": "AAAA"}, "its sentencepiece model cannot be read"),
        ({"model": "%%%"}, "'model' is not base64"),
        ({"model": 7}, "'model' is not base64"),
        ({"normalizer": None}, "no normalizer"),
        ({"normalizer": {"casing": "x"}}, "normalizer: casing: unknown key"),
        ({"normalizer": {"map": {"a": "b", "b": "a"}}}, "is mapped again"),
        ({"symbols": "abc"}, "'symbols' is not a list of strings"),
        ({"symbols": [BLANK, 3]}, "'symbols' is not a list of strings"),
        ({"symbols": [BLANK]}, "1 symbols"),
        ({"symbols": ["a", BLANK]}, "symbol 0 is 'a', not '<blank>'"),
        ({"symbols": [BLANK, "a", "a"]}, "symbol 2 'a' is there twice"),
        ({"symbols": [BLANK, "ab"]}, "symbol 1 'ab' is not one character"),
        ({"symbols": [BLANK, " "]}, "is not one character (the space is '▁')"),
        ({"symbols": [BLANK, ""]}, "is not one character"),
        ({"symbols": [BLANK, "\ud800"]}, "is not one character"),
    ],
)
def test_files_that_lie(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(DataError) as caught:
        Tokenizer.load(path)
    assert str(caught.value).startswith(f"{path}: not a usable token list: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"{", b'{"kind": "char"}', b"[" * 100_000, b"\x80\x04."])
def test_files_that_are_something_else(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a usable token list"):
        Tokenizer.load(path)


def test_missing_and_oversized_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot read the tokens: No such file"):
        Tokenizer.load(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot read the tokens: Is a directory"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokens.json").write_text(json.dumps(GOOD))
    assert Tokenizer.load(tmp_path / "tokens.json").size == 2
    monkeypatch.setattr("asr.text.tokenizer.MAX_FILE_BYTES", 20)
    with pytest.raises(DataError, match="longer than 20 bytes"):
        Tokenizer.load(tmp_path / "tokens.json")


def test_edited_by_hand_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({**GOOD, "symbols": [BLANK, "a", "é"]}, indent=1), encoding="utf-8-sig")
    assert Tokenizer.load(path).encode("é") == [2]


def test_symbols_must_be_those_of_the_model(tmp_path: Path) -> None:
    description, model = train_sentencepiece(english(), NORMALIZER, 40).state()
    description["symbols"][5] = "zzz"
    with pytest.raises(DataError, match="its symbols are not those of its sentencepiece model"):
        Tokenizer.from_state(description, model, where="a.safetensors")
    monster = {**description, "model": base64.b64encode(model[:-20]).decode()}
    (tmp_path / "tokens.json").write_text(json.dumps(monster))
    with pytest.raises(DataError, match="not a usable token list"):
        Tokenizer.load(tmp_path / "tokens.json")


def test_models_have_a_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    description, model = train_sentencepiece(english(), NORMALIZER, 40).state()
    monkeypatch.setattr("asr.text.tokenizer.MAX_MODEL_BYTES", 50)
    with pytest.raises(DataError, match=rf"its sentencepiece model has {len(model)} bytes \(at most 50\)"):
        Tokenizer.from_state(description, model)


def test_damaged_models_are_refused_or_work() -> None:
    """A flipped byte ends in DataError or in a tokenizer that still encodes; never in another error."""
    source = random.Random(3)
    for byte_fallback in (False, True):
        description, model = train_sentencepiece(
            english(), NORMALIZER, 40 + 256 * byte_fallback, "bpe", byte_fallback
        ).state()
        for _ in range(300):
            damaged = bytearray(model)
            for _ in range(source.randint(1, 4)):
                damaged[source.randrange(len(damaged))] = source.randrange(256)
            try:
                tokenizer = Tokenizer.from_state(description, bytes(damaged))
            except DataError:
                continue
            tokenizer.decode(range(tokenizer.size))


def test_many_lines_are_quick() -> None:
    lines = english(10_000)
    for tokenizer in (train_char(lines, NORMALIZER), train_sentencepiece(lines[:300], NORMALIZER, 60)):
        start = time.process_time()
        for line in lines:
            tokenizer.encode(line)
        assert time.process_time() - start < 2.0  # 0.15 s on an idle core; the guard is against quadratic work


@pytest.mark.corpora
def test_real_transcripts(corpora: Path) -> None:
    rows = (corpora / "an4" / "etc" / "an4_train.transcription").read_text().splitlines()
    texts = [row.split("<s>")[1].split("</s>")[0] for row in rows]
    for tokenizer in (train_char(texts, NORMALIZER), train_sentencepiece(texts, NORMALIZER, 100)):
        for text in texts:
            words = tokenizer.words_of(tokenizer.encode(text))
            assert [word for word, _, _ in words] == text.lower().split()
