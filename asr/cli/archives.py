"""What `asr transcribe` does with an archive: a folder, a manifest, or tar shards."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli import searching
from asr.cli.notes import log_on_stderr
from asr.cli.progress import progress_bar
from asr.errors import EXIT_DATA, EXIT_DONE, UsageError

if TYPE_CHECKING:
    from asr.archive import Job, Outcome


def is_archive(name: str) -> bool:
    """Return whether a name is meant as an archive: a folder, a manifest, shards here or at a URL.

    As asr.data.archives reads them; asked here, so that files are transcribed without importing it.
    """
    return os.path.isdir(name) or name.endswith((".jsonl", "shards.json")) or "://" in name


def is_one_archive(args: argparse.Namespace) -> bool:
    """Return whether the command line asks for an archive.  Raises: UsageError if it does so and cannot be met."""
    found = [name for name in args.files if is_archive(name)]
    if not found:
        if args.ray or args.workers is not None:
            raise UsageError("--ray and --workers are for an archive: give one folder, manifest (.jsonl) or shards")
        return False
    if len(args.files) > 1:
        raise UsageError(f"{found[0]}: an archive is transcribed by itself, but {len(args.files)} names are given")
    if args.out is None:
        raise UsageError(f"{found[0]}: an archive needs --out DIR, for transcripts.jsonl and what failed")
    if args.format not in (None, "json") or args.channels != "mix":
        raise UsageError(
            "--format and --channels are for single files: an archive's transcripts are DIR/transcripts.jsonl"
        )
    if args.workers is not None and not args.ray:
        raise UsageError("--workers goes with --ray auto: without it, one process does all")
    if args.ray and searching.wants_search(args):
        raise UsageError("workers of Ray read the best path; leave out --ray to search, or the options of the search")
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers {args.workers}: must be at least 1")
    return True


def transcribe(args: argparse.Namespace) -> int:
    """Transcribe the archive and return the exit code: 3 if a recording could not be read."""
    from asr.archive import Job, RayWorkers, ThisProcess, transcribe_archive
    from asr.data.archives import open_archive
    from asr.recognizer import resolve_model

    (name,) = args.files
    model = resolve_model(args.model)
    with progress_bar("measure", unit="files") as progress:
        archive = open_archive(name, progress=progress)
    for note in archive.notes:
        _say(note)
    job = Job(archive, model, args.out, args.device, reader=searching.reader_of(args), search=searching.identity(args))
    crew = RayWorkers(args.ray, args.workers) if args.ray else ThisProcess()
    started = time.monotonic()
    try:
        with log_on_stderr("asr transcribe"), progress_bar("transcribe", unit="recordings") as progress:
            outcome = transcribe_archive(job, crew, progress=progress)
    except KeyboardInterrupt:
        _say(f"what is done stays in {args.out}; the same command goes on")
        raise
    _write_receipt(args, job, outcome, time.monotonic() - started)
    return _told(outcome, args.out)


def _told(outcome: "Outcome", out: Path) -> int:
    """Say what came of it, and return the exit code."""
    for message, count in outcome.failed.items():
        _say(f"{message} ({count} recordings)" if count > 1 else message)
    if untold := outcome.num_failed - sum(outcome.failed.values()):
        _say(f"and {untold} more in {out / 'failed.tsv'}")
    if outcome.unfamiliar:
        _say(f"{outcome.unfamiliar} recordings look unlike what this model knows: see asr info")
    failed = f"; {outcome.num_failed} recordings failed" if outcome.num_failed else ""
    _say(f"{outcome.transcripts} transcripts in {out / 'transcripts.jsonl'}{failed}")
    return EXIT_DATA if outcome.num_failed else EXIT_DONE


def _write_receipt(args: argparse.Namespace, job: "Job", outcome: "Outcome", wall_seconds: float) -> None:
    """Write who made the transcripts; a call that found all of it done leaves the receipt of the one that did it."""
    from asr import receipts
    from asr.archive import TRANSCRIPTS

    path = receipts.receipt_path(args.out / TRANSCRIPTS)
    if path.is_file() and not outcome.work_seconds:
        return
    collected = receipts.collect(
        args.command_line,
        config={"recognizer": job.config.model_dump(mode="json")},
        seed=None,
        inputs=[job.model, *searching.files_of(args)],
        result={
            "failed": outcome.num_failed,
            "out_of_domain": outcome.unfamiliar,
            "pieces_done_before": outcome.done_before,
            "work_seconds": round(outcome.work_seconds, 3),
            "work_audio_seconds": round(outcome.work_audio_seconds, 3),
        },
        utterances=outcome.transcripts,
        words=outcome.words,
        audio_seconds=outcome.audio_seconds,
        wall_seconds=wall_seconds,
    )
    receipts.write(path, collected)


def _say(message: str) -> None:
    print(f"asr transcribe: {message}", file=sys.stderr, flush=True)
