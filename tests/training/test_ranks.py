"""Two gloo processes and one, accumulated parts and whole batches: the same training."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asr.store import load
from asr.training.checkpoint import load_state
from tests.training.miniature import ROOT, Corpus, Processes, make_corpus
from tests.training.test_resume import session_members, wait_until

LAST = Path("checkpoints", "last.safetensors")
# batches of one to three utterances, so that some ranks and parts stay empty
PLAIN = ("train.epochs=3", "train.loader.batch_seconds=1.6", "train.loader.max_seconds=1.6", "train.validate_every=3")
PLAIN += ("train.optimizer.learning_rate=0.002", "train.ema_decay=0.9", "augment.waveform.speed_factors=[0.9, 1.1]")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """An odd number of utterances."""
    return make_corpus(tmp_path_factory.mktemp("odd"), num_train=11)


@pytest.fixture(scope="module")
def alone(odd: Corpus, processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, whole batches."""
    folder = tmp_path_factory.mktemp("alone")
    ended = processes(odd.arguments(folder / "run", *PLAIN), folder)
    assert ended.code == 0, ended.stderr
    return folder / "run"


def assert_close(run: Path, other: Path) -> None:
    tensors, others = load(run / LAST)[0], load(other / LAST)[0]
    weights = [name for name in tensors if "optimizer" not in name]
    assert max(float((tensors[name] - others[name]).abs().max()) for name in weights) < 1e-5
    first, second = load_state(run / LAST).position, load_state(other / LAST).position
    assert (first.step, first.epoch, first.audio_seconds) == (second.step, second.epoch, second.audio_seconds)


def start(arguments: list[str], log: Path, *program: str) -> "subprocess.Popen[bytes]":
    """Start `asr` in a session of its own, its output going to a log."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*(program or (sys.executable, "-m", "asr")), *arguments]
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True, env=environment, preexec_fn=heed_ctrl_c
        )


def heed_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it


def test_three_parts_are_one_batch(alone: Path, odd: Corpus, processes: Processes, tmp_path: Path) -> None:
    ended = processes(odd.arguments(tmp_path / "run", *PLAIN, "train.loader.accumulate=3"), tmp_path)
    assert ended.code == 0, ended.stderr
    assert_close(alone, tmp_path / "run")


@pytest.mark.slow
def test_two_processes_are_one(alone: Path, odd: Corpus, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start(odd.arguments(tmp_path / "run", *PLAIN, "train.devices=2"), log)
    assert process.wait(180) == 0, log.read_text("utf-8")
    assert_close(alone, tmp_path / "run")
    # the second process neither speaks nor writes
    text = log.read_text("utf-8")
    for once in ("new run", "epoch 3, step"):
        assert text.count(once) == 1, text
    assert "Warning" not in text
    names = [sorted(str(path.relative_to(run)) for path in run.rglob("*")) for run in (alone, tmp_path / "run")]
    assert names[0] == names[1]
    receipts = [json.loads((run / "train.receipt.json").read_text("utf-8")) for run in (alone, tmp_path / "run")]
    assert receipts[0]["audio_seconds_seen"] == receipts[1]["audio_seconds_seen"]
    losses = [logged(run) for run in (alone, tmp_path / "run")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[0]) >= 1
    wait_until(lambda: not session_members(process.pid), 20)


def logged(run: Path) -> list[float]:
    """Return the losses in the log: those of whole steps, over all ranks."""
    with open(run / "logs" / "metrics.csv", newline="", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


@pytest.mark.slow
def test_ctrl_c_ends_both_processes_and_resume_goes_on_alone(odd: Corpus, processes: Processes, tmp_path: Path) -> None:
    """The console script, too, starts its second process."""
    endless = [*PLAIN[1:], "train.epochs=1000", "train.validate_every=1000", "train.checkpoint_steps=1"]
    arguments = odd.arguments(tmp_path / "run", *endless, "train.devices=2", "train.loader.workers=1")
    script = tmp_path / "asr"
    script.write_text("import sys\nfrom asr.cli.main import main\nif __name__ == '__main__':\n    sys.exit(main())\n")
    process = start(arguments, tmp_path / "log", sys.executable, str(script))
    wait_until(lambda: (tmp_path / "run" / LAST).exists() or process.poll() is not None, 180)
    assert process.poll() is None, (tmp_path / "log").read_text("utf-8")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130, (tmp_path / "log").read_text("utf-8")
    wait_until(lambda: not session_members(process.pid), 20)
    text = (tmp_path / "log").read_text("utf-8")
    assert "Traceback" not in text, text
    step = load_state(tmp_path / "run" / LAST).position.step
    assert text.count("interrupted after step") == 1
    assert f"interrupted after step {step}; continue with --resume" in text
    alone = odd.arguments(tmp_path / "run", *endless, "--resume")
    resumed = processes(alone, tmp_path / "logs", signal_after_step=step + 2, signal="SIGINT")
    assert f"resumed at step {step}, " in resumed.stderr
    assert load_state(tmp_path / "run" / LAST).position.step == step + 2


@pytest.mark.slow
def test_an_error_in_the_first_process_ends_the_second(odd: Corpus, tmp_path: Path) -> None:
    missing = tmp_path / "run" / "logs"
    missing.parent.mkdir()
    missing.write_text("not a folder")
    process = start(odd.arguments(tmp_path / "run", *PLAIN, "train.devices=2"), tmp_path / "log")
    assert process.wait(180) == 4, (tmp_path / "log").read_text("utf-8")
    wait_until(lambda: not session_members(process.pid), 20)
    text = (tmp_path / "log").read_text("utf-8")
    assert "Traceback" not in text, text
    assert text.count("asr train: ") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "held",
    [["finetune.adapter_rank=2"], ["finetune.freeze=['subsampling.*', 'layers.*']", "finetune.unfreeze_epochs=1"]],
    ids=["adapters", "gradual"],
)
def test_a_fine_tuning_in_two_processes_is_one(
    held: list[str], alone: Path, odd: Corpus, processes: Processes, tmp_path: Path
) -> None:
    """Weights that rest, or have adapters in their place, and utterances that are replayed: no rank goes astray."""
    more = [*PLAIN, "--from", str(alone / LAST), *held, f"finetune.replay.manifest={odd.valid}"]
    more += [f"finetune.guard={odd.valid}", "finetune.replay.ratio=0.2"]
    ended = processes(odd.arguments(tmp_path / "one", *more), tmp_path)
    assert ended.code == 0, ended.stderr
    process = start(odd.arguments(tmp_path / "two", *more, "train.devices=2"), tmp_path / "log")
    assert process.wait(180) == 0, (tmp_path / "log").read_text("utf-8")
    assert_close(tmp_path / "one", tmp_path / "two")
