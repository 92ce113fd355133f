"""asr train: flags, exit codes and the receipt."""

import hashlib
import json
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.data.manifest import read_manifest
from tests.training.miniature import Corpus, make_corpus, train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"))


def test_the_receipt_says_who_made_the_model(corpus: Corpus, tmp_path: Path) -> None:
    assert train(corpus, tmp_path / "run", "--seed", "5", "train.epochs=1") == 0
    receipt = json.loads((tmp_path / "run" / "train.receipt.json").read_text("utf-8"))
    utterances = read_manifest(corpus.train)
    assert receipt["command"][:2] == ["asr", "train"]
    assert receipt["seed"] == 5
    assert receipt["utterances"] == len(utterances) == 12
    assert receipt["audio_seconds"] == pytest.approx(sum(utterance.duration for utterance in utterances))
    assert receipt["audio_seconds_seen"] == pytest.approx(receipt["audio_seconds"])
    assert receipt["config"]["train"]["epochs"] == 1
    assert receipt["result"].keys() >= {"steps", "parameters", "waiting_share", "left_out", "valid_wer", "valid_cer"}
    paths = (corpus.config, corpus.tokens, corpus.train, corpus.valid)
    assert receipt["inputs"] == {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_progress_and_results_go_to_standard_error(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(corpus, tmp_path / "run", "train.epochs=1") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 1, step 3: WER " in err
    assert "    said  " in err


def test_resampling_is_said_once(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(corpus, tmp_path / "run", "train.epochs=1", "model.features.sample_rate=12345") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asr train: ")]
    assert len(lines) == 1
    assert "8000 Hz -> 12345 Hz" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train.epoch=3"], 2, "train.epoch: unknown key; did you mean 'epochs'?"),
        (["train.loader.max_seconds=5"], 2, "train.loader.max_seconds (5) must not exceed"),
        (["--overfit", "8", "--resume"], 2, "--overfit starts anew; leave out --resume"),
        (["--overfit", "-1"], 2, "--overfit -1: give the number of utterances"),
        (["text.case=upper"], 2, "text.case is 'upper', in the tokens 'keep'; make the tokens with asr"),
        (["--seed", "-1"], 2, "--seed -1: must lie between 0 and"),
        (["train.precision=fp16"], 2, "train.precision=fp16 needs --device cuda"),
        (["augment.waveform.noise_folder=nowhere"], 3, "nowhere: there is no such folder"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_nothing(
    corpus: Corpus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert train(corpus, tmp_path / "run", *arguments) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("asr train: ")
    assert message in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--train", "--valid", "--tokens"])
def test_a_missing_file_is_named(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    arguments = corpus.arguments(tmp_path / "run")
    arguments[arguments.index(option) + 1] = str(tmp_path / "nothing.json")
    assert main(arguments) == 3
    assert f"{tmp_path / 'nothing.json'}: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_audio_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    corpus = make_corpus(tmp_path / "corpus", num_train=6)
    (corpus.folder / "u04.wav").write_bytes(b"broken")
    cache = "train.loader.cache_mb=0"
    assert train(corpus, tmp_path / "run", f"train.loader.workers={workers}", cache, valid=False) == 3
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"asr train: {corpus.folder / 'u04.wav'}: ")
    assert "Traceback" not in line


def test_a_folder_that_cannot_be_made_is_one_line(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert train(corpus, tmp_path / "file" / "run") == 4
    assert "cannot write" in capsys.readouterr().err.splitlines()[-1]
