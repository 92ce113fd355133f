"""asr decode: the utterances of a manifest -> hypotheses with a receipt."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli import searching
from asr.cli.notes import log_on_stderr
from asr.cli.outputs import refuse_folder, refuse_overwriting
from asr.cli.progress import progress_bar
from asr.cli.settings import settings_of
from asr.errors import EXIT_DONE, DataError, InputError, UsageError
from asr.store import write_text

if TYPE_CHECKING:
    from asr.data.manifest import Utterance
    from asr.recognizer import Recognizer, Transcript

HELP = "recognise the utterances of a manifest"

MAX_SHOWN = 20  # faulty utterances named one by one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="utterances to recognise (docs/formats.md)")
    parser.add_argument(
        "--model", required=True, metavar="NAME|FILE|RUN", help="a bundled model, a model file or a run folder"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="HYP.jsonl", help="hypotheses; HYP.receipt.json lies beside them"
    )
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="key.path=value",
        help="encoder.chunk_ms and encoder.right_context_ms, in place of those that the model was trained with",
    )
    searching.add_arguments(parser)
    parser.add_argument(
        "--nbest", type=int, metavar="N", help="search, and list the N best texts of each utterance with their scores"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Recognise every utterance and write hypotheses and receipt; nothing is written if one cannot be read."""
    from asr.data.manifest import read_manifest
    from asr.recognizer import resolve_model

    started = time.monotonic()
    others, settings = settings_of(args.settings)
    if others:
        raise UsageError(f"'{others[0]}': one manifest is decoded at a time, and settings are key.path=value")
    settings.refuse_endpoint("asr transcribe --live")
    utterances = read_manifest(args.manifest)
    if not utterances:
        raise DataError(f"{args.manifest}: holds no utterances; give a manifest with at least one")
    given = [args.manifest, resolve_model(args.model), *searching.files_of(args)]
    refuse_folder(args.out)
    refuse_overwriting(args.out, [*given, *{item.audio for item in utterances}])
    with log_on_stderr("asr decode"):
        recognizer = searching.recognizer_of(args, args.nbest, settings.encoder.context)
    transcripts = _recognise(recognizer, utterances, args.manifest)
    rows = [
        {"id": utterance.id, **transcript.row()} for utterance, transcript in zip(utterances, transcripts, strict=True)
    ]
    write_text(args.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    _write_receipt(args, recognizer, transcripts, time.monotonic() - started)
    return EXIT_DONE


def _recognise(recognizer: "Recognizer", utterances: "Sequence[Utterance]", manifest: Path) -> "list[Transcript]":

    sources = [item.source for item in utterances]
    transcripts: list[Transcript] = []
    failed: list[str] = []
    with log_on_stderr("asr decode"), progress_bar("decode", unit="utterances") as progress:
        results = recognizer.transcribe_files(sources, progress=progress)
        for utterance, result in zip(utterances, results, strict=True):
            if isinstance(result, InputError):
                failed.append(f"utterance '{utterance.id}': {result}")
            else:
                transcripts.append(result)
    for line in (failed or _cut_short(utterances, transcripts))[:MAX_SHOWN]:
        _say(line)
    if failed:
        raise DataError(
            f"{manifest}: {len(failed)} of {len(utterances)} utterances cannot be read, nothing is written;"
            " asr check names them all and --fix drops them"
        )
    return transcripts


def _cut_short(utterances: "Sequence[Utterance]", transcripts: "Sequence[Transcript]") -> list[str]:
    """Return a line for each utterance that lacks what the search could not say."""
    from asr.decoding.searching import NO_PHRASE, UNFINISHED

    return [
        f"utterance '{utterance.id}': {warning}"
        for utterance, transcript in zip(utterances, transcripts, strict=True)
        for warning in transcript.warnings
        if warning in (NO_PHRASE, UNFINISHED)
    ]


def _write_receipt(
    args: argparse.Namespace, recognizer: "Recognizer", transcripts: "Sequence[Transcript]", wall_seconds: float
) -> None:
    from asr import receipts
    from asr.decoding.confidence import mean_confidence
    from asr.recognizer import resolve_model

    words = [word for transcript in transcripts for word in transcript.words]
    seconds = sum(transcript.duration for transcript in transcripts)
    confidence = mean_confidence(words)
    result = {
        "words": len(words),
        "empty": sum(not transcript.text for transcript in transcripts),
        "mean_confidence": None if confidence is None else round(confidence, 4),
        "out_of_domain": sum(transcript.is_strange for transcript in transcripts),
        "real_time_factor": round(wall_seconds / seconds, 6),
    }
    collected = receipts.collect(
        args.command_line,
        config={
            "model": recognizer.model.config.model_dump(mode="json"),
            "recognizer": recognizer.config.model_dump(mode="json"),
            "beam": args.beam,
            "nbest": args.nbest,
        },
        seed=None,
        inputs=[args.manifest, *searching.files_of(args)],
        result=result,
        utterances=len(transcripts),
        words=len(words),
        audio_seconds=seconds,
        wall_seconds=wall_seconds,
    )
    # the model under the name that was typed: a bundled one has no path worth publishing
    inputs = {**collected.inputs, args.model: receipts.file_hash(resolve_model(args.model))}
    receipts.write(receipts.receipt_path(args.out), replace(collected, inputs=inputs))


def _say(message: str) -> None:
    print(f"asr decode: {message}", file=sys.stderr, flush=True)
