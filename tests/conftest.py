"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "corpora"


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real recordings beside the checkout; tests that need it are skipped without it."""
    if not CORPORA.is_dir():
        pytest.skip(f"no real recordings at {CORPORA}")
    return CORPORA
