"""The frozen base of every configuration, and the YAML loader.

Values only: a file is plain YAML 1.2, and the command line overrides it with `key.path=value`.
"""

import io
import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from asr.errors import DataError, UsageError, did_you_mean

MAX_CONFIG_BYTES = 1_000_000
_OVERRIDE = re.compile(r"[A-Za-z_]\w*\.[^=/]+=")
_SHORT = reprlib.Repr()  # so that a long value does not fill the screen
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200


class Config(pydantic.BaseModel):
    """Base of every configuration: immutable, unknown keys refused, numbers finite."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), validate_default=True
    )


ConfigT = TypeVar("ConfigT", bound=Config)


def parse(config_type: type[ConfigT], values: dict[str, Any], *, where: str) -> ConfigT:
    """Return the configuration built from plain values.

    Args: where: the file or source that the values came from, for the message.
    Raises: UsageError naming every wrong key with the value found, on one line.
    """
    try:
        return config_type.model_validate(values)
    except pydantic.ValidationError as error:
        faults = "; ".join(_describe(config_type, fault) for fault in error.errors())
        raise UsageError(f"{where}: {faults}") from None


def load_config(
    config_type: type[ConfigT],
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    base: dict[str, Any] | None = None,
) -> ConfigT:
    """Return the configuration of a YAML file with `key.path=value` overrides applied.

    Args: base: values below those of the file, in place of the defaults.
    Raises: UsageError for a bad file, key or value; DataError for a missing file.
    """
    values = _laid_over(base or {}, read_yaml(path))
    for override in overrides:
        apply_override(values, override)
    return parse(config_type, values, where=str(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML 1.2 file (duplicate keys are refused).

    Raises: DataError if it cannot be read; UsageError if it is not a mapping.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the configuration: {error.strerror}; check the path") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise UsageError(f"{path}: {len(data)} bytes is too long for a configuration (at most {MAX_CONFIG_BYTES})")
    try:
        values = _parse_yaml(data.decode("utf-8-sig"), where=str(path))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}; save the configuration as UTF-8") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected 'key: value' lines, found a {type(values).__name__}")
    return values


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return (the other words, `key.path=value` overrides) of a command line; a file of that name is no override."""
    overrides = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    return [word for word in words if word not in overrides], overrides


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set `key.path=value` in nested plain values; the value is read as YAML.

    Raises: UsageError if it has no '=' or passes through a value that is not a mapping.
    """
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UsageError(f"{override!r}: expected key.path=value, for example train.epochs=3")
    for depth, key in enumerate(keys[:-1], start=1):
        group = {} if values.get(key) is None else values[key]
        if not isinstance(group, dict):
            raise UsageError(f"{override!r}: {'.'.join(keys[:depth])} is a single value, not a group of keys")
        values[key] = dict(group)  # a copy: another key may share the group through a YAML alias
        values = values[key]
    values[keys[-1]] = _parse_yaml(text, where=repr(override))


def dump_yaml(values: dict[str, Any]) -> str:
    """Return plain values as YAML text."""
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.dump(values, stream)
    return stream.getvalue()


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return both groups of keys as one; where both have a single value, that of `above`."""
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            merged[key] = _laid_over(below[key], above[key])
    return merged


def _parse_yaml(text: str, *, where: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"{where}{line}: not valid YAML: {' '.join(problem.split())}") from None
    except RecursionError:
        raise UsageError(f"{where}: not valid YAML: brackets nested too deeply; a configuration needs few") from None
    except ValueError as error:  # a date, number or tag that the parser lets through to Python
        raise UsageError(f"{where}: not valid YAML: {error}; put the text in quotes") from None


def _describe(config_type: type[Config], fault: Any) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{path}: unknown key{did_you_mean(str(fault['loc'][-1]), _fields_at(config_type, fault['loc'][:-1]))}"
    if fault["type"] == "literal_error" and isinstance(fault["input"], str):
        known = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        return f"{path}: {_SHORT.repr(fault['input'])} is no choice{did_you_mean(fault['input'], known)}"
    message = fault["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    found = fault.get("input")
    shown = "" if isinstance(found, dict) else f", got {_SHORT.repr(found)}"
    return f"{path}: {message}{shown}" if path else message


def _fields_at(config_type: type[Config], path: Sequence[Any]) -> list[str]:
    fields = config_type.model_fields
    for part in path:
        annotation = fields[part].annotation if part in fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, Config)):
            return []
        fields = annotation.model_fields
    return list(fields)
