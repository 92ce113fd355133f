"""asr info: what a model file says about itself, read from its header without torch."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from asr.errors import EXIT_DONE, DataError, shown
from asr.store import SCALE_SUFFIX, read_header, refuse_other_kinds
from asr.units import is_number

HELP = "print all that a model file knows about itself"

# Tensors that are no parameters: training state, tokenizer bytes, constants of the frontend.
_NO_PARAMETERS = ("state/", "tokenizer.", "frontend.")
_MAX_AXES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("model", metavar="NAME|FILE|RUN", help="a bundled model, a model file or a run folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def run(args: argparse.Namespace) -> int:
    """Print the description and return the exit code."""
    from asr.recognizer import resolve_model

    path = resolve_model(args.model)
    try:
        facts = describe(path)
        text = as_json(facts) if args.json else as_text(facts)
    except RecursionError:
        raise DataError(f"{path}: its header is nested too deep to be shown; get the file again") from None
    sys.stdout.write(text)
    return EXIT_DONE


def describe(path: Path) -> dict[str, Any]:
    """Return the header of a model file with its size, parameters and frame rate beside it.

    Raises: DataError if it is not a model file.
    """
    header = read_header(path)
    refuse_other_kinds(header, str(path))
    _check_types(path, header)
    shapes = _shapes(path)
    parameters = [
        prod(shape)
        for name, shape in shapes.items()
        if not name.endswith(SCALE_SUFFIX) and not name.startswith(_NO_PARAMETERS)
    ]
    hop_ms = header["model"]["features"]["hop_ms"] * header["model"]["encoder"]["factor"]
    facts = {
        "file": str(path),
        "bytes": os.stat(path).st_size,
        "parameters": sum(parameters),
        "tensors": sum(not name.endswith(SCALE_SUFFIX) for name in shapes),
        "encoder_hop_ms": hop_ms,
        "encoder_frames_per_second": 1000 / hop_ms,
        "num_tokens": len(header["tokenizer"]["symbols"]),
    }
    return facts | header | facts  # in this order, and what was counted goes before what a header claims


def _is_positive(value: object) -> bool:
    return is_number(value) and 1e-6 < value < 1e6  # type: ignore[operator]


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_group(value: object) -> bool:
    return value is None or isinstance(value, dict)


# What is calculated with or taken apart below; the groups around it are checked with it.
_TYPES: dict[str, Callable[[object], bool]] = {
    "model.features.hop_ms": _is_positive,
    "model.encoder.factor": _is_positive,
    "tokenizer.symbols": _are_texts,
    "tokenizer.normalizer": _is_group,
    "domain": _is_group,
    "calibration": _is_group,
}


def _check_types(path: Path, header: Mapping[str, Any]) -> None:
    for place, is_right in _TYPES.items():
        value: Any = header
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not is_right(value):
            problem = f"{place} is {shown(value)}"
            raise DataError(f"{path}: the header lacks the model's configuration or tokens: {problem}; get it again")


def _shapes(path: Path) -> dict[str, list[int]]:
    """Return the shape of every tensor, from the index that `read_header` has checked to be there."""
    with open(path, "rb") as file:
        index = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shapes: dict[str, Any] = {
        name: entry.get("shape") if isinstance(entry, dict) else entry
        for name, entry in index.items()
        if name != "__metadata__"
    }
    for name, shape in shapes.items():
        if not _is_shape(shape):
            raise DataError(f"{path}: tensor {shown(name)} has the shape {shown(shape)}; get the file again")
    return shapes


def _is_shape(value: object) -> bool:
    if not isinstance(value, list) or not all(is_number(size) and isinstance(size, int) for size in value):
        return False
    return len(value) <= _MAX_AXES and all(size >= 0 for size in value)


def as_json(facts: Mapping[str, Any]) -> str:
    """Return the description as one JSON object.  Raises: DataError for a number that is not finite."""
    try:
        text = json.dumps(facts, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    except ValueError:
        raise DataError(f"{facts['file']}: its header holds a number that is not finite; get the file again") from None
    # JSON has its own escapes for what must not reach a terminal
    return "".join(letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1] for letter in text)


def as_text(facts: Mapping[str, Any]) -> str:
    """Return the description for people."""
    tokenizer, model = facts["tokenizer"], facts["model"]
    features = model["features"]
    symbols = " ".join(map(_visible, tokenizer["symbols"]))
    lines = [
        ("file", _visible(facts["file"])),
        ("format", f"{facts['format']}{', a checkpoint that training can resume' if 'state' in facts else ''}"),
        ("size", f"{facts['bytes'] / 1e6:.2f} MB, matrices stored as {_visible(facts.get('storage'))}"),
        ("parameters", f"{facts['parameters']:,} in {facts['tensors']} tensors"),
        ("sample rate", f"{_visible(facts.get('sample_rate'))} Hz"),
        ("features", f"every {features['hop_ms']:g} ms: {_values(features)}"),
        ("encoder", f"{facts['encoder_frames_per_second']:g} frames a second: {_values(model['encoder'])}"),
        ("live", _live(features, model["encoder"])),
        ("tokens", f"{facts['num_tokens']}, {_visible(tokenizer.get('kind'))}: {symbols}"),
        ("normaliser", _values(tokenizer.get("normalizer") or {}) or "none"),
        ("domain", _values(facts.get("domain") or {}) or "no thresholds: out-of-domain speech is not flagged"),
        ("calibration", _calibration(facts.get("calibration") or {})),
        ("state", _values(facts["state"]) if isinstance(facts.get("state"), dict) else None),
        ("training", _outline(facts.get("training")) or "not recorded"),
    ]
    return "".join(f"{name:<12}{value}\n" for name, value in lines if value is not None)


def _live(features: Mapping[str, Any], encoder: Mapping[str, Any]) -> str:
    """Return whether the model can be asked while somebody speaks."""
    one_way = encoder.get("bidirectional") is False
    reasons = []
    if not one_way and not encoder.get("chunk_ms"):
        reasons.append("its backward direction begins at the end of the recording")
    if features.get("normalization") == "utterance":
        reasons.append("it normalises over the whole utterance")
    if reasons:
        return f"no: {', and '.join(reasons)}"
    frame_ms = features["hop_ms"] * encoder["factor"]
    ahead, chunk, right = (
        _in_frames(encoder.get(key, 0), frame_ms) for key in ("lookahead_ms", "chunk_ms", "right_context_ms")
    )
    if one_way:
        return f"yes: it reads forwards, and {ahead} ms ahead"
    return f"yes: chunks of {chunk} ms with {right} ms behind them"


def _in_frames(milliseconds: Any, frame_ms: float) -> str:
    """Return what becomes of a time in whole encoder frames."""
    if not is_number(milliseconds) or not frame_ms > 0:
        return _visible(milliseconds)
    return f"{int(milliseconds / frame_ms + 0.5) * frame_ms:g}"


def _values(group: Mapping[str, Any]) -> str:
    return _visible(", ".join(f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in group.items()))


def _calibration(maps: Mapping[str, Any]) -> str:
    """Return the maps without the knots, of which there may be hundreds."""
    shown = {
        key: f"isotonic, {len(value['knots'])} knots" if _has_knots(value) else value for key, value in maps.items()
    }
    return _values(shown) or "none: confidence ranks words, and is no probability of being right"


def _has_knots(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("knots"), list)


def _outline(value: Any) -> str:
    """Return nested plain values as indented lines under their heading."""
    if not value:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(f"\n  {_visible(line)}" for line in text.splitlines())


def _visible(text: object) -> str:
    """Return text with control characters spelled out: a file must not steer the terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in str(text))
