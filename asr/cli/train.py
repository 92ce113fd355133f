"""`asr train`: a configuration and manifests → a run folder with checkpoints."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cli.starting import finetuning
from asr.errors import EXIT_DATA, EXIT_DONE, UsageError

if TYPE_CHECKING:
    from asr.model import AcousticModel
    from asr.text.tokenizer import Tokenizer
    from asr.training.config import ExperimentConfig
    from asr.training.request import Outcome, Request

HELP = "train a model, or fine-tune one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `asr train`."""
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="model, augmentation and training")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values that replace those in the file")
    parser.add_argument(
        "--train",
        required=True,
        metavar="MANIFEST|SHARDS",
        help="utterances to train on: a .jsonl, or a folder or URL of shards",
    )
    parser.add_argument("--valid", type=Path, metavar="MANIFEST", help="held-out utterances to validate on")
    parser.add_argument("--tokens", type=Path, metavar="tokens.json", help="made by asr tokens (with --from: its own)")
    parser.add_argument(
        "--from", dest="start", metavar="NAME|FILE|RUN", help="fine-tune this model: its weights, then a new run"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="RUN", help="run folder")
    parser.add_argument("--seed", type=int, default=1, help="of all randomness (default: 1)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to train (default: cpu)")
    parser.add_argument("--resume", action="store_true", help="continue the run in RUN, if there is one")
    parser.add_argument(
        "--overfit",
        type=int,
        default=0,
        metavar="N",
        help="learn the first N utterances by heart: must reach CER < 5 %%, the first thing to try on new data",
    )


def run(args: argparse.Namespace) -> int:
    """Train, and write RUN/train.receipt.json; exit code 3 if --overfit does not reach its rate."""
    from asr.cli.notes import log_on_stderr
    from asr.cli.progress import progress_bar
    from asr.data.manifest import read_manifest
    from asr.data.shard_reader import is_shards, read_index
    from asr.training.fit import fit
    from asr.training.processes import is_first_process
    from asr.training.request import Request

    if args.resume and args.overfit:
        raise UsageError("--overfit starts anew; leave out --resume")
    experiment, tokenizer, start = _experiment(args)
    request = Request(
        experiment=experiment,
        tokenizer=tokenizer,
        start=start,
        train=read_index(args.train) if is_shards(args.train) else read_manifest(args.train),
        valid=read_manifest(args.valid) if args.valid else [],
        out=args.out,
        seed=args.seed,
        device=args.device,
        resume=args.resume,
        overfit=args.overfit,
    )
    started = time.monotonic()
    with log_on_stderr("asr train"), progress_bar("train", unit="epochs") as progress:
        outcome = fit(request, say=_say, progress=progress)
    if not is_first_process(request.experiment.train):
        return EXIT_DONE
    _write_receipt(args, request, outcome, time.monotonic() - started)
    return _overfit_result(outcome) if args.overfit else EXIT_DONE


def _experiment(args: argparse.Namespace) -> "tuple[ExperimentConfig, Tokenizer, AcousticModel | None]":
    """Return the configuration, the tokens and the model to start from, if one is named."""
    from asr.config import load_config
    from asr.text.tokenizer import Tokenizer
    from asr.training.config import ExperimentConfig

    if args.start is None:
        if args.tokens is None:
            raise UsageError("--tokens is missing; make them with asr tokens, or fine-tune a model with --from")
        return load_config(ExperimentConfig, args.config, args.overrides), Tokenizer.load(args.tokens), None
    return finetuning(args)


def _overfit_result(outcome: "Outcome") -> int:
    from asr.training.fit import OVERFIT_CER

    assert outcome.validation is not None, "--overfit always validates"
    reached = outcome.validation.cer < OVERFIT_CER
    _say(
        f"{'learned by heart' if reached else 'NOT learned'}: CER {outcome.validation.cer:.1f} % after"
        f" {outcome.steps} steps (wanted below {OVERFIT_CER:g} %)"
        + ("" if reached else "; look at the texts and the audio with asr check, then at the learning rate")
    )
    return EXIT_DONE if reached else EXIT_DATA


def _write_receipt(args: argparse.Namespace, request: "Request", outcome: "Outcome", wall_seconds: float) -> None:
    from asr import receipts
    from asr.data.shard_index import ShardIndex
    from asr.training.request import overfit_folder

    folder = overfit_folder(args.out) if args.overfit else args.out
    result: dict[str, Any] = {
        "steps": outcome.steps,
        "parameters": outcome.parameters,
        "waiting_share": round(outcome.waiting_share, 5),
        "left_out": outcome.left_out,
    }
    if outcome.validation is not None:
        result |= {"valid_wer": round(outcome.validation.wer, 3), "valid_cer": round(outcome.validation.cer, 3)}
    tuning = request.experiment.finetune
    others = [Path(path) for path in (tuning.replay.manifest, tuning.guard) if path]
    manifests = [*([args.valid] if args.valid else []), *others]
    if not isinstance(request.train, ShardIndex):
        manifests = [args.train, *manifests]
        audio_seconds = sum(utterance.duration for utterance in request.train)
    else:
        audio_seconds = request.train.audio_seconds
        result["shards_sha256"] = request.train.sha256
    collected = receipts.collect(
        args.command_line,
        config=request.experiment,
        seed=args.seed,
        inputs=[args.config, *_started_from(args), *manifests],
        result=result,
        utterances=len(request.train),
        audio_seconds=audio_seconds,
        audio_seconds_seen=outcome.audio_seconds,
        wall_seconds=max(wall_seconds, outcome.wall_seconds),
    )
    receipts.write(folder / "train.receipt.json", collected)


def _started_from(args: argparse.Namespace) -> list[Path]:
    from asr.recognizer import resolve_model

    tokens = [args.tokens] if args.tokens else []
    return tokens + ([resolve_model(args.start)] if args.start else [])


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
