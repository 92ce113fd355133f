"""tools/bench: the arithmetic by hand, equal steps on both sides, and what a child process takes."""

import json
import os
import sys
import wave
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from asr.audio.files import read_audio
from asr.config import parse
from asr.data.loader import TrainingData
from asr.data.manifest import read_manifest
from asr.errors import DataError, UsageError
from asr.model import AcousticModel, ModelConfig
from asr.nn import recurrence, recurrent
from asr.nn.cells.cell import Cell
from asr.nn.encoder import Encoder
from asr.training.checkpoint import Position
from asr.training.objective import batch_loss, training_features
from tests.recipes.miniature import FSDD_SPEAKERS, make_an4, make_fsdd
from tests.tiny_model import tiny_model
from tests.tools.benchmarks import ROOT, TINY, benchmark, prepared_an4

arithmetic, common, steps = benchmark("_arithmetic"), benchmark("_common"), benchmark("_steps")
train, transcribe, speakers = benchmark("train"), benchmark("transcribe"), benchmark("speakers")
minute, recipes = benchmark("minute"), benchmark("_recipes")
synthetic, bench_data, bench_shards = benchmark("_corpus"), benchmark("data"), benchmark("shards")


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return prepared_an4(tmp_path_factory.mktemp("an4"))


def config(**encoder: Any) -> ModelConfig:
    values = {"subsampling_width": 8, "layers": 1, "hidden": 4, **encoder}
    return parse(ModelConfig, {"features": {"num_bins": 16}, "encoder": values}, where="test")


def test_step_flop_by_hand() -> None:
    # 2 rows of 10 frames of 16 features -> 5 -> 3 frames of width 8; 4 cells in 2 directions; 5 tokens
    first = 2 * 5 * 3 * 16 * 8
    second = 2 * 3 * 3 * 8 * 8
    lstm = 2 * 3 * 2 * (4 * 4) * (8 + 4)
    output = 2 * 3 * 8 * 5
    assert (first, second, lstm, output) == (3840, 1152, 2304, 240)
    forwards = list(arithmetic.forward_products(config(), 5, rows=2, frames=10))
    assert forwards == [("convolution 1", 3840), ("convolution 2", 1152), ("lstm 1", 2304), ("output", 240)]
    # two more products backwards, but for the first layer, whose input is data
    assert arithmetic.step_flop(config(), 5, rows=2, frames=10) == 2 * (2 * 3840 + 3 * (1152 + 2304 + 240)) == 37536


@pytest.mark.parametrize(
    "encoder",
    [
        {},
        {"factor": 3, "layers": 3, "hidden": 5},
        {"factor": 1, "layers": 2, "intermediate": 1},
        {"subsampling": "vgg"},
        {"subsampling": "vgg", "factor": 3, "layers": 2},
        {"cell": "gru", "bidirectional": False},
        {"cell": "lstm_projected", "layers": 2, "projection": 3},
        {"cell": "mingru"},
    ],
)
def test_forward_products_are_those_of_the_network(encoder: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = config(**encoder)
    counted = sum(count for _, count in arithmetic.forward_products(model, 7, rows=3, frames=29))
    assert counted == observed_products(Encoder(model.encoder, 16, 7), torch.zeros(3, 29, 16), monkeypatch)


def observed_products(network: nn.Module, features: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the multiply-adds of all that the network does: each weight is used once at each output position."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        weights = sum(weight.numel() for name, weight in module.named_parameters() if "weight" in name)
        widths = {nn.Linear: -1, nn.Conv1d: 1, nn.Conv2d: 1}
        total += weights * (output.numel() // output.shape[widths[type(module)]])

    def run_cells(cells: Sequence[Cell], inputs: Sequence[torch.Tensor], *states: Any) -> Any:
        nonlocal total
        for cell, values in zip(cells, inputs, strict=True):
            matrices = sum(
                w.numel() for name, w in cell.named_parameters() if name.startswith(("weight", "projection"))
            )
            total += matrices * values.shape[0] * values.shape[1]
        return recurrence.run_cells(cells, inputs, *states)

    monkeypatch.setattr(recurrent, "run_cells", run_cells)
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            module.register_forward_hook(count)
    network.train()(features, torch.full((len(features),), features.shape[1]))
    return total


def request_for(manifests: dict[str, Path], *more: str) -> Any:
    return train.recipe_request(manifests["train"], [*TINY, *more])


@pytest.mark.parametrize(
    "more",
    [["train.consistency=0"], ["train.consistency=0.2"], ["model.encoder.layers=2", "model.encoder.intermediate=1"]],
)
def test_bare_steps_have_the_loss_of_training(manifests: dict[str, Path], more: Sequence[str]) -> None:
    request = request_for(manifests, "model.encoder.dropout=0", "train.precision=float32", *more)
    torch.manual_seed(3)
    model = AcousticModel(request.experiment.model, request.tokenizer).train()
    data, batch = first_batch(request)
    bare = steps.BareTraining(request.experiment, request.tokenizer.size, torch.device("cpu"))
    assert bare.views == data.views
    bare.encoder.load_state_dict(model.encoder.state_dict())
    features, lengths = training_features(model, batch, request.experiment.augment)
    targets, target_lengths = batch.targets.repeat(bare.views, 1), batch.target_lengths.repeat(bare.views)
    found = bare._loss(bare.encoder(features, lengths), targets, target_lengths)
    expected = batch_loss(model, batch, request.experiment.train, request.experiment.augment).total
    torch.testing.assert_close(found, expected)
    before = bare.encoder.output.weight.clone()
    bare.step(features, lengths, targets, target_lengths)
    assert not torch.equal(before, bare.encoder.output.weight)


def first_batch(request: Any) -> tuple[TrainingData, Any]:
    data = training_data(request)
    return data, data[data.parts(0, rank=0, ranks=1)[0]]


def training_data(request: Any) -> TrainingData:
    experiment = request.experiment
    views = 2 if experiment.train.consistency else 1
    return TrainingData(
        request.train, request.tokenizer, 16000, experiment.train.loader, experiment.augment, seed=1, views=views
    )


def test_upcoming_shapes_are_those_of_the_batches(manifests: dict[str, Path]) -> None:
    request = request_for(manifests, "train.epochs=3")
    data = training_data(request)
    position = Position(epoch=1, step_in_epoch=1)
    model = AcousticModel(request.experiment.model, request.tokenizer)
    module = SimpleNamespace(data=data, position=position, model=model, train_config=request.experiment.train)
    shapes = list(steps.upcoming(module))
    parts = [*data.parts(1, rank=0, ranks=1)[1:], *data.parts(2, rank=0, ranks=1)]
    assert len(shapes) == len(parts) > 3
    for shape, part in zip(shapes, parts, strict=True):
        batch = data[part]
        _, lengths = model.frontend(batch.waveform, batch.lengths)
        # the loader orders a batch by length
        found = sorted(zip(shape.frame_lengths, shape.target_lengths, strict=True))
        assert found == sorted(zip(lengths.tolist(), batch.target_lengths.tolist(), strict=True))
        assert shape.audio_seconds == pytest.approx(float(batch.lengths.sum()) / 16000)


def test_rounds_take_equal_steps_in_the_order_real_bare_bare_real(
    manifests: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    bare_seconds, real = steps.BareTraining.seconds, steps.Rounds._real

    def seconds(self: Any, shapes: Sequence[Any]) -> float:
        events.append(f"bare {len(shapes)}")
        return float(bare_seconds(self, shapes))

    def timed(self: Any, module: Any, count: int) -> Any:
        events.append(f"real {count}")
        return real(self, module, count)

    monkeypatch.setattr(steps.BareTraining, "seconds", seconds)
    monkeypatch.setattr(steps.Rounds, "_real", timed)
    monkeypatch.setattr(steps.Rounds, "_until_border", lambda self, module: self.block)
    result = steps.measure(
        request_for(manifests), steps=6, block=2, say=lambda message: None, product_size=32, warmup=1
    )
    assert events == ["real 2", "bare 2", "bare 2", "real 2", "real 2", "bare 2"]
    assert (result["steps"], result["rounds"], result["steps_trained"]) == (6, 3, 1 + 6 + steps.SETTLE + 1)
    least, middle, greatest = result["speed_to_bare"]
    assert 0 < least <= middle <= greatest
    assert 0 <= result["waiting_share"] < 1
    assert set(result["product_gflop_per_second"]) == {"float32", "bf16"}


@pytest.mark.parametrize(("step", "count"), [(0, 4), (2, 4), (3, 10), (6, 7), (8, 5), (9, 4)])
def test_a_round_goes_on_until_the_next_epoch_has_started(step: int, count: int) -> None:
    # 12 steps an epoch, 4 a round; after the pause 6 steps pass unmeasured
    assert steps.SETTLE == 6
    data = SimpleNamespace(plan=lambda epoch: [None] * 12)
    module = SimpleNamespace(data=data, position=Position(step_in_epoch=step))
    rounds = steps.Rounds(8, 4, torch.device("cpu"))
    assert rounds._until_border(module) == count


def test_summary_counts_every_round() -> None:
    rounds = [
        steps.Round(2, 10.0, 4e9, real_seconds=2.0, waited=0.1, bare_seconds=1.0, products={"float32": 8e9}),
        steps.Round(2, 30.0, 8e9, real_seconds=2.0, waited=0.0, bare_seconds=1.8, products={"float32": 8e9}),
    ]
    result = steps.summary(rounds)
    assert result["audio_seconds_per_second"] == 10
    assert result["speed_to_bare"] == [0.5, 0.7, 0.9]
    assert result["speed_to_bare_in_total"] == 0.7
    assert result["waiting_share"] == 0.025
    assert result["arithmetic_to_float32_product"] == [0.25, 0.375, 0.5]
    assert (result["step_gflop"], result["gflop_per_second"]) == (3, 3)


def test_the_whole_of_bench_train(manifests: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Any] = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: chosen.append(cores))
    # of matrices of 4096 a CPU without fast bf16 takes minutes
    monkeypatch.setattr(steps, "product_rate", lambda size, dtype, device: arithmetic.product_rate(32, dtype, device))
    monkeypatch.setattr(train, "_precisions", lambda: ["float32", "bf16"])
    corpus, out = manifests["train"].parents[1] / "corpus", tmp_path / "train.receipt.json"
    arguments = ["--corpus", str(corpus), "--accept", "any", "--steps", "2", "--block", "1", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments, "--out", str(out), *TINY])
    assert common.run("tools/bench train", train.parser(), train.bench) == 0
    assert [len(cores) for cores in chosen] == [1]
    receipt = json.loads(out.read_bytes())
    assert receipt["command"][:2] == ["bench", "train"]
    assert set(receipt["result"]) == {"float32", "bf16"}
    assert "arithmetic_to_bf16_product" in receipt["result"]["bf16"]
    assert "arithmetic_to_bf16_product" not in receipt["result"]["float32"]
    assert receipt["config"]["train"]["loader"]["shortest_first"] is False


def test_bf16_is_measured_where_trainings_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, precisions in ((True, ["float32", "bf16"]), (False, ["float32"])):
        monkeypatch.setattr("asr.nn.steps.multiplies_bfloat16", lambda fast=fast: fast)
        assert train._precisions() == precisions


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--corpus", "nowhere", "--steps", "0"], 2, "--steps 0"),
        (["--corpus", "nowhere", "--threads", "10000"], 2, "--threads 10000"),
        (["--corpus", "nowhere"], 3, "nowhere"),
        ([], 2, "--corpus"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)
    assert common.run("tools/bench train", train.parser(), train.bench) == code
    error = capsys.readouterr().err
    assert error.startswith("tools/bench train: ")
    assert message in error
    assert error.count("\n") == 1


def test_joined_recording_repeats_the_files(tmp_path: Path) -> None:
    corpus = make_an4(tmp_path / "an4", num_speakers=1)
    files = sorted(corpus.rglob("*.flac"))
    transcribe.join(files, tmp_path / "long.wav", 5.0)
    with wave.open(str(tmp_path / "long.wav")) as reader:
        assert (reader.getframerate(), reader.getnframes()) == (16000, 80000)
        found = torch.frombuffer(bytearray(reader.readframes(80000)), dtype=torch.int16)
    whole = torch.cat([torch.from_numpy(read_audio(file)[0]) for file in files] * 3)[:80000]
    assert len(whole) == 80000
    assert (found / 32767 - whole).abs().max() < 1e-4


def test_peak_memory_is_the_command_s_and_not_that_of_its_parent() -> None:
    # this process, with torch in it, is much larger than the first command
    small = transcribe.peak_bytes([sys.executable, "-c", "pass"])
    large = transcribe.peak_bytes([sys.executable, "-c", "len(bytearray(b'1') * 200_000_000)"])
    assert small < 50_000_000
    assert 200_000_000 < large < 250_000_000


def test_time_to_the_first_line_is_not_the_time_to_the_end() -> None:
    script = "import time; time.sleep(0.2); print('yes', flush=True); time.sleep(1.5)"
    assert 0.2 < transcribe.seconds_to_first_line([sys.executable, "-c", script]) < 1.5


@pytest.mark.parametrize("measure", ["peak_bytes", "seconds_to_first_line"])
def test_a_command_that_fails_is_a_data_error(measure: str) -> None:
    with pytest.raises(DataError, match="exit code 3"):
        getattr(transcribe, measure)([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_command_without_a_line_is_a_data_error() -> None:
    with pytest.raises(DataError, match="printed no line"):
        transcribe.seconds_to_first_line([sys.executable, "-c", "pass"])


@pytest.mark.slow
def test_the_whole_of_bench_transcribe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_model().save(tmp_path / "tiny.safetensors")
    corpus = make_an4(tmp_path / "an4")
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    out = tmp_path / "transcribe.receipt.json"
    arguments = ["--corpus", str(corpus), "--accept", "any", "--model", str(tmp_path / "tiny.safetensors")]
    arguments += ["--rounds", "1", "--seconds", "3", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["transcribe.py", *arguments])
    threads = torch.get_num_threads()
    try:
        assert common.run("tools/bench transcribe", transcribe.parser(), transcribe.bench) == 0
    finally:
        torch.set_num_threads(threads)
    result = json.loads(out.read_bytes())["result"]
    assert result["long_peak_mb"] > 50
    assert len(result["seconds_to_first_line"]) == len(result["real_time_factor"]) == 3
    assert result["audio_seconds"] > 0


def test_the_synthetic_corpus_is_like_librispeech(tmp_path: Path) -> None:
    synthetic.write_synthetic_manifest(tmp_path / "a.jsonl", 2000)
    synthetic.write_synthetic_manifest(tmp_path / "b.jsonl", 2000)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    rows = read_manifest(tmp_path / "a.jsonl")
    assert sum(row.duration for row in rows) / len(rows) == pytest.approx(12.3, abs=0.7)
    assert sum(len(row.text or "") for row in rows) / len(rows) == pytest.approx(183, abs=20)
    assert len({row.id for row in rows}) == 2000


def test_the_whole_of_bench_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    out = tmp_path / "data.receipt.json"
    arguments = ["--utterances", "500", "--sharded", "20000", "--rounds", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["data.py", *arguments])
    assert common.run("tools/bench data", bench_data.parser(), bench_data.bench) == 0
    receipt = json.loads(out.read_bytes())
    assert receipt["command"][:2] == ["bench", "data"]
    assert receipt["utterances"] == 500
    manifest, shards = receipt["result"]["manifest"], receipt["result"]["shards"]
    assert manifest["steps"][0] > 100
    assert {"load_seconds", "load_mb", "usable_seconds", "plan_seconds", "all_mb"} <= manifest.keys()
    assert shards["steps"][0] > 4000 / 8
    assert {"load_seconds", "plan_epoch_seconds", "resume_in_the_middle_seconds", "all_mb"} <= shards.keys()


def test_the_whole_of_bench_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)
    monkeypatch.setattr(bench_shards, "_DROP", tmp_path / "nothing")  # the machine's own cache is left alone
    out = tmp_path / "shards.receipt.json"
    arguments = ["--utterances", "60", "--rounds", "1", "--shard-mb", "1", "--folder", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["shards.py", *arguments])
    assert common.run("tools/bench shards", bench_shards.parser(), bench_shards.bench) == 0
    result = json.loads(out.read_bytes())["result"]
    assert result["shards"] > 1
    assert result["cache_dropped_by"] == "posix_fadvise"
    assert result["shards_to_files"][1] > 0
    assert result["decoded_files_audio_seconds_per_second"][1] > 0
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_files_and_shards_of_the_benchmark_hold_the_same_bytes(tmp_path: Path) -> None:
    utterances, done = bench_shards.write_both(tmp_path, 30, shard_bytes=300_000)
    assert done.utterances == 30
    assert done.shards > 1
    for decode in (False, True):
        files = sorted(bench_shards._from_files(utterances, range(30), decode=decode))
        assert files == sorted(bench_shards._from_shards(tmp_path / "shards", 0, decode=decode))
    assert all(16000 <= samples < 32000 for _, samples in files)


def test_use_cores_refuses_more_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 4, 5})
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: kept.append(cores))
    assert [common.use_cores(count) for count in (0, 2)] == [3, 2]
    assert kept == [[1, 4, 5], [1, 4]]
    with pytest.raises(UsageError, match="3 cores"):
        common.use_cores(4)


def scored(errors: Sequence[int]) -> dict[str, Any]:
    """Return a score of utterances of one word each."""
    return {"words": {"rate": sum(errors) / len(errors)}, "utterances": [
        {"words": {"errors": count, "reference": 1}} for count in errors
    ]}  # fmt: skip


def test_errors_of_new_speakers_are_pooled() -> None:
    found = speakers.pooled(
        [scored([1] * 40 + [0] * 60), scored([1] * 20 + [0] * 80)], [scored([1] * 15 + [0] * 85)] * 2
    )
    assert (found["errors_without"], found["errors_own"], found["words"]) == (60, 30, 200)
    assert found["wer_without"][1] == 30
    assert found["fewer_errors"][1] == 0.5
    low, middle, high = found["fewer_errors"]
    assert 0.3 < low < middle < high < 0.7
    with pytest.raises(UsageError, match="not of the same utterances"):
        speakers.pooled([scored([1, 0])], [scored([1])])


def test_the_whole_of_bench_speakers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, asked = make_fsdd(tmp_path / "fsdd"), []

    def run_recipe(args: Any, folder: Path, out: Path, options: list[str]) -> dict[str, Any]:
        asked.append((out.name, options))
        return scored([1, 0] if "--own-seconds" in options else [1, 1])

    monkeypatch.setattr(speakers, "_scored", run_recipe)
    given = ["--corpus", str(corpus), "--seeds", "1", "2", "--work", str(tmp_path)]
    given += ["--out", str(tmp_path / "receipt.json")]
    assert speakers.bench(speakers.parser().parse_intermixed_args(given)) == 0
    assert [name for name, _ in asked] == [f"{s}-{own}" for s in FSDD_SPEAKERS for own in ("0", "30-1", "30-2")]
    assert asked[0][1] == ["--speaker", FSDD_SPEAKERS[0], "--seed", "1", *speakers.OTHERS]
    others = tmp_path / f"{FSDD_SPEAKERS[0]}-0"
    assert asked[1][1][:10] == [
        *("--speaker", FSDD_SPEAKERS[0], "--seed", "1"),
        *("--from", str(others), "--others", "no", "--own-seconds", "30"),
    ]
    assert f"finetune.replay.manifest={others}/data/train_all.jsonl" in asked[1][1]
    result = json.loads((tmp_path / "receipt.json").read_bytes())["result"]
    assert (result["errors_without"], result["errors_own"]) == (12, 6)


def test_the_whole_of_bench_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held out, the middle rate is the best; untouched 4 of 4 words are wrong, from scratch 3, fine-tuned 1."""
    asked: dict[str, list[str]] = {}

    def run_recipe(recipe: str, out: Path, options: list[str]) -> None:
        asked[out.name] = options
        out.mkdir(parents=True)
        if minute._rate(minute.RATES[0]) in options:  # too low to learn anything
            (out / "data").mkdir()
            for part in ("valid", "test"):
                (out / "data" / f"{part}.jsonl").write_text("{}\n" * 4)
            (out / "log").write_text(
                f"average: starting\nasr average: {minute.NO_WORDS} in the utterances; train longer\n"
            )
            raise DataError("ended with exit code 3")
        held_out = 2 if minute._rate(minute.RATES[1]) in options else 4
        errors = 3 if "nothing" in options else 1
        for part, count in (("valid", held_out), ("test", errors)):
            (out / f"{part}.score.json").write_text(json.dumps({"words": {"rate": count / 4, "errors": count}}))

    def decoded(manifest: Path, model: Any, out: Path, name: str) -> dict[str, Any]:
        return {"words": {"rate": {"digits": 1.0, "an4": 0.08}[name] + 0.01 * str(model).endswith("-2")}}

    monkeypatch.setattr(minute, "run_recipe", run_recipe)
    monkeypatch.setattr(minute, "decoded", decoded)
    an4 = make_an4(tmp_path / "an4", num_speakers=14)
    given = ["--corpus", str(tmp_path), "--an4", str(an4), "--seeds", "1", "2", "--accept", "any"]
    given += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "receipt.json")]
    assert minute.bench(minute.parser().parse_intermixed_args(given)) == 0
    result = json.loads((tmp_path / "receipt.json").read_bytes())["result"]
    assert result["untouched"] == {"mean": 100.0, "seeds": [100.0]}
    assert result["scratch, held out"] == {"0.0015": 100.0, "0.003": 50.0, "0.006": 100.0}
    assert result["scratch"] == {"mean": 75.0, "seeds": [75.0, 75.0]}
    assert result["fine-tuned"] == {"mean": 25.0, "seeds": [25.0, 25.0]}
    assert result["fine-tuned, share of the errors of scratch"] == pytest.approx(1 / 3)
    assert result["AN4, fine-tuned, AN4 replayed"] == {"mean": 8.5, "seeds": [8.0, 9.0]}
    assert result["AN4 replayed, points worse on AN4"] == pytest.approx(0.5)
    assert "train.optimizer.learning_rate=0.003" in asked["scratch-2"]
    assert asked["scratch-0.006-1"][-3:-1] == ["--train", "train"]
    assert "train.optimizer.learning_rate=0.0005" in asked["kept-1"]
    assert asked["kept-1"][-1] == f"finetune.replay.manifest={tmp_path / 'work' / 'an4' / 'train_all.jsonl'}"


def test_a_recipe_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "ROOT", tmp_path)
    (tmp_path / "recipes" / "fsdd").mkdir(parents=True)
    script = tmp_path / "recipes" / "fsdd" / "run.sh"
    script.write_text("#!/bin/sh\necho no corpus\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(DataError, match=r"out/log: ended with exit code 3; its last lines say why"):
        recipes.run_recipe("fsdd", tmp_path / "out", [])
    assert (tmp_path / "out" / "log").read_text() == "no corpus\n"


def test_no_speakers_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 speakers in recordings/; give the folder of FSDD"):
        speakers.speakers(tmp_path)
