"""asr info: what a model file says about itself, read from its header without torch."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from asr.errors import EXIT_DONE, DataError
from asr.store import read_header

HELP = "print all that a model file knows about itself"

# Tensors that are no parameters: int8 scales, training state, tokenizer bytes, constants of the frontend.
_SCALE_SUFFIX = "#scale"
_NO_PARAMETERS = ("state/", "tokenizer.", "frontend.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("model", metavar="NAME|FILE|RUN", help="a bundled model, a model file or a run folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Print the description and return the exit code."""
    from asr.recognizer import resolve_model

    facts = describe(resolve_model(args.model))
    if args.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        sys.stdout.write(as_text(facts))
    return EXIT_DONE


def describe(path: Path) -> dict[str, Any]:
    """Return the header of a model file with its size, parameters and frame rate beside it.

    Raises: DataError if it is not a model file.
    """
    header = read_header(path)
    if header.get("kind") != "model":
        raise DataError(f"{path}: holds a {header.get('kind')!r}, not a model; give a model file")
    shapes = _shapes(path)
    parameters = [
        prod(shape)
        for name, shape in shapes.items()
        if not name.endswith(_SCALE_SUFFIX) and not name.startswith(_NO_PARAMETERS)
    ]
    try:
        hop_ms = header["model"]["features"]["hop_ms"] * header["model"]["encoder"]["factor"]
        derived = {
            "encoder_hop_ms": hop_ms,
            "encoder_frames_per_second": 1000 / hop_ms,
            "num_tokens": len(header["tokenizer"]["symbols"]),
        }
    except (KeyError, TypeError, ZeroDivisionError):
        raise DataError(f"{path}: the header lacks the model's configuration or tokens; get the file again") from None
    return {
        "file": str(path),
        "bytes": os.stat(path).st_size,
        "parameters": sum(parameters),
        "tensors": len(shapes),
        **derived,
        **header,
    }


def _shapes(path: Path) -> dict[str, list[int]]:
    """Return the shape of every tensor, from the index that `read_header` has checked to be there."""
    with open(path, "rb") as file:
        index = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: entry["shape"] for name, entry in index.items() if name != "__metadata__"}


def as_text(facts: Mapping[str, Any]) -> str:
    """Return the description for people."""
    tokenizer, model = facts["tokenizer"], facts["model"]
    features = model["features"]
    lines = [
        ("file", facts["file"]),
        ("format", f"{facts['format']}{', a checkpoint that training can resume' if 'state' in facts else ''}"),
        ("size", f"{facts['bytes'] / 1e6:.2f} MB, matrices stored as {facts.get('storage')}"),
        ("parameters", f"{facts['parameters']:,} in {facts['tensors']} tensors"),
        ("sample rate", f"{facts.get('sample_rate')} Hz"),
        ("features", f"every {features['hop_ms']:g} ms: {_values(features)}"),
        ("encoder", f"{facts['encoder_frames_per_second']:g} frames a second: {_values(model['encoder'])}"),
        ("tokens", f"{facts['num_tokens']}, {tokenizer.get('kind')}: {' '.join(map(_visible, tokenizer['symbols']))}"),
        ("normaliser", _values(tokenizer.get("normalizer") or {}) or "none"),
        ("domain", _values(facts.get("domain") or {}) or "no thresholds: out-of-domain speech is not flagged"),
        ("state", _values(facts["state"]) if isinstance(facts.get("state"), dict) else None),
        ("training", _outline(facts.get("training")) or "not recorded"),
    ]
    return "".join(f"{name:<12}{value}\n" for name, value in lines if value is not None)


def _values(group: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in group.items())


def _outline(value: Any) -> str:
    """Return nested plain values as indented lines under their heading."""
    if not value:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(f"\n  {_visible(line)}" for line in text.splitlines())


def _visible(text: object) -> str:
    """Return text with control characters spelled out: a file must not steer the terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))
