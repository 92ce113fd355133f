"""The report as one HTML page that needs nothing else: to read, search and listen to, from disk and offline.

All texts are data: they are escaped, and the page's policy lets the browser run its own script only and fetch nothing.
"""

import base64
import hashlib
import importlib.resources
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from asr.scoring.bootstrap import Interval
from asr.scoring.confusions import count_confusions
from asr.scoring.error_rate import Score, UtteranceScore
from asr.scoring.listing import SUMMARY_COLUMNS, percent, slice_rows
from asr.scoring.report import error_mark, valid_text
from asr.scoring.slices import Slice
from asr.scoring.sound import Sound, Sounds
from asr.scoring.spoken import known_speakers, word_times
from asr.scoring.texts import Text
from asr.units import Seconds

PIXELS_PER_SECOND = 110  # of a spectrogram, where there is room

_KINDS = {"S": "sub", "D": "del", "I": "ins"}
_TITLES = {"speaker": "By speaker", "length": "By length", "words": "By words", "snr": "By signal-to-noise ratio"}


def page(
    title: str,
    score: Score,
    interval: Interval | None,
    tables: Mapping[str, Sequence[Slice]],
    references: Mapping[str, Text],
    hypotheses: Mapping[str, Text],
    sounds: Sounds,
) -> str:
    """Return the page.  Args: tables: slices by the way of slicing; references, hypotheses: by id."""
    template = importlib.resources.files("asr.scoring").joinpath("page.html").read_text("utf-8")
    speaker_of = known_speakers(references)
    utterances = (
        _utterance(number, item, speaker_of.get(item.id), word_times(hypotheses[item.id]), sounds.of.get(item.id))
        for number, item in enumerate(score.utterances)
    )
    values = {
        "policy": escape(_policy(template)),
        "title": escape(valid_text(title)),
        "facts": _facts(score, interval),
        "notes": "\n".join(f'<p class="note">{escape(valid_text(note))}</p>' for note in sounds.notes),
        "tables": "\n".join(_table(way, parts, score) for way, parts in tables.items()),
        "confusions": _confusions(score),
        "utterances": "\n".join(utterances),
    }
    # in one pass: a text that holds a placeholder stays a text
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def _policy(template: str) -> str:
    """Return what the browser may do: show what lies in the page, and run this one script, known by its hash."""
    (script,) = re.findall(r"<script>(.*?)</script>", template, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _facts(score: Score, interval: Interval | None) -> str:
    words, characters, total = score.words, score.characters, len(score.utterances)
    sure = ""
    if interval is not None:
        sure = f"; {100 * interval.level:.3g} % interval {100 * interval.low:.2f} to {100 * interval.high:.2f}"
    facts = (
        (
            f"{100 * words.rate:.2f} %" if words.reference else "-",
            f"word error rate{sure}",
            f"{words.errors} errors in {words.reference} words: {words.substitutions} substituted, "
            f"{words.deletions} deleted, {words.insertions} inserted",
        ),
        (
            f"{100 * characters.rate:.2f} %" if characters.reference else "-",
            "character error rate",
            f"{characters.errors} of {characters.reference}",
        ),
        (
            f"{percent(score.sentence_errors, total)} %",
            "utterances with an error",
            f"{score.sentence_errors} of {total}",
        ),
    )
    cells = (f'<div><b>{value}</b>{name}<br><span class="soft">{more}</span></div>' for value, name, more in facts)
    return f'<div class="facts">{"".join(cells)}</div>'


def _table(way: str, parts: Sequence[Slice], score: Score) -> str:
    """Return a table of slices with a mark for each error rate, on a line as long as its interval."""
    ends = [part.interval.high for part in parts if part.interval is not None]
    longest = max([*ends, *(part.words.rate for part in parts if part.words.reference), 1e-9])
    head = "".join(f"<th>{escape(name)}</th>" for name in (way, *SUMMARY_COLUMNS, ""))
    rows = []
    for part, cells in zip([*parts, None], slice_rows(parts, score), strict=True):
        shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr>{shown}{_bar(part, longest)}</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<details><summary>{_TITLES[way]}</summary><div class="scroll">{table}</div></details>'


def _bar(part: Slice | None, longest: float) -> str:
    if part is None or not part.words.reference:
        return "<td></td>"
    line = ""
    if part.interval is not None:
        low, high = 100 * part.interval.low / longest, 100 * part.interval.high / longest
        line = f'<i style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
    return f'<td class="bar">{line}<b style="left:{100 * part.words.rate / longest:.1f}%"></b></td>'


def _confusions(score: Score) -> str:
    """Return the counts by word; a pair is a button that searches for its utterances."""
    found = count_confusions(score.utterances)
    columns: tuple[tuple[str, list[tuple[str, str, int]]], ...] = (
        ("Said → recognised", [(f"{pair[0]} → {pair[1]}", _query(*pair), count) for pair, count in found.pairs]),
        ("Deleted", [(word, _query(word, None), count) for word, count in found.deleted]),
        ("Inserted", [(word, _query(None, word), count) for word, count in found.inserted]),
    )
    shown = "".join(_counts(title, items) for title, items in columns)
    return f'<details open><summary>Confusions</summary><div class="columns">{shown}</div></details>'


def _counts(title: str, items: Sequence[tuple[str, str, int]]) -> str:
    rows = "".join(
        f'<li><span>{count}</span><button type="button" data-query="{escape(query)}"><bdi>{escape(text)}</bdi></button>'
        "</li>"
        for text, query, count in items
    )
    return f"<div><h3>{title} ({sum(count for *_, count in items)})</h3><ol>{rows}</ol></div>"


def _query(left: str | None, right: str | None) -> str:
    """Return what to search for to find an error: "three→free", "e→" for a deletion, "→uh" for an insertion."""
    return f"{left or ''}→{right or ''}"


def _utterance(
    number: int,
    item: UtteranceScore,
    speaker: str | None,
    times: Sequence[tuple[Seconds, Seconds]],
    sound: Sound | None,
) -> str:
    words = item.words
    kinds = ((words.substitutions, "substituted"), (words.deletions, "deleted"), (words.insertions, "inserted"))
    counted = ", ".join(f"{count} {kind}" for count, kind in kinds if count) or "no error"
    rate = f" = {100 * words.rate:.0f} %" if words.reference and words.errors else ""
    seconds = 0.0 if sound is None else sound.duration
    about = [] if speaker is None else [f"speaker {speaker}"]
    about += [f"{words.errors} / {words.reference}{rate}", counted]
    about += [] if sound is None else [f"{seconds:.1f} s"]
    lead = '<li class="lead"><span>said</span><span>recognised</span></li>'
    sortable = words.rate if words.reference else float(words.errors)
    return (
        f'<article data-order="{number}" data-errors="{words.errors}" data-rate="{sortable:.6f}" '
        f'data-seconds="{seconds:.6f}" data-text="{escape(_searched(item, speaker))}">'
        f"<header><h3><bdi>{escape(item.id)}</bdi></h3>{''.join(f'<p>{escape(some)}</p>' for some in about)}</header>"
        f'{_sound(sound)}<ol class="words" dir="{_direction(item)}">{lead}'
        f"{''.join(_words(item, times))}</ol></article>"
    )


def _direction(item: UtteranceScore) -> str:
    """Return which way the words run: that of the first letter, as in dir="auto"."""
    letters = "".join(left or right or "" for left, right in item.alignment)
    strong = (unicodedata.bidirectional(letter) for letter in letters)
    return "rtl" if next((kind for kind in strong if kind in ("L", "R", "AL")), "L") != "L" else "ltr"


def _searched(item: UtteranceScore, speaker: str | None) -> str:
    """Return all that a search looks in, in lower case, each error between spaces as its button asks for it."""
    said = " ".join(left for left, _ in item.alignment if left is not None)
    heard = " ".join(right for _, right in item.alignment if right is not None)
    errors = " ".join(_query(left, right) for left, right in item.alignment if left != right)
    return "\n".join((item.id, speaker or "", said, heard, f" {errors} ")).lower()


def _sound(sound: Sound | None) -> str:
    if sound is None:
        return ""
    shown = ""
    if sound.png is not None:
        width = max(48, round(PIXELS_PER_SECOND * sound.duration))
        shown = (
            f'<div class="spectrum" style="width:{width}px">'
            f'<img alt="spectrogram" loading="lazy" src="{_uri("image/png", sound.png)}"></div>'
        )
    audio = f'<audio controls preload="none" src="{_uri("audio/flac", sound.flac)}"></audio>'
    return f'<div class="sound">{audio}{shown}</div>'


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _words(item: UtteranceScore, times: Sequence[tuple[Seconds, Seconds]]) -> Iterator[str]:
    """Yield each aligned pair; a recognised word plays its sound where its time is known."""
    heard = sum(right is not None for _, right in item.alignment)
    left_times = iter(times if len(times) == heard else ())  # a spelling that joins or cuts words has lost their times
    for left, right in item.alignment:
        mark = error_mark(left, right)
        time = next(left_times, None) if right is not None else None
        timed = "" if time is None else f' data-start="{time[0]:.3f}" data-end="{time[1]:.3f}"'
        tag = "span" if time is None else "button"
        kind = f' class="{_KINDS[mark]}"' if mark != " " else ""
        yield (
            f"<li{kind}><span{_class('said', left)}>{_shown(left)}</span>"
            f"<{tag}{_class('heard', right)}{timed}>{_shown(right)}</{tag}><small>{mark.strip()}</small></li>"
        )


def _class(name: str, word: str | None) -> str:
    return f' class="{name}{" none" if word is None else ""}"'


def _shown(word: str | None) -> str:
    return "–" if word is None else f"<bdi>{escape(word)}</bdi>"
