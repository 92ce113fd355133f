"""asr align: texts that are known -> when each word and token is said."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.notes import log_on_stderr
from asr.cli.outputs import refuse_overwriting_any
from asr.cli.progress import ProgressCallback, progress_bar
from asr.cli.transcribe import DEFAULT_MODEL
from asr.errors import EXIT_DONE, DataError, InputError, UsageError
from asr.store import replacing, write_text

if TYPE_CHECKING:
    from asr.audio.source import AudioSource
    from asr.recognizer import Transcript

HELP = "find when the words of known texts are said"

SUFFIXES = {".jsonl": "json", ".json": "json", ".ctm": "ctm", ".textgrid": "textgrid", ".srt": "srt"}
FORMATS = ("json", "ctm", "textgrid", "srt")
ONE_EACH = {"textgrid": ".TextGrid", "srt": ".srt"}  # formats of which a file holds one utterance
MAX_SHOWN = 20  # utterances named one by one
MAX_TEXT_BYTES = 1 << 24


@dataclass(frozen=True)
class Item:
    """One text and its audio.

    Attributes:
        key: what `name` is in JSON: the "id" of an utterance, or a "file".
        id: a name without white space or "/", for CTM and for file names.
        where: in front of messages.
    """

    key: str
    name: str
    id: str
    source: "AudioSource"
    text: str
    where: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "source", type=Path, metavar="MANIFEST|AUDIO", help="utterances with texts (docs/formats.md), or one recording"
    )
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", metavar="TEXT", help="what is said in the recording")
    text.add_argument("--text-file", type=Path, metavar="FILE", help="a file that holds it, UTF-8")
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME|FILE|RUN",
        help=f"a bundled model, a model file or a run folder (default: {DEFAULT_MODEL})",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE|DIR",
        help="write to FILE instead of printing; textgrid and srt of a manifest are files in DIR, one an utterance",
    )
    parser.add_argument("--format", choices=FORMATS, help="(default: by the name of FILE, else json)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Align every text and write the result; nothing is written if one cannot be aligned."""
    style = _format(args.format, args.out)
    items = _items(args)
    targets = _targets(items, style, args)
    if targets:
        _refuse_overwriting(targets, items, args)
    results = _aligned(items, style, args)
    if args.out is None:
        sys.stdout.write("".join(list(results)))
    elif style in ONE_EACH:
        for target, text in zip(targets, list(results), strict=True):
            write_text(target, text)
    else:
        with replacing(args.out) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(results)
    return EXIT_DONE


def _format(given: str | None, out: Path | None) -> str:
    """Return the format that is asked for, by --format or by the name of --out."""
    if given is not None or out is None:
        return given or "json"
    style = SUFFIXES.get(out.suffix.lower())
    if style is None:
        raise UsageError(f"--out {out}: its name says no format; give --format {', '.join(FORMATS)}")
    return style


def _items(args: argparse.Namespace) -> list[Item]:
    """Return what is to be aligned: a recording where a text is given, else the utterances of a manifest."""
    from asr.audio.source import AudioSource
    from asr.data.importers.pairs import AUDIO_SUFFIXES
    from asr.data.importers.reading import read_text
    from asr.data.names import legal_name

    if args.text is None and args.text_file is None:
        if args.source.suffix.lower() in AUDIO_SUFFIXES:
            raise UsageError(f"{args.source}: a recording; give what is said in it: --text or --text-file")
        return _utterances(args.source)
    if args.source.suffix.lower() == ".jsonl":
        raise UsageError(f"{args.source}: a manifest holds its texts; --text and --text-file go with a recording")
    text = read_text(args.text_file, max_bytes=MAX_TEXT_BYTES) if args.text is None else args.text
    name = str(args.source)
    stem = args.source.stem.encode("utf-8", "replace").decode()  # of a name that is not UTF-8
    return [Item("file", name, legal_name(stem), AudioSource(args.source), text, name)]


def _utterances(manifest: Path) -> list[Item]:
    from asr.data.manifest import faultless_scan

    scan = faultless_scan(manifest)
    if not scan.utterances:
        raise DataError(f"{manifest}: holds no utterances; give a manifest with at least one")
    return [
        Item(
            "id",
            item.id,
            item.id,
            item.source,
            item.text or "",
            f"{manifest}:{line}: utterance '{item.id}'",
        )
        for item, line in zip(scan.utterances, scan.lines, strict=True)
    ]


def _targets(items: Sequence[Item], style: str, args: argparse.Namespace) -> list[Path]:
    """Return the files to write: one, or one for each item."""
    single, out = items[0].key == "file", args.out
    if out is None:
        if style in ONE_EACH and len(items) > 1:
            raise UsageError(f"--format {style} of {len(items)} utterances needs --out DIR: one file each")
        return []
    if style not in ONE_EACH:
        if out.is_dir():
            raise UsageError(f"--out {out}: a folder; {style} is one file: give its name")
        return [out]
    if single and not out.is_dir():
        return [out]
    if out.suffix.lower() in SUFFIXES or out.is_file():
        raise UsageError(f"--out {out}: {style} is one file an utterance; give a folder and --format {style}")
    return [out / f"{item.id}{ONE_EACH[style]}" for item in items]


def _refuse_overwriting(targets: Sequence[Path], items: Sequence[Item], args: argparse.Namespace) -> None:
    from asr.recognizer import resolve_model

    given = [args.source, resolve_model(args.model), *filter(None, [args.text_file])]
    refuse_overwriting_any(targets, [*given, *{item.source.path for item in items}])


def _aligned(items: Sequence[Item], style: str, args: argparse.Namespace) -> Iterator[str]:
    """Yield what is written of each item.  Raises: DataError, in the end, if one cannot be aligned."""
    from asr.recognizer import Recognizer

    recognizer = Recognizer.load(args.model, device=args.device)
    failed: list[InputError] = []
    doubtful = 0
    with log_on_stderr("asr align"), _progress(args.out) as progress:
        sources, texts = [item.source for item in items], [item.text for item in items]
        results = recognizer.align_files(sources, texts, progress=progress)
        for item, result in zip(items, results, strict=True):
            if isinstance(result, InputError):
                failed.append(_told(item, result))
                continue
            doubtful += bool(result.warnings)
            if doubtful <= MAX_SHOWN:
                for warning in result.warnings:
                    _say(f"{item.where}: {warning}")
            if not failed:
                yield render(item, result, style)
    if doubtful > MAX_SHOWN:
        _say(f"{doubtful} of {len(items)} utterances look unlike what this model knows")
    _refuse(failed, items, args.source)


def _told(item: Item, error: InputError) -> InputError:
    message = str(error).removeprefix(f"{item.where}: ")  # of a recording, whose own errors begin with its path
    return type(error)(f"{item.where}: {message}")


def _refuse(failed: Sequence[InputError], items: Sequence[Item], source: Path) -> None:
    """Raise an error if there are any, the first of them named."""
    if failed and items[0].key == "file":
        raise failed[0]
    for error in failed[:MAX_SHOWN]:
        _say(str(error))
    if failed:
        raise DataError(
            f"{source}: {len(failed)} of {len(items)} utterances cannot be aligned, nothing is written; mend their"
            " texts and audio, or take them out of the manifest"
        )


def _progress(out: Path | None) -> "AbstractContextManager[ProgressCallback | None]":
    return nullcontext() if out is None else progress_bar("align", unit="utterances")


def render(item: Item, transcript: "Transcript", style: str) -> str:
    """Return an alignment in one of FORMATS, ending with a line feed."""
    from asr.decoding.captions import to_srt
    from asr.decoding.ctm import to_ctm
    from asr.decoding.textgrid import to_textgrid
    from asr.store import json_text

    if style == "json":
        return json_text({item.key: item.name, **transcript.row(tokens=True)}) + "\n"
    if style == "ctm":
        return to_ctm(transcript.words, item.id, item.source.channel)
    if style == "textgrid":
        return to_textgrid(transcript.words, transcript.tokens, transcript.duration)
    return to_srt(transcript.words, transcript.duration)


def _say(message: str) -> None:
    print(f"asr align: {message}", file=sys.stderr, flush=True)
