"""The miniature corpus, made once."""

from pathlib import Path

import pytest

from tests.training.miniature import Corpus, make_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"))
