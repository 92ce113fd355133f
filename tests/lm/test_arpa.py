"""ARPA files: what is written reads back the same, others' files score as defined, bad ones are refused."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from asr.errors import DataError
from asr.lm.arpa import read_arpa
from asr.lm.arpa_writing import arpa_parts, write_arpa
from asr.lm.lookup import stream_log10
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram
from asr.lm.words import END, START
from tests.lm.texts import random_text, write_text
from tests.oracles import back_off

# As SRILM prints: no back-off weight where nothing follows, n-grams whose context or whose ending is not there.
GOOD = """\
\\data\\
ngram 1=5
ngram  2=3
ngram 3=3

\\1-grams:
-99\t<s>\t-0.5
-0.7\t</s>
-0.4\ta\t-0.25
-0.6\tb\t0.125
-1.5e0\tc -0.5

\\2-grams:
-0.3\t<s> a\t-0.2
-0.2\ta b\t-0.1
-0.9\tb </s>

\\3-grams:
-0.1\t<s> a b
-0.15\ta b </s>
-0.05\tb c </s>

\\end\\
"""


def scored_everywhere(model: NgramModel, text: str, seed: int) -> None:
    """Random sentences, unknown words among them: by the definition, by steps of Python and by compiled ones."""
    probs, backoffs = back_off.read(text)
    generator = random.Random(seed)
    words = [*model.symbols[3:], "<s>", "strange"]
    for length in range(12):
        sentence = generator.choices(words, k=length)
        ours = [word if word != "<s>" else "strange" for word in sentence]
        expected = back_off.sentence_log10(probs, backoffs, ours, model.order)
        assert model.sentence_log10(sentence) == pytest.approx(expected, abs=1e-5)
        ids = np.array([START, *map(model.id_of, sentence), END], np.int32)
        assert stream_log10(model, ids).sum() == pytest.approx(expected, abs=1e-5)


def same(one: NgramModel, other: NgramModel, tolerance: float) -> None:
    assert (one.order, one.symbols) == (other.order, other.symbols)
    for left, right in zip(one.arrays, other.arrays, strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_allclose(left, right, rtol=0, atol=tolerance)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_what_is_written_reads_back(tmp_path: Path, name: str, order: int) -> None:
    model = train_ngram(write_text(tmp_path / "text", random_text(1, 100)), order).model
    write_arpa(tmp_path / name, model)
    same(read_arpa(tmp_path / name), model, 1e-9)  # as printed: 9 digits
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    scored_everywhere(model, b"".join(arpa_parts(model)).decode(), order)


@pytest.mark.parametrize("block", [1, 5, 14, 45, 100])
def test_a_file_in_blocks_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    model = train_ngram(write_text(tmp_path / "text", random_text(2, 100)), 3).model
    write_arpa(tmp_path / "lm.arpa", model)
    for name, value in (("asr.lm.reading.BLOCK_BYTES", block), ("asr.lm.arpa._FIRST_ROWS", 1)):
        monkeypatch.setattr(name, value)
    same(read_arpa(tmp_path / "lm.arpa"), model, 1e-9)


def test_a_line_longer_than_the_buffer_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.lm.arpa_writing._BUFFER_BYTES", 10)
    model = train_ngram(write_text(tmp_path / "text", [["long" * 50, "word" * 50, "b"]]), 3).model
    write_arpa(tmp_path / "lm.arpa", model)
    same(read_arpa(tmp_path / "lm.arpa"), model, 1e-9)


def test_a_file_of_another_program_scores_as_defined(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(GOOD)
    model = read_arpa(path)
    assert model.symbols == ("<unk>", "<s>", "</s>", "a", "b", "c")
    for seed in range(5):
        scored_everywhere(model, GOOD, seed)
    # the context "b c" is not in the file: it is as likely as backing off says, and weighs nothing
    probs, _ = back_off.read(b"".join(arpa_parts(model)).decode())
    assert probs[("b", "c")] == pytest.approx(0.125 - 1.5)
    assert probs[("<unk>",)] == -100


def test_contexts_missing_at_several_lengths(tmp_path: Path) -> None:
    lines = ["\\data\\", "ngram 1=4", "ngram 2=0", "ngram 3=0", "ngram 4=2", "", "\\1-grams:"]
    lines += [
        "-1 <s> -0.1",
        "-1 </s>",
        "-0.5 a -0.2",
        "-0.6 b -0.3",
        "",
        "\\2-grams:",
        "",
        "\\3-grams:",
        "",
        "\\4-grams:",
    ]
    text = "\n".join([*lines, "-0.1 a b a b", "-0.2 b b a </s>", "", "\\end\\", ""])
    (tmp_path / "lm.arpa").write_text(text)
    model = read_arpa(tmp_path / "lm.arpa")
    assert model.order == 4
    for seed in range(5):
        scored_everywhere(model, text, seed)


def test_windows_line_ends_and_spaces_are_as_good(tmp_path: Path) -> None:
    for name, text in (("a", GOOD), ("b", GOOD.replace("\n", "\r\n").replace("\t", " \t "))):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name == "b" else text.encode())
    same(read_arpa(tmp_path / "a"), read_arpa(tmp_path / "b"), 0)


BAD = [
    ("ngram 2=3", "ngram 2=4", "lm:17: 3 2-grams, but 4 are announced"),
    ("ngram  2=3", "ngram 2=2", "lm:17: 3 2-grams, but 2 are announced"),
    ("ngram  2=3", "ngram 3=3", "lm:3: expected the number of 2-grams"),
    ("ngram 1=5\nngram  2=3\nngram 3=3\n", "", "expected 'ngram 1=COUNT'"),
    ("ngram 3=3", "ngram 3=99999999999999999999", "'ngram 3=9999"),
    ("ngram 3=3", "ngram 3=3\nngram 4=1", r"lm:24: expected '\\4-grams:', found '\\end\\'"),
    ("-0.2\ta b\t-0.1", "-0.2\ta b", "lm:15: the n-gram 'a b' has longer ones and no back-off weight"),
    ("-0.2\ta b\t-0.1", "0.2\ta b\t-0.1", "lm:15: .* probability above 1"),
    ("-0.2\ta b\t-0.1", "-0.2\ta b\t-0.1x", "lm:15: .* back-off weight"),
    ("-0.2\ta b\t-0.1", "-0.2\ta b c d\t-0.1", "lm:15: .* wrong number of words"),
    ("-0.2\ta b\t-0.1", "-0.2\ta", "lm:15: .* wrong number of words"),
    ("-0.2\ta b\t-0.1", "-0.2\ta d\t-0.1", "lm:15: .* not among the 1-grams"),
    ("-0.2\ta b\t-0.1", "-0.9\tb </s>\t-0.1", "lm:16: the n-gram 'b </s>' is given twice"),
    ("-0.2\ta b\t-0.1", "nan\ta b\t-0.1", "lm:15: .* log10 probability"),
    ("-0.2\ta b\t-0.1", "-0.2e\ta b\t-0.1", "lm:15: .* log10 probability"),
    ("-0.2\ta b\t-0.1", "-1e99\ta b\t-0.1", "lm:15: .* log10 probability"),
    ("-0.1\t<s> a b", "-0.1\t<s> a b\t-0.5", "lm:19: .* nothing is longer"),
    ("-99\t<s>\t-0.5\n", "-99\tS\t-0.5\n", "no <s> among"),
    ("\\end\\\n", "", "lm:23: the file ends before"),
    (GOOD[GOOD.index("-0.15") :], "", "the file ends after 1 of 3 3-grams"),
    (GOOD[GOOD.index("b c </s>") :], "b", "wrong number of words"),
    ("\\3-grams:", "\\4-grams:", "lm:18: expected"),
    ("\\data\\", "data", "not an ARPA file"),
    (GOOD, "", "not an ARPA file|the file ends"),
    ("a b", "a b" + " " * 1_000_000, "longer than"),
]


@pytest.mark.parametrize(("good", "bad", "message"), BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, good: str, bad: str, message: str) -> None:
    path = tmp_path / "lm"
    text = GOOD.replace("ngram  2=3", "ngram 2=3") if good == "ngram 2=3" else GOOD
    assert good in text
    path.write_text(text.replace(good, bad, 1))
    with pytest.raises(DataError, match=message) as caught:
        read_arpa(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_a_word_given_twice_and_another_name_of_the_unknown_one(tmp_path: Path) -> None:
    twice = GOOD.replace("1=5", "1=6").replace("-0.6\tb", "-0.6\ta\n-0.6\tb")
    for text, message in ((twice, "lm:10: the n-gram 'a' is given twice"), (GOOD.replace("c", "<UNK>"), "rename")):
        (tmp_path / "lm").write_text(text)
        with pytest.raises(DataError, match=message):
            read_arpa(tmp_path / "lm")


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lm.gz").write_bytes(gzip.compress(GOOD.encode())[:-12])
    with pytest.raises(DataError, match="truncated"):
        read_arpa(tmp_path / "lm.gz")


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    for end in range(len(GOOD) - 2):
        (tmp_path / "lm").write_text(GOOD[:end])
        with pytest.raises(DataError):
            read_arpa(tmp_path / "lm")


def test_changed_bytes_are_refused_or_make_a_model(tmp_path: Path) -> None:
    generator = random.Random(1)
    messages = []
    for _ in range(500):
        content = bytearray(GOOD.encode())
        place = generator.randrange(len(content))
        content[place : place + generator.randint(0, 3)] = bytes(generator.choices(b"019-+.eE\t \nab<\\\xff", k=2))
        (tmp_path / "lm").write_bytes(content)
        try:
            assert read_arpa(tmp_path / "lm").sentence_log10(["a", "b", "c", "strange"]) < 10
        except DataError as error:
            messages.append(str(error))
    assert 250 < len(messages) < 500
    assert not any("\n" in message for message in messages)


def test_scores_are_those_of_kenlm(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    model = train_ngram(write_text(tmp_path / "text", random_text(3, 200)), 4).model
    write_arpa(tmp_path / "lm.arpa", model)
    theirs = kenlm.Model(str(tmp_path / "lm.arpa"))
    for sentence in random_text(4, 50, num_words=15):
        assert model.sentence_log10(sentence) == pytest.approx(theirs.score(" ".join(sentence)), abs=1e-5)
