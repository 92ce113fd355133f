"""asr average: kept checkpoints -> one model file."""

import shutil
from pathlib import Path

import pytest
import torch

from asr.cli.main import main
from asr.model import AcousticModel
from asr.recognizer import Recognizer
from asr.store import load
from tests.training.miniature import Corpus, make_corpus, train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"))


@pytest.fixture(scope="module")
def run(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that kept the checkpoints of its last three epochs."""
    out = tmp_path_factory.mktemp("run") / "run"
    assert train(corpus, out, "train.epochs=4", "train.keep_best=0", "train.keep_last=3") == 0
    return out


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in load(path)[0].items() if not name.startswith("state/")}


def kept(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*.safetensors"))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 9])
def test_the_model_is_the_mean_of_the_last_checkpoints(run: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "model.safetensors"
    assert main(["average", str(run), "--out", str(out), "--number", str(number)]) == 0
    paths = kept(run)[-number:] if number else kept(run)
    assert len(kept(run)) == 3
    for name, tensor in weights(out).items():
        mean = torch.stack([weights(path)[name] for path in paths]).mean(0)
        torch.testing.assert_close(tensor, mean, rtol=1e-6, atol=1e-7)
    assert not any(name.startswith("state/") for name in load(out)[0])


def test_a_copy_beside_the_checkpoints_is_not_averaged_in(run: Path, tmp_path: Path) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for path in kept(run):
        shutil.copy(path, checkpoints)
    shutil.copy(kept(run)[0], checkpoints / f"{kept(run)[0].stem}-int8.safetensors")
    for name, folder in (("plain", run), ("beside", tmp_path / "run")):
        assert main(["average", str(folder), "--out", str(tmp_path / f"{name}.safetensors")]) == 0
    plain, beside = (weights(tmp_path / f"{name}.safetensors") for name in ("plain", "beside"))
    assert all(torch.equal(tensor, beside[name]) for name, tensor in plain.items())


def test_a_run_folder_with_its_model_transcribes(run: Path, corpus: Corpus) -> None:
    assert main(["average", str(run), "--out", str(run / "model.safetensors")]) == 0
    transcript = Recognizer.load(run).transcribe(corpus.utterances[0].audio)
    assert transcript.duration > 0


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_matrices_are_stored_as_wanted(run: Path, tmp_path: Path, storage: str) -> None:
    out = tmp_path / "model.safetensors"
    assert main(["average", str(run), "--out", str(out), "--storage", storage]) == 0
    small = storage == "int8"  # matrices as small as here stay float32 then: only the header differs
    assert out.stat().st_size < kept(run)[0].stat().st_size + 200 * small
    assert AcousticModel.load(out).notes.storage == storage


def test_the_model_goes_a_share_of_the_way_back_to_the_old_one(
    run: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, tuned, out = tmp_path / "old.safetensors", tmp_path / "tuned", tmp_path / "model.safetensors"
    assert main(["average", str(run), "--out", str(old)]) == 0
    assert train(corpus, tuned, "--from", str(old), "train.epochs=1") == 0
    assert main(["average", str(tuned), "--out", str(tmp_path / "plain.safetensors")]) == 0
    capsys.readouterr()
    assert main(["average", str(tuned), "--old", str(old), "--old-share", "0.25", "--out", str(out)]) == 0
    assert f"mean of 1 checkpoints, 25 % of the way back to {old}, " in capsys.readouterr().err
    before, after = weights(old), weights(tmp_path / "plain.safetensors")
    names = [name for name in before if name.startswith("encoder.")]
    assert any(not torch.equal(before[name], after[name]) for name in names)
    for name in names:
        torch.testing.assert_close(weights(out)[name], 0.75 * after[name] + 0.25 * before[name])
    assert main(["average", str(tuned), "--old", str(old), "--out", str(old)]) == 2, "it is read"
    assert "is one of the files to read" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--old-share", "0.5"], ["--old", "an4", "--old-share", "1.5"]])
def test_a_share_without_a_model_or_beyond_it_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    assert main(["average", str(run), *wrong, "--out", str(tmp_path / "model.safetensors")]) == 2
    assert f"--old-share {wrong[-1]}: give a number from 0 to 1, and the model with --old" in capsys.readouterr().err
    assert not (tmp_path / "model.safetensors").exists()


def test_one_model_file_is_stored_anew(run: Path, tmp_path: Path) -> None:
    out, last = tmp_path / "model.safetensors", run / "checkpoints" / "last.safetensors"
    assert main(["average", str(last), "--out", str(out)]) == 0
    assert all(torch.equal(tensor, weights(last)[name]) for name, tensor in weights(out).items())


def test_a_run_that_kept_none_gives_its_last_state(corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(corpus, out, "train.epochs=1", "train.keep_best=0", valid=False) == 0
    assert main(["average", str(out), "--out", str(tmp_path / "m.safetensors")]) == 0
    last = weights(out / "checkpoints" / "last.safetensors")
    assert all(torch.equal(tensor, last[name]) for name, tensor in weights(tmp_path / "m.safetensors").items())


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", str(tmp_path), "--out", str(tmp_path / "m.safetensors")]) == 3
    assert "no checkpoints here; train first" in capsys.readouterr().err


def test_a_negative_number_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", str(run), "--out", str(tmp_path / "m.safetensors"), "--number", "-1"]) == 2
    assert "--number -1: " in capsys.readouterr().err
    assert not (tmp_path / "m.safetensors").exists()


def test_the_files_that_are_read_are_not_overwritten(
    run: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept(run)[-1]
    for source in (path, run):
        before = path.read_bytes()
        assert main(["average", str(source), "--out", str(path)]) == 2
        assert f"--out {path}: is one of the files to read" in capsys.readouterr().err
        assert path.read_bytes() == before
    domain = tmp_path / "valid.jsonl"
    domain.write_text("{}")
    assert main(["average", str(path), "--domain", str(domain), "--out", str(domain)]) == 2
    assert domain.read_text() == "{}"
