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


def test_parameters_are_counted_alike_in_every_storage(model, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(store, "SMALL_MATRIX", 0)
    counts, tensors = set(), set()
    for storage in ("float32", "float16", "int8"):
        model.save(tmp_path / "model.safetensors", notes=ModelNotes(storage))
        assert main(["info", str(tmp_path), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        counts.add(facts["parameters"])
        tensors.add(facts["tensors"])
    assert len(tensors) == 1
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


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.features.hop_ms": "10"}, 'model.features.hop_ms is "10"'),
        ({"model.features.hop_ms": 1e-320}, "model.features.hop_ms is 1"),
        ({"model.encoder": [1]}, "model.encoder.factor is null"),
        ({"tokenizer": 3}, "tokenizer.symbols is null"),
        ({"tokenizer.symbols": [1]}, "tokenizer.symbols is [1]"),
        ({"tokenizer.normalizer": [1]}, "tokenizer.normalizer is [1]"),
        ({"domain": 3}, "domain is 3"),
    ],
)
def test_headers_with_values_of_other_types_are_refused(model, tmp_path, capsys, flags, changes, words) -> None:
    tensors, header = model.packed(ModelNotes())
    for place, value in changes.items():
        *groups, last = place.split(".")
        group = header
        for key in groups:
            group = group[key]
        group[last] = value
    path = tmp_path / "odd.safetensors"
    store.save(path, tensors, header)
    assert main(["info", str(path), *flags]) == 3
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("entry", [5, None, {}, {"shape": ["a"]}, {"shape": [-1]}, {"shape": [2] * 9}, {"shape": 4}])
def test_damaged_indices_are_refused(file, capsys, entry) -> None:
    data = file.read_bytes()
    count = int.from_bytes(data[:8], "little")
    index = json.dumps({**json.loads(data[8 : 8 + count]), "x": entry}).encode()
    file.write_bytes(len(index).to_bytes(8, "little") + index + data[8 + count :])
    assert main(["info", str(file)]) == 3
    err = capsys.readouterr().err
    assert 'tensor "x" has the shape' in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_every_value_is_escaped(model, tmp_path, capsys, flags) -> None:
    tensors, header = model.packed(ModelNotes())
    evil = "\x1b[2J\x9b\x7f\u202e\ud800"
    header["storage"] = header["sample_rate"] = header["tokenizer"]["kind"] = evil
    header["domain"] = {evil: evil}
    header["model"]["encoder"][evil] = evil
    header["parameters"] = header["bytes"] = evil  # what was counted is shown, not what a header claims
    store.save(tmp_path / "evil.safetensors", tensors, header)
    assert main(["info", str(tmp_path / "evil.safetensors"), *flags]) == 0
    out = capsys.readouterr().out
    assert all(letter.isprintable() or letter == "\n" for letter in out)
    if flags:
        facts = json.loads(out)
        assert facts["storage"] == evil
        assert facts["bytes"] == (tmp_path / "evil.safetensors").stat().st_size


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--json"], 3)])
def test_numbers_that_are_not_finite_are_no_json(file, capsys, flags, code) -> None:
    data = file.read_bytes()
    changed = data.replace(b"0.62", b"1e99", 1).replace(b"1e99}", b"1e999}", 1)
    count = int.from_bytes(data[:8], "little") + len(changed) - len(data)
    file.write_bytes(count.to_bytes(8, "little") + changed[8:])
    assert main(["info", str(file), *flags]) == code
    assert len(capsys.readouterr().err.splitlines()) == (1 if code else 0)


def test_info_needs_no_torch(file) -> None:
    code = (
        "import sys; from asr.cli.main import main; assert main(['info', sys.argv[1]]) == 0;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("normalization", "encoder", "says"),
    [
        ("utterance", {}, "no: its backward direction begins at the end of the recording, and it normalises over the"),
        ("utterance", {"chunk_ms": 160}, "no: it normalises over the whole utterance"),
        ("running", {}, "no: its backward direction begins at the end"),
        ("running", {"bidirectional": False, "lookahead_ms": 80}, "yes: it reads forwards, and 80 ms ahead"),
        ("global", {"chunk_ms": 160, "right_context_ms": 80}, "yes: chunks of 160 ms with 80 ms behind them"),
        ("global", {"chunk_ms": 150, "right_context_ms": 90}, "yes: chunks of 160 ms with 80 ms behind them"),
    ],
)
def test_whether_a_model_can_be_live(
    normalization: str, encoder: dict[str, object], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model(normalization=normalization, **encoder).save(tmp_path / "model.safetensors")
    assert main(["info", str(tmp_path / "model.safetensors")]) == 0
    assert f"live        {says}" in capsys.readouterr().out
