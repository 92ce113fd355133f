"""One log line for each kind of conversion: an 8 kHz file must not become a 16 kHz one in silence.

Lines go to the logger "asr" at level INFO.  They carry their kind, and a filter on that logger lets each kind
pass once in a process; other messages of that logger are not touched.
"""

import logging
from pathlib import Path

_LOGGER = logging.getLogger("asr")


class OncePerKind(logging.Filter):
    """Lets the first record of each `kind` pass, and every record that has none."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this is the first record of its kind."""
        kind = getattr(record, "kind", None)
        if kind is None:
            return True
        is_first = kind not in self._seen
        self._seen.add(kind)
        return is_first


def note_rate(path: str | Path, source_rate: int, target_rate: int) -> None:
    """Log that a file's rate was converted, such as `a.wav: 8000 Hz -> 16000 Hz; nothing above 4 kHz`."""
    if source_rate != target_rate:
        kind = f"{source_rate} Hz -> {target_rate} Hz"
        loss = f"; nothing above {source_rate / 2000:g} kHz" if source_rate < target_rate else ""
        _note(kind, f"{path}: {kind}{loss}")


def note_channels(path: str | Path, channels: int, channel: int | None) -> None:
    """Log that the channels of a file were mixed, such as `a.wav: 2 channels mixed`."""
    if channels > 1 and channel is None:
        _note(f"{channels} channels mixed", f"{path}: {channels} channels mixed")


def _note(kind: str, message: str) -> None:
    if not _LOGGER.isEnabledFor(logging.INFO):
        return
    if not any(isinstance(item, OncePerKind) for item in _LOGGER.filters):
        _LOGGER.addFilter(OncePerKind())
    _LOGGER.info(f"{message} (said once for all such files)", extra={"kind": kind})
