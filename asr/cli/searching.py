"""The options that let a command search instead of reading the best path."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import DataError, UsageError
from asr.receipts import file_hash
from asr.store import read_limited

if TYPE_CHECKING:
    from asr.decoding.beam import BeamConfig
    from asr.decoding.rescoring import Rescorer
    from asr.recognizer import Reader, Recognizer
    from asr.text.tokenizer import Tokenizer

HOTWORD_WEIGHT = 1.0
_MAX_BYTES = 1 << 20
_FILES = ("lm", "hotwords", "rescore", "lexicon", "grammar")  # options that name a file


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
        "--rescore", type=Path, metavar="LSTM", help="rank the answers of the search anew by an LSTM of asr lm train"
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
    return args.beam is not None or bool(_files(args))


def files_of(args: argparse.Namespace) -> list[Path]:
    """Return the files that the search reads."""
    return list(_files(args).values())


def _files(args: argparse.Namespace) -> dict[str, Path]:
    """Return the files that the search reads, by the names of their options."""
    return {name: path for name in _FILES if (path := getattr(args, name)) is not None}


def told(args: argparse.Namespace) -> str:
    """Return for people which search is wanted, as its options without folders; "" for the best path."""
    options = [f"--{name} {path.name}" for name, path in _files(args).items()]
    return " ".join([*options, *([] if args.beam is None else [f"--beam {args.beam}"])])


def recognizer_of(
    args: argparse.Namespace, nbest: int | None = None, context: "tuple[float, float | None] | None" = None
) -> "Recognizer":
    """Return the recogniser of `args.model` on `args.device`, which searches if that is wanted.

    Args:
        nbest: how many texts each transcript lists, which the search has to find.
        context: chunk and right context in milliseconds, in place of the model's own; a right context of None: that.
    Raises: UsageError for a beam or a number of texts that cannot be; DataError for files that cannot be used; as
        `Recognizer`.
    """
    from asr.model import AcousticModel
    from asr.recognizer import Recognizer, resolve_model

    model = AcousticModel.load(resolve_model(args.model))
    if context is not None:
        model.see(*context)
    searches = wants_search(args) or nbest is not None
    reader = _reader_of(args, model.tokenizer, nbest) if searches else None
    return Recognizer(model, device=args.device, reader=reader)


def reader_of(args: argparse.Namespace) -> "Reader | None":
    """Return the reader that is wanted of the log-probs of `args.model`; None for the best path.

    Raises: as `recognizer_of`.
    """
    if not wants_search(args):
        return None
    from asr.model import AcousticModel
    from asr.recognizer import resolve_model

    return _reader_of(args, AcousticModel.load(resolve_model(args.model)).tokenizer, None)


def identity(args: argparse.Namespace) -> dict[str, object]:
    """Return what makes the search this search: the hashes of its files, and how wide it is."""
    found: dict[str, object] = {name: file_hash(path) for name, path in _files(args).items()}
    return found | ({} if args.beam is None else {"beam": args.beam})


def _reader_of(args: argparse.Namespace, tokenizer: "Tokenizer", nbest: int | None) -> "Reader":
    if args.grammar is not None:
        return _grammar_reader_of(args, tokenizer, nbest)
    from asr.decoding.searching import SearchReader
    from asr.lm.binding import check_fits
    from asr.lm.files import load_ngram
    from asr.text.lexicon import read_lexicon

    config = beam_config(args.beam)
    if nbest is not None and not 1 <= nbest <= config.beam:
        raise UsageError(f"--nbest {nbest}: give a number of texts from 1 to {config.beam}, the prefixes of --beam")
    model = load_ngram(args.lm) if args.lm else None
    if model is not None:
        check_fits(model, tokenizer, str(args.lm))
    open_words = None if args.lexicon or tokenizer.lexicon else tokenizer
    hotwords = read_hotwords(args.hotwords, open_words) if args.hotwords else None
    return SearchReader.of(
        tokenizer,
        config,
        model=model,
        hotwords=hotwords,
        lexicon=read_lexicon(args.lexicon, tokenizer.normalizer) if args.lexicon else None,
        nbest=nbest or 0,
        rescorer=_rescorer(args.rescore, tokenizer) if args.rescore else None,
    )


def beam_config(beam: int | None) -> "BeamConfig":
    """Return the search among so many prefixes, None for the usual number.  Raises: UsageError if that cannot be."""
    from asr.decoding.beam import BeamConfig

    if beam is not None and not 1 <= beam <= 65_536:
        raise UsageError(f"--beam {beam}: give a number of prefixes from 1 to 65536")
    return BeamConfig() if beam is None else BeamConfig(beam=beam)


def _rescorer(path: Path, tokenizer: "Tokenizer") -> "Rescorer":
    from asr.decoding.rescoring import Rescorer, RescoringConfig
    from asr.lm.lstm import LstmLanguageModel

    model = LstmLanguageModel.load(path)
    model.check_tokens(tokenizer, str(path))
    return Rescorer(tokenizer, model.log_prob, RescoringConfig.stored(model.notes.rescoring, str(path)))


def _grammar_reader_of(args: argparse.Namespace, tokenizer: "Tokenizer", nbest: int | None) -> "Reader":
    given = {"--lm": args.lm, "--hotwords": args.hotwords, "--rescore": args.rescore, "--beam": args.beam}
    for option, value in {**given, "--nbest": nbest}.items():
        if value is not None:
            raise UsageError(f"{option} {value} is no use with --grammar, whose best phrase is found exactly; drop one")
    from asr.decoding.grammar import GrammarReader
    from asr.text.grammar import read_grammar
    from asr.text.lexicon import read_lexicon

    lexicon = read_lexicon(args.lexicon, tokenizer.normalizer) if args.lexicon else None
    return GrammarReader(read_grammar(args.grammar, tokenizer.normalizer), tokenizer, lexicon)


def read_hotwords(path: Path, tokenizer: "Tokenizer | None" = None) -> dict[str, float]:
    """Return phrase -> weight of a file with a phrase a line, then perhaps a tab and its weight; later lines count.

    Args: tokenizer: which must be able to spell them; None: where a lexicon decides.
    Raises: DataError naming the line.
    """
    too_large = "holds more than a megabyte of hotwords; train a language model on them: asr lm train"
    data = read_limited(path, _MAX_BYTES, what="the hotwords", cure="check --hotwords", too_large=too_large)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start + 1}; save it as UTF-8") from None
    found: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            phrase, weight = _hotword(line, f"{path}:{number}", tokenizer)
            found.pop(phrase, None)  # so that it comes after another spelling of it that stands between the two lines
            found[phrase] = weight
    if not found:
        raise DataError(f"{path}: holds no hotwords; write a phrase a line")
    return found


def _hotword(line: str, place: str, tokenizer: "Tokenizer | None") -> tuple[str, float]:
    """Return the phrase and the weight of a line."""
    from asr.decoding.scorer import spelled_hotword

    phrase, _, number = (part.strip() for part in line.partition("\t"))
    if not phrase:
        raise DataError(f"{place}: a weight without a phrase; write PHRASE, a tab, and a number")
    try:
        weight = float(number) if "\t" in line else HOTWORD_WEIGHT
    except ValueError:
        raise DataError(f"{place}: '{number}' is no weight; write PHRASE, a tab, and a number") from None
    if not abs(weight) <= 100:
        raise DataError(f"{place}: a weight of {number} is not from -100 to 100; 1 to 5 are usual")
    if tokenizer is not None:
        try:
            spelled_hotword(tokenizer, phrase)
        except DataError as error:
            raise DataError(f"{place}: {error}") from None
    return phrase, weight
