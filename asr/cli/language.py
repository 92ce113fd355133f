"""`asr lm` with LSTM language models: `asr lm train --kind lstm`, and what their files say."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.outputs import refuse_folder, refuse_overwriting
from asr.errors import DataError, UsageError

if TYPE_CHECKING:
    from asr.lm.lstm_perplexity import TokenPerplexity
    from asr.lm.sentences import Sentences
    from asr.text.tokenizer import Tokenizer
    from asr.training.language import LanguageConfig
    from asr.training.language_fit import LanguageOutcome

KINDS = ("ngram", "lstm")
# option -> (its attribute, the kind that takes it)
_OF_KIND = {
    "--order": ("order", "ngram"),
    "--prune": ("prune", "ngram"),
    "--vocab": ("vocab", "ngram"),
    "--arpa": ("arpa", "ngram"),
    "--config": ("config", "lstm"),
    "--valid": ("valid", "lstm"),
    "--seed": ("seed", "lstm"),
    "--resume": ("resume", "lstm"),
    "key.path=value": ("overrides", "lstm"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `asr lm train` takes for an LSTM."""
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="lstm: values in place of the file's")
    parser.add_argument("--kind", choices=KINDS, default="ngram", help="of the model (default: ngram)")
    parser.add_argument(
        "--model",
        dest="recognizer",
        metavar="NAME|FILE|RUN|tokens.json",
        help="the recogniser that it is for, or its tokens: TEXT is spelled as that one writes, and another one refuses"
        " the file; an LSTM is over its tokens",
    )
    parser.add_argument("--config", type=Path, metavar="CONFIG.yaml", help="lstm: network and training")
    parser.add_argument("--valid", metavar="TEXT", help="lstm: judge by this text (default: by a share of TEXT)")
    parser.add_argument("--seed", type=int, metavar="N", help="lstm: of all randomness (default: 1)")
    parser.add_argument("--resume", action="store_true", help="lstm: go on with a training that was interrupted")


def add_weigh(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr lm weigh`."""
    parser.add_argument("model", type=Path, metavar="LSTM", help="made by asr lm train --kind lstm")
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="held-out utterances with their texts")
    parser.add_argument(
        "answers", type=Path, metavar="HYP.jsonl", help="of asr decode MANIFEST --nbest 100, without --rescore"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="LSTM", help="the file to write; may be LSTM itself")


def check_kind(args: argparse.Namespace) -> None:
    """Raise UsageError for an option of another kind of model, or where the recogniser is missing."""
    for option, (name, kind) in _OF_KIND.items():
        value = getattr(args, name)
        if kind != args.kind and value is not None and value is not False and value != []:
            shown = value[0] if name == "overrides" else option
            raise UsageError(f"{shown} is for --kind {kind}; leave it out, or give --kind {kind}")
    if args.kind == "lstm" and args.recognizer is None:
        raise UsageError("--model is missing; name the recogniser whose tokens the language model shall be over")
    if args.kind == "lstm" and args.text == "-" == args.valid:
        raise UsageError("'-' is given twice; standard input can be read only once")


def train(args: argparse.Namespace) -> None:
    """Train an LSTM, write it, and write its receipt beside it."""
    from asr.cli.notes import log_on_stderr
    from asr.cli.progress import progress_bar
    from asr.training.language_fit import LanguageRequest, fit_language

    started = time.monotonic()
    inputs = [Path(name) for name in (args.text, args.valid, args.config) if name not in (None, "-")]
    tokenizer, source = tokenizer_of(args.recognizer)
    refuse_folder(args.out)
    refuse_overwriting(args.out, [*inputs, source])
    config = _config(args)
    sentences = _read(args.text, tokenizer)
    valid = None if args.valid is None else _read(args.valid, tokenizer)
    seed = 1 if args.seed is None else args.seed
    request = LanguageRequest(config, tokenizer, sentences, valid, args.text, args.out, seed, args.resume)
    with log_on_stderr("asr lm train"), progress_bar("train", unit="epochs") as progress:
        outcome = fit_language(request, say=_say, progress=progress)
    _say(f"wrote {args.out}: {outcome.parameters} parameters, {args.out.stat().st_size / 1e6:.1f} MB")
    _say(f"held-out sentences: perplexity {_both(outcome.perplexity)}, best after epoch {outcome.best_epoch}")
    _write_receipt(args, config, outcome, [*inputs, source], max(time.monotonic() - started, outcome.wall_seconds))


def perplexity(args: argparse.Namespace) -> None:
    """Print how well an LSTM foresees a text."""
    from asr.lm.lstm import LstmLanguageModel
    from asr.lm.lstm_perplexity import token_perplexity

    model = LstmLanguageModel.load(args.model)
    found = token_perplexity(model, _read(args.text, model.tokenizer))
    print(f"perplexity of a word: {found.per_word:.4f}")
    print(f"perplexity of a token: {found.per_token:.4f}")
    print(f"sentences: {found.num_sentences}, words: {found.num_words}, tokens: {found.num_tokens}")
    print(f"log10 probability: {found.log10:.4f}")


def info(args: argparse.Namespace) -> None:
    """Print what the file of an LSTM holds."""
    from asr.lm.lstm import LstmLanguageModel

    model = LstmLanguageModel.load(args.model)
    print(f"file: {args.model}")
    print(f"form: LSTM, {args.model.stat().st_size} bytes")
    print(f"layers: {model.config.layers} of {model.config.width} cells")
    print(f"parameters: {sum(parameter.numel() for parameter in model.parameters())}")
    print(f"tokens: {model.tokenizer.size}, {model.tokenizer.kind}")
    weights = model.notes.rescoring
    print(
        "rescoring: " + ("not fitted" if weights is None else ", ".join(f"{key} {weights[key]:g}" for key in weights))
    )


def weigh(args: argparse.Namespace) -> None:
    """Fit weight and bonus on lists of answers, and write the model with them."""
    from dataclasses import replace

    from asr.lm.lstm import LstmLanguageModel
    from asr.scoring.texts import read_texts, recordings
    from asr.text.tokenizer import named_characters
    from asr.tuning.rescoring import fit_rescoring, read_answers, read_references

    refuse_folder(args.out)
    refuse_overwriting(args.out, [args.manifest, args.answers, *recordings(read_texts(args.manifest), args.manifest)])
    model = LstmLanguageModel.load(args.model)
    references, answers = read_references(args.manifest), read_answers(args.answers)
    for name, some in answers.items():
        if strange := model.tokenizer.unknown(" ".join(text for text, _ in some)):
            raise DataError(
                f"{args.answers}: utterance {name!r}: {named_characters(strange)} in its answers, which the LSTM cannot"
                " spell; decode with the recogniser that the LSTM is for, without a lexicon that spells otherwise"
            )
    found = fit_rescoring(references, answers, model.log_prob, normalize=model.tokenizer.normalizer)
    model.notes = replace(model.notes, rescoring=found.config.model_dump())
    model.save(args.out)
    print(f"weight: {found.config.weight:g}, bonus: {found.config.bonus:g}")
    print(f"word errors: {found.before} before, {found.errors} rescored, {found.least} at least; words: {found.words}")


def tokenizer_of(name: str) -> "tuple[Tokenizer, Path]":
    """Return the tokens of a recogniser, or of a tokens.json, and the file that they are from."""
    from asr.text.tokenizer import Tokenizer

    if name.endswith(".json"):
        return Tokenizer.load(name), Path(name)
    from asr.model import AcousticModel
    from asr.recognizer import resolve_model

    path = resolve_model(name)
    return AcousticModel.load(path).tokenizer, path


def _config(args: argparse.Namespace) -> "LanguageConfig":
    from asr.config import apply_override, load_config, parse
    from asr.training.language import LanguageConfig

    if args.config is not None:
        return load_config(LanguageConfig, args.config, args.overrides)
    values: dict[str, object] = {}
    for override in args.overrides:
        apply_override(values, override)
    return parse(LanguageConfig, values, where="the command line")


def _read(text: str, tokenizer: "Tokenizer") -> "Sentences":
    from asr.cli.progress import progress_bar
    from asr.lm.sentences import read_sentences

    with progress_bar("read", unit="sentences") as progress:
        found = read_sentences(text, tokenizer, progress=progress)
    for note in found.notes():
        _say(f"{'standard input' if text == '-' else text}: {note}")
    return found


def _both(found: "TokenPerplexity") -> str:
    return f"{found.per_token:.4f} a token, {found.per_word:.2f} a word"


def _write_receipt(
    args: argparse.Namespace, config: "LanguageConfig", outcome: "LanguageOutcome", inputs: list[Path], seconds: float
) -> None:
    from asr import receipts

    judged = outcome.perplexity
    result = {
        "perplexity_per_token": round(judged.per_token, 5),
        "perplexity_per_word": round(judged.per_word, 4),
        "held_out_sentences": judged.num_sentences,
        "held_out_words": judged.num_words,
        "held_out_tokens": judged.num_tokens,
        "sentences": outcome.sentences,
        "tokens_seen": outcome.tokens,
        "steps": outcome.steps,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "parameters": outcome.parameters,
    }
    collected = receipts.collect(
        args.command_line,
        config=config,
        seed=1 if args.seed is None else args.seed,
        inputs=inputs,
        result=result,
        utterances=outcome.sentences,
        wall_seconds=round(seconds, 3),
    )
    receipts.write(receipts.receipt_path(args.out), collected)


def _say(message: str) -> None:
    print(f"asr lm: {message}", file=sys.stderr, flush=True)
