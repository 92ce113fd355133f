"""asr plot: pictures of models as they are, and one line for what cannot be drawn."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.cli.main import main
from asr.features.frontend import FeatureConfig
from asr.model import AcousticModel, ModelConfig
from asr.nn.cells import CellName
from asr.nn.encoder import EncoderConfig
from asr.recognizer import bundled_sample
from asr.text.tokenizer import Tokenizer
from tests.tiny_model import LETTERS, babble, write_wav


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "a.wav", babble(1))


def model_of(cell: CellName, folder: Path) -> Path:
    """Return the file of a random model."""
    torch.manual_seed(1)
    config = ModelConfig(
        features=FeatureConfig(num_bins=16), encoder=EncoderConfig(subsampling_width=16, layers=2, hidden=16, cell=cell)
    )
    tokenizer = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *LETTERS]})
    AcousticModel(config, tokenizer).save(folder / f"{cell}.safetensors")
    return folder / f"{cell}.safetensors"


def test_the_bundled_model_hears_the_bundled_sample(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(["plot", "gates", "an4", str(bundled_sample()), "--cells", "9", "--out", str(tmp_path / "a.svg")]) == 0
    picture = (tmp_path / "a.svg").read_text("utf-8")
    assert "“four one two six eight three nine”" in picture
    assert "an4, sample.flac: layer 4 of 4, forwards, cell lstm" in picture
    assert "the 9 of 320 cells whose forget gate moves most" in picture


@pytest.mark.parametrize("cell", ["lstm_coupled", "slstm", "gru", "mingru"])
def test_other_cells_show_the_gates_that_they_have(cell: CellName, tmp_path: Path, audio: Path) -> None:
    pytest.importorskip("matplotlib")
    out, model = tmp_path / "a.svg", str(model_of(cell, tmp_path))
    assert (
        main(["plot", "gates", model, str(audio), "--out", str(out), "--layer", "1", "--direction", "backwards"]) == 0
    )
    picture = out.read_text("utf-8")
    assert f"layer 1 of 2, backwards, cell {cell}" in picture
    said = {
        "lstm_coupled": "input gate: open (1), it lets the new value in, 1 - forget gate",
        "slstm": "input gate: open (1), it lets the new value in, as its share exp(i) / n of the memory",
        "gru": "reset gate: open (1), it lets the past into the candidate",
        "mingru": "update gate: open (1), it replaces the memory",
    }
    assert said[cell] in picture


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["no-model", "{audio}", "--out", "a.png"], 3, "'no-model': neither a bundled model, a file nor a run folder"),
        (["an4", "none.wav", "--out", "a.png"], 3, "none.wav"),
        (["an4", "{audio}", "--out", "a.png", "--layer", "5"], 2, "layer 5: the model has layers 1 to 4; choose"),
        (["an4", "{audio}", "--out", "a.png", "--layer", "0"], 2, "layer 0: the model has layers 1 to 4; choose"),
        (["an4", "{audio}", "--out", "a.png", "--cells", "0"], 2, "--cells 0: nothing to draw; give 1 or more"),
        (["an4", "{audio}", "--out", "a.png", "--direction", "up"], 2, "choose from"),
        (["an4", "{audio}", "--out", "a.jpg"], 2, "a.jpg: cannot draw a picture of that name; end it in .png"),
        (["an4", "{audio}", "--out", "{folder}/x.png"], 2, "is a folder; name the file to write"),
        (["an4", "{folder}/linked.png", "--out", "{folder}/linked.png"], 2, "is one of the files to read"),
        (["{rnn}", "{audio}", "--out", "a.png"], 2, "cell rnn: has no gates to show; choose a model of gated cells"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    audio: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").mkdir()
    (tmp_path / "linked.png").symlink_to(audio)
    names = {"audio": audio, "folder": tmp_path, "rnn": model_of("rnn", tmp_path)}
    assert main(["plot", "gates", *(word.format(**names) for word in words)]) == code
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not (tmp_path / "a.png").exists()


def test_a_long_recording_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    audio = write_wav(tmp_path / "long.wav", np.zeros(8000 * 61, np.float32), 8000)
    assert main(["plot", "gates", "an4", str(audio), "--out", str(tmp_path / "a.png")]) == 3
    assert "long.wav: lasts 61 s; a picture shows 60 s: cut a piece out" in capsys.readouterr().err


def test_without_matplotlib_the_cure_is_said_before_any_work(
    tmp_path: Path, audio: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", "gates", "no-model", str(audio), "--out", str(tmp_path / "a.png")]) == 4
    said = capsys.readouterr().err
    cure = f"{sys.executable} -m pip install matplotlib"
    assert said == f"asr plot: the package matplotlib is missing, which draws pictures: {cure}\n"
