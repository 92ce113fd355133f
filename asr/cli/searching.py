"""The options that let a command search instead of reading the best path."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import DataError, UsageError

if TYPE_CHECKING:
    from asr.recognizer import Reader, Recognizer
    from asr.text.tokenizer import Tokenizer

HOTWORD_WEIGHT = 1.0
_MAX_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--lm", type=Path, metavar="LM", help="search with a language model made by asr lm, or an ARPA")
    parser.add_argument(
        "--hotwords",
        type=Path,
        metavar="FILE",
        help="search with a phrase a line, more likely by what follows a tab, in natural logs a letter (default: 1)",
    )
    parser.add_argument(
        "--lexicon",
        type=Path,
        metavar="FILE",
        help="search with the words of FILE and no others: a word a line, and its pronunciation if tokens are phones",
    )
    parser.add_argument(
        "--grammar",
        type=Path,
        metavar="FILE",
        help="read the best phrase of FILE: a phrase a line, JSGF, or an expression over words (*.regex)",
    )
    parser.add_argument("--beam", type=int, metavar="N", help="search among N prefixes (100, unless by --grammar)")


def wants_search(args: argparse.Namespace) -> bool:
    """Return whether one of the options was given."""
    return args.beam is not None or bool(files(args))


def files(args: argparse.Namespace) -> list[Path]:
    """Return the files that the search reads."""
    return [file for file in (args.lm, args.hotwords, args.lexicon, args.grammar) if file is not None]


def recognizer_of(args: argparse.Namespace) -> "Recognizer":
    """Return the recogniser of `args.model` on `args.device`, which searches if that is wanted.

    Raises: UsageError for a beam that cannot be; DataError for files that cannot be used; as `Recognizer`.
    """
    from asr.model import AcousticModel
    from asr.recognizer import Recognizer, resolve_model

    model = AcousticModel.load(resolve_model(args.model))
    reader = _reader_of(args, model.tokenizer) if wants_search(args) else None
    return Recognizer(model, device=args.device, reader=reader)


def _reader_of(args: argparse.Namespace, tokenizer: "Tokenizer") -> "Reader":
    if args.beam is not None and not 1 <= args.beam <= 65_536:
        raise UsageError(f"--beam {args.beam}: give a number of prefixes from 1 to 65536")
    if args.grammar is not None:
        return _grammar_reader_of(args, tokenizer)
    from asr.decoding.beam import BeamConfig
    from asr.decoding.searching import SearchReader
    from asr.lm.files import load_ngram
    from asr.text.lexicon import read_lexicon

    model = load_ngram(args.lm) if args.lm else None
    hotwords = read_hotwords(args.hotwords) if args.hotwords else None
    config = BeamConfig(beam=args.beam) if args.beam else BeamConfig()
    lexicon = read_lexicon(args.lexicon, tokenizer.normalizer) if args.lexicon else None
    return SearchReader.of(tokenizer, config, model=model, hotwords=hotwords, lexicon=lexicon)


def _grammar_reader_of(args: argparse.Namespace, tokenizer: "Tokenizer") -> "Reader":
    for option, value in (("--lm", args.lm), ("--hotwords", args.hotwords), ("--beam", args.beam)):
        if value is not None:
            raise UsageError(f"{option} {value} is no use with --grammar, whose best phrase is found exactly; drop one")
    from asr.decoding.grammar import GrammarReader
    from asr.text.grammar import read_grammar
    from asr.text.lexicon import read_lexicon

    lexicon = read_lexicon(args.lexicon, tokenizer.normalizer) if args.lexicon else None
    return GrammarReader(read_grammar(args.grammar, tokenizer.normalizer), tokenizer, lexicon)


def read_hotwords(path: Path) -> dict[str, float]:
    """Return phrase -> weight of a file with a phrase a line, then perhaps a tab and its weight.

    Raises: DataError naming the line.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot read the hotwords: {error.strerror}; check --hotwords") from None
    if len(data) > _MAX_BYTES:
        raise DataError(f"{path}: holds more than a megabyte of hotwords; train a language model on them: asr lm train")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start + 1}; save it as UTF-8") from None
    found = {}
    for number, line in enumerate(lines, 1):
        phrase, tab, weight = line.partition("\t")
        if not phrase.strip():
            continue
        try:
            found[phrase.strip()] = float(weight) if tab else HOTWORD_WEIGHT
        except ValueError:
            raise DataError(f"{path}:{number}: '{weight}' is no weight; write PHRASE, a tab, and a number") from None
        if not abs(found[phrase.strip()]) <= 100:
            raise DataError(f"{path}:{number}: a weight of {weight} is not from -100 to 100; 1 to 5 are usual")
    if not found:
        raise DataError(f"{path}: holds no hotwords; write a phrase a line")
    return found
