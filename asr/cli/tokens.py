"""`asr tokens`: texts -> tokens.json, with a hint about what will be hard to learn."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.cli.outputs import refuse_overwriting
from asr.errors import EXIT_DONE, DataError, UsageError

if TYPE_CHECKING:
    from asr.text.normalize import NormalizerConfig
    from asr.text.tokenizer import Tokenizer

HELP = "make the tokens of a model from the texts of manifests"

NUM_RAREST = 10  # symbols shown
FEW = 10  # examples: below, a symbol is hardly learnt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr tokens`."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="MANIFEST_OR_TEXT|text.key=value",
        help="manifests (.jsonl), text files with one utterance a line, and settings of the normaliser",
    )
    parser.add_argument("--config", metavar="conf.yaml", help="the training's: its group `text` is the normaliser")
    parser.add_argument("--out", required=True, metavar="tokens.json", help="the file to write")
    parser.add_argument("--kind", required=True, choices=("char", "unigram", "bpe", "lexicon"), help="what a token is")
    parser.add_argument(
        "--lexicon", metavar="FILE", help="WORD and its phones a line, as CMU's dictionary (lexicon): tokens are phones"
    )
    parser.add_argument("--size", type=int, metavar="N", help="symbols, blank included (unigram, bpe)")
    parser.add_argument(
        "--byte-fallback", action="store_true", help="spell characters without a symbol in bytes (unigram, bpe)"
    )
    parser.add_argument("--case", choices=("lower", "upper", "keep"), help="the same as text.case=")


def run(args: argparse.Namespace) -> int:
    """Make the tokens, write them and say what they are; return the exit code."""
    from asr.config import split_overrides
    from asr.text.normalize import Normalizer

    _check_usage(args)
    paths, overrides = split_overrides(args.inputs)
    if not paths:
        raise UsageError("no texts given; name manifests (.jsonl) or text files")
    refuse_overwriting(args.out, [*paths, *filter(None, (args.config, args.lexicon))])
    normalizer = Normalizer(_normalizer_config(args.config, args.case, overrides))
    texts, num_without = read_texts(paths)
    try:
        tokenizer = _train(args, texts, normalizer)
    except DataError as error:
        raise DataError(f"{', '.join(paths)}: {error}") from None
    tokenizer.save(args.out)
    _print_report(args, tokenizer, texts, num_without)
    return EXIT_DONE


def read_texts(paths: Sequence[str]) -> tuple[list[str], int]:
    """Return (texts of manifests and text files in order, number of utterances without text).

    Raises: DataError if a file cannot be read, or none holds a text.
    """
    texts: list[str] = []
    num_without = 0
    for path in paths:
        for text in _manifest_texts(path) if path.endswith(".jsonl") else _lines(path):
            if text is None or not text.strip():
                num_without += 1
            else:
                texts.append(text)
    if not texts:
        raise DataError(f"{', '.join(paths)}: no texts; give transcripts to make tokens from")
    return texts, num_without


def _manifest_texts(path: str) -> Iterator[str | None]:
    from asr.data.manifest import read_manifest

    for utterance in read_manifest(path):
        yield utterance.text


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield line.decode()
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}:{number}: not UTF-8 at byte {error.start} of the line; save the text as UTF-8"
                    ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot read the texts: {error.strerror}; check the path") from None


def _check_usage(args: argparse.Namespace) -> None:
    if (args.kind == "lexicon") != (args.lexicon is not None):
        raise UsageError(
            "--kind lexicon needs --lexicon FILE, with the pronunciation of each word"
            if args.lexicon is None
            else f"--lexicon {args.lexicon} is for --kind lexicon, not for --kind {args.kind}; leave one of them out"
        )
    if args.kind in ("char", "lexicon") and (args.size is not None or args.byte_fallback):
        flag = "--byte-fallback" if args.size is None else f"--size {args.size}"
        what = "texts decide the characters" if args.kind == "char" else "lexicon decides the phones"
        raise UsageError(f"{flag}: the {what}; leave it out or choose --kind unigram or bpe")
    if args.kind in ("unigram", "bpe") and args.size is None:
        raise UsageError(f"--kind {args.kind} needs the number of symbols, for example --size 128")
    if Path(args.out).is_dir():
        raise UsageError(f"--out {args.out}: a folder; give the name of the file, for example {args.out}/tokens.json")


def _normalizer_config(config: str | None, case: str | None, overrides: Sequence[str]) -> "NormalizerConfig":
    """Return the normaliser of a training's configuration, or of overrides alone."""
    from asr.config import apply_override, load_config, parse
    from asr.errors import did_you_mean
    from asr.text.normalize import NormalizerConfig

    values: dict[str, Any] = {"text": {}}
    for override in overrides:
        apply_override(values, override)
    if case is not None:
        if values["text"].get("case", case) != case:
            raise UsageError(f"--case {case} against text.case={values['text']['case']}; give one of them")
        overrides = [*overrides, f"text.case={case}"]
        values["text"]["case"] = case
    if config is not None:
        from asr.training.config import ExperimentConfig

        return load_config(ExperimentConfig, config, overrides).text
    for group in values:
        if group != "text":
            raise UsageError(f"{group}: unknown key{did_you_mean(group, ['text'])}")
    return parse(NormalizerConfig, values["text"], where="text")


def _train(args: argparse.Namespace, texts: list[str], normalizer: Any) -> "Tokenizer":
    from asr.text.lexicon import read_lexicon
    from asr.text.tokenizer import train_char, train_lexicon, train_sentencepiece

    if args.kind == "char":
        return train_char(texts, normalizer)
    if args.kind == "lexicon":
        return train_lexicon(texts, normalizer, read_lexicon(args.lexicon, normalizer, pronounced=True))
    return train_sentencepiece(texts, normalizer, args.size, args.kind, args.byte_fallback)


def _print_report(args: argparse.Namespace, tokenizer: "Tokenizer", texts: list[str], num_without: int) -> None:
    counts, num_characters, num_spelled = _count(tokenizer, texts)
    num_tokens = counts.total()
    without = f" ({num_without} more without text)" if num_without else ""
    print(f"{args.out}: {tokenizer.size} symbols ({args.kind}, blank included) from {len(texts)} texts{without}")
    print(
        f"coverage: {num_spelled} of {num_characters} characters ({100 * num_spelled / num_characters:.2f} %) in "
        f"texts that come back exactly; {num_tokens} tokens, {num_characters / num_tokens:.2f} characters each"
    )
    rarest = sorted(range(1, tokenizer.size), key=lambda token_id: (counts[token_id], token_id))[:NUM_RAREST]
    print("rarest: " + ", ".join(f"{_shown(tokenizer.symbols[index])} {counts[index]}" for index in rarest))
    if counts[rarest[0]] < FEW:
        cures = {
            "char": ", or map or drop them (text.map, text.remove)",
            "lexicon": ", or pronounce their words in other phones",
        }
        cure = cures.get(args.kind, ", or make --size smaller")
        print(f"hint: symbols with fewer than {FEW} examples are hardly learnt; add texts{cure}")


def _count(tokenizer: "Tokenizer", texts: list[str]) -> tuple[Counter[int], int, int]:
    """Return (uses of each token, characters, characters of texts that decode to what was encoded)."""
    counts: Counter[int] = Counter()
    num_characters = num_spelled = 0
    for text in texts:
        normalized = tokenizer.normalizer(text)
        token_ids = tokenizer.encode(normalized)
        counts.update(token_ids)
        num_characters += len(normalized)
        num_spelled += len(normalized) if tokenizer.decode(token_ids) == normalized else 0
    return counts, num_characters, num_spelled


def _shown(symbol: str) -> str:
    code = f" (U+{ord(symbol):04X})" if len(symbol) == 1 and not symbol.isascii() else ""
    return f"'{symbol}'{code}"
