"""Downloads from a server of this machine that ranges, does not, drops, lies; archives that mean harm."""

import fcntl
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asr.data.download import DownloadLimits, ExtractLimits, download, extract_tar, sha256_of
from asr.errors import DataError, MachineError, UsageError

BODY = bytes(range(256)) * 4000  # about 1 MB: several blocks
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
QUICK = DownloadLimits(attempts=3, timeout=5.0, backoff=0.0)


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY as told; `requests` holds (path, Range header) of each request."""

    daemon_threads = True
    ranges = True
    drop_after: int | None = None  # bytes of a body after which the connection ends
    drops_left = 0
    status = 200
    shift = 0  # added to the start of a range: a server that lies
    body = BODY
    tag = '"1"'

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/corpus.tar"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append((self.path, wanted))
        if server.status != 200 or self.path == "/missing":
            self.send_error(404 if self.path == "/missing" else server.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if self.headers.get("If-Range") not in (None, server.tag):
            start, wanted = 0, None
        if wanted and server.ranges and start >= len(server.body):
            self.send_error(416)
            return
        start += server.shift if start else 0
        body = server.body[start:]
        self.send_response(206 if wanted and server.ranges else 200)
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", server.tag)
        self.end_headers()
        if server.drop_after is not None and server.drops_left:
            server.drops_left -= 1
            body = body[: server.drop_after]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "corpus.tar"


def files(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_arrives_whole_and_progress_counts_its_bytes(server: Server, target: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    progress: Callable[[int, int | None], None] = lambda done, total: seen.append((done, total))  # noqa: E731
    assert download([server.url], target, sha256=SHA256, size=len(BODY), progress=progress) == target
    assert target.read_bytes() == BODY
    assert files(target) == ["corpus.tar"]
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_right_file_in_place_is_not_fetched_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(BODY)
    download([server.url], target, sha256=SHA256.upper())
    assert server.requests == []


def test_a_wrong_file_in_place_is_named_and_kept(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"its SHA-256 is .*, expected .*; delete it to download it again, or get it"):
        download([server.url], target, sha256=SHA256)
    with pytest.raises(DataError, match="has 4 bytes, expected 5"):
        download([server.url], target, size=5)
    assert target.read_bytes() == b"mine"


def test_an_md5_is_as_good_where_nothing_better_was_published(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("corpus.tar.part").write_bytes(BODY[:300_000])
    download([server.url], target, md5=MD5, limits=QUICK)
    assert target.read_bytes() == BODY
    assert server.requests == [("/corpus.tar", "bytes=300000-")], "a hash tells whose part it is"
    target.write_bytes(b"mine")
    with pytest.raises(DataError, match=f"its MD5 is {hashlib.md5(b'mine').hexdigest()}, expected {MD5}; delete it"):
        download([server.url], target, md5=MD5)


def test_a_part_of_an_earlier_call_is_continued(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("corpus.tar.part").write_bytes(BODY[:300_000])
    download([server.url], target, sha256=SHA256, limits=QUICK)
    assert target.read_bytes() == BODY
    assert server.requests == [("/corpus.tar", "bytes=300000-")]


def test_a_whole_part_is_taken_as_it_is(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("corpus.tar.part").write_bytes(BODY)
    download([server.url], target, sha256=SHA256, size=len(BODY), limits=QUICK)
    assert target.read_bytes() == BODY
    assert server.requests == []


@pytest.mark.parametrize("old", [b"x" * 1000, BODY + b"more", b"x" * (len(BODY) + 5)])
def test_a_part_of_another_file_is_dropped(server: Server, target: Path, old: bytes) -> None:
    target.parent.mkdir()
    target.with_name("corpus.tar.part").write_bytes(old)
    download([server.url], target, sha256=SHA256, limits=QUICK)
    assert target.read_bytes() == BODY


def test_without_a_hash_an_old_part_is_not_trusted(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("corpus.tar.part").write_bytes(b"x" * 1000)
    download([server.url], target, limits=QUICK)
    assert target.read_bytes() == BODY


def test_dropped_connections_go_on_where_they_stopped(server: Server, target: Path) -> None:
    server.drop_after, server.drops_left = 200_000, 4  # more drops than attempts: each brings new bytes
    download([server.url], target, limits=QUICK)
    assert target.read_bytes() == BODY
    assert [wanted for _, wanted in server.requests] == [None] + [f"bytes={n}00000-" for n in (2, 4, 6, 8)]


def test_dropped_connections_of_a_server_without_ranges_start_again(server: Server, target: Path) -> None:
    server.ranges, server.drop_after, server.drops_left = False, 200_000, 2
    download([server.url], target, sha256=SHA256, limits=QUICK)
    assert target.read_bytes() == BODY


def test_a_connection_that_always_drops_is_given_up_and_its_part_kept(server: Server, target: Path) -> None:
    server.ranges, server.drop_after, server.drops_left = False, 1000, 99
    with pytest.raises(DataError, match=r"the connection ended after 1000 of 1024000 bytes \(tried 3 times\)"):
        download([server.url], target, sha256=SHA256, limits=QUICK)
    assert files(target) == ["corpus.tar.part"]
    assert len(server.requests) == 3


def test_a_file_that_changes_under_way_is_not_mixed(server: Server, target: Path) -> None:
    server.drop_after, server.drops_left = 200_000, 1

    def change(done: int, total: int | None) -> None:
        server.body, server.tag = b"new" * 100_000, '"2"'

    download([server.url], target, limits=QUICK, progress=change)
    assert target.read_bytes() == b"new" * 100_000


def test_a_server_that_sends_another_range_is_not_believed(server: Server, target: Path) -> None:
    server.shift, server.drop_after, server.drops_left = 3, 200_000, 1
    download([server.url], target, limits=QUICK)
    assert target.read_bytes() == BODY


def test_a_wrong_hash_leaves_nothing_and_tells_both(server: Server, target: Path) -> None:
    with pytest.raises(DataError, match=f"its SHA-256 is {SHA256}, expected {'0' * 64}; get it by hand"):
        download([server.url], target, sha256="0" * 64, limits=QUICK)
    assert files(target) == []


def test_a_missing_file_is_not_tried_again_and_the_next_address_is(server: Server, target: Path) -> None:
    missing = server.url.replace("corpus.tar", "missing")
    download([missing, server.url], target, sha256=SHA256, limits=QUICK)
    assert [path for path, _ in server.requests] == ["/missing", "/corpus.tar"]


def test_the_message_says_how_to_get_it_by_hand(server: Server, target: Path) -> None:
    missing = server.url.replace("corpus.tar", "missing")
    with pytest.raises(DataError) as caught:
        download([missing], target, limits=QUICK)
    assert str(caught.value) == (
        f"{target}: cannot download: {missing}: HTTP 404 Not Found; "
        f"get it by hand: fetch {missing} and save it as {target}"
    )
    assert files(target) == []


def test_a_busy_server_is_tried_again(server: Server, target: Path) -> None:
    server.status = 503
    with pytest.raises(DataError, match=r"HTTP 503 Service Unavailable \(tried 3 times\)"):
        download([server.url], target, limits=QUICK)
    assert len(server.requests) == 3


def test_nobody_there_is_one_line(target: Path) -> None:
    with pytest.raises(DataError, match=r"refused \(tried 3 times\); get it by hand"):
        download(["http://127.0.0.1:1/x"], target, limits=QUICK)


@pytest.mark.parametrize("limits", [DownloadLimits(max_bytes=1000), QUICK])
def test_a_file_larger_than_allowed_is_refused(server: Server, target: Path, limits: DownloadLimits) -> None:
    size = 1000 if limits is QUICK else None
    with pytest.raises(DataError, match="sends 1024000 bytes or more, expected 1000 at most"):
        download([server.url], target, size=size, limits=limits)
    assert files(target) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "corpus.tar"])
def test_other_schemes_are_refused(target: Path, url: str) -> None:
    with pytest.raises(UsageError, match="only http and https"):
        download([url], target)


def test_two_downloads_of_one_file_do_not_mix(server: Server, target: Path) -> None:
    target.parent.mkdir()
    with open(target.with_name("corpus.tar.part"), "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(MachineError, match="another process is downloading it"):
            download([server.url], target, sha256=SHA256)


def test_a_file_in_the_place_of_the_folder_is_a_machine_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "deep").write_text("")
    with pytest.raises(MachineError, match="cannot write"):
        download([server.url], tmp_path / "deep" / "corpus.tar")


def archive_of(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for member, body in members:
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o6777
    return info


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_unpacked_with_harmless_permissions(tmp_path: Path, mode: str) -> None:
    members = [(member("./a", tarfile.DIRTYPE), b""), (member("a/b.wav"), BODY), (member("c/d/e.txt"), b"")]
    folder = extract_tar(archive_of(tmp_path / "x.tar", members, mode), tmp_path / "out")
    assert (folder / "a" / "b.wav").read_bytes() == BODY
    assert (folder / "c" / "d" / "e.txt").read_bytes() == b""
    assert (folder / "a" / "b.wav").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (member("../evil"), "'../evil' leads outside the folder"),
        (member("a/../../evil"), "leads outside the folder"),
        (member("/tmp/evil"), "leads outside the folder"),
        (member("link", tarfile.SYMTYPE, "/etc"), "'link' is a link"),
        (member("link", tarfile.LNKTYPE, "good"), "'link' is a link"),
        (member("null", tarfile.CHRTYPE), "'null' is a device"),
        (member("pipe", tarfile.FIFOTYPE), "'pipe' is a device or another special file"),
        (member("good"), "'good' appears twice"),
    ],
)
def test_harmful_members_are_refused_and_nothing_stays(tmp_path: Path, bad: tarfile.TarInfo, expected: str) -> None:
    archive = archive_of(tmp_path / "x.tar.gz", [(member("good"), b"1"), (bad, b"")])
    with pytest.raises(DataError, match=f"{expected}.*; get the archive again"):
        extract_tar(archive, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tar.gz"]


def test_only_what_is_wanted_is_unpacked_and_links_elsewhere_do_no_harm(tmp_path: Path) -> None:
    members = [(member("top/a.wav"), BODY), (member("top/link", tarfile.SYMTYPE, "a.wav"), b""), (member("b"), b"x")]
    archive = archive_of(tmp_path / "x.tar.gz", members)
    folder = extract_tar(archive, tmp_path / "out", wanted=lambda path: path == "top/a.wav")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["a.wav"]
    with pytest.raises(DataError, match="'top/link' is a link"):
        extract_tar(archive, tmp_path / "all", wanted=lambda path: path.startswith("top/"))
    evil = archive_of(tmp_path / "y.tar.gz", [(member("../evil"), b"")])
    with pytest.raises(DataError, match=r"'\.\./evil' leads outside the folder"):
        extract_tar(evil, tmp_path / "y", wanted=lambda path: False)


@pytest.mark.parametrize("limits", [ExtractLimits(max_files=1), ExtractLimits(max_bytes=5)])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, limits: ExtractLimits) -> None:
    archive = archive_of(tmp_path / "x.tar.gz", [(member("a"), b"123"), (member("b"), b"456")])
    with pytest.raises(DataError, match=r"unpacks to more than .* \(at 'b'\)"):
        extract_tar(archive, tmp_path / "out", limits=limits)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_damaged_archive_is_one_line_and_nothing_stays(tmp_path: Path, mode: str) -> None:
    archive = archive_of(tmp_path / "x.tar", [(member("a"), BODY)], mode)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match=r"(not a whole tar archive|is cut off).*get it again$"):
        extract_tar(archive, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tar"]


@pytest.mark.parametrize("data", [b"", b"<html>not found</html>"])
def test_what_is_no_archive_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(DataError, match="not a whole tar archive"):
        extract_tar(tmp_path / "x.tar", tmp_path / "out")


def test_a_folder_in_place_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="already exists; delete it"):
        extract_tar(archive_of(tmp_path / "x.tar", [(member("a"), b"")]), tmp_path / "out")


def test_the_hash_of_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        sha256_of(tmp_path / "missing")
