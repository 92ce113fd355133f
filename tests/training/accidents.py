"""Trainings that are killed, interrupted or run out of disk at a chosen moment, each in a forked process.

    python -m tests.training.accidents

reads lines {"arguments": [...], "accident": {"kill_after_step": 3}, "log": PATH} and answers each with a line
[exit code (minus the signal for a killed process), seconds].  The processes are forked from this one, which has
imported everything: importing takes far longer than these trainings.  Accidents:

    kill_after_step N          SIGKILL when optimiser step N is done, before anything is saved
    kill_while_writing N       SIGKILL when half of the bytes of the Nth checkpoint are on disk
    kill_after_validation N    SIGKILL when epoch N is validated and its checkpoint kept, but the state is not saved
    signal_after_step N        the signal `signal` when optimiser step N is done
    signal_in_epoch_end N      the same while epoch N is being validated
    disk_full_at N             the Nth checkpoint ends in the middle: no space left on device
"""

import errno
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import safetensors.torch

from asr.cli.main import main
from asr.training.monitor import Monitor


def run(arguments: list[str], accident: dict[str, Any], log: str) -> tuple[int, float]:
    """Run `asr` in a child of this process and return how it ended, and after how many seconds."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(2, 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
        prepare(accident)
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, time.monotonic() - started


def prepare(accident: dict[str, Any]) -> None:
    """Let the accident wait for its moment."""
    number = getattr(signal, accident.get("signal", "SIGKILL"))
    if step := accident.get("kill_after_step") or accident.get("signal_after_step"):
        before(Monitor, "on_train_batch_end", lambda args: args[1].position.step == step, number)
    if kept := accident.get("kill_after_validation"):
        at_end = {"epoch": kept, "step_in_epoch": 0}
        before(Monitor, "save_state", lambda args: at_end.items() <= vars(args[1].position).items(), number)
    if epoch := accident.get("signal_in_epoch_end"):
        before(Monitor, "_validate", lambda args: args[0].position.epoch == epoch, number)
    if count := accident.get("kill_while_writing") or accident.get("disk_full_at"):
        half_written(count, killed="kill_while_writing" in accident)


def before(owner: type, name: str, when: Any, number: signal.Signals) -> None:
    """Send this process a signal, once, before the method `name` runs with arguments for which `when` is true."""
    original, sent = getattr(owner, name), []

    def method(self: Any, *args: Any, **keywords: Any) -> Any:
        if not sent and when(args):
            sent.append(True)
            os.kill(os.getpid(), number)
        return original(self, *args, **keywords)

    setattr(owner, name, method)


def half_written(count: int, *, killed: bool) -> None:
    """Let the `count`th checkpoint end in the middle."""
    original, calls = safetensors.torch.save_file, []

    def save_file(tensors: Any, path: Path, metadata: Any = None) -> None:
        calls.append(path)
        if len(calls) != count:
            original(tensors, path, metadata=metadata)
            return
        data = safetensors.torch.save(tensors, metadata=metadata)
        with open(path, "wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    safetensors.torch.save_file = save_file


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)
