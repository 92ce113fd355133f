"""Who spoke an utterance, where its sound lies, and when its words were heard: what rows say beside their texts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asr.audio.source import AudioSource
from asr.errors import DataError, shown
from asr.scoring.texts import Text
from asr.units import Seconds, is_number

Progress = Callable[[int, int | None, float], None]  # utterances done, in all, seconds of audio done


def speakers(texts: Mapping[str, Text], manifest: str | Path) -> dict[str, str]:
    """Return the speaker of each utterance.  Raises: DataError if one has none, or no name."""
    found = known_speakers(texts)
    missing = [name for name in texts if name not in found]
    if missing:
        raise DataError(
            f"{manifest}: {len(missing)} of {len(texts)} utterances have no 'speaker', the first is {missing[0]!r};"
            " name them in the manifest"
        )
    return found


def known_speakers(texts: Mapping[str, Text]) -> dict[str, str]:
    """Return the speaker of each utterance that has one.  Raises: DataError for what is no name."""
    found = {}
    for name, text in texts.items():
        speaker = text.spoken.get("speaker")
        if speaker is not None:
            found[name] = _checked_text(speaker, "speaker", name, text.where)
    return found


def durations(texts: Mapping[str, Text], manifest: str | Path) -> dict[str, Seconds]:
    """Return the length of each utterance in seconds.  Raises: DataError if one has none."""
    found = {name: text.duration for name, text in texts.items() if text.duration is not None}
    missing = [name for name in texts if name not in found]
    if missing:
        raise DataError(
            f"{manifest}: {len(missing)} of {len(texts)} utterances have no 'duration', the first is {missing[0]!r};"
            " score against the manifest, which has it"
        )
    return found


def source_of(name: str, text: Text, manifest: str | Path) -> AudioSource:
    """Return where the sound of an utterance lies; paths start from the manifest's folder.

    Raises: DataError if the row names no audio, or nonsense.
    """
    spoken, where = text.spoken, text.where
    if "audio" not in spoken:
        raise DataError(f"{where}: utterance {name!r} names no 'audio'; score against the manifest, which does")
    audio = _checked_text(spoken["audio"], "audio", name, where)
    start, channel = spoken.get("start", 0.0), spoken.get("channel")
    if not is_number(start) or start < 0:
        raise DataError(f"{where}: utterance {name!r}: 'start' must be seconds from 0, got {shown(start)}; correct it")
    if channel is not None and (type(channel) is not int or channel < 0):
        raise DataError(f"{where}: utterance {name!r}: 'channel' must count from 0, got {shown(channel)}; correct it")
    return AudioSource(Path(manifest).resolve().parent / audio, float(start), text.duration, channel)


def word_times(text: Text) -> tuple[tuple[Seconds, Seconds], ...]:
    """Return [start, end) of each recognised word, () where the hypotheses do not tell, or not in a usable way."""
    words = text.spoken.get("words")
    if not isinstance(words, list):
        return ()
    if not all(isinstance(word, dict) and _is_span(word.get("start"), word.get("end")) for word in words):
        return ()
    return tuple((float(word["start"]), float(word["end"])) for word in words)


def _is_span(start: Any, end: Any) -> bool:
    return is_number(start) and is_number(end) and 0 <= start <= end


def _checked_text(value: Any, key: str, name: str, where: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise DataError(
            f"{where}: utterance {name!r}: {key!r} must be a printable text, got {shown(value)}; correct it"
        )
    return value
