"""The dependencies: every import is declared, every package is locked, every reason is written down."""

import ast
import configparser
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
IMPORTED_AS = {"ruamel.yaml": "ruamel"}
PARTS = ("install_requires", "plots", "huggingface", "ray", "microphone")  # what the package itself imports
BROUGHT = {"triton"}  # by torch where it is of use; without it cells take their plain way on GPUs
NOT_IMPORTED = {"torchaudio", "tensorboard"}  # the reference of the frontend's tests; Lightning's logger imports it


def declared(part: str) -> list[Requirement]:
    """Return the requirements of `install_requires` or of an extra."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    section = "options" if part == "install_requires" else "options.extras_require"
    return [Requirement(line) for line in settings[section][part].split("\n") if line]


def locked() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert len({canonicalize_name(one.name) for one in found}) == len(found)
    return {canonicalize_name(one.name): one for one in found}


def needed() -> set[str]:
    """Return the packages that the declared ones bring here, with themselves."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()  # one requirement may ask for extras that another one does not
    waiting = [*declared("install_requires"), *declared("test")]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        for text in metadata.requires(name) or []:
            brought = Requirement(text)
            extras = [{"extra": extra} for extra in requirement.extras]
            wanted = brought.marker is None or any(brought.marker.evaluate(one) for one in [{"extra": ""}, *extras])
            if wanted:
                waiting.append(brought)
        found.add(name)
    return found


def test_everything_that_is_installed_for_us_is_locked_at_the_version_that_is_here() -> None:
    lock = locked()
    if "+" in metadata.version("torch"):
        pytest.skip("torch is a build for another machine, with packages of its own")
    for name in needed():
        assert name in lock, f"{name} is not in requirements.lock"
        assert lock[name].specifier.contains(metadata.version(name)), name


def test_the_lock_holds_nothing_else() -> None:
    needless = set(locked()) - needed() - {"setuptools"}
    assert not {name for name in needless if not name.startswith(("nvidia-", "cuda-", "triton"))}


def test_the_lock_satisfies_what_setup_cfg_declares() -> None:
    lock = locked()
    for requirement in [*declared("install_requires"), *declared("test")]:
        (pinned,) = lock[canonicalize_name(requirement.name)].specifier
        assert pinned.operator == "=="
        assert requirement.specifier.contains(pinned.version), requirement.name


def test_every_import_is_declared_and_every_declared_package_imported() -> None:
    imported = set()
    for file in (ROOT / "asr").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            imported |= {name.split(".")[0] for name in names}
    ours = {IMPORTED_AS.get(one.name, one.name) for part in PARTS for one in declared(part)}
    assert imported - set(sys.stdlib_module_names) - {"asr"} - BROUGHT <= ours
    assert ours - imported <= NOT_IMPORTED


def test_every_direct_dependency_has_its_reason() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text()
    for requirement in [one for part in (*PARTS, "test") for one in declared(part)]:
        assert re.search(rf"^\| {re.escape(requirement.name)} \| \S", table, re.MULTILINE), requirement.name


def test_no_file_names_a_package_registry() -> None:
    hosts = re.compile(rb"pypi\.org|pythonhosted|download\.pytorch|anaconda\.org|test\.pypi", re.IGNORECASE)
    for folder in ("asr", "recipes", "tools", "conf", "docs", ".ci"):
        for file in (ROOT / folder).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert not hosts.search(file.read_bytes()), file
    for name in ("setup.cfg", "pyproject.toml", "requirements.lock", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert not hosts.search((ROOT / name).read_bytes()), name
