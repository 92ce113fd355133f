"""The data doctor: one report of everything wrong in manifests, their texts and their audio.

What a model needs (its alphabet, its sample rate, enough encoder frames for CTC) is checked where the caller
hands it in; the rest needs no model.  Each utterance's audio is read once.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from asr.audio.resample import num_output
from asr.data.check_audio import AudioFacts, Measured, measure_files
from asr.data.check_report import (
    KINDS,
    MAX_IDS,
    Dropped,
    Finding,
    Remark,
    Report,
    Summary,
    counted,
    group_remarks,
    split_findings,
)
from asr.data.manifest import ManifestScan, Utterance, scan_manifest
from asr.errors import DataError, UsageError
from asr.units import Seconds

if TYPE_CHECKING:
    from asr.text.tokenizer import Tokenizer

CLIPPED_SHARE = 1e-4  # more of an utterance at full scale is worth a warning
SILENT_LEVEL = -60.0  # dB below full scale; the loudest 25 ms of speech lie above
_CURABLE = "wrong-duration"  # the one error that cleaning corrects instead of dropping the row


class Progress(Protocol):
    """Called after each audio file; all values count from the start."""

    def __call__(self, done: int, total: int | None, audio_seconds: float = 0.0) -> None:
        """Report `done` of `total` files and the audio read."""


@dataclass(slots=True)
class _Row:
    """A good manifest row on its way through the checks."""

    manifest: str
    line: int
    utterance: Utterance
    folder: Path
    measured: Measured | None = None
    remarks: list[Remark] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"{self.manifest}:{self.line}"

    @property
    def audio_name(self) -> str:
        """The audio's path as people know it: relative to the manifest where it lies below."""
        audio = self.utterance.audio
        return os.fspath(audio.relative_to(self.folder) if audio.is_relative_to(self.folder) else audio)

    @property
    def facts(self) -> AudioFacts | None:
        return self.measured.facts if self.measured else None

    def remark(self, kind: str, message: str, group: str = "") -> None:
        self.remarks.append(Remark(kind, self.where, message, self.utterance.id, group))


def check_manifests(
    paths: Mapping[str, str | Path],
    *,
    tokenizer: "Tokenizer | None" = None,
    encoder_frames: Callable[[int], int] | None = None,
    sample_rate: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Return everything wrong in the manifests, by the names given to them.

    Args:
        paths: name -> manifest; in the order train, ..., test, as leaks are told of the later one.
        tokenizer: the alphabet that texts must fit.
        encoder_frames: samples at `sample_rate` -> encoder frames, as FrameGeometry.encoder_frames; with a
            tokenizer, utterances are found that CTC cannot spell.
        sample_rate: of the model, in Hz.
        jobs: processes that read audio.
    Raises: DataError if a manifest cannot be read at all; UsageError for `encoder_frames` without the others.
    """
    if encoder_frames is not None and (tokenizer is None or sample_rate is None):
        raise UsageError("to check encoder frames, the tokens and the model's sample rate are needed too")
    scans = {name: scan_manifest(path) for name, path in paths.items()}
    rows = [row for name, scan in scans.items() for row in _rows(name, scan)]
    _measure(rows, jobs, progress)
    without_text = {name for name, scan in scans.items() if all(row.text is None for row in scan.utterances)}
    for row in rows:
        _check_audio(row)
        labels = _check_text(row, tokenizer, needs_text=row.manifest not in without_text)
        if encoder_frames is not None and sample_rate is not None and labels and row.facts is not None:
            _check_ctc(row, row.facts, labels, encoder_frames, sample_rate)
    _check_sample_rates(rows, sample_rate)
    _check_duplicates(rows)
    remarks = [Remark(f.kind, f"{name}:{f.line}", f.message, f.id) for name, scan in scans.items() for f in scan.faults]
    remarks += [remark for row in rows for remark in row.remarks]
    whole = [finding for name, scan in scans.items() for finding in _manifest_findings(name, scan)]
    errors, warnings = split_findings([*whole, *group_remarks(remarks), *_leaks(scans)])
    return Report(
        {name: _summary(scan) for name, scan in scans.items()},
        errors,
        warnings,
        {name: [_cleaned(row) for row in rows if row.manifest == name and not _drops(row)] for name in scans},
        {name: list(_dropped(scan, [row for row in rows if row.manifest == name])) for name, scan in scans.items()},
    )


def _rows(name: str, scan: ManifestScan) -> list[_Row]:
    folder = Path(os.path.realpath(scan.path.parent))
    return [_Row(name, line, row, folder) for line, row in zip(scan.lines, scan.utterances, strict=True)]


def _manifest_findings(name: str, scan: ManifestScan) -> Iterator[Finding]:
    """Yield what concerns the manifest itself."""
    rows = scan.utterances
    if not rows and not scan.faults:
        yield Finding("empty-manifest", 1, f"{name}: no utterances in it", KINDS["empty-manifest"].remedy, ())
    if rows and all(row.text is None for row in rows):
        yield from _whole("no-text", rows, f"{name}: no utterance has a text")
    for kind, count, what in (
        ("byte-order-mark", scan.bom_lines, f"{counted(scan.bom_lines, 'line')} with a byte-order mark"),
        ("crlf", scan.crlf_lines, f"CRLF ends {counted(scan.crlf_lines, 'line')}"),
    ):
        yield from _whole(kind, [], f"{name}: {what}", count)


def _measure(rows: Iterable[_Row], jobs: int, progress: Progress | None) -> None:
    """Read the audio of all rows, each file's rows together."""
    by_file: dict[Path, list[_Row]] = {}
    for row in rows:
        by_file.setdefault(row.utterance.audio, []).append(row)
    work = [
        (audio, [(row.utterance.start, row.utterance.duration, row.utterance.channel) for row in file_rows])
        for audio, file_rows in by_file.items()
    ]
    seconds: Seconds = 0.0
    results = zip(by_file.values(), measure_files(work, jobs), strict=True) if work else ()
    for done, (file_rows, measurements) in enumerate(results, start=1):
        for row, measured in zip(file_rows, measurements, strict=True):
            row.measured = measured
            seconds += measured.duration
        if progress is not None:
            progress(done, len(work), seconds)


def _check_audio(row: _Row) -> None:
    measured = row.measured
    assert measured is not None, "every row was measured"
    for kind, message in measured.faults:
        row.remark(kind, f"{row.audio_name}: {message}")
    facts = measured.facts
    if facts is None:
        return
    if facts.channels > 1 and row.utterance.channel is None:
        row.remark("stereo", f"{row.audio_name}: {facts.channels} channels, mixed into one")
    if facts.clipped > CLIPPED_SHARE:
        row.remark("clipping", f"{row.audio_name}: {100 * facts.clipped:.2f} % of the samples are at full scale")
    if facts.level < SILENT_LEVEL:
        level = f"the loudest 25 ms are at {facts.level:.0f} dB" if isfinite(facts.level) else "all samples are equal"
        row.remark("silence", f"{row.audio_name}: {level}")


def _check_text(row: _Row, tokenizer: "Tokenizer | None", *, needs_text: bool) -> list[int]:
    """Remark what is wrong with the text; return its token ids, none if it cannot be encoded."""
    text = row.utterance.text
    if text is None or not _plain(text):
        if needs_text:
            row.remark("empty-text", f"'{row.utterance.id}' has no text")
        return []
    if "\ufeff" in text:
        row.remark("byte-order-mark", f"'{row.utterance.id}': U+FEFF within the text", "text")
    if not unicodedata.is_normalized("NFC", text):
        row.remark("not-nfc", f"'{row.utterance.id}': the text holds decomposed characters")
    if tokenizer is None:
        return []
    unknown = tokenizer.unknown(text)
    for part in unknown:
        code, place = ("", "lexicon") if tokenizer.lexicon else (f" (U+{ord(part):04X})", "alphabet")
        name = f"'{''.join(map(_visible, part))}'{code}"
        row.remark("outside-alphabet", f"{name} is not in the {place}", name)
    return [] if unknown else _encode(row, text, tokenizer)


def _encode(row: _Row, text: str, tokenizer: "Tokenizer") -> list[int]:
    try:
        labels = tokenizer.encode(text)
    except DataError as error:
        row.remark("outside-alphabet", str(error), "a sequence of characters")
        return []
    if not labels:
        row.remark("empty-text", f"'{row.utterance.id}': nothing is left of {text!r} after normalisation")
    return labels


def _check_ctc(
    row: _Row, facts: AudioFacts, labels: list[int], encoder_frames: Callable[[int], int], sample_rate: int
) -> None:
    """Remark more labels than frames: CTC needs a frame a label, and a blank between equal neighbours.

    Source: Graves et al. 2006, section 3.1.
    """
    repeats = sum(first == second for first, second in pairwise(labels))
    frames = encoder_frames(num_output(facts.num_samples, facts.sample_rate, sample_rate))
    needed = len(labels) + repeats
    if frames < needed:
        reason = f"{counted(len(labels), 'label')} + {counted(repeats, 'repeat')}"
        row.remark("too-short-for-ctc", f"{row.audio_name}: {frames} encoder frames < {needed} needed ({reason})")


def _check_sample_rates(rows: Iterable[_Row], sample_rate: int | None) -> None:
    """Remark rates that differ from the model's, or, without a model, from the most frequent one."""
    known = [(row, row.facts.sample_rate) for row in rows if row.facts is not None]
    rates = Counter(rate for _, rate in known)
    usual = sample_rate or max(rates, key=lambda rate: (rates[rate], rate), default=0)
    kind, told = (
        ("other-sample-rate", f"the model takes {usual} Hz")
        if sample_rate
        else ("mixed-sample-rates", f"most files have {usual} Hz")
    )
    for row, rate in known:
        if rate != usual:
            row.remark(kind, f"{row.audio_name}: {rate} Hz; {told}", f"{rate} Hz")


def _check_duplicates(rows: Iterable[_Row]) -> None:
    """Remark utterances with the samples of an earlier one; silence is no recording and is left out."""
    first_of: dict[bytes, _Row] = {}
    for row in rows:
        if row.facts is None or row.facts.level < SILENT_LEVEL:
            continue
        first = first_of.setdefault(row.facts.digest, row)
        if first is not row:
            kind = "duplicate-audio" if first.manifest == row.manifest else "shared-audio"
            row.remark(kind, f"'{row.utterance.id}' has the samples of '{first.utterance.id}' ({first.where})")


def _leaks(scans: Mapping[str, ManifestScan]) -> Iterator[Finding]:
    """Yield what two manifests share that train and test should not."""
    for (first, one), (second, other) in combinations(scans.items(), 2):
        ids = {row.id for row in one.utterances}
        shared = [row for row in other.utterances if row.id in ids]
        yield from _whole("shared-ids", shared, f"{_part(shared, other)} of {second} have ids of {first}")
        prompts = {_prompt(row) for row in one.utterances} - {""}
        shared = [row for row in other.utterances if _prompt(row) in prompts]
        yield from _whole("shared-prompts", shared, f"{_part(shared, other)} of {second} have a text of {first}")
        yield from _shared_speakers(first, one, second, other)


def _shared_speakers(first: str, one: ManifestScan, second: str, other: ManifestScan) -> Iterator[Finding]:
    speakers = {row.speaker for row in other.utterances if row.speaker}
    shared = sorted(speakers & {row.speaker for row in one.utterances if row.speaker})
    if not shared:
        return
    rows = [row for row in other.utterances if row.speaker in shared]
    named = ", ".join(shared[:MAX_IDS]) + (", ..." if len(shared) > MAX_IDS else "")
    message = (
        f"{len(shared)} of {counted(len(speakers), 'speaker')} of {second} also speak in {first}: {named}"
        f" ({counted(len(rows), 'utterance')})"
    )
    yield from _whole("shared-speakers", rows, message, len(shared))


def _whole(kind: str, rows: list[Utterance], message: str, count: int | None = None) -> Iterator[Finding]:
    """Yield the finding on a whole manifest or pair of them, unless it counts nothing."""
    if rows or count:
        ids = tuple(row.id for row in rows[:MAX_IDS])
        yield Finding(kind, len(rows) if count is None else count, message, KINDS[kind].remedy, ids)


def _part(shared: list[Utterance], whole: ManifestScan) -> str:
    total = len(whole.utterances)
    return f"{len(shared)} of {counted(total, 'utterance')} ({100 * len(shared) / max(total, 1):.0f} %)"


def _summary(scan: ManifestScan) -> Summary:
    rows = scan.utterances
    hours = sum(row.duration for row in rows) / 3600
    return Summary(len(rows), round(hours, 4), len({row.speaker for row in rows if row.speaker}))


def _drops(row: _Row) -> bool:
    """Whether cleaning drops the row: it has an error that is not corrected."""
    curable = {_CURABLE} if row.facts is not None else set()
    return any(KINDS[remark.kind].severity == "error" and remark.kind not in curable for remark in row.remarks)


def _dropped(scan: ManifestScan, rows: Iterable[_Row]) -> Iterator[Dropped]:
    for fault in scan.faults:
        yield Dropped(fault.line, fault.id or f"(line {fault.line})", fault.kind, fault.message)
    for row in rows:
        if _drops(row):
            for remark in row.remarks:
                if KINDS[remark.kind].severity == "error":
                    yield Dropped(row.line, row.utterance.id, remark.kind, remark.message)


def _cleaned(row: _Row) -> Utterance:
    text = row.utterance.text
    duration = row.measured.duration if row.measured else row.utterance.duration
    return replace(row.utterance, duration=duration, text=None if text is None else _plain(text))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text.replace("\ufeff", "")).split())


def _prompt(row: Utterance) -> str:
    return _plain(row.text or "").casefold()


def _visible(character: str) -> str:
    """Return a character so that it can be seen: marks on a dotted circle, the unprintable as its escape."""
    if unicodedata.combining(character):
        return "\u25cc" + character
    return character if character.isprintable() else ascii(character)[1:-1]
