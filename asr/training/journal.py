"""What a training writes down: one row a step or validation in logs/metrics.csv, TensorBoard events if asked."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import MachineError, to_install, writing
from asr.store import write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

COLUMNS = (
    "step",
    "epoch",
    "loss",
    "learning_rate",
    "gradient_norm",
    "audio_seconds",
    "audio_hours_per_hour",
    "waiting_share",
    "wer",
    "cer",
    "blank_share",
    "mean_tokens",
    "guard_wer",
    "guard_cer",
)


class Journal:
    """Appends rows to metrics.csv.  After a resume, rows beyond the resumed step are dropped: they run again."""

    def __init__(self, folder: Path, *, resumed_step: int, tensorboard: bool) -> None:
        self.path = folder / "metrics.csv"
        text = io.StringIO()
        rows = _rows_until(self.path, resumed_step) if resumed_step else []
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
        write_text(self.path, text.getvalue())
        self._events = _event_writer(folder, resumed_step) if tensorboard else None

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; the keys are COLUMNS, those that are missing stay empty.  Raises: MachineError."""
        assert row.keys() <= set(COLUMNS), f"unknown columns {row.keys() - set(COLUMNS)}"
        with writing(self.path), open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow([_shown(row.get(name)) for name in COLUMNS])
        if self._events is not None:
            for name in row.keys() - {"step"}:
                self._events.add_scalar(name, row[name], row["step"])

    def close(self) -> None:
        """Finish the event file."""
        if self._events is not None:
            self._events.close()


def _rows_until(path: Path, step: int) -> list[list[str]]:
    """Return the rows of a log up to a step; a row that a killed process left unfinished is dropped."""
    if not path.is_file():
        return []
    whole = path.read_text("utf-8", errors="replace").rpartition("\n")[0]
    rows = list(csv.reader(whole.splitlines()))[1:]
    return [row for row in rows if len(row) == len(COLUMNS) and row[0].isdigit() and int(row[0]) <= step]


def _shown(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value


def _event_writer(folder: Path, resumed_step: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise MachineError(
            f"train.tensorboard is on but the package tensorboard is missing: {to_install('tensorboard')}"
        ) from None
    # what a killed run had told of later steps is not to be shown
    return SummaryWriter(str(folder), purge_step=resumed_step + 1 if resumed_step else None)
