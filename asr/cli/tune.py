"""`asr lm tune`: how much a language model should count, found on held-out speech and kept in its file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.outputs import refuse_folder, refuse_overwriting
from asr.errors import DataError, InputError, UsageError

if TYPE_CHECKING:
    from asr.data.manifest import Utterance
    from asr.decoding.searching import LogProbs
    from asr.lm.binding import TunedWeights
    from asr.model import AcousticModel
    from asr.tuning.fusion import Tuned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("lm", type=Path, metavar="LM", help="a language model of ours, or ARPA, plain or gzip")
    parser.add_argument(
        "manifest", type=Path, metavar="DEV.jsonl", help="speech that the model was not trained on, with its texts"
    )
    parser.add_argument(
        "--model", required=True, metavar="NAME|FILE|RUN", help="a bundled model, a model file or a run folder"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="LM", help="the file to write, in our own form")
    parser.add_argument("--beam", type=int, metavar="N", help="search among N prefixes (default: 100)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the error rates over weights and bonuses")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")


def run(args: argparse.Namespace) -> None:
    """Tune, tell and write; nothing is written that makes more errors than the best path."""
    from asr.cli.progress import progress_bar
    from asr.cli.searching import beam_config
    from asr.data.manifest import read_manifest
    from asr.lm.binding import bind, check_fits
    from asr.lm.files import is_arpa, load_ngram, save_ngram
    from asr.model import AcousticModel
    from asr.recognizer import resolve_model
    from asr.tuning.fusion import tune_fusion

    if is_arpa(args.out):
        raise UsageError(f"--out {args.out}: ARPA cannot keep weights; give another name, such as {args.out.stem}.lm")
    utterances = read_manifest(args.manifest)
    _check_outputs(args, [args.lm, args.manifest, resolve_model(args.model), *{item.audio for item in utterances}])
    config = beam_config(args.beam)
    texts = _texts(utterances, args.manifest)
    language, model = load_ngram(args.lm), AcousticModel.load(resolve_model(args.model))
    check_fits(language, model.tokenizer, str(args.lm))
    if not any(map(model.tokenizer.normalizer, texts)):
        raise DataError(f"{args.manifest}: its texts hold no words; write what is said")
    log_probs = _heard(model, utterances, args)
    with progress_bar("tune", unit="settings") as progress:
        tuned = tune_fusion(log_probs, texts, model.tokenizer, language, config=config, progress=progress)
    _print(tuned)
    if args.plot:
        _draw(tuned, args)
    weights = _weights(tuned, args.manifest)
    save_ngram(args.out, bind(language, model.tokenizer, weights))
    print(f"wrote {args.out}: {weights.described}", file=sys.stderr)


def _check_outputs(args: argparse.Namespace, given: Sequence[Path]) -> None:
    """Refuse, before the work, what cannot be written, or is one of the files that are read."""
    refuse_folder(args.out)
    refuse_overwriting(args.out, given)
    if args.plot:
        from asr.plots.picture import picture_format, require_matplotlib

        picture_format(args.plot)
        refuse_folder(args.plot, flag="--plot")
        refuse_overwriting(args.plot, [*given, args.out], flag="--plot")
        require_matplotlib()


def _texts(utterances: "Sequence[Utterance]", manifest: Path) -> list[str]:
    """Return what is said in each utterance.  Raises: DataError if one has no text, or there are none."""
    if not utterances:
        raise DataError(f"{manifest}: holds no utterances; give a manifest with at least one")
    texts = [utterance.text for utterance in utterances if utterance.text is not None]
    if len(texts) < len(utterances):
        raise DataError(f"{manifest}: {len(utterances) - len(texts)} utterances have no text; give them one")
    return texts


def _weights(tuned: "Tuned", manifest: Path) -> "TunedWeights":
    """Return what is kept of the best setting.  Raises: DataError if it is of no use."""
    from asr.lm.binding import TunedWeights

    best = tuned.best
    if best.errors > tuned.greedy_errors:
        raise DataError(
            f"{manifest}: the best setting makes {best.errors} errors, the best path {tuned.greedy_errors};"
            " nothing is written: this language model does not help here"
        )
    if best.errors >= tuned.words:
        raise DataError(
            f"{manifest}: the best setting makes {best.errors} errors in {tuned.words} words, as many as silence;"
            " nothing is written: are these the texts of this speech, and spelled as the model spells?"
        )
    return TunedWeights(
        weight=best.weight,
        bonus=best.bonus,
        unknown=tuned.unknown,
        blank_penalty=best.blank_penalty,
        manifest=manifest.name,
        words=tuned.words,
        errors=best.errors,
        greedy_errors=tuned.greedy_errors,
    )


def _heard(model: "AcousticModel", utterances: "Sequence[Utterance]", args: argparse.Namespace) -> "list[LogProbs]":
    from asr.cli.notes import log_on_stderr
    from asr.cli.progress import progress_bar
    from asr.recognizer import Recognizer

    sources = [item.source for item in utterances]
    found: list[LogProbs] = []
    with log_on_stderr("asr lm tune"), progress_bar("hear", unit="utterances") as progress:
        results = Recognizer(model, device=args.device).log_probs(sources, progress=progress)
        for utterance, result in zip(utterances, results, strict=True):
            if isinstance(result, InputError):
                raise DataError(f"{args.manifest}: utterance '{utterance.id}': {result}")
            found.append(result)
    return found


def _draw(tuned: "Tuned", args: argparse.Namespace) -> None:
    from asr.plots.landscape import draw_landscape

    best = (tuned.best.weight, tuned.best.bonus)
    title = f"word error rate on {args.manifest.name}, percent"
    draw_landscape(_landscape(tuned), args.plot, best=best, title=title)


def _landscape(tuned: "Tuned") -> "dict[tuple[float, float], float]":
    """Return the error rate in percent of each (weight, bonus) at the best blank penalty, or at none."""
    rates: dict[tuple[float, float], float] = {}
    for setting in sorted(tuned.settings, key=lambda setting: setting.blank_penalty == tuned.best.blank_penalty):
        rates[setting.weight, setting.bonus] = 100 * setting.errors / tuned.words
    return rates


def _print(tuned: "Tuned") -> None:
    """Print the errors of every weight and bonus, and the best setting."""
    print("errors    bonus " + "".join(f"{bonus:>7g}" for bonus in _values(tuned, "bonus")))
    for weight in _values(tuned, "weight"):
        row = [_least(tuned, weight, bonus) for bonus in _values(tuned, "bonus")]
        print(f"weight {weight:>8g}  " + "".join(f"{'' if errors is None else errors:>7}" for errors in row))
    best = tuned.best
    rate, greedy = 100 * best.errors / tuned.words, 100 * tuned.greedy_errors / tuned.words
    print(f"best path: {tuned.greedy_errors} errors in {tuned.words} words ({greedy:.2f} %)")
    found = f"weight {best.weight:g}, bonus {best.bonus:g}, blank penalty {best.blank_penalty:g}"
    print(f"best setting: {best.errors} errors ({rate:.2f} %): {found}")


def _values(tuned: "Tuned", name: str) -> list[float]:
    return sorted({getattr(setting, name) for setting in tuned.settings})


def _least(tuned: "Tuned", weight: float, bonus: float) -> int | None:
    errors = [item.errors for item in tuned.settings if (item.weight, item.bonus) == (weight, bonus)]
    return min(errors, default=None)
