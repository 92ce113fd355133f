"""Recordings of large corpora: lengths read from their headers, several at a time; what is left out is named.

A corpus of 280,000 files is measured in a minute or two, as no audio is decoded.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from asr.audio.files import AudioInfo, audio_info
from asr.data.check_report import write_reasons
from asr.data.manifest import Utterance, write_manifest
from asr.errors import DataError
from asr.units import Seconds

Progress = Callable[[int, int | None, Seconds], None]  # files so far, files in all, audio found

_LOGGER = logging.getLogger("asr")
_THREADS = 16  # more than cores: a network disk answers late, and many questions at once
_CHUNK = 64  # files a thread takes at a time
_SHOWN_IDS = 3


@dataclass(frozen=True, slots=True)
class Recording:
    """An audio file and what is said in it; `audio` is its path (as text it takes a quarter of a Path's memory)."""

    id: str
    audio: str
    text: str
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something of a corpus that is in no manifest: why, as one of a few words, and what was found."""

    id: str
    kind: str
    message: str


def measured(
    parts: Mapping[str, Iterable[Recording | LeftOut]],
    language: str,
    *,
    strict: bool = True,
    progress: Progress | None = None,
) -> tuple[dict[str, list[Utterance]], dict[str, list[LeftOut]]]:
    """Return (utterances, what is left out) of each part: the recordings as whole files, in their order.

    Args:
        language: BCP 47 tag.
        strict: audio that is missing or cannot be read is an error; otherwise it is left out.
    Raises: DataError.
    """
    found = {part: list(items) for part, items in parts.items()}
    left_out = {part: [item for item in items if isinstance(item, LeftOut)] for part, items in found.items()}
    recordings = {part: [item for item in items if isinstance(item, Recording)] for part, items in found.items()}
    lengths = durations([one.audio for of_part in recordings.values() for one in of_part], progress)
    utterances: dict[str, list[Utterance]] = {part: [] for part in found}
    for part, of_part in recordings.items():
        for recording, seconds in zip(of_part, lengths, strict=False):  # what is left is of the next parts
            if not isinstance(seconds, DataError):
                utterances[part].append(_utterance(recording, seconds, language))
            elif strict:
                raise seconds
            else:
                left_out[part].append(LeftOut(recording.id, "unreadable-audio", str(seconds)))
    return utterances, left_out


def durations(files: Sequence[str], progress: Progress | None = None) -> Iterator[Seconds | DataError]:
    """Yield the length of each file by its header, or what is wrong with it, in the order of `files`."""
    for header in headers(files, progress):
        yield header if isinstance(header, DataError) else header.duration


def headers(files: Sequence[str], progress: Progress | None = None) -> Iterator[AudioInfo | DataError]:
    """Yield what the header of each file tells, or what is wrong with it, in the order of `files`."""
    chunks = [files[first : first + _CHUNK] for first in range(0, len(files), _CHUNK)]
    pool = ThreadPoolExecutor(_THREADS)
    done, total = 0, 0.0
    try:
        for found in pool.map(_headers_of, chunks):
            done += len(found)
            total += sum(header.duration for header in found if not isinstance(header, DataError))
            if progress is not None:
                progress(done, len(files), total)
            yield from found
    finally:
        pool.shutdown(cancel_futures=True)


def _utterance(recording: Recording, seconds: Seconds, language: str) -> Utterance:
    audio = Path(recording.audio)
    return Utterance(recording.id, audio, 0.0, seconds, recording.text, recording.speaker, language=language)


def _headers_of(files: Sequence[str]) -> list[AudioInfo | DataError]:
    return [_header_of(file) for file in files]


def _header_of(file: str) -> AudioInfo | DataError:
    try:
        return audio_info(file)
    except DataError as error:
        return error


def write_parts(
    folder: Path, parts: Mapping[str, Sequence[Utterance]], left_out: Mapping[str, Sequence[LeftOut]] | None = None
) -> None:
    """Write `folder/PART.jsonl` for every part, and for those in `left_out` PART.dropped.tsv; log what is left out.

    Raises: DataError for a part without utterances; MachineError if they cannot be written.
    """
    left_out = left_out or {}
    for part, utterances in parts.items():
        if not utterances:
            reasons = _counts(left_out.get(part, ())) or "the corpus has none; look at --corpus"
            raise DataError(f"{folder / part}.jsonl: no utterances are left for it ({reasons})")
    for part, reasons_of_part in left_out.items():
        path = folder / f"{part}.dropped.tsv"
        write_reasons(path, [(one.id, one.kind, one.message) for one in reasons_of_part])
        if reasons_of_part:
            total = len(parts[part]) + len(reasons_of_part)
            reasons = f"{_counts(reasons_of_part)}; all named in {path}"
            _LOGGER.info(f"{part}: {len(reasons_of_part):,} of {total:,} left out: {reasons}")
    for part, utterances in parts.items():
        write_manifest(folder / f"{part}.jsonl", utterances)


def _counts(left_out: Sequence[LeftOut]) -> str:
    """Return how many were left out for each reason, with the first ids: "no-text 2 (a, b)"."""
    texts = []
    for kind, count in Counter(one.kind for one in left_out).most_common():
        ids = [one.id for one in left_out if one.kind == kind][:_SHOWN_IDS]
        texts.append(f"{kind} {count:,} ({', '.join(ids)}{', …' if count > len(ids) else ''})")
    return ", ".join(texts)
