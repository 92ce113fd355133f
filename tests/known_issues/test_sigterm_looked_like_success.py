"""A training ended by SIGTERM (a batch system, `docker stop`, `timeout`) had exit code 0 and lost its last steps.

Lightning answers SIGTERM with a SystemExit that carries no code, so a recipe took the stage for done.  Now
SIGTERM is Ctrl-C: the state is saved after the step, and the exit code is 130.
"""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from asr.training.checkpoint import load_state
from asr.training.module import CtcTraining
from tests.training.miniature import make_corpus, train


def test_sigterm_saves_the_state_and_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, before = make_corpus(tmp_path / "corpus"), signal.getsignal(signal.SIGTERM)
    original = CtcTraining.training_step

    def step(self: CtcTraining, *arguments: Any) -> Any:
        if self.position.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    monkeypatch.setattr(CtcTraining, "training_step", step)
    assert train(corpus, tmp_path / "run", valid=False) == 130
    assert load_state(tmp_path / "run" / "checkpoints" / "last.safetensors").position.step == 5
    assert not (tmp_path / "run" / "train.receipt.json").exists()
    assert signal.getsignal(signal.SIGTERM) == before
