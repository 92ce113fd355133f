"""Configuration: YAML 1.2 without its traps, messages of one line, every field explained and read."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

import asr
from asr.config import MAX_CONFIG_BYTES, Config, apply_override, dump_yaml, load_config, parse, read_yaml
from asr.errors import DataError, UsageError
from asr.training.config import ExperimentConfig
from asr.training.language import LanguageConfig

ROOT = Path(asr.__file__).parent
CONFS = sorted((ROOT.parent / "conf").glob("*.yaml"))


class Inner(Config):
    beam_size: int = Field(8, ge=1, description="hypotheses kept")
    rate: float = Field(0.1, gt=0, description="a number")
    name: str = Field("x", description="text")
    kinds: tuple[str, ...] = Field((), description="texts")


class Outer(Config):
    decode: Inner = Field(Inner(), description="an inner group")
    on: bool = Field(False, description="a switch")


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "c.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def fault_of(folder: Path, text: str | bytes, *overrides: str) -> str:
    path = write(folder, text)
    with pytest.raises(UsageError) as caught:
        load_config(Outer, path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith((str(path), "'")), message
    return message.removeprefix(f"{path}: ").removeprefix(str(path))


def test_values_of_the_file_and_defaults(tmp_path: Path) -> None:
    config = load_config(Outer, write(tmp_path, "\ufeffdecode:\n  beam_size: 3\n"))
    assert config.decode.beam_size == 3
    assert config.decode.rate == 0.1
    assert load_config(Outer, write(tmp_path, "")) == Outer()


def test_configurations_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Outer().on = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("decode: {beamsize: 3}", "decode.beamsize: unknown key; did you mean 'beam_size'?"),
        ("decod: {beam_size: 3}", "decod: unknown key; did you mean 'decode'?"),
        ("zzz: 1", "zzz: unknown key; known: decode, on"),
        ("decode: {beam_size: 0}", "decode.beam_size: input should be greater than or equal to 1, got 0"),
        (
            "{decode: {beam_size: 0, rate: -1}}",
            "decode.beam_size: input should be greater than or equal to 1, got 0;"
            " decode.rate: input should be greater than 0, got -1",
        ),
        ("decode: {rate: .nan}", "decode.rate: input should be a finite number, got nan"),
        ("decode: {rate: 1e999}", "decode.rate: input should be a finite number, got inf"),
        ("decode: 3", "decode: input should be a valid dictionary or instance of Inner, got 3"),
        ("- a\n- b", "expected 'key: value' lines, found a list"),
        ("just text", "expected 'key: value' lines, found a str"),
        ("on: 1\non: 0", ':2: not valid YAML: found duplicate key "on" with value "0" (original value: "1")'),
        ("a: 1\n---\nb: 2", ":2: not valid YAML: but found another document"),
        ("a: 2024-13-45", "not valid YAML: month must be in 1..12; put the text in quotes"),
        ("a: !!float x", "not valid YAML: could not convert string to float: 'x'; put the text in quotes"),
        ("[" * 1200, "not valid YAML: brackets nested too deeply; a configuration needs few"),
        (b"\xff\xfe", "not UTF-8 at byte 0; save the configuration as UTF-8"),
        ("#" * (MAX_CONFIG_BYTES + 1), f"{MAX_CONFIG_BYTES + 1} bytes is too long for a configuration"),
    ],
)
def test_what_is_wrong_is_said_on_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert fault_of(tmp_path, text).startswith(message)


def test_no_object_is_ever_built_from_a_tag(tmp_path: Path) -> None:
    marker = tmp_path / "touched"
    fault = fault_of(tmp_path, f"a: !!python/object/apply:os.system ['touch {marker}']")
    assert "could not determine a constructor" in fault
    assert not marker.exists()


def test_long_values_are_cut(tmp_path: Path) -> None:
    text = "decode:\n  beam_size: [" + ", ".join(["x"] * 5000) + "]"
    assert len(fault_of(tmp_path, text)) < 400
    nine = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert len(fault_of(tmp_path, f"x0: &x0 [lol]\n{nine}on: *x9")) < 4000


def test_a_missing_file_is_missing_data(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(DataError, match=r"cannot read the configuration: .*; check the path"):
            load_config(Outer, path)


def test_yaml_is_1_2(tmp_path: Path) -> None:
    """In YAML 1.1 these are False, 90, the text '3e-4', 8 and a date in disguise."""
    values = read_yaml(write(tmp_path, "a: no\nb: 1:30\nc: 3e-4\nd: 010\ne: on\nf: true\ng: 0o17\nh: y"))
    assert values == {"a": "no", "b": "1:30", "c": 3e-4, "d": 10, "e": "on", "f": True, "g": 15, "h": "y"}


def test_words_are_no_numbers(tmp_path: Path) -> None:
    assert "got 'no'" in fault_of(tmp_path, "decode: {beam_size: no}")
    assert "got '1:30'" in fault_of(tmp_path, "decode: {rate: 1:30}")


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("decode.beam_size=3", ("decode", "beam_size"), 3),
        ("decode.rate=3e-4", ("decode", "rate"), 3e-4),
        ("decode.name=no", ("decode", "name"), "no"),
        ("decode.name='a=b: c'", ("decode", "name"), "a=b: c"),
        ("decode.name=''", ("decode", "name"), ""),
        ("decode.kinds=[a, b]", ("decode", "kinds"), ("a", "b")),
        ("on=true", ("on",), True),
        (" on =true", ("on",), True),
    ],
)
def test_overrides(tmp_path: Path, override: str, path: tuple[str, ...], value: object) -> None:
    for text in ("", "decode:\n" if path[0] == "decode" else "on: false", "decode: {beam_size: 9}\n"):
        found: object = load_config(Outer, write(tmp_path, text), [override])
        for key in path:
            found = getattr(found, key)
        assert found == value


def test_the_last_override_wins_and_the_rest_of_the_group_stays(tmp_path: Path) -> None:
    path = write(tmp_path, "decode: {beam_size: 9, name: y}")
    config = load_config(Outer, path, ["decode.beam_size=1", "decode.beam_size=2"])
    assert (config.decode.beam_size, config.decode.name) == (2, "y")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decode.beam_size", "'decode.beam_size': expected key.path=value, for example train.epochs=3"),
        ("=3", "'=3': expected key.path=value"),
        ("decode..name=3", "'decode..name=3': expected key.path=value"),
        ("on.x=3", "'on.x=3': on is a single value, not a group of keys"),
        ("decode.name=[", "'decode.name=[':1: not valid YAML"),
        ("decode.beamsize=3", "decode.beamsize: unknown key; did you mean 'beam_size'?"),
        ("decode.beam_size=many", "decode.beam_size: input should be a valid integer"),
    ],
)
def test_wrong_overrides(tmp_path: Path, override: str, message: str) -> None:
    assert fault_of(tmp_path, "on: true", override).startswith(message)


def test_an_override_of_a_group_leaves_its_yaml_alias_alone(tmp_path: Path) -> None:
    values = read_yaml(write(tmp_path, "a: &shared {x: 1}\nb: *shared"))
    apply_override(values, "a.x=2")
    assert values == {"a": {"x": 2}, "b": {"x": 1}}


def test_what_is_dumped_is_read_again(tmp_path: Path) -> None:
    config = ExperimentConfig.model_validate({"text": {"map": {"no": "1:30", "é": "e"}}, "train": {"epochs": 7}})
    path = write(tmp_path, dump_yaml(config.model_dump(mode="json")))
    assert load_config(ExperimentConfig, path) == config


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%#?,.1e \n\t<", max_size=40))
def test_any_text_is_a_configuration_or_a_usage_error(text: str) -> None:
    values: dict[str, object] = {}
    fault = ""
    try:
        apply_override(values, f"decode.name={text}")
        parse(Outer, values, where="x")
    except UsageError as error:
        fault = str(error)
    assert "\n" not in fault


@pytest.mark.parametrize("path", CONFS, ids=lambda path: path.name)
def test_every_conf_loads(path: Path) -> None:
    assert load_config(LanguageConfig if path.name.startswith("lm-") else ExperimentConfig, path)


def test_the_configuration_of_a_language_model_holds_the_defaults() -> None:
    assert load_config(LanguageConfig, ROOT.parent / "conf" / "lm-lstm.yaml") == LanguageConfig()


def test_there_are_confs() -> None:
    assert {path.name for path in CONFS} >= {"an4.yaml", "yesno.yaml"}


def config_types() -> list[type[Config]]:
    for info in pkgutil.walk_packages([str(ROOT)], "asr."):
        if not info.name.startswith("asr.cli") and info.name != "asr.__main__":
            importlib.import_module(info.name)
    found, waiting = [], [Config]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            if kind.__module__.startswith("asr."):
                found.append(kind)
    assert ExperimentConfig in found
    return found


def documented_below(kind: type[Config]) -> set[str]:
    """Return the fields that have a docstring of their own."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        statement.target.id
        for statement, after in zip(body.body, body.body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }


def test_every_field_is_explained() -> None:
    for kind in config_types():
        below = documented_below(kind)
        for name, field in kind.model_fields.items():
            assert field.description or name in below, f"{kind.__name__}.{name} has no description"


def attributes_read(tree: ast.AST) -> Iterator[str]:
    """Yield the names read as `.name`, except by the validators that only check a configuration."""
    for node in ast.iter_child_nodes(tree):
        decorators = [ast.unparse(item) for item in getattr(node, "decorator_list", [])]
        if any("validator" in item for item in decorators):
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        yield from attributes_read(node)


def test_every_field_is_read_somewhere() -> None:
    read = {name for path in ROOT.rglob("*.py") for name in attributes_read(ast.parse(path.read_text()))}
    unread = [f"{kind.__name__}.{name}" for kind in config_types() for name in kind.model_fields if name not in read]
    assert not unread
