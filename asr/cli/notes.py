"""What the rooms log (logger "asr"), as lines on standard error."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Lines(logging.Handler):
    def __init__(self, label: str) -> None:
        super().__init__(logging.INFO)
        self._label = label

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record; the stream is looked up each time, as a progress bar may have replaced it."""
        print(f"{self._label}: {record.getMessage()}", file=sys.stderr, flush=True)


@contextmanager
def log_on_stderr(label: str) -> Iterator[None]:
    """Print log records of level INFO and above as `label: message` while the block runs."""
    logger = logging.getLogger("asr")
    handler, level = _Lines(label), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
