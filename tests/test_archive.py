"""Archives: each recording once, whatever is killed, interrupted or damaged, and the same text for any crew."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr import archive as room
from asr.archive import Job, Piece, RayWorkers, ThisProcess, cut, transcribe_archive
from asr.data.archives import ManifestArchive, open_archive
from asr.data.manifest import Utterance, write_manifest
from asr.data.sharding import write_shards
from asr.errors import DataError, MachineError, UsageError
from asr.recognizer import Recognizer
from tests.poison import PoisonedArchive
from tests.tiny_model import babble, tiny_model, write_wav

ROOT = Path(__file__).resolve().parents[1]
COUNT = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_model().save(path)
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve utterances of 0.5 to 1.6 s."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for number in range(COUNT):
        seconds = 0.5 + 0.1 * number
        path = write_wav(folder / f"u{number:02d}.wav", babble(seconds, seed=number))
        rows.append(Utterance(f"u{number:02d}", path, 0.0, seconds))
    write_manifest(folder / "all.jsonl", rows)
    return folder / "all.jsonl"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six or so pieces in place of one."""
    monkeypatch.setattr(room, "PIECE_SECONDS", 2.0)


@pytest.fixture
def job(model: Path, manifest: Path, tmp_path: Path) -> Job:
    return Job(open_archive(str(manifest)), model, tmp_path / "out")


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "transcripts.jsonl").read_text("utf-8").splitlines()]


def expected(job: Job) -> dict[str, str]:
    assert isinstance(job.archive, ManifestArchive)
    recognizer = Recognizer.load(job.model)
    return {
        name: recognizer.transcribe(source.path).text
        for name, source in zip(job.archive.names, job.archive.sources, strict=True)
    }


class Interrupted(ThisProcess):
    """Ctrl-C after some pieces; remembers which were done."""

    def __init__(self, after: int | None = None) -> None:
        self.after, self.done, self.pieces = after, list[int](), list[Piece]()

    def work(self, pieces: Sequence[Piece], job: Job) -> room.Results:
        self.pieces = list(pieces)
        for result in super().work(pieces, job):
            if result is not None:
                if len(self.done) == self.after:
                    raise KeyboardInterrupt
                self.done.append(result[0].number)
            yield result


@given(
    st.lists(st.floats(0, 5000), min_size=1, max_size=60),
    st.lists(st.integers(0, 1), min_size=60, max_size=60),
)
def test_pieces_hold_each_row_once_and_end_with_their_group(seconds: list[float], steps: list[int]) -> None:
    groups = np.cumsum(steps[: len(seconds)])
    found = cut(SimpleNamespace(seconds=np.array(seconds), groups=groups))  # type: ignore[arg-type]
    assert [row for piece in found for row in range(piece.first, piece.last)] == list(range(len(seconds)))
    limit = max(room.PIECE_SECONDS, sum(seconds) / room.MAX_PIECES)
    for piece in found:
        assert set(groups[piece.first : piece.last]) == {piece.group}
        assert sum(seconds[piece.first : piece.last - 1]) < limit  # full with its last row only
        assert piece.seconds == pytest.approx(sum(seconds[piece.first : piece.last]))
    assert [piece.number for piece in found] == list(range(len(found)))


def test_a_piece_holds_so_many_rows_and_an_archive_so_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable = SimpleNamespace(seconds=np.zeros(1100), groups=np.zeros(1100, np.int64))
    assert [piece.last - piece.first for piece in cut(unreadable)] == [512, 512, 76]  # type: ignore[arg-type]
    monkeypatch.setattr(room, "MAX_PIECES", 10)
    large = SimpleNamespace(seconds=np.full(1000, 60.0), groups=np.zeros(1000, np.int64))
    assert len(cut(large)) == 10  # type: ignore[arg-type]


def test_one_process_gives_the_texts_in_the_order_of_the_archive(job: Job) -> None:
    seen: list[tuple[int, int | None]] = []
    outcome = transcribe_archive(job, ThisProcess(), progress=lambda done, total, seconds: seen.append((done, total)))
    texts = expected(job)
    assert [(row["id"], row["text"]) for row in rows_of(job.out)] == list(texts.items())
    assert set(rows_of(job.out)[0]) == {"id", "text", "confidence", "words", "score", "duration"}
    assert (outcome.transcripts, outcome.num_failed, outcome.done_before) == (COUNT, 0, 0)
    assert outcome.audio_seconds == pytest.approx(sum(0.5 + 0.1 * number for number in range(COUNT)), abs=0.01)
    assert seen[-1] == (COUNT, COUNT)
    assert len(seen) == len(cut(job.archive)) >= 5
    assert sorted(path.name for path in job.out.iterdir()) == ["archive.json", "transcripts.jsonl"]


def test_an_interrupted_call_goes_on_and_ends_as_if_it_had_not_been(job: Job, tmp_path: Path) -> None:
    first, second = Interrupted(after=3), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        transcribe_archive(job, first)
    assert not (job.out / "transcripts.jsonl").exists()
    outcome = transcribe_archive(job, second)
    assert outcome.done_before == len(first.done) == 3
    assert sorted(first.done + second.done) == list(range(len(cut(job.archive))))  # each once
    whole = Job(job.archive, job.model, tmp_path / "whole")
    transcribe_archive(whole, ThisProcess())
    assert (job.out / "transcripts.jsonl").read_bytes() == (whole.out / "transcripts.jsonl").read_bytes()


def test_a_half_written_piece_is_done_again(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        transcribe_archive(job, Interrupted(after=1))
    (part,) = (job.out / "parts").glob("*.jsonl")
    text = part.read_text("utf-8")
    part.write_text(text[: len(text) // 2], "utf-8")  # a copy of the folder that was cut short
    transcribe_archive(job, ThisProcess())
    assert {row["id"]: row["text"] for row in rows_of(job.out)} == expected(job)


def test_a_finished_job_is_not_done_again(job: Job) -> None:
    transcribe_archive(job, ThisProcess())
    again = Interrupted(after=0)
    outcome = transcribe_archive(job, again)
    assert again.done == []
    assert (outcome.transcripts, outcome.done_before) == (COUNT, len(cut(job.archive)))
    assert not (job.out / "parts").exists()


def test_another_job_in_the_same_folder_is_refused(job: Job, tmp_path: Path) -> None:
    transcribe_archive(job, ThisProcess())
    other = tmp_path / "other.safetensors"
    tiny_model(domain={"min_confidence": 0.1}).save(other)
    with pytest.raises(UsageError, match="holds another job: another model; give another --out"):
        transcribe_archive(Job(job.archive, other, job.out), ThisProcess())
    (job.out / "archive.json").unlink()
    with pytest.raises(UsageError, match="was there before"):
        transcribe_archive(job, ThisProcess())


def test_two_calls_do_not_work_in_one_folder(job: Job) -> None:
    class Second(ThisProcess):
        def work(self, pieces: Sequence[Piece], job: Job) -> room.Results:
            with pytest.raises(MachineError, match="another call is at work here"):
                transcribe_archive(job, ThisProcess())
            yield from super().work(pieces, job)

    assert transcribe_archive(job, Second()).transcripts == COUNT


def test_bad_files_are_listed_and_the_rest_comes_out(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    for name in ("b", "deep/a", "c"):
        write_wav(folder / f"{name}.wav", babble(1.0))
    (folder / "bad\tname.wav").write_text("no audio")
    (folder / "empty.flac").touch()
    (folder / os.fsdecode(b"caf\xe9.wav")).write_text("no audio")
    (folder / os.fsdecode(b"\xe9t\xe9.wav")).write_bytes((folder / "b.wav").read_bytes())
    job = Job(open_archive(str(folder)), model, tmp_path / "out")
    outcome = transcribe_archive(job, ThisProcess())
    assert [row["file"] for row in rows_of(job.out)] == ["b.wav", "c.wav", "deep/a.wav", "\udce9t\udce9.wav"]
    lines = (job.out / "failed.tsv").read_text("utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["bad\\tname.wav", "caf\\udce9.wav", "empty.flac"]
    assert all(len(line.split("\t")) == 3 for line in lines)
    assert outcome.num_failed == len(outcome.failed) == 3
    assert list(map(room._cell, outcome.failed)) == [line.split("\t")[1] for line in lines]
    assert transcribe_archive(job, ThisProcess()).failed == outcome.failed


def test_what_failed_is_tried_again_and_nothing_else(job: Job, shards: Path, tmp_path: Path) -> None:
    damaged = shards / "shard-000001.tar"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-700])
    sharded = Job(open_archive(str(shards)), job.model, tmp_path / "sharded")
    outcome = transcribe_archive(sharded, ThisProcess())
    (message,) = outcome.failed  # one shard, one message
    assert outcome.failed[message] == outcome.num_failed >= 2
    assert "cut short" in message
    damaged.write_bytes(whole)
    again = Interrupted(after=0)
    with pytest.raises(KeyboardInterrupt):
        transcribe_archive(sharded, again)
    outcome = transcribe_archive(sharded, ThisProcess())
    assert outcome.num_failed == 0
    assert outcome.done_before == len(cut(sharded.archive)) - len(again.pieces)
    assert {piece.group for piece in again.pieces} == {1}
    assert {row["id"]: row["text"] for row in rows_of(sharded.out)} == expected(job)
    assert not (sharded.out / "failed.tsv").exists()
    assert not (sharded.out / "parts").exists()


def test_failures_of_another_program_are_refused(job: Job, tmp_path: Path) -> None:
    transcribe_archive(job, ThisProcess())
    (job.out / "failed.tsv").write_text("u01\tno audio\n")
    with pytest.raises(DataError, match=r"failed\.tsv: not what asr transcribe writes there; give another --out"):
        transcribe_archive(job, ThisProcess())


def test_unfamiliar_speech_is_counted(manifest: Path, tmp_path: Path) -> None:
    tiny_model(domain={"min_confidence": 1.0}).save(tmp_path / "strict.safetensors")
    job = Job(open_archive(str(manifest)), tmp_path / "strict.safetensors", tmp_path / "out")
    assert transcribe_archive(job, ThisProcess()).unfamiliar == COUNT
    assert "warnings" not in rows_of(job.out)[0]


@pytest.fixture
def shards(manifest: Path, tmp_path: Path) -> Path:
    write_shards(room_utterances(manifest), tmp_path / "shards", shard_bytes=100_000)
    assert len(list((tmp_path / "shards").glob("*.tar"))) >= 3
    return tmp_path / "shards"


def room_utterances(manifest: Path) -> list[Utterance]:
    from asr.data.manifest import read_manifest

    return read_manifest(manifest)


def test_shards_give_the_texts_of_the_files(job: Job, shards: Path, tmp_path: Path) -> None:
    sharded = Job(open_archive(str(shards)), job.model, tmp_path / "sharded")
    transcribe_archive(sharded, ThisProcess())
    assert {row["id"]: row["text"] for row in rows_of(sharded.out)} == expected(job)


def test_a_damaged_shard_is_read_once_and_costs_its_own_utterances(
    job: Job, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = shards / "shard-000001.tar"
    data = bytearray(damaged.read_bytes())
    data[700] ^= 1
    damaged.write_bytes(data)
    checks: list[str] = []
    check = room_check()
    monkeypatch.setattr(
        "asr.data.shard_reader._check", lambda fd, shard, where: (checks.append(where), check(fd, shard, where))
    )
    sharded = Job(open_archive(str(shards)), job.model, tmp_path / "sharded")
    outcome = transcribe_archive(sharded, ThisProcess())
    texts = expected(job)
    found = {row["id"]: row["text"] for row in rows_of(sharded.out)}
    assert found.items() < texts.items()
    names = [line.split("\t")[0] for line in (sharded.out / "failed.tsv").read_text("utf-8").splitlines()]
    assert names == [f"shard-000001.tar:{row}" for row in range(len(texts) - len(found))]
    assert len(names) == outcome.num_failed >= 2
    assert len(checks) == len(set(checks)) == len(list(shards.glob("*.tar")))


def room_check() -> Any:
    from asr.data import shard_reader

    return shard_reader._check


# Workers on Ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on two cores of this machine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # for tests.poison
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
        try:
            yield ray
        finally:
            ray.shutdown()


@pytest.mark.slow
def test_two_workers_give_what_one_process_gives(cluster: Any, job: Job, tmp_path: Path) -> None:
    alone = Job(job.archive, job.model, tmp_path / "alone")
    transcribe_archive(alone, ThisProcess())
    outcome = transcribe_archive(job, RayWorkers(count=2))
    assert (job.out / "transcripts.jsonl").read_bytes() == (alone.out / "transcripts.jsonl").read_bytes()
    assert outcome.transcripts == COUNT
    assert cluster.is_initialized()  # a cluster that was there stays


@pytest.mark.slow
def test_two_workers_read_shards(cluster: Any, job: Job, shards: Path, tmp_path: Path) -> None:
    sharded = Job(open_archive(str(shards)), job.model, tmp_path / "sharded")
    transcribe_archive(sharded, RayWorkers(count=2))
    assert {row["id"]: row["text"] for row in rows_of(sharded.out)} == expected(job)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="finds the workers in /proc")
def test_a_killed_worker_loses_nothing_and_doubles_nothing(cluster: Any, job: Job, tmp_path: Path) -> None:
    killed: list[int] = []
    crew = Counting(RayWorkers(count=2))

    def kill_one(done: int, total: int | None, seconds: float) -> None:
        if not killed:
            killed.extend(busy_workers()[:1])
            os.kill(killed[0], signal.SIGKILL)

    outcome = transcribe_archive(job, crew, progress=kill_one)
    assert killed
    assert {row["id"]: row["text"] for row in rows_of(job.out)} == expected(job)
    assert [row["id"] for row in rows_of(job.out)] == list(expected(job))
    assert sorted(crew.numbers) == list(range(len(cut(job.archive))))
    assert outcome.num_failed == 0


class Counting:
    """A crew whose results are noted."""

    def __init__(self, crew: RayWorkers) -> None:
        self.crew, self.numbers = crew, list[int]()

    def work(self, pieces: Sequence[Piece], job: Job) -> room.Results:
        for result in self.crew.work(pieces, job):
            self.numbers += [] if result is None else [result[0].number]
            yield result


def busy_workers() -> list[int]:
    """Return the processes of this session's workers, those at work first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes()
        except OSError:  # it has just ended
            continue
        if name.startswith(b"ray::RayWorker"):
            found.append((b"transcribe" not in name, int(path.parent.name)))
    return [number for _, number in sorted(found)]


@pytest.mark.slow
def test_a_recording_that_kills_its_workers_fails_alone(cluster: Any, job: Job) -> None:
    assert isinstance(job.archive, ManifestArchive)
    poisoned = PoisonedArchive(job.archive.sources, job.archive.names, job.archive.seconds, poison="u04")
    outcome = transcribe_archive(Job(poisoned, job.model, job.out), RayWorkers(count=2))
    texts = expected(job)
    del texts["u04"]
    assert {row["id"]: row["text"] for row in rows_of(job.out)} == texts
    assert next(iter(outcome.failed)).startswith("u04: 3 workers died of it")
    assert outcome.num_failed == 1


@pytest.mark.slow
def test_what_a_worker_cannot_start_with_is_told_in_one_line(cluster: Any, job: Job, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="has no GPU at all"):
        transcribe_archive(Job(job.archive, job.model, job.out, "cuda"), RayWorkers())
    with pytest.raises(UsageError, match="not one that torch knows"):
        transcribe_archive(Job(job.archive, job.model, tmp_path / "other", "gpu"), RayWorkers())
    (tmp_path / "bad.safetensors").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"bad\.safetensors: not a model file"):
        transcribe_archive(Job(job.archive, tmp_path / "bad.safetensors", tmp_path / "third"), RayWorkers())


def test_without_the_package_the_cure_is_told(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MachineError, match=r"-m pip install ray$"):
        transcribe_archive(job, RayWorkers())


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [("127.0.0.1:1", MachineError, "nothing answers there"), ("nowhere", UsageError, "give auto, local, HOST:PORT")],
)
def test_a_cluster_that_is_not_there_is_told_at_once(address: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        room._reach(address)


def test_an_address_in_the_environment_is_never_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(MachineError, match=r"'127\.0\.0\.1:1': nothing answers there"):
        room._joined(None, room.AUTO, {})
