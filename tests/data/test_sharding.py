"""asr shard's work: tars that anybody can read, the samples of the source, all of them or nothing."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio.files import read_audio
from asr.data.manifest import Utterance
from asr.data.shard_index import RECORD, identity
from asr.data.shard_reader import read_index
from asr.data.sharding import shard_key, write_shards
from asr.errors import DataError, UsageError
from tests.data.shards import SHARD_BYTES, make_shards
from tests.training.miniature import Corpus, make_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"))


def members(folder: Path) -> list[tuple[str, bytes]]:
    """Return (name, body) of all members of all shards, as Python's own reader finds them."""
    found = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                found.append((member.name, file.read()))
    return found


def test_each_utterance_is_a_row_and_its_audio(corpus: Corpus, tmp_path: Path) -> None:
    folder = make_shards(corpus, tmp_path / "shards")
    found = members(folder)
    rows = [json.loads(body) for name, body in found[::2] if name.endswith(".json")]
    by_id = {utterance.id: utterance for utterance in corpus.utterances}
    assert sorted(row["id"] for row in rows) == sorted(by_id)
    for row, (row_name, _), (audio_name, audio) in zip(rows, found[::2], found[1::2], strict=True):
        utterance = by_id[row["id"]]
        assert (row_name, audio_name) == (f"{row['id']}.json", f"{row['id']}.flac")
        assert (row["text"], row["speaker"]) == (utterance.text, None)
        samples, rate = soundfile.read(io.BytesIO(audio), dtype="float32")
        assert (len(samples), rate) == (row["samples"], row["sample_rate"])
        assert np.array_equal(samples, read_audio(utterance.audio)[0])
    shards = sorted(folder.glob("*.tar"))
    assert len(shards) > 3
    assert all(path.stat().st_size <= SHARD_BYTES for path in shards)


def test_the_order_is_a_shuffle_that_does_not_depend_on_the_manifest(corpus: Corpus, tmp_path: Path) -> None:
    make_shards(corpus, tmp_path / "a")
    write_shards(corpus.utterances[::-1], tmp_path / "b", shard_bytes=SHARD_BYTES)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    names = [name for name, _ in members(tmp_path / "a")]
    assert names != sorted(names)


def test_processes_change_nothing(corpus: Corpus, tmp_path: Path) -> None:
    make_shards(corpus, tmp_path / "a")
    write_shards(corpus.utterances, tmp_path / "b", shard_bytes=SHARD_BYTES, jobs=2)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_segment_of_one_channel_is_cut_and_loses_nothing(tmp_path: Path) -> None:
    samples = np.random.default_rng(1).integers(-32768, 32768, (16000, 2), dtype=np.int16)
    soundfile.write(tmp_path / "long.wav", samples, 16000, subtype="PCM_16")
    row = Utterance("a", tmp_path / "long.wav", 0.25, 0.5, "x", channel=1)
    done = write_shards([row], tmp_path / "shards", shard_bytes=1 << 20)
    (_, (name, audio)) = members(tmp_path / "shards")
    assert name == "a.flac"
    assert np.array_equal(soundfile.read(io.BytesIO(audio), dtype="int16")[0], samples[4000:12000, 1])
    assert (done.rounded, done.audio_seconds) == (0, 0.5)


@pytest.mark.parametrize("change", ["24 bits", "mixed", "resampled"])
def test_what_is_rounded_is_counted(tmp_path: Path, change: str) -> None:
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, (8000, 2 if change == "mixed" else 1))
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="PCM_24" if change == "24 bits" else "PCM_16")
    rate = 16000 if change == "resampled" else None
    row = Utterance("a", tmp_path / "a.wav", 0.0, 1.0, "x")
    done = write_shards([row], tmp_path / "shards", shard_bytes=1 << 20, sample_rate=rate)
    assert (done.rounded, done.sample_rate) == (1, rate or 8000)


def test_a_key_is_safe_and_no_other_id_has_it() -> None:
    assert shard_key("1034-121119_5") == "1034-121119_5"
    odd = ["a.b", "a_b", "../x", "é", "è", "x" * 64, "x" * 65, "x" * 66]
    keys = [shard_key(name) for name in odd]
    assert len(set(keys)) == len(keys)
    assert all(set(key) <= set("-_0123456789abcdefghijklmnopqrstuvwxyz") and len(key) < 90 for key in keys)


def test_the_index_is_16_bytes_an_utterance_and_points_at_each(corpus: Corpus, tmp_path: Path) -> None:
    index = read_index(str(make_shards(corpus, tmp_path / "shards")))
    assert RECORD.itemsize == 16
    assert index.records.nbytes == 16 * len(index) == (tmp_path / "shards" / "index.bin").stat().st_size
    by_identity = {identity(utterance.id): utterance for utterance in corpus.utterances}
    for row in range(len(index)):
        utterance = by_identity[int(index.records["identity"][row])]
        assert index.records["samples"][row] == round(utterance.duration * index.sample_rate)
        shard, first, last = index.span(row)
        data = (tmp_path / "shards" / index.shards[shard].file).read_bytes()[first:last]
        assert data.startswith(f"{utterance.id}.json\0".encode())
        assert len(data) % 512 == 0
    assert index.audio_seconds == pytest.approx(sum(utterance.duration for utterance in corpus.utterances))


def test_the_index_counts_characters_and_missing_texts(corpus: Corpus, tmp_path: Path) -> None:
    texts = ["ab", "e\u0301b", None, "  "]
    rows = [replace(row, text=text) for row, text in zip(corpus.utterances, texts, strict=False)]
    done = write_shards(rows, tmp_path / "shards", shard_bytes=1 << 20)
    index = read_index(str(tmp_path / "shards"))
    assert index.characters == {" ": 1, "a": 1, "b": 2, "é": 1}
    assert index.without_text == done.without_text == 2


def test_other_rates_are_refused_unless_one_is_given(corpus: Corpus, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "odd.wav", np.zeros(4000), 4000)
    rows = [*corpus.utterances[:2], Utterance("odd", tmp_path / "odd.wav", 0.0, 1.0, "a")]
    with pytest.raises(DataError, match=r"Hz where others have .* Hz; give one rate to all with --sample-rate 4000"):
        write_shards(rows, tmp_path / "shards", shard_bytes=1 << 20)
    assert write_shards(rows, tmp_path / "shards", shard_bytes=1 << 20, sample_rate=4000).utterances == 3


def test_nothing_is_left_of_what_could_not_be_finished(corpus: Corpus, tmp_path: Path) -> None:
    rows = [*corpus.utterances, Utterance("gone", tmp_path / "gone.wav", 0.0, 1.0, "a")]
    for jobs in (1, 2):
        with pytest.raises(DataError, match=r"gone\.wav: there is no such audio file"):
            write_shards(rows, tmp_path / "out" / "shards", shard_bytes=SHARD_BYTES, jobs=jobs)
        assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_in_use_is_left_alone(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    make_shards(corpus, tmp_path / "shards")
    before = sorted((tmp_path / "shards").iterdir())
    with pytest.raises(UsageError, match="shards: already exists; delete it or choose another folder"):
        make_shards(corpus, tmp_path / "shards")
    assert sorted((tmp_path / "shards").iterdir()) == before
    with pytest.raises(DataError, match="no utterance"):
        write_shards([], tmp_path / "other", shard_bytes=SHARD_BYTES)
