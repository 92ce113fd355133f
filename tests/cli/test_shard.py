"""asr shard: flags, what it says, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.cli.main import main
from asr.data.manifest import Utterance, write_manifest
from asr.data.shard_reader import read_index
from tests.training.miniature import Corpus, make_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"))


def test_a_manifest_becomes_shards(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shard", str(corpus.train), "--out", str(tmp_path / "shards"), "--shard-mb", "1", "--jobs", "2"]) == 0
    out, err = capsys.readouterr()
    hours = sum(utterance.duration for utterance in corpus.utterances) / 3600
    assert out.startswith(f"{tmp_path}/shards: 12 utterances, {hours:.2f} h at 8000 Hz in 1 shards of 0.")
    assert "rounded" not in err
    assert "no text" not in err
    assert len(read_index(str(tmp_path / "shards"))) == 12


def test_what_is_rounded_or_has_no_text_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(1).uniform(-0.5, 0.5, 8000), 8000, subtype="PCM_24")
    write_manifest(tmp_path / "a.jsonl", [Utterance("a", tmp_path / "a.wav", 0.0, 1.0)])
    arguments = ["shard", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "shards"), "--sample-rate", "16000"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "1 of 1 utterances were rounded to 16 bits" in err
    assert "1 utterances have no text: these shards cannot be trained on" in err
    assert "at 16000 Hz" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--shard-mb", "0"], 2, "--shard-mb 0: give 1 to"),
        (["--sample-rate", "3"], 2, "--sample-rate 3: give a rate in Hz"),
        (["--jobs", "0"], 2, "--jobs 0: must be at least 1"),
        (["--out", "full"], 2, "full: already exists; delete it or choose another folder"),
        (["--out", "file/shards"], 4, "file/shards: cannot write"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    assert main(["shard", str(corpus.train), "--out", "shards", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("asr shard: ")
    assert message in line
    assert sorted(tmp_path.rglob("*")) == before


def test_audio_that_cannot_be_read_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = make_corpus(tmp_path / "corpus", num_train=4)
    (corpus.folder / "u02.wav").write_bytes(b"RIFF")
    assert main(["shard", str(corpus.train), "--out", str(tmp_path / "out" / "shards")]) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asr shard: ")]
    assert len(lines) == 1
    assert "u02.wav" in lines[0]
    assert list((tmp_path / "out").iterdir()) == []


def test_an_empty_manifest_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text("")
    assert main(["shard", str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "shards")]) == 3
    assert "the manifest has no utterance to put into shards" in capsys.readouterr().err
