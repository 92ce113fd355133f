"""metrics.csv and TensorBoard events."""

import builtins
import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from asr.errors import MachineError
from asr.training.journal import COLUMNS, Journal


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_are_appended_and_missing_values_stay_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "logs", resumed_step=0, tensorboard=False)
    journal.write({"step": 20, "epoch": 1, "loss": 1 / 3})
    journal.write({"step": 25, "wer": 12.0})
    journal.close()
    found = rows(tmp_path / "logs")
    assert list(found[0]) == list(COLUMNS)
    assert (found[0]["loss"], found[0]["wer"]) == ("0.333333", "")
    assert (found[1]["step"], found[1]["wer"]) == ("25", "12")
    assert b"\r" not in (tmp_path / "logs" / "metrics.csv").read_bytes()


def test_a_resume_drops_the_rows_that_will_come_again(tmp_path: Path) -> None:
    first = Journal(tmp_path, resumed_step=0, tensorboard=False)
    for step in (20, 40, 60):
        first.write({"step": step})
    with open(tmp_path / "metrics.csv", "a", encoding="utf-8") as file:
        file.write("8")  # a killed process was writing 80
    again = Journal(tmp_path, resumed_step=45, tensorboard=False)
    again.write({"step": 60})
    assert [row["step"] for row in rows(tmp_path)] == ["20", "40", "60"]


def test_a_new_run_starts_a_new_log(tmp_path: Path) -> None:
    Journal(tmp_path, resumed_step=0, tensorboard=False).write({"step": 20})
    Journal(tmp_path, resumed_step=0, tensorboard=False)
    assert rows(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(MachineError, match=r"metrics\.csv: cannot write"):
        Journal(tmp_path / "logs", resumed_step=0, tensorboard=False)


def test_events_are_written_on_request(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    journal = Journal(tmp_path, resumed_step=0, tensorboard=True)
    journal.write({"step": 20, "loss": 0.5})
    journal.write({"step": 40, "loss": 0.25})
    journal.close()
    resumed = Journal(tmp_path, resumed_step=20, tensorboard=True)
    resumed.write({"step": 40, "loss": 0.125})
    resumed.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(20, 0.5), (40, 0.125)]


def test_without_the_package_events_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    original = builtins.__import__

    def without(name: str, *args: Any, **keywords: Any) -> Any:
        if name.startswith("tensorboard"):
            raise ModuleNotFoundError(name)
        return original(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        MachineError, match=r"the package tensorboard is missing: .* -m pip install tensorboard"
    ) as caught:
        Journal(tmp_path, resumed_step=0, tensorboard=True)
    assert caught.value.exit_code == 4
