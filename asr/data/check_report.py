"""The data check's report: remarks on single rows, grouped into findings, as text for people and as JSON.

The JSON is described in docs/formats.md.  What is wrong and how to cure it is said once, in KINDS.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr.data.manifest import Utterance, write_manifest
from asr.store import replacing

MAX_IDS = 20  # named in the JSON of a finding
MAX_EXAMPLES = 5  # shown of a finding in the text
MAX_GROUPS = 20  # findings of one kind, for example characters; the rest becomes one more
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of finding is: how bad, what is counted, what to do."""

    severity: Severity
    noun: str
    remedy: str


_FORMAT = "correct the rows as docs/formats.md says"
KINDS = {
    "bad-json": Kind("error", "line", "write one JSON object a line, as UTF-8 (docs/formats.md)"),
    "bad-row": Kind("error", "line", _FORMAT),
    "duplicate-id": Kind("error", "utterance", "give every utterance an id of its own"),
    "empty-manifest": Kind("error", "manifest", "write utterances to it; was the right folder imported?"),
    "missing-audio": Kind("error", "utterance", "put the files there or correct the paths in the manifest"),
    "unreadable-audio": Kind("error", "utterance", "get the files again, or convert them to WAV or FLAC"),
    "empty-audio": Kind("error", "utterance", "get the files again, or drop the rows"),
    "truncated-audio": Kind("error", "utterance", "get the files again: a copy or download was cut off"),
    "nan-samples": Kind("error", "utterance", "make the files again: a tool before this one went wrong"),
    "wrong-duration": Kind("error", "utterance", "correct start and duration, which asr check --fix can do"),
    "wrong-channel": Kind("error", "utterance", "correct the channel, or null to mix all channels"),
    "empty-text": Kind("error", "utterance", "write what is said, or drop the rows"),
    "outside-alphabet": Kind(
        "error",
        "utterance",
        "take it away by text.remove, map it in text.map, or train with tokens of your texts (asr tokens, --tokens)",
    ),
    "too-short-for-ctc": Kind(
        "error", "utterance", "correct or drop the rows, or use longer tokens or less subsampling in the model"
    ),
    "byte-order-mark": Kind("warning", "line", "none needed: they are ignored; asr check --fix removes them"),
    "crlf": Kind("warning", "line", "none needed: they are ignored; asr check --fix writes plain line ends"),
    "not-nfc": Kind("warning", "utterance", "none needed: texts are composed when read; asr check --fix writes NFC"),
    "no-text": Kind("warning", "utterance", "enough for decoding; training and scoring need texts"),
    "other-sample-rate": Kind("warning", "utterance", "none needed: they are resampled; check that it is meant"),
    "mixed-sample-rates": Kind(
        "warning", "utterance", "none needed: all become the model's rate; check that train and test sound alike"
    ),
    "stereo": Kind("warning", "utterance", "set 'channel' in the rows if the channels hold different speech"),
    "clipping": Kind("warning", "utterance", "lower the recording level; there is no cure afterwards"),
    "silence": Kind("warning", "utterance", "listen to the files; drop the rows if nothing is said"),
    "duplicate-audio": Kind("warning", "utterance", "keep one row for each recording"),
    "shared-audio": Kind("warning", "utterance", "keep each recording in one manifest, or do not trust scores"),
    "shared-ids": Kind("warning", "utterance", "keep each utterance in one manifest"),
    "shared-speakers": Kind(
        "warning", "speaker", "keep each speaker in one manifest; otherwise scores hold for known speakers only"
    ),
    "shared-prompts": Kind(
        "warning", "utterance", "expect worse scores on new sentences; report these and the others apart"
    ),
}


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing found in one row.

    Attributes:
        where: manifest and line.
        group: findings of one kind are kept apart by it: a character, a sample rate, a pair of manifests.
        id: of the utterance, where it is known.
    """

    kind: str
    where: str
    message: str
    id: str | None = None
    group: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """All remarks of one kind (and group) in one.

    Attributes:
        message: the first of them, with the count.
        ids: the first 20 utterances concerned.
        examples: the first 5 remarks, for people.
    """

    kind: str
    count: int
    message: str
    remedy: str
    ids: tuple[str, ...]
    examples: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the finding as docs/formats.md describes it."""
        return {
            "kind": self.kind,
            "count": self.count,
            "message": self.message,
            "remedy": self.remedy,
            "ids": list(self.ids),
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """The good rows of a manifest, counted."""

    utterances: int
    hours: float
    speakers: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """One reason why a row is not in the cleaned manifest; a row may have several."""

    line: int
    id: str
    kind: str
    message: str


@dataclass(slots=True)
class Report:
    """Everything found in some manifests.

    Attributes:
        manifests: their good rows, counted, by name.
        errors, warnings: findings, in the order of KINDS.
        kept, dropped: what a cleaned version of each manifest holds and leaves out.
    """

    manifests: dict[str, Summary]
    errors: list[Finding]
    warnings: list[Finding]
    kept: dict[str, list[Utterance]] = field(default_factory=dict)
    dropped: dict[str, list[Dropped]] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return the report as docs/formats.md describes it."""
        return {
            "manifests": {
                name: {"utterances": summary.utterances, "hours": summary.hours, "speakers": summary.speakers}
                for name, summary in self.manifests.items()
            },
            "errors": [finding.json() for finding in self.errors],
            "warnings": [finding.json() for finding in self.warnings],
        }

    def text(self) -> str:
        """Return the report for people, several lines."""
        lines = [_summary_line(name, summary) for name, summary in self.manifests.items()]
        for title, findings in (("ERRORS", self.errors), ("WARNINGS", self.warnings)):
            if findings:
                lines += ["", title]
            for kind in dict.fromkeys(finding.kind for finding in findings):
                lines += _kind_lines([finding for finding in findings if finding.kind == kind])
        return "\n".join([*lines, "", self.verdict(), ""])

    def verdict(self) -> str:
        """Return the last line: how many kinds of errors and warnings there are."""
        counts = [
            counted(len({finding.kind for finding in findings}), f"kind of {noun}", f"kinds of {noun}")
            for findings, noun in ((self.errors, "error"), (self.warnings, "warning"))
            if findings
        ]
        return ", ".join(counts) if counts else "nothing wrong"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return "1 label" or "1,234 labels"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def group_remarks(remarks: Iterable[Remark]) -> list[Finding]:
    """Return the findings of all remarks: kinds in the order of KINDS, within a kind the most frequent first."""
    groups: dict[tuple[str, str], list[Remark]] = {}
    for remark in remarks:
        groups.setdefault((remark.kind, remark.group), []).append(remark)
    findings = []
    for kind in KINDS:
        ordered = sorted((group for key, group in groups.items() if key[0] == kind), key=len, reverse=True)
        findings += [_finding(group) for group in ordered[:MAX_GROUPS]]
        if len(ordered) > MAX_GROUPS:
            findings.append(_rest(ordered[MAX_GROUPS:]))
    return findings


def split_findings(findings: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Return (errors, warnings), each in the order of KINDS."""
    order = list(KINDS)
    ordered = sorted(findings, key=lambda finding: order.index(finding.kind))
    errors = [finding for finding in ordered if KINDS[finding.kind].severity == "error"]
    return errors, [finding for finding in ordered if KINDS[finding.kind].severity == "warning"]


def write_cleaned(report: Report, name: str, out: str | Path) -> Path:
    """Write the cleaned manifest `name` to `out`, and beside it what was dropped and why; return the latter's path.

    Raises: MachineError if they cannot be written.
    """
    return write_with_dropped(out, report.kept[name], [(row.id, row.kind, row.message) for row in report.dropped[name]])


def write_with_dropped(out: str | Path, kept: Iterable[Utterance], dropped: Iterable[tuple[str, str, str]]) -> Path:
    """Write a manifest, and beside it the (id, kind, message) of what is not in it; return the latter's path.

    Raises: MachineError if they cannot be written.
    """
    out = Path(out)
    list_path = out.with_name(out.name.removesuffix(".jsonl") + ".dropped.tsv")
    with replacing(list_path) as temporary:  # no list of a manifest that could not be written
        _write_reasons(temporary, dropped)
        write_manifest(out, kept)
    return list_path


def write_reasons(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Write (id, kind, message) of what is in no manifest, as docs/formats.md says.  Raises: MachineError."""
    with replacing(path) as temporary:
        _write_reasons(temporary, rows)


def _write_reasons(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    lines = ["id\tkind\tmessage", *("\t".join(map(_one_cell, row)) for row in rows)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="backslashreplace", newline="\n")


def _finding(group: Sequence[Remark]) -> Finding:
    first, kind = group[0], KINDS[group[0].kind]
    total = f" ({counted(len(group), kind.noun)})" if len(group) > 1 else ""
    return Finding(
        first.kind,
        len(group),
        f"{first.where}: {first.message}{total}",
        kind.remedy,
        _ids(group),
        tuple(f"{remark.where}: {remark.message}" for remark in group[:MAX_EXAMPLES]),
    )


def _rest(groups: Sequence[Sequence[Remark]]) -> Finding:
    """Return one finding for the groups of a kind that are too many to be listed."""
    remarks = [remark for group in groups for remark in group]
    kind = KINDS[remarks[0].kind]
    shown = ", ".join(group[0].group for group in groups[:MAX_IDS])
    more = f", and {len(groups) - MAX_IDS} more" if len(groups) > MAX_IDS else ""
    message = f"{len(groups)} others: {shown}{more} ({counted(len(remarks), kind.noun)})"
    return Finding(remarks[0].kind, len(remarks), message, kind.remedy, _ids(remarks), (message,))


def _ids(remarks: Iterable[Remark]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(remark.id for remark in remarks if remark.id is not None))[:MAX_IDS]


def _summary_line(name: str, summary: Summary) -> str:
    speakers = counted(summary.speakers, "speaker") if summary.speakers else "speakers not given"
    return f"{name}: {counted(summary.utterances, 'utterance')}, {summary.hours:.2f} hours, {speakers}"


def _kind_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines on one kind: its name and count, examples, what to do."""
    kind, several = findings[0].kind, len(findings) > 1
    count = sum(finding.count for finding in findings)
    total = f"{counted(count, KINDS[kind].noun)}" if not several else f"{len(findings)} different"
    yield f"  {kind}: {total}"
    for finding in findings:
        if several or not finding.examples:
            yield f"      {finding.message}"
            continue
        yield from (f"      {example}" for example in finding.examples)
        if finding.count > len(finding.examples):
            yield f"      ... and {finding.count - len(finding.examples):,} more"
    yield f"    -> {findings[0].remedy}"


def _one_cell(text: str) -> str:
    return " ".join(text.split("\t")).replace("\n", " ").replace("\r", " ")
