"""asr transcribe: audio files -> text, JSON or subtitles; an archive of them -> transcripts.jsonl."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli import archives, live, searching
from asr.cli.live import STANDARD_INPUT
from asr.cli.notes import log_on_stderr
from asr.cli.progress import ProgressCallback, progress_bar
from asr.cli.settings import Settings, settings_of
from asr.errors import EXIT_DATA, EXIT_DONE, InputError, MachineError, UsageError, writing
from asr.standard_input import standard_input
from asr.store import write_text

if TYPE_CHECKING:
    from asr.recognizer import Transcript

HELP = "print what is said in audio files"

DEFAULT_MODEL = "an4"
LIVE_MODEL = "an4-live"
FORMATS = ("txt", "json", "srt", "vtt")
SUBTITLES = ("srt", "vtt")


@dataclass(frozen=True)
class Task:
    """One transcript to make.

    Attributes:
        name: the file as typed; it stands in the output.
        path: where the audio lies.
        channel: counted from 0, or None for a mix; shown in the output where `split` is set.
        split: whether the channels of the file are transcribed one by one.
    """

    name: str
    path: Path
    channel: int | None = None
    split: bool = False

    @property
    def label(self) -> str:
        """The name in front of the text, with the channel where they are split."""
        name = self.name.replace("\t", "\\t").replace("\n", "\\n")
        return f"{name}:{self.channel}" if self.split else name

    def output_name(self, suffix: str) -> str:
        """Return the file name of the transcript under --out."""
        stem = "stdin" if self.name == STANDARD_INPUT else Path(self.name).stem
        return f"{stem}.{self.channel}.{suffix}" if self.split else f"{stem}.{suffix}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE|ARCHIVE|key.path=value",
        help="audio: WAV, FLAC, Ogg Vorbis or Opus, MP3, NIST SPHERE; - is standard input; none: a sample;"
        " or one archive: a folder of audio, a manifest (.jsonl), or a folder or URL of shards;"
        " settings: encoder.chunk_ms, encoder.right_context_ms, with --live endpoint.silence_ms",
    )
    parser.add_argument(
        "--live", action="store_true", help="transcribe the microphone, or raw 16-bit samples of standard input (-)"
    )
    parser.add_argument("--rate", type=int, metavar="HZ", help="with --live, of the samples (default: 16000)")
    parser.add_argument(
        "--model",
        metavar="NAME|FILE|RUN",
        help=f"a bundled model, a model file or a run folder (default: {DEFAULT_MODEL}; with --live {LIVE_MODEL})",
    )
    parser.add_argument("--format", choices=FORMATS, help="of the transcripts of files (default: txt)")
    parser.add_argument(
        "--channels",
        default="mix",
        metavar="mix|split|N",
        help="mix all channels, transcribe each by itself, or only channel N, counted from 0 (default: mix)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write DIR/NAME.FORMAT instead of printing; of an archive DIR/transcripts.jsonl, going on where a call"
        " was interrupted",
    )
    searching.add_arguments(parser)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument(
        "--ray",
        metavar="auto|local|ADDRESS",
        help="transcribe an archive with workers on the Ray cluster at ADDRESS; auto: on that of RAY_ADDRESS or the one"
        " that runs here, else local: all cores of this machine",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="with --ray (default: one a core)")


def run(args: argparse.Namespace) -> int:
    """Transcribe and return the exit code: 3 if a file could not be read."""
    args.files, settings = settings_of(args.files)
    args.model = args.model or (LIVE_MODEL if args.live else DEFAULT_MODEL)
    if args.live:
        return live.listen(args, settings)
    live.refuse_rate(args)
    settings.refuse_endpoint("--live")
    if archives.is_one_archive(args):
        if settings.encoder.context is not None:
            raise UsageError("encoder.chunk_ms is for files and --live; an archive is transcribed as the model says")
        return archives.transcribe(args)
    args.format = args.format or "txt"
    channel = _channel(args.channels)
    names = args.files or [_sample()]
    with _readable(names) as paths, log_on_stderr("asr transcribe"):
        tasks = _tasks(list(zip(names, paths, strict=True)), channel, split=args.channels == "split")
        _check_output(tasks, args.format, args.out)
        return _transcribe(tasks, args, settings)


def _channel(channels: str) -> int | None:
    if channels in ("mix", "split"):
        return None
    if not channels.isascii() or not channels.isdigit():
        raise UsageError(f"--channels '{channels}': give mix, split or the number of a channel, counted from 0")
    return int(channels)


def _sample() -> str:
    from asr.recognizer import bundled_sample

    sample = bundled_sample()
    _say(f"no files given: transcribing the sample that comes with the toolkit, {sample}")
    return str(sample)


@contextmanager
def _readable(names: Sequence[str]) -> Iterator[list[Path]]:
    """Yield the path of each name; standard input is kept in a temporary file meanwhile."""
    if STANDARD_INPUT not in names:
        yield [Path(name) for name in names]
        return
    if names.count(STANDARD_INPUT) > 1:
        raise UsageError("'-' is given twice; standard input can be read only once")
    with tempfile.TemporaryDirectory(prefix="asr-") as folder:
        spool, source = Path(folder) / "stdin", standard_input()
        with writing(spool), open(spool, "wb") as file:
            shutil.copyfileobj(source, file)
        yield [spool if name == STANDARD_INPUT else Path(name) for name in names]


def _tasks(files: Sequence[tuple[str, Path]], channel: int | None, *, split: bool) -> list[Task]:
    if not split:
        return [Task(name, path, channel) for name, path in files]
    return [
        Task(name, path, number, split=number is not None) for name, path in files for number in _channel_numbers(path)
    ]


def _channel_numbers(path: Path) -> Sequence[int | None]:
    from asr.audio.files import audio_info

    try:
        return range(audio_info(path).channels)
    except InputError:
        return [None]  # a bad file is reported when its turn comes


def _check_output(tasks: Sequence[Task], suffix: str, out: Path | None) -> None:
    """Refuse, before any work, what would mix or overwrite transcripts.  Makes the folder."""
    if out is None:
        if suffix in SUBTITLES and len(tasks) > 1:
            raise UsageError(f"--format {suffix} of {len(tasks)} files or channels needs --out DIR: one file each")
        return
    made_by: dict[str, str] = {}
    for task in tasks:
        name = task.output_name(suffix)
        # Case is ignored because some file systems ignore it.
        other = made_by.setdefault(name.casefold(), task.name)
        if other != task.name:
            raise UsageError(f"{other} and {task.name} would both be written to {out / name}; rename one, or run twice")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise MachineError(f"{out}: cannot write: no permission; choose a folder that you may write to")


def _transcribe(tasks: Sequence[Task], args: argparse.Namespace, settings: Settings) -> int:
    from asr.audio.source import AudioSource

    recognizer = searching.recognizer_of(args, context=settings.encoder.context)
    sources = [AudioSource(task.path, channel=task.channel) for task in tasks]
    failed = 0
    with _progress(args.out) as progress:
        results = recognizer.transcribe_files(sources, progress=progress)
        for task, result in zip(tasks, results, strict=True):
            if isinstance(result, InputError):
                failed += 1
                _say(str(result).replace(str(task.path), task.name))
                continue
            for warning in result.warnings:
                _say(f"{task.label}: {warning}")
            _put(task, result, args, several=len(tasks) > 1)
    if args.out is not None:
        _say(f"{len(tasks) - failed} transcripts in {args.out}")
    return EXIT_DATA if failed else EXIT_DONE


def _progress(out: Path | None) -> "AbstractContextManager[ProgressCallback | None]":
    # Printed transcripts are progress enough, and a bar would run into them.
    return nullcontext() if out is None else progress_bar("transcribe", unit="files")


def _put(task: Task, transcript: "Transcript", args: argparse.Namespace, *, several: bool) -> None:
    text = render(task, transcript, args.format)
    if args.out is not None:
        write_text(args.out / task.output_name(args.format), text)
        return
    if args.format == "txt" and several:
        text = f"{task.label}\t{text}"
    sys.stdout.write(text)
    sys.stdout.flush()


def render(task: Task, transcript: "Transcript", style: str) -> str:
    """Return a transcript in one of FORMATS, ending with a line feed."""
    from asr.decoding.captions import to_srt, to_vtt

    if style == "txt":
        return transcript.text + "\n"
    if style == "json":
        channel = {"channel": task.channel} if task.split else {}
        # a name that is not UTF-8 can only be told escaped
        is_utf8 = task.name.encode("utf-8", "replace").decode() == task.name
        return json.dumps({"file": task.name, **channel, **transcript.row()}, ensure_ascii=not is_utf8) + "\n"
    return (to_srt if style == "srt" else to_vtt)(transcript.words, transcript.duration)


def _say(message: str) -> None:
    print(f"asr transcribe: {message}", file=sys.stderr, flush=True)
