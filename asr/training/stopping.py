"""Ctrl-C and SIGTERM in the middle of a training: its step is finished and its state saved first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class InterruptionError(Exception):
    """The training was asked to stop, and its state is saved.  (Lightning answers a KeyboardInterrupt with exit 1.)"""


class StopsOnInterrupt:
    """The part of a callback that notes signals in `_asked`, for the callback to look at when a step is done."""

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[signal.Signals, Any] = {}
        self._asked = False  # this process got a signal; it may come at any moment

    @contextmanager
    def stopping_on_interrupt(self) -> Iterator[None]:
        """Let the first Ctrl-C (or SIGTERM) end the training after its step, its state saved; a second ends it now."""
        self.catch(signal.SIGINT)
        try:
            yield
        finally:  # Lightning itself puts SIGTERM back
            if signal.SIGINT in self._handlers:
                signal.signal(signal.SIGINT, self._handlers[signal.SIGINT])

    def catch(self, number: signal.Signals) -> None:
        """Let the first such signal only be noted, and the second do what the first would have done."""

        def ask(signal_number: int, frame: object) -> None:
            self._asked = True
            signal.signal(number, self._handlers[number])

        if threading.current_thread() is not threading.main_thread():  # signals belong to the main thread
            return
        before = signal.getsignal(number)
        if before not in (None, signal.SIG_IGN):  # a shell lets background jobs ignore the Ctrl-C meant for others
            self._handlers[number] = before
            signal.signal(number, ask)
