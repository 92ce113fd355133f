"""Shards that are lost, damaged or mean harm, and shards far away."""

import http.server
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from asr.audio.files import read_audio
from asr.data import remote
from asr.data.download import DownloadLimits
from asr.data.remote import RemoteFolder, cache_folder, fetch
from asr.data.shard_index import HEADER, INDEX
from asr.data.shard_reader import ShardReader, is_shards, read_index
from asr.errors import DataError, MachineError, UsageError
from tests.data.shards import change_header, change_index, change_shard, make_shards
from tests.training.miniature import RATE, Corpus, make_corpus

QUICK = DownloadLimits(attempts=3, timeout=5.0, backoff=0.0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return make_corpus(tmp_path_factory.mktemp("miniature"))


@pytest.fixture
def shards(corpus: Corpus, tmp_path: Path) -> Path:
    return make_shards(corpus, tmp_path / "shards")


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def read_all(place: str | Path, **options: int) -> list[tuple[str, str | None]]:
    """Read every utterance of the shards, its audio too."""
    index = read_index(str(place), QUICK)
    reader = ShardReader(index, limits=QUICK, **options)
    found = []
    for row in range(len(index)):
        utterance = reader.read(row)
        assert len(reader.waveform(row, utterance, RATE)) == index.records["samples"][row]
        found.append((utterance.id, utterance.text))
    return found


def expected(corpus: Corpus) -> list[tuple[str, str | None]]:
    return sorted((utterance.id, utterance.text) for utterance in corpus.utterances)


def refusal(place: str | Path, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as caught:
        read_all(place)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_everything_comes_back(corpus: Corpus, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (str(shards), f"{shards}/", f"{shards}/{HEADER}"):
        assert is_shards(place)
        assert sorted(read_all(place)) == expected(corpus)
    monkeypatch.chdir(shards)
    assert sorted(read_all(HEADER)) == expected(corpus)
    assert not is_shards(str(corpus.train))
    index = read_index(str(shards))
    reader = ShardReader(index)
    by_id = {utterance.id: utterance for utterance in corpus.utterances}
    utterance = reader.read(3)
    assert np.array_equal(reader.waveform(3, utterance, RATE), read_audio(by_id[utterance.id].audio)[0])


def test_a_lost_shard_is_named(shards: Path) -> None:
    (shards / "shard-000001.tar").unlink()
    assert f"{shards}/shard-000001.tar: this shard is lost; put it back, or copy the shards again" in refusal(shards)


def test_a_shard_cut_short_is_named(shards: Path) -> None:
    path = shards / "shard-000001.tar"
    size = path.stat().st_size
    os.truncate(path, size - 700)
    message = refusal(shards)
    assert f"{path}: has {size - 700} bytes, the index says {size}: cut short; copy the shards again" in message


def test_a_shard_cut_short_whose_index_was_corrected_is_named(shards: Path) -> None:
    change_shard(shards, 1, lambda data: data[:9000])
    change_header(shards, lambda header: header["shards"][1].update(end=9000))
    assert f"{INDEX}: its records do not fit shard-000001.tar" in refusal(shards)


def test_a_shard_of_another_corpus_or_a_flipped_bit_is_named(shards: Path) -> None:
    path = shards / "shard-000002.tar"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    assert f"{path}: its SHA-256 is not the one in the index" in refusal(shards)


def test_swapped_shards_are_noticed(shards: Path) -> None:
    def swap(header: dict[str, list[dict[str, object]]]) -> None:
        first, second = header["shards"][:2]
        first["file"], second["file"] = second["file"], first["file"]

    change_header(shards, swap)
    assert "bytes, the index says" in refusal(shards)


def renamed(name: str, kind: bytes = tarfile.REGTYPE) -> Callable[[bytes], bytes]:
    """Give the first member of a tar another name or type."""

    def change(data: bytes) -> bytes:
        member = tarfile.TarInfo.frombuf(data[:512], "utf-8", "strict")
        member.name, member.type = name, kind
        return member.tobuf(tarfile.USTAR_FORMAT) + data[512:]

    return change


@pytest.mark.parametrize("name", ["../escape.json", "/etc/passwd.json", "a/b.json", ".."])
def test_a_member_that_climbs_out_is_refused_by_name(shards: Path, name: str) -> None:
    path = change_shard(shards, 0, renamed(name))
    message = refusal(shards)
    assert message.startswith(f"{path}: utterance 0 has a member ")
    assert f'"{name}" that leads out of the archive, refused' in message


def test_members_that_are_no_files_or_of_another_key_are_refused(shards: Path) -> None:
    change_shard(shards, 0, renamed("link.json", tarfile.SYMTYPE))
    assert '"link.json" that is no plain file, refused' in refusal(shards)
    change_shard(shards, 0, renamed("odd.json"))
    assert "where KEY.json and KEY.flac belong" in refusal(shards)


def body_changed(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    """Rewrite the first row of a tar without changing its size."""

    def changed(data: bytes) -> bytes:
        member = tarfile.TarInfo.frombuf(data[:512], "utf-8", "strict")
        row = json.loads(data[512 : 512 + member.size])
        change(row)
        body = json.dumps(row).encode()
        member.size = len(body)
        assert len(body) <= 512
        return member.tobuf(tarfile.USTAR_FORMAT) + body.ljust(512, b"\0") + data[1024:]

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(id="u99"), "is 'u99', and not the one of the index"),
        (lambda row: row.pop("id"), "without an id"),
        (lambda row: row.update(text=["a"]), 'holds ["a"] as its text'),
    ],
)
def test_a_row_that_is_not_the_index_s_is_refused(
    shards: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    change_shard(shards, 0, body_changed(change))
    assert message in refusal(shards)


@pytest.mark.parametrize("name", ["../shard-000000.tar", "/tmp/a.tar", "a/b.tar", "shard.tar.gz", ""])
def test_a_shard_outside_the_folder_is_refused_by_name(shards: Path, name: str) -> None:
    change_header(shards, lambda header: header["shards"][0].update(file=name))
    assert f"{json.dumps(name)} is not the name of a shard in this folder" in refusal(shards)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.update(kind="model"), "of another kind"),
        (lambda header: header.update(format=2), "format 2; this version reads 1; upgrade"),
        (lambda header: header.update(utterances=3), "do not hold as many utterances as it says"),
        (lambda header: header.update(sample_rate="8000"), 'sample_rate is "8000"'),
        (lambda header: header.update(shards=None), "shards is not a list"),
        (lambda header: header.update(characters=[]), "characters are not counts"),
        (lambda header: header.update(index={}), "index has no sha256"),
        (lambda header: header["shards"].append(3), "a shard is 3"),
        (lambda header: header["shards"][0].update(sha256="x"), "the sizes or the hash of shard-000000.tar are none"),
        (lambda header: header["shards"][1].update(file="shard-000000.tar"), "a shard is named twice"),
    ],
)
def test_a_header_that_is_none_is_refused(
    shards: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    change_header(shards, change)
    found = refusal(shards)
    assert message in found
    assert found.startswith(f"{shards}/{HEADER}: ")


def test_an_index_that_does_not_fit_its_tars_is_refused(shards: Path, tmp_path: Path) -> None:
    whole = (shards / INDEX).read_bytes()
    (shards / INDEX).write_bytes(whole[:-16])
    assert f"{shards}/{INDEX}: has {len(whole) - 16} bytes, {HEADER} wants {len(whole)}" in refusal(shards)
    (shards / INDEX).write_bytes(whole[16:] + whole[:16])
    assert "its SHA-256 is not that of" in refusal(shards)
    change_index(shards, lambda data: whole[16:] + whole[:16])
    assert "its records do not fit shard-000000.tar; run asr shard again" in refusal(shards)
    change_index(shards, lambda data: whole[:12] + bytes(4) + (1).to_bytes(8, "little") + whole[24:])
    assert "is 'u" in refusal(shards)
    change_index(shards, lambda data: whole[:28] + (3).to_bytes(4, "little") + whole[32:])
    assert "shard-000000.tar: utterance 0" in refusal(shards)


def test_samples_that_are_not_the_index_s_are_refused(shards: Path) -> None:
    change_index(shards, lambda data: data[:8] + (77).to_bytes(4, "little") + data[12:])
    with pytest.raises(DataError, match=r"has \d+ samples at 8000 Hz, the index says 77 at 8000 Hz"):
        read_all(shards)


def test_what_is_no_folder_of_shards_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path}/{HEADER}: missing; give a manifest, or a folder made by asr shard" in refusal(tmp_path)
    (tmp_path / HEADER).write_bytes(b"{")
    assert "it is not JSON" in refusal(tmp_path)


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder with ranges.

    Attributes:
        refused: how many requests are still answered with "503 Service Unavailable".
        dropped: how many bodies still end in the middle.
        requests: (path, Range header) of each request.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.refused = self.dropped = 0
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/corpus"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.requests.append((self.path, wanted))
        if self.server.refused:
            self.server.refused -= 1
            self.send_error(503)
            return
        path = self.server.folder / self.path.removeprefix("/corpus/")
        if not path.is_file():
            self.send_error(404)
            return
        whole = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = whole[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.server.dropped and path.suffix == ".tar":
            self.server.dropped -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server(shards: Path) -> Iterator[Server]:
    with Server(shards) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_shards_are_read_over_http_and_fetched_once(corpus: Corpus, server: Server, shards: Path) -> None:
    assert sorted(read_all(f"{server.url}/", cache_mb=100)) == expected(corpus)
    tars = [path for path, _ in server.requests if path.endswith(".tar")]
    assert len(tars) == len(set(tars)) == len(list(shards.glob("*.tar")))
    assert sorted(read_all(f"{server.url}/{HEADER}")) == expected(corpus)
    assert sum(path.endswith(".tar") for path, _ in server.requests) == len(tars)


def test_a_connection_that_drops_goes_on_where_it_stopped(corpus: Corpus, server: Server) -> None:
    server.dropped, server.refused = 3, 2
    assert sorted(read_all(server.url)) == expected(corpus)
    ranges = [wanted for path, wanted in server.requests if wanted and path.endswith(".tar")]
    assert ranges
    assert all(wanted.startswith("bytes=") and not wanted.startswith("bytes=0") for wanted in ranges)


def test_a_server_that_never_answers_is_given_up(server: Server) -> None:
    server.refused = 1000
    message = refusal(server.url)
    assert f"{server.url}/{HEADER}: HTTP 503 Service Unavailable (tried 3 times)" in message


def test_a_shard_lost_or_changed_far_away_is_named(server: Server, shards: Path) -> None:
    lost = shards / "shard-000001.tar"
    data = lost.read_bytes()
    lost.unlink()
    assert f"{server.url}/shard-000001.tar: HTTP 404 Not Found" in refusal(server.url)
    lost.write_bytes(data[:100] + b"!" + data[101:])
    message = refusal(server.url)
    assert f"{server.url}/shard-000001.tar" in message
    assert "SHA-256" in message


def test_a_copy_damaged_since_it_was_fetched_is_fetched_again(corpus: Corpus, server: Server) -> None:
    read_all(server.url, cache_mb=100)
    (path,) = cache_folder(server.url).glob("shard-000000.tar")
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    assert sorted(read_all(server.url)) == expected(corpus)


def test_only_so_many_fetched_shards_are_kept(server: Server) -> None:
    index = read_index(server.url, QUICK)
    reader = ShardReader(index, cache_mb=0, limits=QUICK)
    for row in range(len(index)):
        reader.read(row)
    names = {shard.file for shard in index.shards}
    kept = {path.name for path in cache_folder(server.url).glob("*.tar")}
    assert kept == names
    reader.look_ahead([0], [1])
    assert reader._ahead is not None
    reader._ahead.join()
    kept = {path.name for path in cache_folder(server.url).glob("*.tar")}
    assert kept == {"shard-000000.tar", "shard-000001.tar"}
    assert set(reader._open) == {0, 1}


def test_the_shards_of_now_and_soon_are_opened_beside_the_work_of_others(shards: Path) -> None:
    reader = ShardReader(read_index(str(shards)))
    reader.look_ahead([1], [0])
    assert reader._ahead is not None
    reader._ahead.join()
    assert list(reader._open) == [1, 0], "what is needed now comes first"
    reader.look_ahead([], [])


def test_a_cache_folder_of_somebody_else_is_not_used(temporary_folder: Path) -> None:
    (temporary_folder / f"asr-shards-{os.getuid()}").symlink_to(temporary_folder)
    with pytest.raises(MachineError, match="is not a folder of yours alone"):
        cache_folder("http://a/b")


@pytest.fixture
def memory(shards: Path) -> Iterator[str]:
    """The shards in fsspec's file system in memory."""
    store = fsspec.filesystem("memory")
    for path in shards.iterdir():
        store.pipe(f"/corpus/{path.name}", path.read_bytes())
    yield "memory://corpus"
    store.rm("/corpus", recursive=True)


def test_shards_are_read_through_fsspec(corpus: Corpus, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BLOCK_BYTES", 1000)
    assert sorted(read_all(memory)) == expected(corpus)


def test_a_store_that_fails_is_asked_again(corpus: Corpus, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = fsspec.get_filesystem_class("memory")
    cat_file, failures = kind.cat_file, iter([True, True, False, True, False] + [False] * 1000)

    def failing(self: object, path: str, start: int | None = None, end: int | None = None) -> bytes:
        if next(failures):
            raise TimeoutError("the store is tired")
        data: bytes = cat_file(self, path, start=start, end=end)
        return data

    monkeypatch.setattr(kind, "cat_file", failing)
    assert sorted(read_all(memory)) == expected(corpus)


def test_a_store_that_fails_for_good_is_named(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: object, path: str, start: int | None = None, end: int | None = None) -> bytes:
        raise TimeoutError("the store is tired")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "cat_file", failing)
    assert f"{memory}/{HEADER}: cannot be read: the store is tired (tried 3 times)" in refusal(memory)


def test_lost_short_and_changed_files_of_a_store_are_named(memory: str) -> None:
    store = fsspec.filesystem("memory")
    path = "/corpus/shard-000001.tar"
    data = store.cat_file(path)
    store.pipe(path, data[:-10])
    assert f"{memory}/shard-000001.tar: has {len(data) - 10} bytes, the index says {len(data)}" in refusal(memory)
    store.pipe(path, data[:-1] + b"!")
    assert f"{memory}/shard-000001.tar: its SHA-256 is" in refusal(memory)
    store.rm(path)
    assert f"{memory}/shard-000001.tar: there is no such file; put the file back" in refusal(memory)
    store.pipe(path, data)


def test_a_kind_of_url_that_is_not_known_or_lacks_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal("nonsense://corpus", UsageError)

    def missing(*arguments: object, **keywords: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    assert "Install s3fs to access S3" in refusal("s3://bucket/corpus", MachineError)


def test_fetched_bytes_are_checked(tmp_path: Path, memory: str) -> None:
    fetch(f"{memory}/{HEADER}", tmp_path / "copy", limits=QUICK)
    assert json.loads((tmp_path / "copy").read_bytes())["kind"] == "shards"
    folder = RemoteFolder(memory, tmp_path / "kept", QUICK)
    with pytest.raises(DataError, match="SHA-256"):
        folder.get(INDEX, size=len(fsspec.filesystem("memory").cat_file(f"/corpus/{INDEX}")), sha256="0" * 64)
    assert [path.name for path in (tmp_path / "kept").iterdir() if not path.name.startswith(".")] == []
