"""Kaldi data folders: wav.scp, text, segments, utt2spk, utt2lang, reco2dur, utt2dur, reco2file_and_channel.

wav.scp is needed, the others are not; no order is asked of their lines.  Where reco2dur or utt2dur tell how long a
recording is, its file is not opened.  Entries of wav.scp that are pipes are refused unless they are allowed; see
kaldi_pipes.py.
Source: the Kaldi documentation, "Data preparation"; the checks are those of utils/validate_data_dir.sh.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from asr.audio.files import AudioInfo
from asr.data.check_report import counted
from asr.data.importers.kaldi_pipes import files_of_pipes
from asr.data.importers.problems import BAD_ROW, REPEATED, Kind
from asr.data.importers.reading import between, read_text, seconds, text_lines
from asr.data.importers.task import Draft, Task
from asr.data.names import named
from asr.errors import DataError, shown
from asr.units import Seconds

_AGREE = "make the files agree, as Kaldi's utils/fix_data_dir.sh does"
PIPE = Kind(
    "pipe",
    "pipe in wav.scp",
    "pipes in wav.scp",
    "write the recordings to files, or, if you trust the folder, let its programs run with --allow-pipes",
)
ARCHIVE = Kind(
    "archive",
    "recording inside of an archive",
    "recordings inside of archives",
    "write them to files, as with Kaldi's wav-copy scp:wav.scp scp:FILES.scp",
)
_OFFSET = re.compile(r":\d+(?:\[[^\]]*\])?$")  # of an entry in an archive, such as x.ark:1234
_SPACES = re.compile(r"[ \t]+")
_CHANNELS = {"A": 0, "B": 1, "1": 0, "2": 1}


@dataclass(slots=True)
class _Folder:
    """The files of a data folder: key -> the rest of the line; None for a file that there is not."""

    recordings: dict[str, str]
    segments: dict[str, str] | None
    texts: dict[str, str] | None
    speakers: dict[str, str] | None
    languages: dict[str, str] | None
    durations: dict[str, str]  # of recordings
    channels: dict[str, str]  # of recordings


def read(task: Task) -> list[Draft]:
    """Return the utterances of a data folder; wherever its files disagree goes to the task.

    Raises: DataError if there is no wav.scp or a file cannot be read.
    """
    folder = _read_folder(task)
    drafts = list(_segments(task, folder) if folder.segments is not None else _whole_recordings(task, folder))
    agreed = _agreed(task, folder, [draft.id for draft in drafts])
    drafts = [draft for draft in drafts if draft.id in agreed]
    for draft in drafts:
        name = draft.id
        draft.text = None if folder.texts is None else folder.texts[name]
        draft.speaker = None if folder.speakers is None else folder.speakers[name]
        draft.language = None if folder.languages is None else folder.languages.get(name)
    utterances = _with_files(task, folder, drafts)
    if folder.texts is None:
        task.notes.append("no file text: utterances have none, which is enough for decoding")
    return utterances


def _read_folder(task: Task) -> _Folder:
    if not task.source.is_dir():
        raise DataError(f"{task.source}: not a folder; give the one that holds wav.scp")
    recordings = _read_map(task, "wav.scp")
    if recordings is None:
        raise DataError(f"{task.source}: no wav.scp in it; give the folder that holds it")
    segments = _read_map(task, "segments")
    durations = _read_map(task, "reco2dur")
    if durations is None and segments is None:
        durations = _read_map(task, "utt2dur")
    return _Folder(
        recordings,
        segments,
        _read_map(task, "text", may_be_empty=True),
        _read_map(task, "utt2spk"),
        _read_map(task, "utt2lang"),
        durations or {},
        _read_map(task, "reco2file_and_channel") or {},
    )


def _read_map(task: Task, name: str, *, may_be_empty: bool = False) -> dict[str, str] | None:
    """Return key -> rest of the line of one file, or None if there is no such file."""
    path = task.source / name
    if not path.exists():
        return None
    rows: dict[str, str] = {}
    for number, line in enumerate(text_lines(read_text(path)), start=1):
        line = line.strip(" \t")
        if not line:
            continue
        key = line.split(" ", 1)[0].split("\t", 1)[0]
        value = line[len(key) :].lstrip(" \t")
        if key in rows:
            task.problems.add(REPEATED, key, f"{name}:{number}")
        elif not value and not may_be_empty:
            task.problems.add(BAD_ROW, key, f"{name}:{number}: nothing follows the id")
        else:
            rows[key] = value
    return rows


def _whole_recordings(task: Task, folder: _Folder) -> Iterable[Draft]:
    """Yield an utterance for each recording; its audio is still the entry of wav.scp's id."""
    for name in folder.recordings:
        yield Draft(name, name)


def _segments(task: Task, folder: _Folder) -> Iterable[Draft]:
    """Yield an utterance for each segment; its audio is still the recording's id."""
    assert folder.segments is not None, "the caller has looked"
    unknown = Kind(
        "unknown",
        "segment of a recording that is not in wav.scp",
        "segments of recordings that are not in wav.scp",
        _AGREE,
    )
    used = set()
    for name, rest in folder.segments.items():
        try:
            draft = _segment(name, rest)
        except ValueError as error:
            task.problems.add(BAD_ROW, name, f"segments: {error}")
            continue
        used.add(draft.audio)
        if draft.audio not in folder.recordings:
            task.problems.add(unknown, name, draft.audio)
            continue
        yield draft
    unused = folder.recordings.keys() - used
    if unused:
        task.notes.append(f"{counted(len(unused), 'recording')} without a segment: {named(sorted(unused))}")


def _segment(name: str, rest: str) -> Draft:
    """Return the utterance of a line `recording start end [channel]`.  Raises: ValueError saying what is wrong."""
    fields = _fields(rest)
    if not 3 <= len(fields) <= 4:
        raise ValueError(f"{shown(rest)}; expected: recording start end [channel]")
    start, end = seconds(fields[1]), seconds(fields[2])
    channel = None
    if len(fields) == 4:
        if not (fields[3].isascii() and fields[3].isdigit()):
            raise ValueError(f"channel {shown(fields[3])}; expected 0, 1, ...")
        channel = int(fields[3])
    # Kaldi writes -1 for a segment that lasts to the end.
    return Draft(name, fields[0], start, None if end == -1 else between(start, end), channel=channel)


def _fields(text: str) -> list[str]:
    """Return what spaces and tabs part; split() would also part at spaces that belong to an id."""
    return _SPACES.split(text)


def _agreed(task: Task, folder: _Folder, ids: list[str]) -> set[str]:
    """Return the ids that are in every file that there is; what is in one but not in another goes to the task."""
    listed = "wav.scp" if folder.segments is None else "segments"
    known = folder.recordings.keys() if folder.segments is None else folder.segments.keys()
    agreed = set(ids)
    files: tuple[tuple[str, Mapping[str, str] | None], ...] = (
        ("text", folder.texts),
        ("utt2spk", folder.speakers),
        ("utt2lang", folder.languages),
    )
    for file, rows in files:
        if rows is None:
            continue
        for name in rows:
            if name not in known:
                task.problems.add(_only_in(file, listed), name)
        for name in ids:
            if name not in rows:
                task.problems.add(_only_in(listed, file), name)
        agreed &= rows.keys()
    return agreed


def _only_in(file: str, other: str) -> Kind:
    where = f"in {file} but not in {other}"
    return Kind(f"not-in-{other}", f"utterance {where}", f"utterances {where}", _AGREE)


def _with_files(task: Task, folder: _Folder, drafts: list[Draft]) -> list[Draft]:
    """Return the drafts with the file in the place of the recording's id, and what is known of the file."""
    needed = {draft.audio for draft in drafts}
    files = _files(task, {name: entry for name, entry in folder.recordings.items() if name in needed})
    durations = _durations(task, folder, files)
    channels = _channels(task, folder, files)
    found = []
    for draft in drafts:
        recording = draft.audio
        if recording not in files:
            continue
        draft.audio, channel = files[recording]
        draft.file_duration = durations.get(recording)
        draft.channel = channel if draft.channel is None else draft.channel
        draft.channel = channels.get(recording) if draft.channel is None else draft.channel
        found.append(draft)
    return found


def _files(task: Task, entries: Mapping[str, str]) -> dict[str, tuple[str, int | None]]:
    """Return recording -> (file, channel) of entries of wav.scp; pipes are refused or run."""
    files: dict[str, tuple[str, int | None]] = {}
    pipes: dict[str, str] = {}
    for name, entry in entries.items():
        if entry.endswith("|"):
            if task.options.allow_pipes:
                pipes[name] = entry
            else:
                task.problems.add(PIPE, name, entry)
        elif _OFFSET.search(entry):
            task.problems.add(ARCHIVE, name, entry)
        else:
            files[name] = (task.resolve(entry), None)
    return files if task.is_lost else files | files_of_pipes(pipes, task)


def _durations(task: Task, folder: _Folder, names: Iterable[str]) -> dict[str, Seconds]:
    """Return how long recordings are, where the folder tells."""
    durations = {}
    for name in names:
        text = folder.durations.get(name)
        if text is None:
            continue
        try:
            durations[name] = seconds(text)
        except ValueError as error:
            task.problems.add(BAD_ROW, name, f"its duration: {error}")
    return durations


def _channels(task: Task, folder: _Folder, files: Mapping[str, tuple[str, int | None]]) -> dict[str, int]:
    """Return the channels of recordings that reco2file_and_channel names.

    It names one for every recording, mostly to score; it selects one only where the file has several.
    """
    listed = {name: _fields(folder.channels[name])[-1] for name in files if name in folder.channels}
    task.look_at(files[name][0] for name in listed)
    channels = {}
    for name, channel in listed.items():
        info = task.files.info(files[name][0])
        if not isinstance(info, AudioInfo) or info.channels == 1:
            continue
        if channel in _CHANNELS:
            channels[name] = _CHANNELS[channel]
        else:
            task.problems.add(BAD_ROW, name, f"reco2file_and_channel: channel {shown(channel)}; expected A or B")
    return channels
