"""`asr calibrate`: confidence that says how often a word is right, fitted on held-out speech and kept in the model."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cli import searching
from asr.cli.outputs import refuse_folder, refuse_overwriting
from asr.errors import EXIT_DONE, DataError, InputError, UsageError

if TYPE_CHECKING:
    from asr.data.manifest import Utterance
    from asr.decoding.calibration import Calibration, ConfidenceMap
    from asr.recognizer import Recognizer, Transcript
    from asr.scoring.calibration import Confidences, Quality, Right
    from asr.tuning.calibration import Fitted, Observed

HELP = "make confidence the probability of being right, or judge how far it is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr calibrate`."""
    parser.add_argument(
        "dev", type=Path, metavar="DEV.jsonl", help="utterances with texts that the model was not trained on"
    )
    parser.add_argument(
        "--model",
        metavar="NAME|FILE|RUN",
        help="a bundled model, a model file or a run folder; with --judge: both texts are spelled as it spells",
    )
    parser.add_argument("--out", type=Path, metavar="MODEL.safetensors", help="the model with its calibration")
    parser.add_argument(
        "--method",
        choices=("temperature", "isotonic"),
        help="two numbers, or any rising line (default: temperature; with 1000 words or more what foresees better)",
    )
    parser.add_argument(
        "--judge", type=Path, metavar="HYP.jsonl", help="fit nothing: judge the confidences that asr decode wrote"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw the reliability of words (.png, .svg, .pdf)"
    )
    searching.add_arguments(parser)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Fit and keep, or judge, and print the measures.  Raises: InputError."""
    if args.judge and (args.out or args.method or searching.wants_search(args)):
        raise UsageError("--judge reads what was decoded: leave out --out, --method and the options of a search")
    if not args.judge and not (args.model and args.out):
        raise UsageError("give --model and --out to fit, or --judge HYP.jsonl to judge confidences")
    if args.plot:
        from asr.plots.picture import picture_format, require_matplotlib

        picture_format(args.plot)
        refuse_folder(args.plot, flag="--plot")
        require_matplotlib()  # before the work, not after it
    _judge(args) if args.judge else _fit(args)
    return EXIT_DONE


def _judge(args: argparse.Namespace) -> None:
    from asr.model import AcousticModel
    from asr.recognizer import resolve_model
    from asr.scoring.calibration import read_judged
    from asr.scoring.texts import pair_up, read_texts
    from asr.text.normalize import Normalizer

    if args.plot:
        refuse_overwriting(args.plot, [args.dev, args.judge], flag="--plot")
    spelling = AcousticModel.load(resolve_model(args.model)).tokenizer.normalizer if args.model else Normalizer()
    references = read_texts(args.dev)
    pair_up(references, read_texts(args.judge))  # says which have no partner
    judged = read_judged(references, args.judge, spelling)
    _print("words", {args.judge.name: judged.words}, judged.words_right)
    if len(judged.utterances):
        _print("utterances", {args.judge.name: judged.utterances}, judged.utterances_right)
    _draw(args, {args.judge.name: judged.words}, judged.words_right)
    if not judged.words_right.any():
        print("asr calibrate: no word is right; where letters are written otherwise, --model spells", file=sys.stderr)


def _fit(args: argparse.Namespace) -> None:
    from asr.data.manifest import read_manifest
    from asr.decoding.calibration import Calibration
    from asr.model import save_calibrated
    from asr.recognizer import resolve_model
    from asr.tuning.calibration import fit, observe

    started = time.monotonic()
    utterances = read_manifest(args.dev)
    _check_texts(utterances, args.dev)
    model = resolve_model(args.model)
    given = [args.dev, model, *searching.files_of(args), *{item.audio for item in utterances}]
    refuse_folder(args.out)
    refuse_overwriting(args.out, given)
    if args.plot:
        refuse_overwriting(args.plot, given, flag="--plot")
    recognizer = searching.recognizer_of(args)
    recognizer.calibration = None  # a calibrated model is calibrated anew
    spelling = recognizer.model.tokenizer.normalizer
    references = [spelling(item.text or "") for item in utterances]
    transcripts = _recognise(recognizer, utterances)
    words, whole = observe(transcripts, references, [item.speaker for item in utterances])
    try:
        fitted = fit(words, args.method)
    except DataError as error:
        raise DataError(f"{args.dev}: {error}") from None
    fitted_whole = _fitted_whole(whole, args)
    calibration = Calibration(
        words=fitted.map,
        utterances=fitted_whole.map if fitted_whole else None,
        fitted=_told(args, words, whole),
    )
    save_calibrated(model, args.out, calibration.model_dump(mode="json"))
    print(f"{args.out}: calibrated on {calibration.fitted}", file=sys.stderr)
    result = {"words": _report("words", words, fitted)}
    if fitted_whole:
        result["utterances"] = _report("utterances", whole, fitted_whole)
    _write_receipt(args, calibration, utterances, result, len(words.right), time.monotonic() - started)
    _draw(args, {"raw": words.confidences, "calibrated, unheard": fitted.unheard}, words.right)


def _check_texts(utterances: "Sequence[Utterance]", manifest: Path) -> None:
    if not utterances:
        raise DataError(f"{manifest}: holds no utterances; give a manifest with at least one")
    for item in utterances:
        if item.text is None:
            raise DataError(f"{manifest}: utterance '{item.id}' has no text to be compared with; transcribe or drop it")


def _recognise(recognizer: "Recognizer", utterances: "Sequence[Utterance]") -> "list[Transcript]":
    from asr.cli.notes import log_on_stderr
    from asr.cli.progress import progress_bar

    sources = [item.source for item in utterances]
    transcripts = []
    with log_on_stderr("asr calibrate"), progress_bar("decode", unit="utterances") as progress:
        results = recognizer.transcribe_files(sources, progress=progress)
        for utterance, result in zip(utterances, results, strict=True):
            if isinstance(result, InputError):
                raise DataError(f"utterance '{utterance.id}': {result}")
            transcripts.append(result)
    return transcripts


def _fitted_whole(whole: "Observed", args: argparse.Namespace) -> "Fitted | None":
    """Return what was fitted on utterances; None, with a line that says why, where words alone can be calibrated."""
    from asr.tuning.calibration import fit

    try:
        return fit(whole, args.method, what="utterances")
    except DataError as error:
        print(f"asr calibrate: utterances keep the mean confidence of their words: {error}", file=sys.stderr)
        return None


def _told(args: argparse.Namespace, words: "Observed", whole: "Observed") -> str:
    """Return for people what the maps were fitted on: a calibration holds for the search that it was fitted with."""
    return (
        f"{len(words.right)} words ({words.right.sum()} right), {len(whole.right)} utterances"
        f" ({whole.right.sum()} right), {searching.told(args) or 'best path'}"
    )


def _report(what: str, observed: "Observed", fitted: "Fitted") -> dict[str, Any]:
    """Print and return the measures before and after."""
    columns = {"raw": observed.confidences, "calibrated": fitted.unheard}
    found = _print(what, columns, observed.right, _described(fitted.map))
    return {name: asdict(quality) for name, quality in found.items()}


def _described(fitted: "ConfidenceMap") -> str:
    if fitted.kind == "temperature":
        shown = f"temperature {fitted.temperature:.3g}, bias {fitted.bias:.3g}"
    else:
        shown = f"isotonic with {len(fitted.knots)} knots"
    return f"{shown}; measured on fifths, each with a map fitted on the others"


def _print(
    what: str, columns: "Mapping[str, Confidences]", right: "Right", described: str = ""
) -> "dict[str, Quality]":
    from asr.scoring.calibration import quality

    found = {name: quality(confidences, right) for name, confidences in columns.items()}
    share = 100 * float(right.mean())
    print(f"{what}: {right.sum()} of {len(right)} right ({share:.1f} %){'; ' if described else ''}{described}")
    width = max(map(len, found))
    for name, values in found.items():
        print(f"  {name:<{width}}  ECE {values.ece:.4f}  NCE {_shown(values.nce)}  AUC {_shown(values.auc)}")
    return found


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _draw(args: argparse.Namespace, columns: "Mapping[str, Confidences]", right: "Right") -> None:
    if not args.plot:
        return
    from asr.plots.reliability import draw_reliability
    from asr.scoring.calibration import reliability

    lines = {name: reliability(confidences, right) for name, confidences in columns.items()}
    draw_reliability(lines, args.plot, title=f"{args.dev.name}: {len(right)} words, 95 % intervals")


def _write_receipt(
    args: argparse.Namespace,
    calibration: "Calibration",
    utterances: "Sequence[Utterance]",
    result: Mapping[str, Any],
    num_words: int,
    wall_seconds: float,
) -> None:
    from dataclasses import replace

    from asr import receipts
    from asr.recognizer import resolve_model

    collected = receipts.collect(
        args.command_line,
        config={"calibration": calibration.model_dump(mode="json"), "beam": args.beam},
        seed=None,
        inputs=[args.dev, *searching.files_of(args)],
        result=result,
        utterances=len(utterances),
        words=num_words,
        audio_seconds=sum(item.duration for item in utterances),
        wall_seconds=wall_seconds,
    )
    # the model under the name that was typed: a bundled one has no path worth publishing
    inputs = {**collected.inputs, args.model: receipts.file_hash(resolve_model(args.model))}
    receipts.write(receipts.receipt_path(args.out), replace(collected, inputs=inputs))
