"""The model as one file: saved and loaded bit for bit, small enough, and nothing foreign trusted."""

import copy
import json
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from asr import store
from asr.config import load_config
from asr.errors import DataError
from asr.model import STATE_PREFIX, AcousticModel, ModelConfig, ModelNotes, save_calibrated
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import Tokenizer, train_sentencepiece
from asr.training.config import ExperimentConfig
from tests.test_store import Trap, data_fault
from tests.tiny_model import babble, tiny_model

CONF = Path(__file__).resolve().parents[1] / "conf" / "an4.yaml"


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    return tiny_model()


@pytest.fixture
def saved(tmp_path: Path, model: AcousticModel) -> Path:
    path = tmp_path / "a.safetensors"
    model.save(path)
    return path


def log_probs(model: AcousticModel) -> Tensor:
    waveform = torch.from_numpy(babble(2.0, model.sample_rate, seed=1))[None]
    with torch.inference_mode():
        output: Tensor = model(waveform, torch.tensor([waveform.shape[1]]))[0]
    return output


def test_what_is_saved_as_float32_is_loaded_bit_for_bit(model: AcousticModel, saved: Path) -> None:
    loaded = AcousticModel.load(saved)
    assert not loaded.training
    assert loaded.config == model.config
    assert loaded.tokenizer.state() == model.tokenizer.state()
    assert loaded.notes == model.notes
    assert loaded.sample_rate == 16000
    assert loaded.geometry == model.geometry
    state = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor), name
    assert torch.equal(log_probs(loaded), log_probs(model))


def test_a_loaded_model_can_be_trained_and_saved_again(saved: Path, tmp_path: Path) -> None:
    loaded = AcousticModel.load(saved)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert {parameter.device.type for parameter in loaded.parameters()} == {"cpu"}
    assert {buffer.device.type for buffer in loaded.buffers()} == {"cpu"}
    again = tmp_path / "b.safetensors"
    loaded.save(again)
    assert again.read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(("storage", "bound"), [("float16", 0.05), ("int8", 1.0)])
def test_smaller_storage_moves_log_probs_by_a_bounded_amount(
    model: AcousticModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: store.Storage, bound: float
) -> None:
    monkeypatch.setattr(store, "SMALL_MATRIX", 0)
    path = tmp_path / "a.safetensors"
    model.save(path, notes=model.with_notes(storage=storage))
    loaded = AcousticModel.load(path)
    assert loaded.notes.storage == storage
    difference = (log_probs(loaded) - log_probs(model)).abs()
    # the tiny model's outputs are scaled up to swing by 20 nats, so small errors show
    assert 0 < difference.mean() < bound / 10
    assert difference.max() < bound


def test_the_an4_model_fits_into_ten_million_bytes_as_int8(tmp_path: Path) -> None:
    config = load_config(ExperimentConfig, CONF).model
    tokenizer = Tokenizer.from_state(
        {"kind": "char", "normalizer": {}, "symbols": ["<blank>", *"▁'abcdefghijklmnopqrstuvwxyz"]}
    )
    model = AcousticModel(config, tokenizer)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 10_000_000
    path = tmp_path / "an4.safetensors"
    model.save(path, notes=ModelNotes(storage="int8"))
    assert path.stat().st_size <= 10_000_000


def test_notes_and_a_sentencepiece_model_travel_along(tmp_path: Path, model: AcousticModel) -> None:
    texts = ["one two three", "four five six", "seven eight nine ten"] * 4
    normalizer = Normalizer(NormalizerConfig(case="lower", map={"&": " "}))
    tokenizer = train_sentencepiece(texts, normalizer, 24, "bpe")
    calibration = {"words": {"kind": "temperature", "temperature": 2.0, "bias": 0.5}}
    notes = ModelNotes("float16", {"min_confidence": 0.5}, {"config": {"train": {"epochs": 3}}}, calibration)
    path = tmp_path / "a.safetensors"
    AcousticModel(model.config, tokenizer, notes).save(path)
    loaded = AcousticModel.load(path)
    assert loaded.notes == notes
    assert loaded.tokenizer.encode("ONE & two") == tokenizer.encode("ONE & two")
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("five nine")) == "five nine"


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_a_calibration_leaves_the_weights_as_they_are_stored(
    tmp_path: Path, model: AcousticModel, monkeypatch: pytest.MonkeyPatch, storage: store.Storage
) -> None:
    monkeypatch.setattr(store, "SMALL_MATRIX", 0)
    before, after = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    tensors, header = model.packed(model.with_notes(storage=storage, domain={"min_confidence": 0.5}))
    tensors[STATE_PREFIX + "optimizer/x"] = torch.zeros(3)
    store.save(before, tensors, {**header, "state": {"position": {}}})
    assert AcousticModel.load(before).notes.calibration is None
    calibration = {"words": {"kind": "temperature", "temperature": 2.0, "bias": 0.5}}
    save_calibrated(before, after, calibration)
    assert store.read_header(after) == {**header, "format": store.FORMAT_VERSION, "calibration": calibration}
    kept, _ = store.load_stored(after)
    assert kept.keys() == tensors.keys() - {STATE_PREFIX + "optimizer/x"}
    assert all(kept[name].dtype == tensors[name].dtype and torch.equal(kept[name], tensors[name]) for name in kept)
    save_calibrated(after, before, {"words": None})
    assert AcousticModel.load(before).notes.calibration == {"words": None}


@pytest.mark.parametrize("normalization", ["none", "utterance", "global", "running"])
def test_statistics_of_the_normaliser_are_part_of_the_file(tmp_path: Path, normalization: str) -> None:
    model = tiny_model(normalization=normalization)
    for storage in ("float32", "int8"):
        model.save(tmp_path / "a.safetensors", notes=ModelNotes(storage=storage))
        loaded = AcousticModel.load(tmp_path / "a.safetensors")
        assert torch.equal(loaded.frontend.normalizer.mean, model.frontend.normalizer.mean)
        assert torch.equal(loaded.frontend.normalizer.variance, model.frontend.normalizer.variance)


def test_the_frontends_constants_are_no_part_of_the_file(saved: Path) -> None:
    tensors, _ = store.load(saved)
    assert not any("povey" in name or "mel" in name or "cepstra" in name for name in tensors)


def test_a_checkpoint_is_a_model_file(model: AcousticModel, tmp_path: Path) -> None:
    tensors, header = model.packed(model.notes)
    tensors[STATE_PREFIX + "optimizer/x"] = torch.zeros(3)
    store.save(tmp_path / "a.safetensors", tensors, header | {"state": {"step": 3}})
    assert torch.equal(log_probs(AcousticModel.load(tmp_path / "a.safetensors")), log_probs(model))


# --- files that do not fit


Change = Callable[[dict[str, Tensor], dict[str, Any]], object]


def spoiled(path: Path, change: Change) -> str:
    """Return the message about a model file whose tensors and header were changed by a function."""
    tensors, header = store.load(path)
    change(tensors, header)
    store.save(path, tensors, header)
    return data_fault(AcousticModel.load, path)


def drop(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    del tensors["encoder.output.bias"]


def add(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    tensors["encoder.extra"] = torch.zeros(2)


def reshape(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    tensors["encoder.output.bias"] = torch.zeros(99)


def integers(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    tensors["encoder.output.bias"] = tensors["encoder.output.bias"].long()


def doubles(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    tensors["encoder.output.bias"] = tensors["encoder.output.bias"].double()


def other_size(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["model"]["encoder"]["hidden"] = 4096


def huge_size(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["model"]["encoder"]["subsampling_width"] = 10**18


def unknown_option(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["model"]["encoder"]["attention"] = True


def tokens_as_numbers(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    tensors["tokenizer.model"] = torch.zeros(3, dtype=torch.bfloat16)


def a_symbol_less(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["tokenizer"]["symbols"].pop()


def no_tokens(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    del header["tokenizer"]


def no_model(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["model"] = None


def other_kind(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    header["kind"] = "language model"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop, "missing tensor 'encoder.output.bias'"),
        (add, "unknown tensor 'encoder.extra'"),
        (reshape, "tensor 'encoder.output.bias' is (99,) where (12,) is needed"),
        (integers, "tensor 'encoder.output.bias' is torch.int64 where torch.float32 is needed"),
        (doubles, "is torch.float64 where torch.float32 is needed"),
        (other_size, "where "),
        (huge_size, "subsampling_width: input should be less than or equal to 8192"),
        (unknown_option, "attention: unknown key"),
        (tokens_as_numbers, "tensor 'tokenizer.model' is torch.bfloat16, not bytes"),
        (a_symbol_less, "tensor 'encoder.output."),
        (no_tokens, "not a usable token list"),
        (no_model, "holds a 'model', not a model"),
        (other_kind, "holds a 'language model', not a model"),
    ],
)
def test_a_file_that_does_not_fit_its_own_description(saved: Path, change: Change, words: str) -> None:
    assert words in spoiled(saved, change)


def test_the_model_of_a_newer_format(saved: Path) -> None:
    newer = store.FORMAT_VERSION + 1
    message = spoiled(saved, lambda tensors, header: header.update(format=newer))
    assert f"format {newer}; this version reads 1 to {newer - 1}; upgrade" in message


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt"])
def test_a_malicious_pickle_given_as_a_model_does_nothing_but_fail(tmp_path: Path, name: str) -> None:
    marker, path = tmp_path / "touched", tmp_path / name
    path.write_bytes(pickle.dumps(Trap(marker)))
    assert "not a model file" in data_fault(AcousticModel.load, path)
    torch.save({"state_dict": Trap(marker)}, path)
    assert "not a model file" in data_fault(AcousticModel.load, path)
    assert not marker.exists()


def test_a_pickle_in_the_place_of_the_tokenizer_does_nothing_but_fail(saved: Path, tmp_path: Path) -> None:
    marker = tmp_path / "touched"

    def change(tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        tensors["tokenizer.model"] = torch.frombuffer(bytearray(pickle.dumps(Trap(marker))), dtype=torch.uint8)
        header["tokenizer"]["kind"] = "sentencepiece"

    assert "sentencepiece model cannot be read" in spoiled(saved, change)
    assert not marker.exists()


def test_a_truncated_model(saved: Path) -> None:
    whole = saved.read_bytes()
    for part in range(20):
        saved.write_bytes(whole[: len(whole) * part // 20])
        assert "truncated" in data_fault(AcousticModel.load, saved)


def test_a_header_with_random_damage_never_ends_in_a_traceback(saved: Path) -> None:
    whole = saved.read_bytes()
    (count,) = struct.unpack("<Q", whole[:8])
    generator = random.Random(1)
    faults = []
    for _ in range(120):
        damaged = bytearray(whole)
        for _ in range(generator.choice([1, 1, 2, 5])):
            damaged[generator.randrange(8 + count)] = generator.choice(b'0129{}[]",:-eE.\\ atfn')
        saved.write_bytes(damaged)
        try:
            AcousticModel.load(saved)
        except DataError as error:
            faults.append(str(error))
    assert len(faults) > 20
    assert not any("\n" in fault for fault in faults)


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [1, 2], {"a": 1}, -1.5, True, "\ud800"])
@pytest.mark.parametrize("key", ["model", "tokenizer", "storage", "domain", "training", "kind", "sample_rate"])
def test_a_header_with_any_value_in_any_place(saved: Path, key: str, value: object) -> None:
    tensors, header = store.load(saved)
    text = json.dumps(header | {key: value})
    save_file(tensors, saved, metadata={"asr": text})
    try:
        loaded = AcousticModel.load(saved)
    except DataError as error:
        fault = str(error)
    else:
        fault = f"{saved}: none"
        loaded.save(saved)  # what was accepted can be kept
        AcousticModel.load(saved)
    assert fault.startswith(f"{saved}: ")


def test_configurations_of_models_are_values(model: AcousticModel) -> None:
    dumped = model.config.model_dump(mode="json")
    assert ModelConfig.model_validate(copy.deepcopy(dumped)) == model.config
    assert json.loads(json.dumps(dumped)) == dumped
