"""A run that was killed right after the last step of an epoch did nothing when it was resumed.

The state was saved at every `checkpoint_steps` steps, also where an epoch ends, before the epoch was counted as
done.  The resumed run then asked for the rest of that epoch, an empty loader, which Lightning takes for the end
of the training: exit code 0 after no step, the remaining epochs missing.  Now such a save waits for the end of
the epoch.
"""

from pathlib import Path
from typing import Any

import pytest

from asr.training.checkpoint import load_state
from asr.training.module import CtcTraining
from tests.training.miniature import Corpus, make_corpus, train


class KilledError(Exception):
    """Stands for a kill."""


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path / "corpus")


def test_the_remaining_epochs_are_trained(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("train.epochs=3", "train.checkpoint_steps=1")

    def killed(self: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(CtcTraining, "finish_epoch", killed)
        with pytest.raises(KilledError):
            train(corpus, tmp_path / "run", *options, valid=False)
    assert train(corpus, tmp_path / "run", *options, "--resume", valid=False) == 0
    position = load_state(tmp_path / "run" / "checkpoints" / "last.safetensors").position
    assert (position.epoch, position.step) == (3, 9)
