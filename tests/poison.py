"""An archive with a recording that kills whoever opens it; Ray's workers import this."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from asr.data.archives import Lot, ManifestArchive, Shelf
from asr.errors import InputError
from asr.recognizer import Recording


@dataclass(frozen=True)
class PoisonedLot:
    lot: Lot
    poison: str

    @property
    def names(self) -> Any:
        return self.lot.names

    def opened(self, shelf: Shelf) -> Iterator[tuple[str, Recording | InputError]]:
        if self.poison in self.names:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.lot.opened(shelf)

    def part(self, row: int) -> "PoisonedLot":
        return PoisonedLot(self.lot.part(row), self.poison)


@dataclass(frozen=True)
class PoisonedArchive(ManifestArchive):
    poison: str = ""

    def lot(self, first: int, last: int) -> PoisonedLot:
        return PoisonedLot(super().lot(first, last), self.poison)
