"""A Ctrl-C was lost when it came while the ranks of a training were agreeing whether to stop.

The signal's handler set the very flag that the outcome of the agreement then overwrote; with two processes most of a
small step is spent there, so both went on for ever and the second Ctrl-C killed them without saving.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from asr.training.monitor import Monitor


class Strategy:
    """Two ranks; the signal arrives in the middle of their sum."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.sums = 0

    def reduce(self, numbers: torch.Tensor, reduce_op: str) -> torch.Tensor:
        if self.sums == 0:
            self.monitor._asked = True
        self.sums += 1
        return numbers


def test_a_signal_during_the_agreement_counts_at_the_next_step(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, {}, None, say=print, progress=lambda *_, **__: None)
    trainer: Any = SimpleNamespace(world_size=2, strategy=Strategy(monitor))
    module: Any = SimpleNamespace(step_loss=1.0, device=torch.device("cpu"))
    monitor._agree(trainer, module)
    assert not monitor.interrupted, "the other rank has not heard of it yet"
    monitor._agree(trainer, module)
    assert monitor.interrupted
