"""Utterances -> a Kaldi data folder: wav.scp, text, utt2spk, spk2utt, reco2dur, and segments where they are needed.

Everything is sorted as in the C locale, and by speaker too, as Kaldi's utils/validate_data_dir.sh demands: utterance
ids get their speaker in front where they do not start with it.  Kaldi reads 16-bit WAV files of one channel; the
wav.scp entry of any other recording is a pipe that makes one with flac or sox.
Source: the Kaldi documentation, "Data preparation".
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from asr.audio.files import AudioInfo
from asr.data.check_report import counted
from asr.data.manifest import Utterance
from asr.data.names import named, unique_names
from asr.data.recordings import Progress, headers
from asr.errors import DataError, UsageError, writing
from asr.units import samples_from_seconds

_PLAIN = ("WAV PCM_16", "WAVEX PCM_16")
_SHELL = re.compile(r"""[\s'"|&;<>()$`\\*?\[\]{}~#!\x00-\x1f]""")
_FORBIDDEN_WORDS = {"<s>", "</s>", "#0"}
_Source = tuple[Path, int | None]  # file and channel: one recording of Kaldi


@dataclass(slots=True)
class _Row:
    """An utterance as Kaldi knows it."""

    id: str
    speaker: str
    recording: str
    utterance: Utterance


def write(utterances: Sequence[Utterance], out: Path, progress: Progress | None = None) -> list[str]:
    """Write the data folder `out`, which must not be there or be empty; return what the user should know.

    Raises: DataError naming what Kaldi cannot hold or an audio file that cannot be read; UsageError if `out` is in
        use; MachineError if it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: is there already; choose a new folder, as Kaldi keeps more files in one")
    notes: list[str] = []
    infos = _headers(utterances, progress)
    texts = _texts(utterances, notes)
    is_whole = _are_whole(utterances, infos)
    rows = _rows(utterances, is_whole, notes)
    files = {
        "wav.scp": {row.recording: _entry(row.utterance, infos[row.utterance.audio]) for row in rows},
        "reco2dur": {row.recording: _length(row.utterance, infos, is_whole) for row in rows},
        "utt2spk": {row.id: row.speaker for row in rows},
        "spk2utt": _by_speaker(rows),
    }
    if texts is not None:
        files["text"] = {row.id: texts[row.utterance.id] for row in rows}
    if not is_whole:
        files["segments"] = {row.id: _segment(row) for row in rows}
    languages = {row.id: row.utterance.language for row in rows}
    if all(languages.values()):
        files["utt2lang"] = {name: str(language) for name, language in languages.items()}
    elif any(languages.values()):
        notes.append("languages are not written, as some utterances have none")
    _write_folder(out, files)
    return notes


def _headers(utterances: Sequence[Utterance], progress: Progress | None) -> dict[Path, AudioInfo]:
    """Return what each audio file holds.  Raises: DataError naming the ones that cannot be read."""
    paths = list(dict.fromkeys(utterance.audio for utterance in utterances))
    infos, faults = {}, []
    for path, header in zip(paths, headers([os.fspath(path) for path in paths], progress), strict=True):
        if isinstance(header, DataError):
            faults.append(str(header))
        else:
            infos[path] = header
    if faults:
        raise DataError(f"{counted(len(faults), 'audio file')} cannot be read: {faults[0]}")
    outside = [one.id for one in utterances if one.channel is not None and one.channel >= infos[one.audio].channels]
    if outside:
        raise DataError(f"{counted(len(outside), 'utterance')} of a channel that there is not: {named(outside)}")
    return infos


def _texts(utterances: Sequence[Utterance], notes: list[str]) -> dict[str, str] | None:
    """Return id -> text on one line, or None if there is no text.  Raises: DataError for what Kaldi refuses."""
    without = [utterance.id for utterance in utterances if utterance.text is None]
    if len(without) == len(utterances):
        notes.append("no utterance has a text: none is written")
        return None
    if without:
        raise DataError(
            f"{counted(len(without), 'utterance')} without a text beside others with one: {named(without)}; "
            "write the texts or leave the utterances out, as Kaldi wants all or none"
        )
    texts = {one.id: " ".join((one.text or "").split()) for one in utterances}
    bad = [name for name, text in texts.items() if not _FORBIDDEN_WORDS.isdisjoint(text.split())]
    if bad:
        raise DataError(
            f"{counted(len(bad), 'text')} with {', '.join(sorted(_FORBIDDEN_WORDS))}, which mean something to Kaldi: "
            f"{named(bad)}; take them out"
        )
    changed = [one.id for one in utterances if texts[one.id] != one.text]
    if changed:
        notes.append(f"white space made plain in {counted(len(changed), 'text')}: {named(changed)}")
    return texts


def _are_whole(utterances: Sequence[Utterance], infos: dict[Path, AudioInfo]) -> bool:
    """Return whether each utterance is one whole recording, so that no segments are needed."""
    if len({_source(utterance) for utterance in utterances}) < len(utterances):
        return False
    return all(
        one.start == 0
        and samples_from_seconds(one.duration, infos[one.audio].sample_rate) >= infos[one.audio].num_samples
        for one in utterances
    )


def _source(utterance: Utterance) -> _Source:
    return utterance.audio, utterance.channel


def _rows(utterances: Sequence[Utterance], is_whole: bool, notes: list[str]) -> list[_Row]:
    """Return the rows sorted by id, and thereby by speaker.  Raises: DataError if the names do not allow it."""
    speakers = sorted({utterance.speaker for utterance in utterances if utterance.speaker})
    named_as = dict(zip(speakers, unique_names(speakers), strict=True))
    renamed = [f"{old!r} -> {new}" for old, new in named_as.items() if old != new]
    if renamed:
        notes.append(f"{counted(len(renamed), 'speaker')} renamed: {named(renamed)}")
    recordings = _recordings(utterances)
    rows = []
    for one in utterances:
        speaker = named_as[one.speaker] if one.speaker else one.id  # as Kaldi wants where speakers are not known
        rows.append(_Row(one.id, speaker, recordings[_source(one)], one))
    rows = _sorted_by_speaker(rows)
    prefixed = [row.id for row in rows if row.id != row.utterance.id]
    if prefixed:
        notes.append(f"{counted(len(prefixed), 'id')} with the speaker put in front: {named(prefixed)}")
    if is_whole:
        rows = [replace(row, recording=row.id) for row in rows]
    return rows


def _recordings(utterances: Sequence[Utterance]) -> dict[_Source, str]:
    """Return (file, channel) -> the recording's id, from the file's name."""
    sources = list(dict.fromkeys(map(_source, utterances)))
    names = [audio.stem if channel is None else f"{audio.stem}-{channel}" for audio, channel in sources]
    return dict(zip(sources, unique_names(names), strict=True))


def _sorted_by_speaker(rows: list[_Row]) -> list[_Row]:
    """Return the rows in the order of their ids, which is that of their speakers; ids change only where they must."""
    attempts: tuple[Callable[[_Row], str], ...] = (
        lambda row: row.id if row.id.startswith(row.speaker) else f"{row.speaker}-{row.id}",
        lambda row: row.id if row.id == row.speaker else f"{row.speaker}-{row.id}",
    )
    for rename in attempts:
        renamed = sorted((replace(row, id=rename(row)) for row in rows), key=lambda row: row.id)
        wrong = [(one, two) for one, two in pairwise(renamed) if one.id == two.id or one.speaker > two.speaker]
        if not wrong:
            return renamed
    one, two = wrong[0]
    raise DataError(
        f"Kaldi wants utterances in one order by id and by speaker, and '{one.id}' of '{one.speaker}' and '{two.id}' "
        f"of '{two.speaker}' cannot be ({counted(len(wrong), 'such pair')}); rename these speakers"
    )


def _entry(utterance: Utterance, info: AudioInfo) -> str:
    """Return what wav.scp says of a recording: its path, or a pipe.  Raises: DataError for a path that cannot be."""
    path = os.fspath(utterance.audio)
    if any(letter.isspace() for letter in path):
        raise DataError(f"{path}: Kaldi cannot read paths with spaces; rename the file or folder")
    is_plain = info.format in _PLAIN and info.channels == 1
    if is_plain and not path.endswith("|") and not re.search(r":\d+$", path):
        return path
    if _SHELL.search(path) or path.startswith("-"):
        raise DataError(f"{path}: this name means something to the shell that Kaldi starts for it; rename the file")
    if is_plain:
        return f"cat {path} |"
    if info.format == "FLAC PCM_16" and info.channels == 1:
        return f"flac -c -d -s {path} |"
    if info.channels == 1:
        return f"sox {path} -t wav -b 16 - |"
    return f"sox {path} -t wav -b 16 - remix {'-' if utterance.channel is None else utterance.channel + 1} |"


def _length(utterance: Utterance, infos: dict[Path, AudioInfo], is_whole: bool) -> str:
    # The manifest's own number, where it is the whole: importing the folder again gives it back.
    return repr(utterance.duration if is_whole else infos[utterance.audio].duration)


def _segment(row: _Row) -> str:
    start, end = row.utterance.start, round(row.utterance.start + row.utterance.duration, 9)
    return f"{row.recording} {start!r} {end!r}"


def _by_speaker(rows: Iterable[_Row]) -> dict[str, str]:
    ids: dict[str, list[str]] = {}
    for row in rows:
        ids.setdefault(row.speaker, []).append(row.id)
    return {speaker: " ".join(names) for speaker, names in ids.items()}


def _write_folder(out: Path, files: dict[str, dict[str, str]]) -> None:
    """Write the folder beside its place and rename it."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with writing(out):
            temporary.mkdir(parents=True)
            for name, rows in files.items():
                # Sorted by code points, which is the order of the UTF-8 bytes, and that of the C locale.
                lines = [f"{key} {value}".rstrip(" ") + "\n" for key, value in sorted(rows.items())]
                (temporary / name).write_text("".join(lines), encoding="utf-8", newline="\n")
            os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
