"""The processes that train together: their threads, their end, and what is said when one fails."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from lightning.pytorch import Trainer

from asr.errors import EXIT_DATA, EXIT_MACHINE, EXIT_USAGE, MachineError
from asr.receipts import cores
from asr.training.config import TrainConfig
from asr.training.module import CtcTraining
from asr.training.stopping import InterruptionError

_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")  # set by those who start processes
_OUR_CODES = (EXIT_USAGE, EXIT_DATA, EXIT_MACHINE)
_PEER_SECONDS, _END_SECONDS = 3.0, 60.0  # that other processes have for ending


def is_first_process(config: TrainConfig) -> bool:
    """Return whether this process is the one that speaks and writes, of those that train together."""
    if config.devices * config.num_nodes == 1:
        return True
    return all(os.environ.get(name, "0") == "0" for name in _RANKS)


def set_threads(config: TrainConfig) -> None:
    """Share the cores among the processes, unless the configuration or the environment says otherwise."""
    threads = config.threads
    if not threads and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, cores() // config.devices)
    if threads:
        torch.set_num_threads(threads)
        if config.devices > 1:
            os.environ["OMP_NUM_THREADS"] = str(threads)  # or else Lightning sets a number of its own


def leave_the_group() -> None:
    """End the connection of the processes: gloo's threads would abort a process that ends while they run."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def no_process_left(trainer: Trainer) -> Iterator[None]:
    """End the processes that Lightning started on this machine: wait for them, or kill them after an error.

    Raises: MachineError in place of a broken connection if another process had failed first.
    """
    failed = True
    try:
        yield
        failed = False
    except InterruptionError:  # all ranks end by themselves
        failed = False
        raise
    except RuntimeError as error:
        if any(code in _OUR_CODES for code in _exit_codes(trainer, _PEER_SECONDS)):
            raise MachineError("another process of this training failed; its message stands above") from error
        raise
    finally:
        _exit_codes(trainer, 0 if failed else _END_SECONDS)
        for process in _children(trainer):
            process.kill()
            process.wait()


def _children(trainer: Trainer) -> list["subprocess.Popen[bytes]"]:
    return list(getattr(trainer.strategy.launcher, "procs", []))


def _exit_codes(trainer: Trainer, seconds: float) -> list[int]:
    """Return the exit codes of the processes that end within `seconds`."""
    until, codes = time.monotonic() + seconds, []
    for process in _children(trainer):
        with suppress(subprocess.TimeoutExpired):
            codes.append(process.wait(max(0.0, until - time.monotonic())))
    return codes


@contextmanager
def failures_explained(module: CtcTraining) -> Iterator[None]:
    """Turn running out of memory into one line that says which batch it was and what would fit."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MachineError(_memory_message(module)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" in str(error):
            raise MachineError(_memory_message(module)) from error
        if "DataLoader worker" in str(error):  # killed from outside, or without room in /dev/shm
            raise MachineError(
                f"a data worker ended before its time in step {module.position.step}, most likely for lack of memory"
                " (or of /dev/shm); lower train.loader.workers or train.loader.cache_mb"
            ) from error
        raise


def _memory_message(module: CtcTraining) -> str:
    seconds = module.train_config.loader.batch_seconds
    return (
        f"out of memory on {module.last_shape} of step {module.position.step};"
        f" halve train.loader.batch_seconds (now {seconds:g}) or double train.loader.accumulate"
    )
