"""Trainings that are killed or interrupted, and resumed, end as if nothing had happened."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.cli.main import main
from asr.store import load
from asr.training.checkpoint import load_state
from tests.training.miniature import ALL_ON, ROOT, Corpus, Processes

LAST = Path("checkpoints", "last.safetensors")
SIX_EPOCHS = (*ALL_ON, "train.epochs=6", "train.checkpoint_steps=2", "train.keep_last=2")  # of 3 or 4 steps each


def assert_equal_runs(run: Path, other: Path) -> None:
    """Weights, their average, the optimiser's state and the kept checkpoints agree to the bit."""
    for file in sorted((run / "checkpoints").iterdir()):
        tensors, header = load(file)
        others, other_header = load(other / "checkpoints" / file.name)
        assert tensors.keys() == others.keys()
        different = [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])]
        assert not different, (file.name, different)
        for position in (header.get("state", {}).get("position"), other_header.get("state", {}).get("position")):
            if position:
                del position["wall_seconds"]
        assert header.get("state") == other_header.get("state")
    assert [file.name for file in sorted((run / "checkpoints").iterdir())] == [
        file.name for file in sorted((other / "checkpoints").iterdir())
    ]


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / "logs" / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def straight(corpus: Corpus, processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything switched on that nothing happens to."""
    folder = tmp_path_factory.mktemp("straight")
    ended = processes(corpus.arguments(folder / "run", *SIX_EPOCHS), folder)
    assert ended.code == 0, ended.stderr
    return folder / "run"


@pytest.fixture
def ends_as_straight(straight: Path, corpus: Corpus, processes: Processes, tmp_path: Path) -> Callable[..., None]:
    """Check that a run which ends with `code` by one accident after the other ends as the straight one."""

    def check(accidents: list[dict[str, Any]], code: int) -> None:
        arguments = corpus.arguments(tmp_path / "run", *SIX_EPOCHS, "--resume")
        ended = [processes(arguments, tmp_path / "logs", **accident) for accident in [*accidents, {}]]
        assert [end.code for end in ended] == [code] * len(accidents) + [0], [end.stderr for end in ended]
        assert_equal_runs(straight, tmp_path / "run")
        assert not list(tmp_path.rglob("*.tmp"))

    return check


def test_killed_at_five_random_steps_and_resumed_the_weights_are_bit_equal(
    straight: Path, ends_as_straight: Callable[..., None]
) -> None:
    steps = load_state(straight / LAST).position.step
    chosen = sorted(random.Random(steps).sample(range(1, steps + 1), 5))
    ends_as_straight([{"kill_after_step": step} for step in chosen], -signal.SIGKILL)


def test_killed_while_a_checkpoint_is_written_and_resumed_the_weights_are_bit_equal(
    ends_as_straight: Callable[..., None],
) -> None:
    ends_as_straight([{"kill_while_writing": count} for count in (1, 2, 5)], -signal.SIGKILL)


def test_killed_between_keeping_a_checkpoint_and_saving_the_state_resume_is_bit_equal(
    ends_as_straight: Callable[..., None],
) -> None:
    ends_as_straight([{"kill_after_validation": epoch} for epoch in (2, 6)], -signal.SIGKILL)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_interrupted_within_at_the_end_of_and_between_epochs_resume_is_bit_equal(
    straight: Path, ends_as_straight: Callable[..., None], number: str
) -> None:
    first_epoch = len(corpus_plan(straight, 0))
    accidents = [
        {"signal_after_step": 2, "signal": number},
        {"signal_after_step": first_epoch, "signal": number},
        {"signal_in_epoch_end": 3, "signal": number},
    ]
    ends_as_straight(accidents, 130)


def corpus_plan(run: Path, epoch: int) -> set[int]:
    """Return the steps of an epoch, from the validations in the log."""
    ends = [int(row["step"]) for row in rows(run) if row["wer"]]
    starts = [0, *ends]
    return set(range(starts[epoch], ends[epoch]))


def test_four_epochs_are_two_and_resume_two(corpus: Corpus, processes: Processes, tmp_path: Path) -> None:
    four = ("train.epochs=4", "train.ema_decay=0.9", "model.encoder.dropout=0.1")
    whole, halved = corpus.arguments(tmp_path / "whole", *four), corpus.arguments(tmp_path / "halved", *four)
    straight = processes(whole, tmp_path / "logs")
    interrupted = processes(halved, tmp_path / "logs", signal_in_epoch_end=2, signal="SIGINT")
    resumed = processes([*halved, "--resume"], tmp_path / "logs")
    assert (straight.code, interrupted.code, resumed.code) == (0, 130, 0)
    assert "interrupted after step 6; continue with --resume\n" in interrupted.stderr
    assert interrupted.stderr.endswith("asr train: interrupted\n")
    assert "resumed at step 6, epoch 2 step 0" in resumed.stderr
    assert_equal_runs(tmp_path / "whole", tmp_path / "halved")


def test_resume_of_a_killed_run_doubles_no_row_of_the_log_and_counts_audio_and_time_once(
    straight: Path, corpus: Corpus, processes: Processes, tmp_path: Path
) -> None:
    arguments = corpus.arguments(tmp_path / "run", *SIX_EPOCHS, "--resume")
    killed = processes(arguments, tmp_path / "logs", kill_after_validation=5)  # whose row is written
    resumed = processes(arguments, tmp_path / "logs")
    assert (killed.code, resumed.code) == (-signal.SIGKILL, 0)
    told = [(row["step"], row["wer"], row["loss"], row["audio_seconds"]) for row in rows(tmp_path / "run")]
    assert told == [(row["step"], row["wer"], row["loss"], row["audio_seconds"]) for row in rows(straight)]
    receipt, other = (
        json.loads((run / "train.receipt.json").read_text("utf-8")) for run in (tmp_path / "run", straight)
    )
    assert receipt["audio_seconds_seen"] == other["audio_seconds_seen"]
    assert receipt["result"]["valid_wer"] == other["result"]["valid_wer"]
    # whole seconds would be counted twice if the time before the resume were added to a sum that holds it
    assert receipt["wall_seconds"] < sum(end.seconds for end in (killed, resumed))


def test_a_finished_run_resumes_to_nothing_but_its_receipt(straight: Path, corpus: Corpus) -> None:
    before, receipt = (straight / LAST).read_bytes(), straight / "train.receipt.json"
    told = json.loads(receipt.read_text("utf-8"))["result"]
    receipt.unlink()
    assert main(corpus.arguments(straight, *SIX_EPOCHS, "--resume")) == 0
    assert (straight / LAST).read_bytes() == before
    found = json.loads(receipt.read_text("utf-8"))["result"]
    assert {key: found[key] for key in ("steps", "valid_wer", "valid_cer")} == {
        key: told[key] for key in ("steps", "valid_wer", "valid_cer")
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["train.optimizer.learning_rate=0.5"], "train.optimizer.learning_rate (was 0.02, now 0.5)"),
        (["--seed", "2"], "differs is seed"),
        (["model.encoder.hidden=17"], "model.encoder.hidden (was 16, now 17)"),
        (["train.loader.accumulate=3"], "train.loader.accumulate (was 2, now 3)"),
    ],
)
def test_resume_refuses_another_configuration_or_seed(
    straight: Path, corpus: Corpus, capsys: pytest.CaptureFixture[str], change: list[str], told: str
) -> None:
    assert main(corpus.arguments(straight, *SIX_EPOCHS, "--resume", *change)) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("part", ["train", "valid", "tokens"])
def test_resume_refuses_other_data_and_other_tokens(
    straight: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    other = tmp_path / getattr(corpus, part).name
    text = getattr(corpus, part).read_text("utf-8")
    if part == "tokens":
        other.write_text(text.replace('"a"', '"x"').replace('"b"', '"a"').replace('"x"', '"b"'), "utf-8")
    else:
        lines = [json.loads(line) for line in text.splitlines()]
        for line in lines:
            line["audio"] = str(corpus.folder / line["audio"])
        lines[0]["text"] += "a"
        other.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    arguments = corpus.arguments(straight, *SIX_EPOCHS, "--resume")
    arguments = [str(other) if argument == str(getattr(corpus, part)) else argument for argument in arguments]
    assert main(arguments) == 2
    names = {"train": "training data", "valid": "validation data", "tokens": "tokens"}
    assert f"differs is {names[part]}; undo that" in capsys.readouterr().err


def test_resume_allows_what_changes_no_number(straight: Path, corpus: Corpus) -> None:
    harmless = ["train.loader.workers=0", "train.loader.cache_mb=0", "train.checkpoint_steps=9", "train.keep_best=1"]
    assert main(corpus.arguments(straight, *SIX_EPOCHS, "--resume", *harmless)) == 0


def test_a_fresh_start_into_the_folder_of_a_run_is_refused(
    straight: Path, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (straight / LAST).read_bytes()
    assert main(corpus.arguments(straight, *SIX_EPOCHS)) == 2
    assert "this folder holds a run; continue it with --resume or give another --out" in capsys.readouterr().err
    assert (straight / LAST).read_bytes() == before


@pytest.mark.slow
def test_a_real_process_killed_from_outside_leaves_no_worker_and_resumes(
    corpus: Corpus, processes: Processes, tmp_path: Path
) -> None:
    many = ("train.epochs=400", "train.loader.workers=2", "train.checkpoint_steps=1", "train.validate_every=400")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "asr", *corpus.arguments(run, *many, valid=False)]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, start_new_session=True)
    wait_until(lambda: (run / LAST).exists() or process.poll() is not None, 120)
    assert process.poll() is None, (tmp_path / "log").read_text("utf-8")
    process.kill()
    assert process.wait() == -signal.SIGKILL
    wait_until(lambda: not session_members(process.pid), 20)
    step = load_state(run / LAST).position.step
    resumed = processes([*corpus.arguments(run, *many, valid=False), "--resume"], tmp_path, **signal_at(step + 2))
    assert resumed.code == 130, resumed.stderr
    assert f"resumed at step {step}, " in resumed.stderr
    assert load_state(run / LAST).position.step == step + 2


@pytest.mark.slow
def test_a_real_process_interrupted_with_workers_leaves_no_process(corpus: Corpus, tmp_path: Path) -> None:
    many = ("train.epochs=400", "train.loader.workers=2", "train.checkpoint_steps=5", "train.validate_every=400")
    run = tmp_path / "run"
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code += "from asr.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *corpus.arguments(run, *many, valid=False)]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, start_new_session=True)
    wait_until(lambda: (run / LAST).exists() or process.poll() is not None, 120)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    assert process.wait(60) == 130, (tmp_path / "log").read_text("utf-8")
    wait_until(lambda: not session_members(process.pid), 20)
    text = (tmp_path / "log").read_text("utf-8")
    assert "Traceback" not in text
    assert f"interrupted after step {load_state(run / LAST).position.step}; continue" in text


def signal_at(step: int) -> dict[str, Any]:
    return {"signal_after_step": step, "signal": "SIGINT"}


def wait_until(done: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


def session_members(session: int) -> list[str]:
    """Return the living processes of a session (Linux)."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            members.append(stat.parent.name)
    return members
