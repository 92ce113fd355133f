"""What every importer is given and hands back: the source, the options, the audio files; drafts and problems."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asr.audio.files import AudioInfo
from asr.data.importers.problems import Problems
from asr.data.importers.written import WrittenAudio
from asr.data.recordings import Progress, headers
from asr.errors import DataError
from asr.units import Seconds


@dataclass(slots=True)
class Draft:
    """An utterance as a source describes it, before its audio has been looked at.

    Attributes:
        id: as written there, or made from a file's name; becomes legal and unique later.
        audio: absolute path of the file.
        start: in seconds.
        duration: in seconds; None: to the end of the file.
        file_duration: of the whole file, where the source knows it: then the file is not opened.
        line: of the source, for messages; 0 where there is none.
    """

    id: str
    audio: str
    start: Seconds = 0.0
    duration: Seconds | None = None
    text: str | None = None
    speaker: str | None = None
    channel: int | None = None
    language: str | None = None
    file_duration: Seconds | None = None
    line: int = 0

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.id}, line {self.line}" if self.line else self.id


@dataclass(frozen=True)
class ImportOptions:
    """What the caller decides.

    Attributes:
        audio_root: where relative paths start; None: the folder of the source.
        language, speaker: of utterances for which the source names none.
        skip_faulty: leave out what is wrong, instead of refusing the whole.
        allow_pipes: (kaldi) run the programs that wav.scp names.
        columns: (table, huggingface) manifest key, or "end" -> name of the column.
        quotes: (table) whether quotes enclose cells; False: they are characters like others.
        tier: (textgrid) the tier that holds the utterances; None: the only one.
        max_gap: (ctm) a longer pause, in seconds, starts a new utterance.
        split: (huggingface) the part to import; None: the only one.
    """

    audio_root: Path | None = None
    language: str | None = None
    speaker: str | None = None
    skip_faulty: bool = False
    allow_pipes: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    quotes: bool = True
    tier: str | None = None
    max_gap: Seconds = 0.5
    split: str | None = None


class AudioFiles:
    """Headers of audio files, each read once."""

    def __init__(self) -> None:
        self._infos: dict[str, AudioInfo | DataError] = {}

    def look_at(self, paths: Iterable[str], progress: Progress | None = None) -> None:
        """Read the headers of files that have not been read, with progress."""
        names = [path for path in dict.fromkeys(paths) if path not in self._infos]
        for path in names:
            if not path.isascii() and path.encode("utf-8", "replace").decode() != path:  # no manifest could name it
                self._infos[path] = DataError("its name is not UTF-8; rename the file")
        names = [path for path in names if path not in self._infos]
        self._infos.update(zip(names, headers(names, progress), strict=True))

    def info(self, path: str) -> AudioInfo | DataError:
        """Return what a file holds, or what is wrong with it."""
        self.look_at([path])
        return self._infos[path]


@dataclass
class Task:
    """One import: an importer reads `source`, returns drafts, and adds to `problems` and `notes`.

    Attributes:
        notes: what the user should know although nothing is wrong, one line each.
        written: where audio goes that is not a file yet.
    """

    source: Path
    options: ImportOptions
    written: WrittenAudio
    progress: Progress | None = None
    files: AudioFiles = field(default_factory=AudioFiles)
    problems: Problems = field(default_factory=Problems)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        folder = self.source if self.source.is_dir() else self.source.parent
        self.audio_root = os.path.abspath(self.options.audio_root or folder)

    @property
    def is_lost(self) -> bool:
        """Whether nothing will come of it, so that long work is not worth starting."""
        return len(self.problems) > 0 and not self.options.skip_faulty

    def look_at(self, paths: Iterable[str]) -> None:
        """Read the headers of files, with progress."""
        self.files.look_at(paths, self.progress)

    def resolve(self, path: str) -> str:
        """Return the absolute path of an audio file that a list names."""
        return os.path.join(self.audio_root, path)
