"""Machine code on disk is used again, and not after one of our files has changed."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from asr import native

CODE = "def triple(number):\n    return 3 * number\n"


def counts(folder: Path) -> tuple[int, int]:
    """Return how often a fresh process's function would find its machine code, and how often not."""
    spec = importlib.util.spec_from_file_location("code_of_the_test", folder / "code_of_the_test.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kept = native._keeping(module.triple, {})
    assert kept(2) == 6
    return sum(kept.stats.cache_hits.values()), sum(kept.stats.cache_misses.values())


def test_machine_code_is_kept_until_one_of_our_files_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code_of_the_test.py").write_text(CODE)
    assert counts(tmp_path) == (0, 1)
    assert counts(tmp_path) == (1, 0)
    monkeypatch.setattr(native, "_sources", lambda: (("fusion.py", 1, 2),))
    assert counts(tmp_path) == (0, 1)
    assert counts(tmp_path) == (1, 0)


def test_all_compiled_files_count() -> None:
    names = {name for name, _, _ in native._sources()}
    assert {"fusion.py", "prefix_beam.py", "alignment.py", "lookup.py", "lstm_cell.py"} <= names
    root = Path(native.__file__).parent
    for file in root.rglob("*.py"):
        if "njit" in file.read_text("utf-8") or "import compiled" in file.read_text("utf-8"):
            assert file.name in {*names, "native.py"}, f"{file}: its functions are compiled; add its room to _ROOMS"
