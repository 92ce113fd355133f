"""The miniature corpus, made once, and a place to run trainings that end badly."""

from collections.abc import Iterator

import pytest

from tests.training.miniature import Corpus, Processes, make_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"))


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.close()
