"""Our own file of a model: the same arrays back, mapped and read-only; what is broken is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from asr.errors import DataError, MachineError
from asr.lm.binary import MAGIC, read_binary, read_header, write_binary
from asr.lm.files import load_ngram, save_ngram
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram
from tests.lm.texts import random_text, write_text


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    return train_ngram(write_text(tmp_path_factory.mktemp("text") / "text", random_text(1, 100)), 3).model


def test_what_is_written_reads_back(model: NgramModel, tmp_path: Path) -> None:
    write_binary(tmp_path / "lm", model)
    back = read_binary(tmp_path / "lm")
    assert (back.order, back.symbols, back.binding) == (model.order, model.symbols, None)
    for left, right in zip(back.arrays, model.arrays, strict=True):
        assert left.dtype == right.dtype
        assert np.array_equal(left, right)
        with pytest.raises(ValueError, match="read-only"):
            left[0] = 1
    assert back.sentence_log10(["w1", "w2"]) == model.sentence_log10(["w1", "w2"])
    assert [path.name for path in tmp_path.iterdir()] == ["lm"]


def test_a_binding_is_kept(model: NgramModel, tmp_path: Path) -> None:
    binding = {"tokens": ["a", "é"], "weights": {"lm": 0.5}}
    write_binary(tmp_path / "lm", dataclasses.replace(model, binding=binding))
    assert read_binary(tmp_path / "lm").binding == binding
    assert read_header(tmp_path / "lm")["binding"] == binding


@pytest.mark.parametrize("order", [1, 2, 5])
def test_all_orders(tmp_path: Path, order: int) -> None:
    model = train_ngram(write_text(tmp_path / "text", random_text(2, 50)), order).model
    write_binary(tmp_path / "lm", model)
    assert all(map(np.array_equal, read_binary(tmp_path / "lm").arrays, model.arrays))


def test_every_cut_and_every_tail_is_refused(model: NgramModel, tmp_path: Path) -> None:
    path = tmp_path / "lm"
    write_binary(path, model)
    content = path.read_bytes()
    for end in (*range(400), *range(400, len(content), 97)):
        path.write_bytes(content[:end])
        with pytest.raises(DataError) as caught:
            read_binary(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(content + b"\0")
    with pytest.raises(DataError, match="bytes where its header says"):
        read_binary(path)


def test_changed_bytes_never_lead_out_of_the_arrays(model: NgramModel, tmp_path: Path) -> None:
    """A changed byte is refused, or gives a model that can still be walked through."""
    path = tmp_path / "lm"
    write_binary(path, model)
    content = path.read_bytes()
    generator = np.random.default_rng(1)
    refused = 0
    for place in generator.integers(16, len(content), 300):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xA5]) + content[place + 1 :])
        try:
            read_binary(path).sentence_log10(["w1", "w2", "w3", "w1"])
        except DataError:
            refused += 1
    assert refused > 100


def test_arrays_of_no_model_are_refused(model: NgramModel, tmp_path: Path) -> None:
    """Each index lies within its array, yet a word would not be found, or a state belong to no context or to two."""
    states, begin = model.num_states, int(model.first[1])
    state = int(np.flatnonzero(np.diff(model.first[1:]) > 1)[0]) + 1  # has two words or more
    swapped = model.words.copy()
    swapped[model.first[state] : model.first[state] + 2] = swapped[model.first[state] : model.first[state] + 2][::-1]
    unreached, doubly = model.nexts.copy(), model.nexts.copy()
    unreached[:begin] = 0
    doubly[begin:] = states - 1
    for changed in ({"words": swapped}, {"nexts": unreached}, {"nexts": doubly}):
        write_binary(tmp_path / "lm", dataclasses.replace(model, **changed))
        with pytest.raises(DataError, match="its arrays do not fit together"):
            read_binary(tmp_path / "lm")


def test_a_header_may_leave_the_binding_out(model: NgramModel, tmp_path: Path) -> None:
    write_binary(tmp_path / "lm", model)
    content = (tmp_path / "lm").read_bytes()
    renamed = content.replace(b'"binding": null', b'"nothing": null', 1)
    (tmp_path / "lm").write_bytes(renamed)
    assert read_binary(tmp_path / "lm").binding is None


def with_header(path: Path, content: bytes, **changed: object) -> None:
    size = int.from_bytes(content[len(MAGIC) : 16], "little")
    header = json.loads(content[16 : 16 + size]) | changed
    text = json.dumps(header).encode()
    path.write_bytes(MAGIC + len(text).to_bytes(6, "little") + text + content[16 + size :])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 99}, "format 99; this version reads 1 to 1; upgrade"),
        ({"format": "1"}, "format in its header is '1'"),
        ({"words": 5}, "broken"),
        ({"states": -1}, "states in its header"),
        ({"arcs": 10**15}, "arcs in its header"),
        ({"arcs": True}, "arcs in its header"),
        ({"order": 10**11}, "order in its header is 100000000000, and 16 is the most"),
        ({"order": 2}, "arrays do not fit"),
        ({"arcs": 10**9}, "bytes where its header says"),
        ({"binding": 3}, "binding"),
    ],
)
def test_headers_that_lie(model: NgramModel, tmp_path: Path, changed: dict[str, object], message: str) -> None:
    path = tmp_path / "lm"
    write_binary(path, model)
    with_header(path, path.read_bytes(), **changed)
    with pytest.raises(DataError, match=message):
        read_binary(path)


def test_the_name_says_how_to_write_and_the_content_how_to_read(model: NgramModel, tmp_path: Path) -> None:
    for name, start in (("a.arpa", b"\\data\\"), ("a.arpa.gz", b"\x1f\x8b"), ("a.lm", MAGIC)):
        save_ngram(tmp_path / name, model)
        assert (tmp_path / name).read_bytes().startswith(start)
        (tmp_path / name).rename(tmp_path / "renamed")
        assert np.array_equal(load_ngram(tmp_path / "renamed").words, model.words)
    save_ngram(tmp_path / "b.lm", model, arpa=True)
    assert (tmp_path / "b.lm").read_bytes().startswith(b"\\data\\")
    with pytest.raises(DataError, match="cannot read"):
        load_ngram(tmp_path / "none")
    with pytest.raises(MachineError):
        save_ngram(tmp_path / "b.lm" / "c", model)
