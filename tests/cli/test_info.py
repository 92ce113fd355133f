"""asr info: all that a model file knows, without torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from asr import store
from asr.cli.main import main
from asr.model import AcousticModel, ModelNotes
from tests.tiny_model import tiny_model


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    return tiny_model(domain={"min_confidence": 0.62})


@pytest.fixture
def file(model: AcousticModel, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    training = {"receipt": {"command": ["asr", "train", "conf/an4.yaml"], "seed": 1}}
    model.save(path, notes=ModelNotes("int8", {"min_confidence": 0.62}, training))
    return path


def test_json_holds_the_header_and_what_follows_from_it(file, model, capsys) -> None:
    assert main(["info", str(file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert facts["bytes"] == file.stat().st_size
    assert facts["encoder_hop_ms"] == 40
    assert facts["encoder_frames_per_second"] == 25
    assert facts["num_tokens"] == model.tokenizer.size
    assert facts["model"]["encoder"]["hidden"] == 16
    assert facts["training"]["receipt"]["seed"] == 1
    assert facts.items() >= store.read_header(file).items()


def test_text_says_it_to_people(file, capsys) -> None:
    assert main(["info", str(file)]) == 0
    out = capsys.readouterr().out
    for part in (
        str(file),
        "stored as int8",
        "16000 Hz",
        "25 frames a second",
        "12, char: <blank> ▁ a b c",
        "min_confidence 0.62",
        "conf/an4.yaml",
        "hidden 16",
        "num_bins 16",
    ):
        assert part in out


def test_parameters_are_counted_alike_in_every_storage(model, tmp_path, capsys) -> None:
    counts = set()
    for storage in ("float32", "float16", "int8"):
        model.save(tmp_path / "model.safetensors", notes=ModelNotes(storage))
        assert main(["info", str(tmp_path), "--json"]) == 0
        counts.add(json.loads(capsys.readouterr().out)["parameters"])
    assert counts == {sum(parameter.numel() for parameter in model.parameters())}


def test_a_file_cannot_steer_the_terminal(model, tmp_path, capsys) -> None:
    tensors, header = model.packed(ModelNotes())
    header["tokenizer"]["symbols"][3] = "\x1b[2J"
    header["training"] = "\x1b]0;gotcha\x07"
    store.save(tmp_path / "evil.safetensors", tensors, header)
    assert main(["info", str(tmp_path / "evil.safetensors")]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_other_files_are_refused(tmp_path, capsys) -> None:
    store.save(tmp_path / "lm.safetensors", {"a": torch.zeros(2)}, {"kind": "lm"})
    assert main(["info", str(tmp_path / "lm.safetensors")]) == 3
    assert "holds a 'lm', not a model" in capsys.readouterr().err
    store.save(tmp_path / "odd.safetensors", {"a": torch.zeros(2)}, {"kind": "model", "model": {}})
    assert main(["info", str(tmp_path / "odd.safetensors")]) == 3
    assert "lacks the model's configuration" in capsys.readouterr().err
    (tmp_path / "text.safetensors").write_text("hello", encoding="utf-8")
    assert main(["info", str(tmp_path / "text.safetensors")]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_info_needs_no_torch(file) -> None:
    code = (
        "import sys; from asr.cli.main import main; assert main(['info', sys.argv[1]]) == 0;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, stdout=subprocess.DEVNULL)
