"""Published corpora: fetched once from a server of our own, found in either folder, accepted or refused."""

import hashlib
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asr.data.corpus import corpus_signature
from asr.data.published import CorpusInParts, PublishedCorpus, audio_files, held_out, whole_file
from asr.errors import DataError
from tests.recipes.miniature import make_yesno


@pytest.fixture
def published(tmp_path: Path) -> Iterator[PublishedCorpus]:
    """A corpus of three files, published on a server on this machine."""
    corpus = make_yesno(tmp_path / "made" / "waves", 3)
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / "waves.tar.gz", "w:gz") as tar:
        tar.add(corpus, "waves")
    utterances = [
        whole_file(file.with_suffix(""), tmp_path, text="no", speaker="a", language="he") for file in corpus.iterdir()
    ]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield PublishedCorpus(
        name="Waves",
        urls=[f"http://127.0.0.1:{server.server_port}/waves.tar.gz"],
        top="waves",
        landmark="*.wav",
        signatures={"all": corpus_signature(utterances)},
        archive_sha256=sha256((served / "waves.tar.gz").read_bytes()).hexdigest(),
    )
    server.shutdown()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it)
        """Say nothing."""


def test_a_corpus_is_fetched_once_and_accepted(published: PublishedCorpus, tmp_path: Path) -> None:
    folder = published.fetch(tmp_path / "downloads" / "waves")
    assert published.root(folder) == folder / "waves"
    files = sorted(published.root(folder).iterdir())
    utterances = [whole_file(file.with_suffix(""), tmp_path, text="no", speaker="a", language="he") for file in files]
    published.accept("all", utterances)
    before = files[0].stat().st_mtime_ns
    (tmp_path / "served" / "waves.tar.gz").unlink()
    assert published.fetch(folder) == folder
    assert files[0].stat().st_mtime_ns == before
    with pytest.raises(DataError, match=r"Waves all: 2 audio files, expected 3; get it again from http"):
        published.accept("all", utterances[1:])


def test_a_corpus_that_cannot_be_fetched_says_how_to_get_it(published: PublishedCorpus, tmp_path: Path) -> None:
    (tmp_path / "served" / "waves.tar.gz").unlink()
    with pytest.raises(DataError, match=r"get it by hand: fetch http://127\.0\.0\.1:\d+/waves\.tar\.gz and save"):
        published.fetch(tmp_path / "downloads" / "waves")
    assert not (tmp_path / "downloads" / "waves").exists()


def test_a_corpus_in_parts_gets_the_parts_it_lacks_and_keeps_archives_beside(
    published: PublishedCorpus, tmp_path: Path
) -> None:
    body = (tmp_path / "served" / "waves.tar.gz").read_bytes()
    md5 = hashlib.md5(body).hexdigest()
    half = replace(published, archive_sha256=None, archive_md5=md5)
    corpus = CorpusInParts({"one": half, "two": half, "three": half}).only(["one", "two"])
    folder = tmp_path / "downloads" / "waves"
    shutil.copytree(tmp_path / "made" / "waves", folder / "one" / "waves")
    assert corpus.fetch(folder) == folder
    assert corpus.root(folder, "two") == folder / "two" / "waves"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["waves", "waves-two.tar.gz"], "one was there"
    (folder.parent / "waves-two.tar.gz").unlink()
    corpus.fetch(folder)
    assert not (folder.parent / "waves-two.tar.gz").exists(), "not needed again"
    other = CorpusInParts({"one": replace(half, archive_md5="0" * 32)})
    with pytest.raises(DataError, match=f"its MD5 is {md5}, expected 0000.*get it by hand"):
        other.fetch(tmp_path / "downloads" / "other")
    with pytest.raises(DataError, match="not the corpus Waves"):
        other.root(tmp_path / "downloads" / "other", "one")


def test_all_parts_may_lie_in_one_folder(published: PublishedCorpus, tmp_path: Path) -> None:
    corpus = CorpusInParts({"one": published, "two": published})
    folder = tmp_path / "made" / "waves"
    assert corpus.root(folder, "one") == corpus.root(folder, "two") == folder
    (tmp_path / "served" / "waves.tar.gz").unlink()
    assert corpus.fetch(folder) == folder


def test_audio_files_are_known_by_name_and_the_first_suffix_counts(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "b.wav", "c.txt", ".wav"):
        (tmp_path / name).write_bytes(b"")
    found = audio_files(tmp_path)
    assert found["a"] == str(tmp_path / "a.flac")
    assert found["b"] == str(tmp_path / "b.wav")
    assert "c" not in found
    assert audio_files(tmp_path, [".wav"])["a"] == str(tmp_path / "a.wav")
    with pytest.raises(DataError, match=r"nowhere: cannot read: No such file or directory; get the corpus again"):
        audio_files(tmp_path / "nowhere")


def test_another_folder_is_not_the_corpus(published: PublishedCorpus, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not the corpus Waves, as it has no \*\.wav; give the folder that holds it"):
        published.root(tmp_path / "served")


def test_held_out_names_depend_on_nothing_but_the_names() -> None:
    names = [f"speaker{number}" for number in range(20)]
    chosen = held_out(names, 4)
    assert len(chosen) == 4
    assert held_out([*reversed(names), *names], 4) == chosen
    assert held_out([name for name in names if name not in chosen], 20) == set(names) - chosen
