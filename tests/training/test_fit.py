"""Whole trainings on the miniature corpus, in this process."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from asr.data.loader import TrainingData
from asr.data.manifest import read_manifest
from asr.errors import DataError, InputError, MachineError, UsageError
from asr.model import AcousticModel
from asr.recognizer import Recognizer
from asr.store import load
from asr.training import fit as fitting
from asr.training import processes
from asr.training import request as asking
from asr.training.averaging import MovingAverage
from asr.training.checkpoint import load_state
from asr.training.fit import fit
from asr.training.module import MAX_SKIPPED, CtcTraining
from asr.training.processes import is_first_process, set_threads
from asr.training.request import Outcome, Request
from tests.training.miniature import ALL_ON, Corpus, Processes, experiment, train

LAST = Path("checkpoints", "last.safetensors")


class Run:
    """One training, and what it said."""

    def __init__(self, corpus: Corpus, out: Path) -> None:
        self.corpus, self.out = corpus, out
        self.said: list[str] = []
        self.shown: list[tuple[int, int | None, float, str]] = []

    def __call__(self, *, valid: bool = True, **changes: Any) -> Outcome:
        request = {
            "train": self.corpus.utterances,
            "valid": read_manifest(self.corpus.valid) if valid else [],
            "seed": 1,
            **{name: changes.pop(name) for name in ("train", "seed", "resume", "overfit") if name in changes},
        }
        made = Request(experiment(**changes), self.corpus.tokenizer, out=self.out, **request)
        return fit(made, say=self.said.append, progress=self.progress)

    def progress(self, done: int, total: int | None, audio_seconds: float = 0.0, note: str = "") -> None:
        self.shown.append((done, total, audio_seconds, note))


@pytest.fixture
def run(corpus: Corpus, tmp_path: Path) -> Run:
    return Run(corpus, tmp_path / "run")


def test_a_training_tells_what_it_did(run: Run) -> None:
    outcome = run(train__epochs=3)
    audio = sum(utterance.duration for utterance in run.corpus.utterances)
    assert outcome.steps == load_state(run.out / LAST).position.step == 9
    assert outcome.audio_seconds == pytest.approx(3 * audio)
    assert outcome.validation is not None
    assert outcome.left_out == {}
    assert 0 <= outcome.waiting_share < 1
    assert outcome.wall_seconds > 0
    assert outcome.parameters == sum(p.numel() for p in Recognizer.load(run.out / LAST).model.parameters())
    assert run.said[0].startswith("12 utterances, 0.2 min; 0.01 M parameters; new run")
    assert len([line for line in run.said if line.startswith("epoch ")]) == 3
    assert [shown[:2] for shown in run.shown] == [(epoch, 3) for epoch in range(3) for _ in range(3)]
    assert run.shown[-1][2] == pytest.approx(outcome.audio_seconds)


def test_every_kept_checkpoint_loads_as_a_model_and_transcribes(run: Run) -> None:
    run(train__epochs=3, train__keep_best=2, train__keep_last=1, train__ema_decay=0.9)
    files = sorted((run.out / "checkpoints").iterdir())
    assert len(files) >= 3
    for file in files:
        transcript = Recognizer.load(file).transcribe(run.corpus.utterances[0].audio)
        assert transcript.duration == pytest.approx(run.corpus.utterances[0].duration)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_both_precisions_learn(run: Run, precision: str) -> None:
    run(train__epochs=10, train__precision=precision, train__loader__batch_seconds=60.0, valid=False)
    losses = [float(shown[3].split("loss ")[1].split()[0]) for shown in run.shown]
    assert losses[-1] < losses[0]


def test_bf16_is_float32_where_the_cpu_is_slow_at_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AVX-512 torch takes bf16 products at a hundredth of the speed; told once, the same weights as float32."""
    plain = Run(run.corpus, run.out.with_name("float32"))
    plain(train__precision="float32", valid=False)
    monkeypatch.setattr(fitting, "multiplies_bfloat16", lambda: False)
    run(train__precision="bf16", valid=False)
    assert len([line for line in run.said if "no fast bf16 products; training in float32" in line]) == 1
    found, same = load(run.out / LAST)[0], load(plain.out / LAST)[0]
    assert found.keys() == same.keys()
    assert all(torch.equal(found[name], same[name]) for name in found)


def test_options_of_the_loss_train(run: Run) -> None:
    outcome = run(
        train__consistency=0.5,
        augment__spectrum__frequency_masks=1,
        model__encoder__layers=2,
        model__encoder__intermediate=1,
        train__ema_decay=0.9,
        train__precision="bf16",
    )
    # every view is audio that was seen
    assert outcome.audio_seconds == pytest.approx(4 * sum(utterance.duration for utterance in run.corpus.utterances))


@pytest.mark.parametrize("normalization", ["none", "global", "running"])
def test_normalisations_get_their_statistics_before_the_first_step(run: Run, normalization: str) -> None:
    run(train__epochs=1, model__features__normalization=normalization, valid=False)
    mean = load(run.out / LAST)[0]["frontend.normalizer.mean"]
    assert bool(mean.any()) is (normalization != "none")


def test_eight_utterances_are_learned_by_heart(corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(corpus, out, "--overfit", "8", *ALL_ON) == 0
    receipt = json.loads((out / "overfit" / "train.receipt.json").read_text("utf-8"))
    assert receipt["result"]["valid_cer"] < 5
    # neither in the way of the run, nor touched by it
    assert train(corpus, out, "train.epochs=1") == 0


def test_what_cannot_be_learned_by_heart_ends_with_a_hint(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asking, "OVERFIT_STEPS", 20)
    assert train(corpus, tmp_path / "run", "--overfit", "8", "train.optimizer.learning_rate=1e-6") == 3
    told = capsys.readouterr().err
    assert "NOT learned: CER 1" in told
    assert "look at the texts and the audio with asr check, then at the learning rate" in told


def test_overfit_keeps_off_a_run_in_the_same_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(train__epochs=1)
    before = {path: path.read_bytes() for path in run.out.rglob("*") if path.is_file()}
    monkeypatch.setattr(asking, "OVERFIT_STEPS", 10)
    run(overfit=2)
    run(overfit=2)
    assert before == {path: path.read_bytes() for path in before}


def test_utterances_that_cannot_be_trained_on_are_named_and_counted(run: Run) -> None:
    few = run.corpus.utterances
    changed = {
        "u00": {"text": None},
        "u01": {"duration": 9.0},
        "u02": {"text": "abcd" * 40},
        "u03": {"text": "  "},
    }
    rows = [dataclasses.replace(utterance, **changed.get(utterance.id, {})) for utterance in few]
    with pytest.raises(DataError, match=r"^2 of 12 training utterances have no label or fewer encoder frames"):
        run(train=rows)
    run.said.clear()
    outcome = run(train=rows, train__epochs=1, train__max_infeasible=0.2)
    assert outcome.left_out["u00"] == "no text"
    assert outcome.left_out["u01"] == "9.0 s is above 4 s"
    assert outcome.left_out["u02"].endswith("encoder frames < 160 needed (160 labels + repeats)")
    assert outcome.left_out["u03"] == "its text is empty"
    assert run.said[0].startswith("4 of 12 training utterances left out: u00: no text; u01: 9.0 s is above 4 s; ")
    assert run.said[1].startswith("8 utterances")


@pytest.mark.parametrize(("normalization", "told"), [("utterance", 1), ("running", 0)])
def test_an_encoder_that_streams_in_a_model_that_will_not_is_told(run: Run, normalization: str, told: int) -> None:
    run(train__epochs=1, model__encoder__bidirectional=False, model__features__normalization=normalization)
    assert sum("train with model.features.normalization=running" in line for line in run.said) == told


def test_no_usable_utterance_is_an_error(run: Run) -> None:
    with pytest.raises(DataError, match="no utterance to train on is left; run asr check"):
        run(train=[dataclasses.replace(utterance, text=None) for utterance in run.corpus.utterances])
    assert not run.out.exists()


def test_validation_needs_texts(run: Run) -> None:
    valid = [dataclasses.replace(utterance, text=None) for utterance in run.corpus.utterances]
    request = Request(experiment(), run.corpus.tokenizer, run.corpus.utterances, valid, run.out, seed=1)
    with pytest.raises(DataError, match="no utterance to validate on has a text"):
        fit(request, say=run.said.append, progress=run.progress)


def test_utterances_without_a_finite_loss_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    original = CtcTraining.loss_of

    def loss_of(self: CtcTraining, batch: Any, *contexts: Any) -> Any:
        loss = original(self, batch, *contexts)
        return dataclasses.replace(loss, nonfinite=[name for name in batch.ids if name in ("u03", "u07")])

    monkeypatch.setattr(CtcTraining, "loss_of", loss_of)
    outcome = run(train__epochs=2)
    assert outcome.left_out == {"u03": "no finite loss in 2 steps", "u07": "no finite loss in 2 steps"}
    assert [line for line in run.said if "no finite CTC loss" in line] == [
        "step 3: no finite CTC loss, left out of the sum: u03, u07"
    ]
    assert load_state(run.out / LAST).position.left_out == {"u03": 2, "u07": 2}


def spoil_gradients(monkeypatch: pytest.MonkeyPatch, wanted: Any) -> None:
    original = CtcTraining.loss_of

    def loss_of(self: CtcTraining, batch: Any, *contexts: Any) -> Any:
        loss = original(self, batch, *contexts)
        factor = float("nan") if wanted(self.position.step) and self.position.step_in_epoch >= 0 else 1.0
        return dataclasses.replace(loss, total=loss.total * factor)

    monkeypatch.setattr(CtcTraining, "loss_of", loss_of)


def test_a_step_without_a_finite_gradient_changes_no_weight(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_gradients(monkeypatch, lambda step: step == 4)
    run(valid=False)
    tensors = load(run.out / LAST)[0]
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
    assert load_state(run.out / LAST).position.skipped == 1
    (told,) = [line for line in run.said if "not finite" in line]
    assert told.startswith("step 4: the gradient is not finite; left the step out (1 so far): ")


def test_a_step_that_overflows_in_fp16_is_counted_and_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss scaler left such steps out without a word, and the moving average took the same weights in twice.

    There is no fp16 on a CPU: the scaler's own part, to leave the step out and lower its scale, is not played.
    """
    monkeypatch.setattr(fitting, "check_request", lambda request: None)
    monkeypatch.setitem(fitting._PRECISIONS, "fp16", "32-true")
    taken: list[int] = []
    update = MovingAverage.update

    def watched(self: MovingAverage, weights: dict[str, torch.Tensor], step: int) -> None:
        taken.append(step)
        update(self, weights, step)

    monkeypatch.setattr(MovingAverage, "update", watched)
    spoil_gradients(monkeypatch, lambda step: step in (0, 4))
    run(train__precision="fp16", train__ema_decay=0.9, valid=False)
    position = load_state(run.out / LAST).position
    assert (position.step, position.skipped) == (6, 2)
    assert taken == [2, 3, 4, 6]
    told = [line.partition(": the gradient is not finite; left the step out ") for line in run.said]
    assert [(start, end[:10]) for start, found, end in told if found] == [
        ("step 0", "(1 so far)"),
        ("step 4", "(2 so far)"),
    ]


def test_a_training_that_only_fails_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil_gradients(monkeypatch, lambda step: step > 2)
    with pytest.raises(UsageError, match=f"no finite gradient in {MAX_SKIPPED} steps; lower train.optimizer.learning"):
        run(train__epochs=50, valid=False)


def test_early_stop_is_final(run: Run) -> None:
    changes = {"train__epochs": 50, "train__patience": 2, "train__optimizer__learning_rate": 1e-9}
    first = run(**changes)
    assert first.steps == 9  # the first validation is the best, then two are not better
    assert run.said[-1] == "no better rate in 2 validations: stopped early"
    run.said.clear()
    again = run(resume=True, **changes)
    assert again.steps == 9
    assert again.validation == first.validation
    assert run.said == ["12 utterances, 0.2 min; 0.01 M parameters; the run had ended after step 9"]


def test_resume_refuses_another_stretch_of_audio(run: Run) -> None:
    run(train__epochs=1, valid=False)
    first, *others = run.corpus.utterances
    for changes in ({"channel": 0}, {"start": 0.01}, {"duration": first.duration - 0.01}, {"text": "abba"}):
        changed = [dataclasses.replace(first, **changes), *others]
        with pytest.raises(UsageError, match="what differs is training data; undo"):
            run(train__epochs=1, train=changed, valid=False, resume=True)


def test_a_training_that_is_refused_deletes_nothing(run: Run) -> None:
    run(train__epochs=1, valid=False)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    left = [run.out / path.with_name(f".{path.name}.{process.pid}.tmp") for path in (Path("config.yaml"), LAST)]
    for path in left:
        path.touch()
    for changes in ({"seed": 2, "resume": True}, {}):
        with pytest.raises(UsageError, match="give another --out"):
            run(train__epochs=1, valid=False, **changes)
        assert all(path.exists() for path in left)
    run(train__epochs=1, valid=False, resume=True)
    assert not any(path.exists() for path in left)


def test_resume_without_a_run_starts_one(run: Run) -> None:
    assert run(resume=True, train__epochs=1).steps == 3
    assert run.said[0].endswith("new run")


def test_out_of_memory_says_on_what_and_what_would_fit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("asr.training.module.batch_loss", exhausted)
    with pytest.raises(MachineError) as caught:
        run()
    assert str(caught.value) == (
        "out of memory on 6 utterances of up to 0.7 s and 3 labels of step 0; halve train.loader.batch_seconds (now 4)"
        " or double train.loader.accumulate"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "^out of memory on "),
        (MemoryError(), "^out of memory on "),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            "^a data worker ended before its time",
        ),
    ],
)
def test_other_kinds_of_too_little_memory(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def exhausted(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("asr.training.module.batch_loss", exhausted)
    with pytest.raises(MachineError, match=message):
        run()


def test_a_defect_of_ours_is_not_called_a_lack_of_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def defective(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("asr.training.module.batch_loss", defective)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run()


def test_a_full_disk_leaves_the_old_checkpoint(corpus: Corpus, processes: Processes, tmp_path: Path) -> None:
    arguments = [*corpus.arguments(tmp_path / "run", valid=False), "train.checkpoint_steps=2", "train.epochs=4"]
    ended = processes(arguments, tmp_path / "logs", disk_full_at=3)
    assert ended.code == 4
    assert ended.stderr.endswith(
        f"asr train: {tmp_path / 'run' / LAST}: cannot write: No space left on device; free some space or choose"
        " another folder\n"
    )
    assert load_state(tmp_path / "run" / LAST).position.step == 3
    assert not list(tmp_path.rglob("*.tmp"))
    assert processes([*arguments, "--resume"], tmp_path / "logs").code == 0


def test_a_full_disk_in_a_training_of_this_process(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_file(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(safetensors.torch, "save_file", save_file)
    with pytest.raises(MachineError, match="No space left on device"):
        run()


@pytest.mark.parametrize(
    ("changes", "device", "error", "message"),
    [
        ({"train__precision": "fp16"}, "cpu", UsageError, "train.precision=fp16 needs --device cuda"),
        ({}, "cuda", MachineError, "--device cuda: torch sees no GPU here"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    device: str,
    error: type[InputError],
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    request = Request(experiment(**changes), run.corpus.tokenizer, [], [], run.out, seed=1, device=device)
    with pytest.raises(error, match=message):
        fit(request, say=run.said.append, progress=run.progress)


def test_more_devices_than_there_are_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    request = Request(experiment(train__devices=4), run.corpus.tokenizer, [], [], run.out, seed=1, device="cuda")
    with pytest.raises(MachineError, match=r"train\.devices=4: this machine has 1 GPUs; lower it"):
        fit(request, say=run.said.append, progress=run.progress)


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("seed", 1 << 63), ("overfit", -2)])
def test_numbers_out_of_range_are_refused(run: Run, name: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"^--{name} {value}: "):
        run(**{name: value})


def test_the_state_of_the_fp16_scaler_is_saved_and_restored(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no fp16 on a CPU: the precision plugin plays the scaler's part as on a GPU."""
    from lightning.pytorch.plugins import Precision

    scaler = {
        "scale": 512.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 3,
    }
    restored: list[Any] = []
    monkeypatch.setattr(Precision, "state_dict", lambda self: scaler)
    monkeypatch.setattr(Precision, "load_state_dict", lambda self, saved: restored.append(saved))
    run(train__epochs=1)
    state = load_state(run.out / LAST)
    assert state.scaler == scaler
    assert restored == []
    state.position.epoch = 0  # as if the epoch were still to come
    monkeypatch.setattr(fitting, "_resumed_state", lambda request: state)
    run(resume=True, train__epochs=1)
    assert restored == [scaler]


def test_fp16_unscales_before_it_clips(run: Run) -> None:
    """A fused AdamW undoes the loss scale inside its step, after clipping."""
    for precision, fused in (("float32", True), ("bf16", True), ("fp16", False)):
        config = experiment(train__precision=precision)
        data = TrainingData(
            run.corpus.utterances, run.corpus.tokenizer, 8000, config.train.loader, config.augment, seed=1
        )
        module = CtcTraining(AcousticModel(config.model, run.corpus.tokenizer), data, config, None)
        assert module.configure_optimizers().defaults["fused"] is fused


def test_the_learning_rate_follows_the_schedule_over_the_run(run: Run) -> None:
    rates: list[float] = []
    original = CtcTraining.on_before_optimizer_step

    def watched(self: CtcTraining, optimizer: torch.optim.Optimizer) -> None:
        original(self, optimizer)
        rates.append(optimizer.param_groups[0]["lr"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CtcTraining, "on_before_optimizer_step", watched)
        changes = {"train__optimizer__schedule": "linear", "train__optimizer__warmup_steps": 0}
        run(train__epochs=4, train__optimizer__final_ratio=0.0, valid=False, **changes)
    assert rates == pytest.approx([0.02 * (1 - step / len(rates)) for step in range(len(rates))])


def test_tensorboard_events_on_request(run: Run) -> None:
    pytest.importorskip("tensorboard")
    run(train__epochs=1, train__tensorboard=True)
    assert list((run.out / "logs").glob("events.out.tfevents.*"))


def test_the_configuration_and_the_tokens_lie_in_the_run(run: Run, tmp_path: Path) -> None:
    from asr.config import load_config
    from asr.text.tokenizer import Tokenizer
    from asr.training.config import ExperimentConfig

    run(train__epochs=1)
    assert load_config(ExperimentConfig, run.out / "config.yaml") == experiment(train__epochs=1)
    assert Tokenizer.load(run.out / "tokens.json").symbols == run.corpus.tokenizer.symbols


def test_threads_are_those_of_the_configuration_or_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", wanted.append)
    monkeypatch.setattr(processes, "cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    set_threads(experiment(train__threads=3).train)
    set_threads(experiment(train__threads=0).train)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    set_threads(experiment(train__threads=0).train)
    assert wanted == [3, 6]
    set_threads(experiment(train__threads=2, train__devices=2).train)
    assert os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"])
def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    alone, together = experiment().train, experiment(train__devices=2).train
    assert is_first_process(together)
    monkeypatch.setenv(variable, "1")
    assert not is_first_process(together)
    assert is_first_process(alone), "four trainings of their own in one job are four first processes"


def test_a_text_with_foreign_letters_is_named(run: Run) -> None:
    rows = [dataclasses.replace(run.corpus.utterances[0], text="aé"), *run.corpus.utterances[1:]]
    with pytest.raises(DataError, match=r"^utterance 'u00': 'é' \(U\+00E9\)"):
        run(train=rows)
