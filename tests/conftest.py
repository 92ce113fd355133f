"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

# As `asr` does, and as early: numpy's products round differently with more threads, and runs are compared to the bit
# with those of processes of their own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

CORPORA = Path(__file__).resolve().parents[2] / "shared" / "corpora"


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real recordings beside the checkout; tests that need it are skipped without it."""
    if not CORPORA.is_dir():
        pytest.skip(f"no real recordings at {CORPORA}")
    return CORPORA
