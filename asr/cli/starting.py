"""The model that a command starts from, its tokens, and the configuration of what is to become of it."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.model import AcousticModel
    from asr.text.tokenizer import Tokenizer
    from asr.training.config import ExperimentConfig


def finetuning(args: argparse.Namespace) -> "tuple[ExperimentConfig, Tokenizer, AcousticModel]":
    """Return the configuration, the tokens (the model's own unless others are given) and the model of `args.start`.

    Args: args: with config, overrides, start and tokens.
    Raises: UsageError or DataError for what is wrong with them.
    """
    from asr.model import AcousticModel
    from asr.recognizer import resolve_model
    from asr.text.tokenizer import Tokenizer
    from asr.training.finetune import finetuning_config

    start = AcousticModel.load(resolve_model(args.start))
    tokenizer = Tokenizer.load(args.tokens) if args.tokens else start.tokenizer
    return finetuning_config(args.config, args.overrides, start, tokenizer), tokenizer, start
