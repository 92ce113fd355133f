"""`asr lm`: language models, from a text to a file and what it says of other texts."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli import language, tune
from asr.cli.mixed import MixedParser
from asr.cli.outputs import refuse_folder, refuse_overwriting
from asr.errors import EXIT_DONE, UsageError

if TYPE_CHECKING:
    from asr.lm.binding import Binding
    from asr.lm.ngram import NgramModel

HELP = "train, judge, prune and tune language models"
SUBCOMMANDS = {
    "train": "make a model of a text, one sentence a line: n-grams (interpolated modified Kneser-Ney), or an LSTM",
    "perplexity": "print how well a model foresees a text",
    "info": "print what a file of a model holds",
    "weigh": "fit how much an LSTM counts when it ranks the answers of a search, and keep that in its file",
    "prune": "leave out the n-grams that matter least (Stolcke 1998)",
    "tune": "find the weights with the fewest errors on held-out speech, and keep them in the file",
}
_FORMS = "ends in .arpa or .arpa.gz for ARPA; otherwise our own form, which loads at once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands of `asr lm` and their arguments."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=MixedParser)
    for name, text in SUBCOMMANDS.items():
        _ARGUMENTS[name](commands.add_parser(name, help=text, description=text, allow_abbrev=False))


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", help="plain or gzip, or a manifest (*.jsonl); - is standard input")
    parser.add_argument("--out", required=True, type=Path, metavar="LM", help=f"the file to write; {_FORMS}")
    parser.add_argument("--order", type=int, metavar="N", help="words in the longest n-grams, 1 to 5 (default: 3)")
    parser.add_argument(
        "--prune",
        type=int,
        nargs="+",
        default=[],
        metavar="COUNT",
        help="leave out n-grams of 1, 2, ... words that occur so often or less, as 0 0 1; the last goes on",
    )
    parser.add_argument(
        "--vocab", type=Path, metavar="FILE", help="the words that the model shall have (default: all of TEXT)"
    )
    parser.add_argument("--arpa", action="store_true", help="write ARPA whatever the name of --out")
    language.add_arguments(parser)


def _add_perplexity(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("text", metavar="TEXT", help="one sentence a line, plain or gzip; - is standard input")


def _add_prune(parser: argparse.ArgumentParser) -> None:
    _add_model(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="LM", help=f"the file to write; {_FORMS}")
    parser.add_argument(
        "--threshold",
        required=True,
        type=float,
        metavar="X",
        help="n-grams go whose loss raises the perplexity by less than this share, such as 1e-8",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="LM", help="a language model of ours, or ARPA, plain or gzip")


def run(args: argparse.Namespace) -> int:
    """Do the command that was named and return the exit code."""
    _RUN[args.command](args)
    return EXIT_DONE


def _train(args: argparse.Namespace) -> None:
    language.check_kind(args)
    if args.kind == "lstm":
        language.train(args)
        return
    from asr.cli.progress import progress_bar
    from asr.lm.binding import bind, check_writable
    from asr.lm.files import is_arpa, save_ngram
    from asr.lm.training import train_ngram

    refuse_folder(args.out)
    if args.recognizer and (is_arpa(args.out) or args.arpa):
        raise UsageError("ARPA cannot say which model it is for; leave out --model, or give --out another name")
    tokenizer, source = language.tokenizer_of(args.recognizer) if args.recognizer else (None, None)
    refuse_overwriting(args.out, filter(None, [args.text, args.vocab, source]))
    with progress_bar("read", unit="sentences") as progress:
        trained = train_ngram(
            args.text,
            3 if args.order is None else args.order,
            cutoffs=args.prune,
            vocabulary=args.vocab,
            spelling=None if tokenizer is None else tokenizer.normalizer,
            progress=progress,
        )
    for note in trained.notes:
        print(f"asr lm train: {note}", file=sys.stderr)
    model = trained.model
    if tokenizer is not None:
        if strange := check_writable(model, tokenizer, args.text):
            print(f"asr lm train: {strange}", file=sys.stderr)
        model = bind(model, tokenizer)
    save_ngram(args.out, model, arpa=args.arpa)
    print(f"{trained.num_sentences} sentences, {trained.num_words} words", file=sys.stderr)
    print(_written(args.out, model), file=sys.stderr)


def _perplexity(args: argparse.Namespace) -> None:
    from asr.lm.files import is_lstm, load_ngram
    from asr.lm.perplexity import perplexity

    if is_lstm(args.model):
        language.perplexity(args)
        return
    found = perplexity(load_ngram(args.model), args.text)
    share = found.num_unknown / max(found.num_words, 1)
    print(f"perplexity with unknown words: {found.with_unknown:.4f}")
    print(f"perplexity without unknown words: {found.without_unknown:.4f}")
    print(f"unknown words: {found.num_unknown} of {found.num_words} ({100 * share:.2f} %)")
    print(f"sentences: {found.num_sentences}")
    print(f"log10 probability: {found.log10:.4f}")


def _info(args: argparse.Namespace) -> None:
    from asr.lm.binary import is_binary
    from asr.lm.binding import binding_of
    from asr.lm.files import is_lstm, load_ngram

    if is_lstm(args.model):
        language.info(args)
        return
    model = load_ngram(args.model)
    print(f"file: {args.model}")
    print(f"form: {'ours' if is_binary(args.model) else 'ARPA'}, {os.path.getsize(args.model)} bytes")
    print(f"order: {model.order}")
    for length, count in enumerate(model.num_ngrams(), 1):
        print(f"{length}-grams: {count}")
    print(f"contexts: {model.num_states}")
    print(f"memory: {model.num_bytes} bytes of arrays")
    for line in _bound_to(binding_of(model)):
        print(line)


def _bound_to(binding: "Binding | None") -> Iterator[str]:
    if binding is None:
        yield "bound to: nothing"
        return
    writing = f"that write '{binding.alphabet}'" if binding.alphabet else "of phones"
    yield f"bound to: models {writing}, case {binding.normalizer.case}"
    tuned = binding.tuned
    if tuned is None:
        yield "weights: not tuned, see asr lm tune"
        return
    yield f"weights: {tuned.described}"
    errors = f"{tuned.errors} errors in {tuned.words} words, {tuned.greedy_errors} on the best path"
    yield f"tuned on {tuned.manifest}: {errors}"


def _prune(args: argparse.Namespace) -> None:
    from asr.lm.files import is_arpa, load_ngram, save_ngram
    from asr.lm.pruning import prune

    if not 0 < args.threshold < math.inf:
        raise UsageError(f"--threshold {args.threshold:g}: must be above 0, for example 1e-8")
    refuse_folder(args.out)
    refuse_overwriting(args.out, [args.model])
    model = load_ngram(args.model)
    if model.binding is not None and is_arpa(args.out):
        print(f"asr lm prune: {args.out}: ARPA keeps neither what the model is bound to nor weights", file=sys.stderr)
    pruned = prune(model, args.threshold)
    save_ngram(args.out, pruned)
    print(f"{sum(model.num_ngrams())} n-grams before", file=sys.stderr)
    print(_written(args.out, pruned), file=sys.stderr)


def _written(path: Path, model: "NgramModel") -> str:
    counts = ", ".join(f"{count} {length}-grams" for length, count in enumerate(model.num_ngrams(), 1))
    size = f", {path.stat().st_size / 1e6:.1f} MB" if path.is_file() else ""
    return f"wrote {path}: {counts}{size}"


_ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "train": _add_train,
    "perplexity": _add_perplexity,
    "info": _add_model,
    "weigh": language.add_weigh,
    "prune": _add_prune,
    "tune": tune.add_arguments,
}
_RUN: dict[str, Callable[[argparse.Namespace], None]] = {
    "train": _train,
    "perplexity": _perplexity,
    "info": _info,
    "weigh": language.weigh,
    "prune": _prune,
    "tune": tune.run,
}
