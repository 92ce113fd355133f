"""What is kept, when a training stops, and what it hints at."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from asr.training.checkpoint import Position
from asr.training.monitor import Monitor
from asr.training.validation import Validation
from tests.tiny_model import tiny_model
from tests.training.miniature import experiment


class Watch:
    """A monitor of a training that is only made up of its validations."""

    def __init__(self, out: Path, **train: Any) -> None:
        self.said: list[str] = []
        config = experiment(**{f"train__{name}": value for name, value in train.items()}).train
        self.monitor = Monitor(out, {}, None, say=self.said.append, progress=lambda *_, **__: None)
        self.module: Any = SimpleNamespace(model=tiny_model(), train_config=config, position=Position(), average=None)

    def validate(self, wer: float | None, blank_share: float = 0.5) -> bool:
        """Go ten steps on, find a rate, and return whether to stop."""
        self.module.position.step += 10
        found = Validation(wer, wer, blank_share, 1.0, []) if wer is not None else None
        self.monitor.validation = found
        self.monitor._keep(self.module, found)
        if found:
            self.monitor._hint(self.module, found)
        return self.monitor._should_stop(self.module)

    def kept(self) -> list[int]:
        return sorted(int(path.stem[5:]) for path in self.monitor.out.glob("checkpoints/*.safetensors"))


def test_the_best_are_kept(tmp_path: Path) -> None:
    watch = Watch(tmp_path, keep_best=2)
    for wer, kept in ((50, [10]), (60, [10, 20]), (40, [10, 30]), (45, [30, 40]), (70, [30, 40]), (40, [30, 60])):
        watch.validate(wer)
        assert watch.kept() == kept


def test_the_best_and_the_last_are_kept(tmp_path: Path) -> None:
    watch = Watch(tmp_path, keep_best=1, keep_last=1)
    kept = []
    for wer in (50, 40, 60, 70):
        watch.validate(wer)
        kept.append(watch.kept())
    assert kept == [[10], [20], [20, 30], [20, 40]]


def test_the_last_are_kept_without_any_validation(tmp_path: Path) -> None:
    watch = Watch(tmp_path, keep_best=3, keep_last=2)
    for _ in range(3):
        assert not watch.validate(None)
    assert watch.kept() == [20, 30]


def test_nothing_is_kept_if_nothing_is_wanted(tmp_path: Path) -> None:
    watch = Watch(tmp_path, keep_best=0, keep_last=0)
    watch.validate(50)
    assert watch.kept() == []


def test_a_checkpoint_of_a_killed_run_beyond_the_resumed_step_goes(tmp_path: Path) -> None:
    watch = Watch(tmp_path, keep_best=0, keep_last=2)
    watch.validate(50)
    tiny_model().save(tmp_path / "checkpoints" / "step-0000090.safetensors")
    watch.validate(50)
    assert watch.kept() == [10, 20]


def test_a_copy_beside_the_kept_checkpoints_stays_and_counts_for_nothing(tmp_path: Path) -> None:
    watch = Watch(tmp_path, keep_best=0, keep_last=1)
    copy = tmp_path / "checkpoints" / "step-0000010-int8.safetensors"
    tiny_model().save(copy)
    for _ in range(2):
        watch.validate(50)
    assert sorted(path.name for path in copy.parent.iterdir()) == [copy.name, "step-0000020.safetensors"]


def test_patience_ends_a_training_that_gets_no_better(tmp_path: Path) -> None:
    watch = Watch(tmp_path, patience=2)
    assert [watch.validate(wer) for wer in (50, 55, 49, 49, 60)] == [False, False, False, False, True]
    assert watch.said == ["no better rate in 2 validations: stopped early"]


def test_without_patience_nothing_ends(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    assert not any(watch.validate(wer) for wer in (50, 60, 70, 80))


def test_all_blank_validations_in_a_row_give_a_hint(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    for share in (1.0, 1.0, 0.9, 0.995, 0.995):
        watch.validate(100, share)
    assert watch.said == []
    watch.validate(100, 0.995)
    assert watch.said == [
        "all blank for 3 validations: try train.optimizer.learning_rate=0.0067; check data and settings with"
        " --overfit 8"
    ]


@pytest.mark.parametrize("rates", [[50.0, 40.0, 45.0]])
def test_best_rates_are_kept_for_patience_even_if_no_file_is(tmp_path: Path, rates: list[float]) -> None:
    watch = Watch(tmp_path, keep_best=0)
    for rate in rates:
        watch.validate(rate)
    assert watch.module.position.best == [(40.0, 20)]
    assert watch.module.position.worse == 1
