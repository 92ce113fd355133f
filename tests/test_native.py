"""Machine code on disk is used again, and not after one of our files has changed."""

import gc
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba.core.errors import TypingError

from asr import native

CODE = "def triple(number):\n    return 3 * number\n"


def counts(folder: Path) -> tuple[int, int]:
    """Return how often a fresh process's function would find its machine code, and how often not."""
    spec = importlib.util.spec_from_file_location("code_of_the_test", folder / "code_of_the_test.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            sys.modules, spec.name, module
        )  # numba looks for it there, unless the last one is still in memory
        kept = native._keeping(module.triple, {})
        assert kept(2) == 6
    gc.collect()
    return sum(kept.stats.cache_hits.values()), sum(kept.stats.cache_misses.values())


def test_machine_code_is_kept_until_one_of_our_files_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "code_of_the_test.py").write_text(CODE)
    assert counts(tmp_path) == (0, 1)
    assert counts(tmp_path) == (1, 0)
    monkeypatch.setattr(native, "_sources", lambda: (("fusion.py", 1, 2),))
    assert counts(tmp_path) == (0, 1)
    assert counts(tmp_path) == (1, 0)


def test_inner_functions_are_called_by_compiled_ones() -> None:
    """What counts no references hands arrays on: filled by an inner function, read by an outer one."""

    @native.inner
    def fill(numbers: Any, value: float) -> None:
        for place in range(len(numbers)):
            numbers[place] = value * place

    @native.outer
    def total(numbers: Any, value: float) -> float:
        fill(numbers, value)
        found = 0.0
        for number in numbers:
            found += number
        return found

    numbers = np.zeros(5)
    before = sys.getrefcount(numbers)
    for _ in range(3):
        assert total(numbers, 2.0) == 20.0
    assert numbers.tolist() == [0, 2, 4, 6, 8]
    assert sys.getrefcount(numbers) == before, "the array is let go of"


def test_an_outer_function_that_makes_an_array_is_refused() -> None:
    @native.outer
    def zeros(count: int) -> Any:
        return np.zeros(count)

    with pytest.raises(TypingError, match="zeros"):
        zeros(3)


def test_where_code_cannot_be_kept_it_is_compiled_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(native, "_keeping", refuse)
    assert native.outer(lambda number: number + 1)(2) == 3


def test_all_compiled_files_count() -> None:
    names = {name for name, _, _ in native._sources()}
    assert {"fusion.py", "prefix_beam.py", "alignment.py", "lookup.py", "lstm_peephole.py"} <= names
    root = Path(native.__file__).parent
    for file in root.rglob("*.py"):
        if any(word in file.read_text("utf-8") for word in ("njit", "@compiled", "@inner", "@outer")):
            assert file.name in {*names, "native.py"}, f"{file}: its functions are compiled; add its room to _ROOMS"
