"""CTM word times, grouped into utterances at pauses.

    recording1 A 0.52 0.31 good 0.98
    recording1 A 0.85 0.44 morning 0.95

A line is: recording, channel, start, duration, word, and a confidence where given.
Source: NIST, sctk, ctm file format.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from asr.audio.files import AudioInfo
from asr.data.importers.pairs import AUDIO_SUFFIXES, files_by_stem
from asr.data.importers.problems import AMBIGUOUS, BAD_ROW, MISSING_AUDIO
from asr.data.importers.reading import between, read_text, seconds, text_lines
from asr.data.importers.task import Draft, Task
from asr.errors import shown
from asr.units import Seconds


@dataclass(frozen=True, slots=True)
class Word:
    """One word: [start, end) in seconds of its recording."""

    start: Seconds
    end: Seconds
    text: str


_Channels = dict[str, list[Word]]


def read(task: Task) -> list[Draft]:
    """Return the utterances of all recordings, in the order of the file; what is wrong goes to the task."""
    spoken = _words(task)
    # NIST counts channels from 1, others from 0.
    first_channel = 0 if any("0" in channels for channels in spoken.values()) else 1
    recordings = _recordings(task)
    task.look_at(task.resolve(audio[0]) for name in spoken if len(audio := recordings.get(name, [])) == 1)
    drafts: list[Draft] = []
    for name, channels in spoken.items():
        audio = recordings.get(name, [])
        if len(audio) != 1:
            detail = ", ".join(audio) or f"no recording {name} with {', '.join(sorted(AUDIO_SUFFIXES))}"
            task.problems.add(AMBIGUOUS if audio else MISSING_AUDIO, name, detail)
            continue
        path = task.resolve(audio[0])
        for channel, words in channels.items():
            prefix = f"{name}-{channel}" if len(channels) > 1 else name
            index = _channel_index(task.files.info(path), channel, first_channel)
            drafts += _drafts(prefix, path, index, list(group_words(words, task.options.max_gap)))
    return drafts


def group_words(words: Iterable[Word], max_gap: Seconds) -> Iterator[list[Word]]:
    """Yield the words in the order of time, a new group after each pause longer than `max_gap` seconds."""
    group: list[Word] = []
    end: Seconds = 0.0
    for word in sorted(words, key=lambda word: word.start):
        if group and word.start > end + max_gap:
            yield group
            group = []
        end = max(end, word.end) if group else word.end
        group.append(word)
    if group:
        yield group


def _words(task: Task) -> dict[str, _Channels]:
    """Return recording -> channel -> words."""
    spoken: dict[str, _Channels] = {}
    for number, line in enumerate(text_lines(read_text(task.source)), start=1):
        fields = line.split()
        if not fields or fields[0].startswith((";;", "#")):
            continue
        try:
            word = _word(fields)
        except ValueError as error:
            task.problems.add(BAD_ROW, f"line {number}", str(error))
            continue
        spoken.setdefault(fields[0], {}).setdefault(fields[1], []).append(word)
    return spoken


def _word(fields: Sequence[str]) -> Word:
    """Return the word of one line.  Raises: ValueError saying what is wrong."""
    if not 5 <= len(fields) <= 6:
        raise ValueError(f"{len(fields)} fields; expected: recording channel start duration word [confidence]")
    _, channel, start, duration, text = fields[:5]
    if text.upper().startswith("<ALT"):
        raise ValueError("alternatives (<ALT_BEGIN> ...); keep one of them")
    if not (channel.isascii() and (channel.isdigit() or (len(channel) == 1 and channel.isalpha()))):
        raise ValueError(f"channel {shown(channel)}; expected A, B, ... or 1, 2, ...")
    begin, length = seconds(start), seconds(duration)
    if begin < 0 or length < 0:
        raise ValueError(f"start {begin:g} and duration {length:g}; both must be 0 or more")
    return Word(begin, begin + length, text)


def _recordings(task: Task) -> dict[str, list[str]]:
    """Return name -> audio files: a recording is named by its path without suffix, or the end of it."""
    by_stem = files_by_stem(task.audio_root, AUDIO_SUFFIXES)
    by_name: dict[str, list[str]] = {}
    for stem, paths in by_stem.items():
        by_name.setdefault(os.path.basename(stem), []).extend(paths)
    return by_name | by_stem


def _channel_index(info: object, channel: str, first: int) -> int | None:
    """Return the channel counted from 0; None where the file has one only, whatever the list calls it."""
    if not isinstance(info, AudioInfo) or info.channels == 1:
        return None
    return int(channel) - first if channel.isdigit() else ord(channel.upper()) - ord("A")


def _drafts(prefix: str, audio: str, channel: int | None, groups: Sequence[Sequence[Word]]) -> Iterator[Draft]:
    digits = max(3, len(str(len(groups))))  # so that ids sort in the order of time
    for number, group in enumerate(groups, start=1):
        start, end = group[0].start, max(word.end for word in group)
        yield Draft(
            f"{prefix}-{number:0{digits}}",
            audio,
            start,
            between(start, end),
            " ".join(word.text for word in group),
            channel=channel,
        )
