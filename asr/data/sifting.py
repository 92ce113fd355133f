"""Which recordings of a found corpus fit their texts well enough to learn from; the others are named, with the reason.

Games and drawing programs were not made for this: texts hold digits that nobody spells out, placeholders, letters
of another language; recordings are empty, cut short, or stand there twice under two names.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from asr.audio.files import read_audio
from asr.data.manifest import Utterance
from asr.data.recordings import LeftOut
from asr.data.splits import sentence_key
from asr.errors import DataError
from asr.store import write_text
from asr.units import Seconds

MIN_SECONDS: Seconds = 0.1
MIN_PEAK = 0.01  # of a full scale of 1: below, nobody speaks
MAX_RATE = 25.0  # letters a second, which nobody says
# Marks that are seen and not heard.  The recipes' conf files drop them (text.remove) or make them a space (text.map).
PUNCTUATION = frozenset('.,:;?!¡¿…()[]"„“”«»‚‘–—-')
APOSTROPHES = "'’ʼ`´"

_Fault = tuple[str, str]  # kind, message


@dataclass(frozen=True)
class Recording:
    """An audio file and what it is said to say."""

    id: str
    audio: Path
    text: str | None
    speaker: str | None = None


Sifted = tuple[list[Utterance], list[LeftOut]]  # what can be learnt from, and the rest


def sift(recordings: Sequence[Recording], letters: str, language: str, *, max_rate: float = MAX_RATE) -> Sifted:
    """Return (the utterances that can be learnt from, the recordings left out), each in the order given.

    Args:
        letters: of the language, in lower case; with an apostrophe if words are spelled with it.
        language: BCP 47 tag.
        max_rate: in letters a second; of faster ones the text must be another.
    Raises: DataError if two recordings have one id.
    """
    names = Counter(recording.id for recording in recordings)
    if len(names) < len(recordings):
        name = names.most_common(1)[0][0]
        raise DataError(f"'{name}' is the name of {names[name]} recordings; keep one of their folders")
    texts = [_typed(recording.text or "", letters) for recording in recordings]
    sounds = [_listened(recording.audio) for recording in recordings]
    faults = {
        recording.id: _fault_of_text(text, letters) or sound.fault or _fault_of_rate(text, sound.seconds, max_rate)
        for recording, text, sound in zip(recordings, texts, sounds, strict=True)
    }
    good = {
        recording.id: Utterance(
            recording.id, recording.audio, 0.0, sound.seconds, text, recording.speaker, language=language
        )
        for recording, text, sound in zip(recordings, texts, sounds, strict=True)
        if faults[recording.id] is None
    }
    samples = {recording.id: sound.sha256 for recording, sound in zip(recordings, sounds, strict=True)}
    faults |= _copies(list(good.values()), samples)
    left_out = [LeftOut(name, *fault) for name, fault in faults.items() if fault is not None]
    return [utterance for name, utterance in good.items() if faults[name] is None], left_out


def write_left_out(path: Path, left_out: Sequence[LeftOut]) -> None:
    """Write a line "id<TAB>kind<TAB>message" for each.  Raises: MachineError."""
    write_text(path, "".join(f"{one.id}\t{one.kind}\t{one.message}\n" for one in left_out))


def summary(num_utterances: int, left_out: Sequence[LeftOut], path: Path) -> str:
    """Return one line that counts what is used and what is left out."""
    kinds = Counter(one.kind for one in left_out)
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    return f"{num_utterances} recordings used, {len(left_out)} left out ({counts or 'none'}); named in {path}"


def _typed(text: str, letters: str) -> str:
    """Return a text with single spaces and one kind of apostrophe, or none where that is but a quotation mark."""
    apostrophe = "'" if "'" in letters else ""
    text = unicodedata.normalize("NFC", text)
    return " ".join(text.translate(dict.fromkeys(map(ord, APOSTROPHES), apostrophe)).split())


def _fault_of_text(text: str, letters: str) -> _Fault | None:
    strange = sorted({character for character in text if not _readable(character, letters)})
    if strange:
        return "unspoken", f"holds '{''.join(strange)[:20]}', which says not how it is read: {text[:60]}"
    return None if sentence_key(text) else ("no-text", f"no letters in '{text[:20]}'")


def _readable(character: str, letters: str) -> bool:
    return character == " " or character in PUNCTUATION or character.lower() in letters


@dataclass(frozen=True)
class _Sound:
    """What a recording holds: its length, the hash of its samples, and what is wrong with it."""

    seconds: Seconds
    sha256: str
    fault: _Fault | None


def _listened(audio: Path) -> _Sound:
    try:
        waveform, rate = read_audio(audio)
    except DataError as error:  # empty, or damaged
        return _Sound(0.0, "", ("no-sound", str(error)))
    seconds, peak = len(waveform) / rate, float(np.abs(waveform).max())
    quiet = peak < MIN_PEAK or seconds < MIN_SECONDS
    fault = ("no-sound", f"lasts {seconds:.2f} s, and its highest sample is {peak:.4f}") if quiet else None
    return _Sound(seconds, sha256(waveform.tobytes()).hexdigest(), fault)


def _fault_of_rate(text: str, seconds: Seconds, most: float) -> _Fault | None:
    rate = len(sentence_key(text)) / seconds
    if rate > most:
        return "too-fast", f"{rate:.1f} letters a second, more than {most:g}, so the text is another: {text[:60]}"
    return None


def _copies(utterances: Sequence[Utterance], samples: Mapping[str, str]) -> dict[str, _Fault]:
    """Return the faults of utterances with equal samples: all but the first, or all if their texts differ.

    Otherwise one recording could stand in two parts of a split.
    """
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        groups[samples[utterance.id]].append(utterance)
    faults: dict[str, _Fault] = {}
    for group in groups.values():
        if len({sentence_key(utterance.text or "") for utterance in group}) > 1:
            names = ", ".join(utterance.id for utterance in group[:4])
            faults |= {utterance.id: ("two-texts", f"one recording with several texts: {names}") for utterance in group}
        else:
            faults |= {other.id: ("copy", f"the recording of {group[0].id}") for other in group[1:]}
    return faults
