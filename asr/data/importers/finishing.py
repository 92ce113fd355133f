"""Drafts -> the rows of a manifest: audio found and measured, spans checked, ids legal and unique."""

import os
from collections.abc import Sequence
from pathlib import Path

from asr.audio.files import AudioInfo
from asr.data.check_audio import DURATION_TOLERANCE
from asr.data.check_report import counted
from asr.data.importers.problems import BAD_AUDIO, MISSING_AUDIO, OUTSIDE, Kind
from asr.data.importers.reading import between
from asr.data.importers.task import Draft, Task
from asr.data.manifest import Utterance
from asr.data.names import named, unique_names
from asr.units import Seconds

MAX_OVERSHOOT: Seconds = 0.5  # by which a recording may fall short of a list's times, which are cut then (as in Kaldi)


class _DraftError(Exception):
    """A draft cannot become an utterance; caught here and added to the problems."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def finish(drafts: Sequence[Draft], task: Task) -> list[Utterance]:
    """Return the utterances of the drafts that are right, in order; the others go to the task's problems."""
    task.look_at(draft.audio for draft in drafts if _is_opened(draft))
    kept, durations, cut = [], [], []
    for draft in drafts:
        try:
            duration = _duration(draft, task)
        except _DraftError as error:
            task.problems.add(error.kind, draft.label, str(error))
            continue
        if draft.duration is not None and duration < draft.duration:
            cut.append(draft.label)
        kept.append(draft)
        durations.append(duration)
    if cut:
        task.notes.append(f"{counted(len(cut), 'utterance')} cut at the end of the recording: {named(cut)}")
    return [
        Utterance(
            name,
            Path(task.written.final(draft.audio)),
            float(draft.start),
            duration,
            draft.text,
            draft.speaker or task.options.speaker,
            draft.channel,
            draft.language or task.options.language,
        )
        for draft, name, duration in zip(kept, _ids(kept, task), durations, strict=True)
    ]


def _is_opened(draft: Draft) -> bool:
    return draft.file_duration is None or draft.channel is not None


def _duration(draft: Draft, task: Task) -> Seconds:
    """Return the draft's duration within its recording.  Raises: _DraftError."""
    if not _is_opened(draft):
        if not os.path.isfile(draft.audio):
            raise _DraftError(MISSING_AUDIO, f"no file {draft.audio}")
        assert draft.file_duration is not None, "files of unknown length are opened"
        return _within(draft, draft.file_duration)
    info = task.files.info(draft.audio)
    if not isinstance(info, AudioInfo):
        if not os.path.exists(draft.audio):
            raise _DraftError(MISSING_AUDIO, f"no file {draft.audio}")
        raise _DraftError(BAD_AUDIO, str(info))
    if draft.channel is not None and not 0 <= draft.channel < info.channels:
        raise _DraftError(OUTSIDE, f"channel {draft.channel} of {info.channels}, counted from 0")
    return _within(draft, info.duration)


def _within(draft: Draft, file_duration: Seconds) -> Seconds:
    start, duration = draft.start, draft.duration
    rest = between(start, file_duration)
    if not (start >= 0 and rest > 0 and (duration is None or 0 < duration <= rest + MAX_OVERSHOOT)):
        end = "its end" if duration is None else f"{start + duration:.2f}"
        raise _DraftError(OUTSIDE, f"it spans [{start:.2f}, {end}) s of {file_duration:.2f} s")
    if duration is None:
        return file_duration if start == 0 else rest
    return duration if duration <= rest + DURATION_TOLERANCE else rest


def _ids(drafts: Sequence[Draft], task: Task) -> list[str]:
    names = unique_names(draft.id for draft in drafts)
    changed = [f"{draft.id!r} -> {name}" for draft, name in zip(drafts, names, strict=True) if name != draft.id]
    if changed:
        one, many = "id made legal or unique", "ids made legal or unique"
        task.notes.append(f"{counted(len(changed), one, many)}: {named(changed)}")
    return names
