"""Audio that an import writes: a folder beside the manifest that appears whole or not at all."""

import os
import shutil
from pathlib import Path
from types import TracebackType

from asr.errors import UsageError, writing


class WrittenAudio:
    """The folder `NAME.audio` beside the manifest `NAME.jsonl`; made when the first file is written.

    Files are written below a temporary name; `place` moves them.  Left without `place`, or with an error, nothing
    stays.
    """

    def __init__(self, manifest: Path) -> None:
        manifest = Path(os.path.abspath(manifest))
        self.folder = manifest.with_name(manifest.name.removesuffix(".jsonl") + ".audio")
        self._temporary = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.tmp")
        self._placed = False

    def __enter__(self) -> "WrittenAudio":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)
        if error is not None and self._placed:
            shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, name: str) -> str:
        """Return where to write the file `name` for now.

        Raises: UsageError if the folder is there already; MachineError if it cannot be made.
        """
        if not self._temporary.exists():
            if self.folder.exists():
                raise UsageError(
                    f"{self.folder}: audio would be written there, and it is there already; "
                    "delete it, or choose another name for the manifest"
                )
            with writing(self.folder):
                self._temporary.mkdir(parents=True)
        return os.path.join(self._temporary, name)

    def place(self) -> None:
        """Move the files, if there are any, to their folder.  Raises: MachineError."""
        if self._temporary.exists():
            with writing(self.folder):
                self._temporary.rename(self.folder)
            self._placed = True

    def final(self, path: str) -> str:
        """Return where a file will be after `place`; files elsewhere stay where they are."""
        folder, name = os.path.split(path)
        return os.path.join(self.folder, name) if folder == os.fspath(self._temporary) else path
