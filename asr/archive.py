"""A folder, a manifest or tar shards -> transcripts, by this process or by many workers on Ray, each recording once.

The archive is cut into pieces of some minutes of audio, the same for any number of workers.  This process alone
writes: what comes of a piece becomes one file, which bears its name only when it is whole.  So a piece whose worker
dies is given to another, a call that was interrupted goes on with the pieces that are not there, and nothing is lost
or stands twice.  At the end the pieces become one file, in the order of the archive (docs/formats.md).
"""

import json
import logging
import os
import shutil
import socket
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import asr
from asr.data.archives import Archive, Lot, Shelf
from asr.errors import DataError, InputError, MachineError, UsageError, to_install, writing
from asr.receipts import cores, file_hash
from asr.recognizer import Recognizer, RecognizerConfig, Transcript
from asr.store import json_text, read_header, replacing, write_json, write_text
from asr.units import Seconds

if TYPE_CHECKING:
    from asr.recognizer import Reader

FORMAT = 1
TRANSCRIPTS, FAILED, STATE, PARTS = "transcripts.jsonl", "failed.tsv", "archive.json", "parts"
PIECE_SECONDS: Seconds = 300.0  # a second of work or so: at the end no worker waits long for the others
PIECE_ROWS = 512
MAX_PIECES = 20_000  # a folder of more files is slow on many disks: larger archives have larger pieces
AUTO, LOCAL = "auto", "local"  # the cluster that is there, or else this machine; this machine in any case
DEATHS, DEATHS_ALONE = 2, 3  # of workers on a piece until its recordings go one by one; on one until it is given up
MAX_TOLD = 20  # messages about faulty recordings that are told and not only written
MAX_STARTS = 3  # workers in a row that die before they are ready
_CONNECT_SECONDS = 5.0  # Ray itself tries for minutes
_MEANT = {  # what differs, in the words of the one who changed it
    "archive": "other recordings (one was added, removed, renamed or replaced)",
    "model": "another model",
    "recognizer": "other settings",
    "search": "another search",
    "version": "another version of asr",
}
_STORE_BYTES = 256 << 20  # of memory that processes share, on this machine: the model goes through it

Row = dict[str, Any]
Progress = Callable[[int, int | None, float], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows [first, last) of an archive, which one worker does at a time."""

    number: int
    first: int
    last: int
    seconds: Seconds
    group: int


@dataclass(frozen=True)
class Job:
    """What to transcribe, with what, and where the results go.

    Attributes:
        reader: of the model's log-probs; without one the best path is read.
        search: what makes that reader this reader, such as the hashes of its files: another one is another job.
    """

    archive: Archive
    model: Path
    out: Path
    device: str = "cpu"
    config: RecognizerConfig = field(default_factory=RecognizerConfig)
    reader: "Reader | None" = None
    search: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a job came to.

    Attributes:
        failed: what was said of recordings that could not be read -> of how many, MAX_TOLD of them at most.
        unfamiliar: transcripts of speech unlike what the model knows.
        audio_seconds: of all transcripts.
        done_before: pieces that an earlier call had done.
        work_seconds: from the moment that the first worker was ready to the last piece of this call.
        work_audio_seconds: of the pieces of this call, as the archive's headers say it.
    """

    transcripts: int = 0
    words: int = 0
    num_failed: int = 0
    unfamiliar: int = 0
    audio_seconds: Seconds = 0.0
    done_before: int = 0
    work_seconds: float = 0.0
    work_audio_seconds: Seconds = 0.0
    failed: dict[str, int] = field(default_factory=dict)


Results = Generator[tuple[Piece, list[Row]] | None]


class Crew(Protocol):
    """Those who do the pieces."""

    def work(self, pieces: Sequence[Piece], job: Job) -> Results:
        """Yield None when the first of them is ready, then each piece with its rows, as they come."""


def transcribe_archive(job: Job, crew: Crew, *, progress: Progress | None = None) -> Outcome:
    """Transcribe all that `job.out` does not hold yet, and return what came of it; what failed before is tried again.

    Args: progress: called with (recordings done, recordings in all, seconds of audio done in this call).
    Raises: UsageError if `job.out` holds another job; DataError if the model is none; MachineError if a folder cannot
        be written or no worker starts.
    """
    pieces = cut(job.archive)
    with _alone_in(job.out):
        _claim(job, len(pieces))
        outcome = Outcome()
        done, failed = ((job.out / name).is_file() for name in (TRANSCRIPTS, FAILED))
        if done and failed:
            _take_apart(job, pieces)
        if failed or not done:
            missing = [piece for piece in pieces if not _is_done(job.out, piece)]
            outcome.done_before = len(pieces) - len(missing)
            _work(missing, job, crew, outcome, progress or _unseen)
            _put_together(job, pieces, outcome)
        else:
            outcome.done_before = len(pieces)
            _count_again(job, outcome)
        with writing(job.out / PARTS):
            shutil.rmtree(job.out / PARTS)
    return outcome


def cut(archive: Archive) -> list[Piece]:
    """Return the pieces of an archive: they depend on nothing else."""
    seconds, groups = archive.seconds, archive.groups
    limit = max(PIECE_SECONDS, float(seconds.sum()) / MAX_PIECES)
    pieces: list[Piece] = []
    first, total, rows = 0, 0.0, len(seconds)
    for row, (length, group) in enumerate(zip(seconds.tolist(), groups.tolist(), strict=True)):
        total += length
        ends = row + 1 == rows or groups[row + 1] != group
        if ends or total >= limit or row + 1 - first >= PIECE_ROWS:
            pieces.append(Piece(len(pieces), first, row + 1, total, group))
            first, total = row + 1, 0.0
    return pieces


class ThisProcess:
    """Does all pieces by itself, with all threads of torch."""

    def work(self, pieces: Sequence[Piece], job: Job) -> Results:
        """Yield None, then each piece with its rows."""
        recognizer = Recognizer.load(job.model, device=job.device, config=job.config)
        if job.reader is not None:
            recognizer = recognizer.with_reader(job.reader)
        shelf = Shelf()
        yield None
        for piece in pieces:
            yield piece, transcribe_lot(recognizer, job.archive.lot(piece.first, piece.last), shelf, job.archive.key)


def transcribe_lot(recognizer: Recognizer, lot: Lot, shelf: Shelf, key: str) -> list[Row]:
    """Return the row of each recording of a lot: its transcript, or its error."""
    opened = list(lot.opened(shelf))
    good = [recording for _, recording in opened if not isinstance(recording, InputError)]
    results = recognizer.transcribe_files(good)
    return [
        _row(key, name, recording if isinstance(recording, InputError) else next(results)) for name, recording in opened
    ]


def _row(key: str, name: str, result: Transcript | InputError) -> Row:
    if isinstance(result, InputError):
        return {key: name, "error": str(result)}
    warnings = {"warnings": list(result.warnings)} if result.warnings else {}
    return {key: name, **result.row(), **warnings}


def _unseen(done: int, total: int | None, audio_seconds: float) -> None:
    pass


# What lies in the folder


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Make the folder, and keep other calls away from it.  Raises: MachineError."""
    import fcntl

    with writing(out):
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        file = open(out / PARTS / "lock", "ab")  # noqa: SIM115 (closed below; opening alone may raise)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MachineError(f"{out}: another call is at work here; wait for it, or give another --out") from None
        except OSError:  # a file system without locks
            pass
        yield


def _claim(job: Job, num_pieces: int) -> None:
    """Write what makes this job this job, or compare with what is written.  Raises: UsageError if it differs."""
    path = job.out / STATE
    now = {
        "format": FORMAT,
        "kind": "archive",
        "archive": job.archive.identity(),
        "model": file_hash(job.model),
        "recognizer": job.config.model_dump(mode="json"),
        "version": asr.__version__,
        "recordings": len(job.archive.seconds),
        "pieces": num_pieces,
        "search": dict(job.search),
    }
    if not path.is_file():
        if (job.out / TRANSCRIPTS).exists():
            raise UsageError(f"{job.out / TRANSCRIPTS}: was there before, without {STATE}; give another --out")
        write_json(path, now)
        return
    before = {"search": {}, **_state(path)}  # which says nothing of a search where it is older than those
    different = [name for name in now if before.get(name) != now[name]]
    if different:
        meant = [_MEANT[name] for name in different if name in _MEANT] or different  # their numbers follow from these
        raise UsageError(f"{path}: this folder holds another job: {', '.join(meant)}; give another --out, or undo that")


def _state(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("kind") != "archive":
        raise DataError(f"{path}: not what asr transcribe writes there; give another --out")
    return found


def _part(out: Path, piece: Piece) -> Path:
    return out / PARTS / f"{piece.number:06d}.jsonl"


def _is_done(out: Path, piece: Piece) -> bool:
    try:
        return _part(out, piece).read_bytes().count(b"\n") == piece.last - piece.first
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DataError(f"{_part(out, piece)}: cannot read: {error.strerror}; delete it and call again") from None


def _work(missing: Sequence[Piece], job: Job, crew: Crew, outcome: Outcome, progress: Progress) -> None:
    """Have the missing pieces done, and write what comes."""
    total = len(job.archive.seconds)
    done = total - sum(piece.last - piece.first for piece in missing)
    if not missing:
        return
    started = time.monotonic()
    with closing(crew.work(missing, job)) as results:
        for result in results:
            if result is None:
                started = time.monotonic()
                continue
            piece, rows = result
            assert len(rows) == piece.last - piece.first, "a worker returns a row for each recording"
            write_text(_part(job.out, piece), "".join(map(_line, rows)))
            done += len(rows)
            outcome.work_audio_seconds += piece.seconds
            progress(done, total, outcome.work_audio_seconds)
    outcome.work_seconds = time.monotonic() - started


def _line(row: Row) -> str:
    return json_text(row) + "\n"


def _put_together(job: Job, pieces: Iterable[Piece], outcome: Outcome) -> None:
    """Write the failures, then all transcripts in the order of the archive, and count them."""
    out, key = job.out, job.archive.key
    with (
        replacing(out / TRANSCRIPTS) as good,  # renamed last
        replacing(out / FAILED) as bad,
        open(good, "w", encoding="utf-8", newline="\n") as transcripts,
        open(bad, "w", encoding="utf-8", newline="\n") as failures,
    ):
        for number, row in enumerate(_rows(_part(out, piece) for piece in pieces)):
            if "error" in row:
                _count_failure(row["error"], outcome)
                failures.write(f"{_cell(row[key])}\t{_cell(row['error'])}\t{number}\n")
            else:
                outcome.unfamiliar += bool(row.pop("warnings", ()))
                _count(row, outcome)
                transcripts.write(_line(row))
    if not outcome.num_failed:
        with writing(out / FAILED):
            (out / FAILED).unlink()


def _take_apart(job: Job, pieces: Iterable[Piece]) -> None:
    """Make the parts again that an earlier call has put together, but for pieces with a failure: they are missing.

    Raises: DataError if the failures are not as this module writes them.
    """
    failed = _failed_rows(job.out / FAILED)
    with open(job.out / TRANSCRIPTS, encoding="utf-8") as file:
        for piece in pieces:
            bad = bisect_left(failed, piece.last) - bisect_left(failed, piece.first)
            rows = list(islice(file, piece.last - piece.first - bad))
            if not bad and not _is_done(job.out, piece):
                write_text(_part(job.out, piece), "".join(rows))


def _failed_rows(path: Path) -> list[int]:
    """Return the numbers of the rows that failed, rising."""
    try:
        with open(path, encoding="utf-8") as file:
            return [int(line.rsplit("\t", 1)[1]) for line in file]
    except (ValueError, IndexError):
        raise DataError(f"{path}: not what asr transcribe writes there; give another --out") from None


def _rows(paths: Iterable[Path]) -> Iterator[Row]:
    for path in paths:
        with open(path, encoding="utf-8") as file:
            yield from map(json.loads, file)


def _cell(text: str) -> str:
    """Return a text as it stands in a table: one line, no tab, and UTF-8 even where a file name is not."""
    escaped = text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")


def _count_again(job: Job, outcome: Outcome) -> None:
    """Count what an earlier call has written."""
    for row in _rows([job.out / TRANSCRIPTS]):
        _count(row, outcome)


def _count(row: Row, outcome: Outcome) -> None:
    outcome.transcripts += 1
    outcome.words += len(row["words"])
    outcome.audio_seconds += row["duration"]


def _count_failure(message: str, outcome: Outcome) -> None:
    outcome.num_failed += 1
    if message in outcome.failed or len(outcome.failed) < MAX_TOLD:
        outcome.failed[message] = outcome.failed.get(message, 0) + 1


# Workers on Ray


@dataclass(frozen=True)
class RayWorkers:
    """Does the pieces in processes that Ray starts: on this machine, or on those of a cluster.

    Attributes:
        address: of the cluster; AUTO is that of RAY_ADDRESS or the one that runs here, else LOCAL: this machine alone.
        count: workers; None: one for each core (with a GPU as the job's device: for each GPU) of the cluster.
    """

    address: str = AUTO
    count: int | None = None

    def work(self, pieces: Sequence[Piece], job: Job) -> Results:
        """Yield None when the first worker is ready, then each piece with its rows, as they come.

        Raises: MachineError if Ray or its cluster is missing, or no worker starts; DataError if the model is none.
        """
        ray = _imported()
        read_header(job.model)  # here, where the error can name the file
        with _cluster(ray, self.address, self.count):
            resource = "GPU" if job.device.startswith("cuda") else "CPU"
            count = self.count or int(ray.cluster_resources().get(resource, 0))
            if not count:
                raise MachineError(
                    f"the Ray cluster has no {resource} at all; add machines, or choose another --device"
                )
            shift = _Shift(ray, pieces, job)
            try:
                yield from shift.results(min(count, len(pieces)))
            finally:
                shift.end()


class RayWorker:
    """One worker, in a process of its own: a model, one thread, and what it keeps open between two pieces."""

    def __init__(self, model: bytes, device: str, config: RecognizerConfig, key: str) -> None:
        """Only take note: what fails here cannot say why."""
        self._made_from = model, device, config
        self._key, self._shelf = key, Shelf()

    def start(self) -> None:
        """Load the model.  Raises: as Recognizer.load."""
        import torch

        torch.set_num_threads(1)
        model, device, config = self._made_from
        with tempfile.NamedTemporaryFile(prefix="asr-", suffix=".safetensors") as file:
            file.write(model)
            file.flush()
            self._recognizer = Recognizer.load(file.name, device=device, config=config)

    def transcribe(self, lot: Lot) -> list[Row]:
        """Return the row of each recording."""
        return transcribe_lot(self._recognizer, lot, self._shelf, self._key)


@dataclass(eq=False)
class _Task:
    """A piece, or one row of a piece at which workers had died."""

    piece: Piece
    row: int | None = None
    deaths: int = 0

    @property
    def alone(self) -> bool:
        return self.row is not None or self.piece.last - self.piece.first == 1


@dataclass(eq=False)
class _Hand:
    """A worker, and the group of its last piece."""

    actor: Any
    group: int | None = None


class _Shift:
    """The workers of one call: what each does, what waits, and what is done when one dies."""

    def __init__(self, ray: Any, pieces: Sequence[Piece], job: Job) -> None:
        self._ray, self._job = ray, job
        self._waiting = [_Task(piece) for piece in pieces]
        self._unfinished = len(pieces)
        self._idle: list[_Hand] = []
        self._busy: dict[Any, tuple[_Hand, _Task | None]] = {}  # by what will come; None: the worker starts
        self._rows: dict[int, dict[int, Row]] = {}  # of pieces that are done row by row
        self._failed_starts, self._last_death = 0, ""
        self._model = ray.put(job.model.read_bytes())
        options = {"num_cpus": 1, "num_gpus": 1} if job.device.startswith("cuda") else {"num_cpus": 1}
        self._make = ray.remote(RayWorker).options(max_restarts=0, **options).remote

    def results(self, count: int) -> Results:
        """Start so many workers and yield as `Crew.work`."""
        for _ in range(count):
            self._start()
        told = False
        while self._unfinished:
            (reference,), _ = self._ray.wait(list(self._busy), num_returns=1)
            hand, task = self._busy.pop(reference)
            rows = self._result(reference)
            if rows is None:
                self._ray.kill(hand.actor)  # it may have run out of memory and live
                rows = self._after_death(task)
                self._start()
            else:
                self._idle.append(hand)
                self._failed_starts = 0
                if not told:
                    told = True
                    yield None
            self._hand_out()  # before what came is written
            if task is not None and rows is not None and (whole := self._collected(task, rows)) is not None:
                self._unfinished -= 1
                yield task.piece, whole

    def end(self) -> None:
        """Let all workers go."""
        for hand in [*self._idle, *(hand for hand, _ in self._busy.values())]:
            self._ray.kill(hand.actor)

    def _start(self) -> None:
        actor = self._make(self._model, self._job.device, self._job.config, self._job.archive.key)
        self._busy[actor.start.remote()] = (_Hand(actor), None)

    def _hand_out(self) -> None:
        while self._idle and self._waiting:
            hand = self._idle.pop()
            task = self._next(hand)
            self._waiting.remove(task)
            hand.group = task.piece.group
            lot = self._job.archive.lot(task.piece.first, task.piece.last)
            lot = lot if task.row is None else lot.part(task.row)
            self._busy[hand.actor.transcribe.remote(lot)] = (hand, task)

    def _next(self, hand: _Hand) -> _Task:
        """Return a task of the group that the worker is at, else of one that nobody is at, the longest first."""
        taken = {task.piece.group for _, task in self._busy.values() if task is not None}

        def order(task: _Task) -> tuple[bool, bool, float]:
            group = task.piece.group
            return group != hand.group, group in taken, -task.piece.seconds

        return min(self._waiting, key=order)

    def _result(self, reference: Any) -> list[Row] | None:
        """Return what a worker returned ([] for its start), or None if it died.  Raises: what it raised."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference) or []
        except errors.RayTaskError as error:
            if isinstance(error.cause, MemoryError):
                return None
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise
        except errors.RayError as error:
            self._last_death = " ".join(str(error).split())
            return None

    def _after_death(self, task: _Task | None) -> list[Row] | None:
        """Return None, the task being left to another worker, or its row if it has cost too many.

        Raises: MachineError if workers keep dying before they are ready.
        """
        if task is None:
            self._failed_starts += 1
            if self._failed_starts >= MAX_STARTS:
                raise MachineError(f"{MAX_STARTS} workers died at their start, the last: {self._last_death}")
            return None
        task.deaths += 1
        if task.alone and task.deaths >= DEATHS_ALONE:
            (name,) = self._job.archive.lot(task.piece.first, task.piece.last).part(task.row or 0).names
            why = f"{name}: {task.deaths} workers died of it, most likely for lack of memory; cut it into shorter files"
            return [{self._job.archive.key: name, "error": why}]
        if not task.alone and task.deaths >= DEATHS:
            rows = range(task.piece.last - task.piece.first)
            self._rows[task.piece.number] = {}
            self._waiting += [_Task(task.piece, row) for row in rows]
        else:
            self._waiting.append(task)
        return None

    def _collected(self, task: _Task, rows: list[Row]) -> list[Row] | None:
        """Return all rows of the piece if these were the last."""
        if task.row is None:
            return rows
        found = self._rows[task.piece.number]
        found[task.row] = rows[0]
        if len(found) < task.piece.last - task.piece.first:
            return None
        del self._rows[task.piece.number]
        return [found[row] for row in sorted(found)]


def _imported() -> Any:
    try:
        import ray
    except ImportError:
        raise MachineError(f"--ray needs the package ray, which is not here: {to_install('ray')}") from None
    return ray


@contextmanager
def _cluster(ray: Any, address: str, count: int | None) -> Iterator[None]:
    """Join a cluster, or start one on this machine; leave or end it afterwards.

    A program that has called ray.init itself goes on with that.  Raises: MachineError.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report what it is used for to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its coming default: no warning about it
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if not _joined(ray, address, quiet):
            ray.init(num_cpus=count or cores(), include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
        yield
    finally:
        ray.shutdown()


def _joined(ray: Any, address: str, quiet: Mapping[str, Any]) -> bool:
    """Return whether there was a cluster to join.  Raises: MachineError if there was not, and one was named."""
    if address == LOCAL:
        return False
    named = os.environ.get("RAY_ADDRESS") or None if address == AUTO else address
    if named is not None:
        _reach(named)
    try:
        ray.init(address=named or AUTO, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        if named is None and isinstance(error, ConnectionError):
            return False
        reason = " ".join(str(error).split())
        raise MachineError(f"the Ray cluster at '{named or AUTO}' cannot be joined: {reason}") from None
    return True


def _reach(address: str) -> None:
    """Raise MachineError if nothing listens there: Ray itself would try for minutes."""
    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        host, port = place.hostname, place.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise UsageError(f"--ray '{address}': give auto, local, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError as error:
        raise MachineError(
            f"--ray '{address}': nothing answers there ({error.strerror or error}); check it with ray status"
        ) from None
