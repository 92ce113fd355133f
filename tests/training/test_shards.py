"""Training from shards: killed and resumed, with workers, in two processes, from a server: always the same run."""

import http.server
import json
import signal
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.data.shard_index import HEADER
from asr.store import load
from asr.training.checkpoint import load_state
from tests.data.shards import change_header, make_shards
from tests.training.miniature import ALL_ON, Corpus, Processes
from tests.training.test_ranks import PLAIN, assert_close, start
from tests.training.test_resume import LAST, assert_equal_runs

GROUPED = ("train.loader.group_shards=2", "train.epochs=3", "train.checkpoint_steps=2", "train.keep_last=2")
EVERYTHING = (*ALL_ON, *GROUPED, "augment.joining.probability=0.3", "augment.joining.max_seconds=3")


@pytest.fixture(scope="module")
def shards(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(corpus, tmp_path_factory.mktemp("shards") / "shards")


def arguments(corpus: Corpus, shards: Path | str, out: Path, *more: str, valid: bool = True) -> list[str]:
    found = corpus.arguments(out, *more, valid=valid)
    found[found.index("--train") + 1] = str(shards)
    return found


@pytest.fixture(scope="module")
def straight(corpus: Corpus, shards: Path, processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    ended = processes(arguments(corpus, shards, folder / "run", *EVERYTHING), folder)
    assert ended.code == 0, ended.stderr
    assert "12 utterances, " in ended.stderr
    return folder / "run"


def test_killed_at_every_third_step_and_resumed_the_weights_are_bit_equal(
    straight: Path, corpus: Corpus, shards: Path, processes: Processes, tmp_path: Path
) -> None:
    steps = load_state(straight / LAST).position.step
    assert steps > 12
    for step in range(1, steps, 3):
        resuming = arguments(corpus, shards, tmp_path / "run", *EVERYTHING, "--resume")
        ended = processes(resuming, tmp_path / "logs", kill_after_step=step)
        assert ended.code == -signal.SIGKILL, ended.stderr
    ended = processes(arguments(corpus, shards, tmp_path / "run", *EVERYTHING, "--resume"), tmp_path / "logs")
    assert ended.code == 0, ended.stderr
    assert_equal_runs(straight, tmp_path / "run")


@pytest.mark.parametrize("workers", [0, 1])
def test_the_number_of_workers_changes_nothing(
    straight: Path, corpus: Corpus, shards: Path, processes: Processes, tmp_path: Path, workers: int
) -> None:
    more = (*EVERYTHING, f"train.loader.workers={workers}")
    ended = processes(arguments(corpus, shards, tmp_path / "run", *more), tmp_path)
    assert ended.code == 0, ended.stderr
    tensors, others = load(straight / LAST)[0], load(tmp_path / "run" / LAST)[0]
    assert all(bool((tensors[name] == others[name]).all()) for name in tensors)


def test_the_receipt_names_the_shards(straight: Path, corpus: Corpus, shards: Path) -> None:
    receipt = json.loads((straight / "train.receipt.json").read_text("utf-8"))
    assert receipt["utterances"] == 12
    assert receipt["audio_seconds"] == pytest.approx(sum(utterance.duration for utterance in corpus.utterances))
    assert len(receipt["result"]["shards_sha256"]) == 64
    assert str(corpus.valid) in receipt["inputs"]


def test_other_shards_are_no_resume(
    straight: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = make_shards(corpus, tmp_path / "others", shard_bytes=90_000)
    assert main(arguments(corpus, others, straight, *EVERYTHING, "--resume")) == 2
    assert "what differs is training data" in capsys.readouterr().err


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def url(shards: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=shards.parent)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/shards"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("workers", [0, 2])
def test_from_a_server_it_is_the_same_run(
    straight: Path,
    corpus: Corpus,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(arguments(corpus, url, tmp_path / "run", *EVERYTHING, f"train.loader.workers={workers}")) == 0
    if not workers:  # of several, one that lags behind may fetch a shard again
        assert len(list(tmp_path.glob("asr-shards-*/*/*.tar"))) <= 4  # those of two groups: no more are kept
    tensors, others = load(straight / LAST)[0], load(tmp_path / "run" / LAST)[0]
    assert all(bool((tensors[name] == others[name]).all()) for name in tensors)


def test_a_running_normaliser_gets_its_statistics(corpus: Corpus, shards: Path, tmp_path: Path) -> None:
    more = ("train.epochs=1", "model.features.normalization=global")
    assert main(arguments(corpus, shards, tmp_path / "run", *more, valid=False)) == 0
    mean = load(tmp_path / "run" / LAST)[0]["frontend.normalizer.mean"]
    assert bool((mean != 0).all())


def test_a_replay_among_shards_is_refused(
    straight: Path, corpus: Corpus, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--from", str(straight / LAST), f"finetune.replay.manifest={corpus.train}", "finetune.replay.ratio=0.3")
    assert main(arguments(corpus, shards, tmp_path / "run", *more)) == 2
    message = "finetune.replay mixes utterances into those of a manifest; give --train one, not shards"
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_are_one(corpus: Corpus, shards: Path, processes: Processes, tmp_path: Path) -> None:
    more = (*PLAIN, "train.loader.group_shards=2")
    alone = processes(arguments(corpus, shards, tmp_path / "alone", *more), tmp_path)
    assert alone.code == 0, alone.stderr
    log = tmp_path / "log"
    process = start(arguments(corpus, shards, tmp_path / "two", *more, "train.devices=2"), log)
    assert process.wait(180) == 0, log.read_text("utf-8")
    assert_close(tmp_path / "alone", tmp_path / "two")


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        ("nothing", 2, "--overfit learns the first utterances of a manifest; give --train the manifest"),
        ("lost", 3, "shard-000001.tar: this shard is lost; put it back, or copy the shards again"),
        ("short", 3, "the index says "),
        ("index", 3, "index.bin: has "),
        ("outside", 3, '"../shard-000000.tar" is not the name of a shard in this folder'),
        ("no text", 3, "3 of 12 utterances have no text"),
        ("alphabet", 3, "'é' (U+00E9, 2 utterances) not in the alphabet"),
        ("no index", 3, f"{HEADER}: missing; give a manifest, or a folder made by asr shard"),
    ],
)
def test_bad_shards_are_one_line(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: str, code: int, message: str
) -> None:
    shards = make_shards(corpus, tmp_path / "shards")
    more: tuple[str, ...] = ("--overfit", "3") if spoil == "nothing" else ()
    if spoil == "lost":
        (shards / "shard-000001.tar").unlink()
    elif spoil == "short":
        path = shards / "shard-000001.tar"
        path.write_bytes(path.read_bytes()[:-600])
    elif spoil == "index":
        (shards / "index.bin").write_bytes((shards / "index.bin").read_bytes()[:-5])
    elif spoil == "outside":
        change_header(shards, lambda header: header["shards"][0].update(file="../shard-000000.tar"))
    elif spoil == "no text":
        change_header(shards, lambda header: header.update(without_text=3))
    elif spoil == "alphabet":
        change_header(shards, lambda header: header["characters"].update({"é": 2}))
    elif spoil == "no index":
        (shards / HEADER).unlink()
    assert main(arguments(corpus, shards, tmp_path / "run", *more, valid=False)) == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("asr train: ")
    assert message in lines[-1]
    assert not any("Traceback" in line for line in lines)
    if spoil not in ("lost", "short"):  # found before anything is written
        assert not (tmp_path / "run").exists()
