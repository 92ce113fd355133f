"""How texts are spelled before they are compared: the options that `asr score` and `asr compare` share."""

import argparse
from typing import Any

from asr.text.normalize import Normalizer
from asr.text.tokenizer import Tokenizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--case", choices=("keep", "lower"), default="keep", help="lower: upper and lower case are equal"
    )
    parser.add_argument(
        "--tokens", metavar="tokens.json", help="spell all as these tokens' texts (their text.map, .remove and .case)"
    )


def normalizer_of(args: argparse.Namespace) -> Normalizer | None:
    """Return the normaliser of the tokens that were named, None without.  Raises: DataError as `Tokenizer.load`."""
    return Tokenizer.load(args.tokens).normalizer if args.tokens else None


def settings(args: argparse.Namespace, spelling: Normalizer | None) -> dict[str, Any]:
    """Return what a receipt says of it."""
    return {"case": args.case} | ({"text": spelling.config.model_dump(mode="json")} if spelling else {})
