"""recipes/cluster: a training as two nodes on loopback, by torchrun and by a false srun, equals one process."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.miniature import ROOT, Corpus, make_corpus, train
from tests.training.test_ranks import PLAIN, assert_close

# A recipe of one stage, on a corpus that is there already.
RECIPE = """#!/usr/bin/env bash
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"
recipe mini "$@"
stage tokens --output "$out/seen" -- python recipes/mini/prepare.py "$out/seen"
stage train --input "$corpus/train.jsonl" --output "$out/checkpoints" --state "$out/checkpoints" \\
    -- asr train "$corpus/tiny.yaml" "${overrides[@]}" --train "$corpus/train.jsonl" --valid "$corpus/valid.jsonl" \\
    --tokens "$corpus/tokens.json" --out "$out" --seed "$seed"
"""

# Stands for SLURM's srun: starts the tasks, all on this machine, as if on two nodes, and tells each who it is.
SRUN = f"""#!{sys.executable}
import os, subprocess, sys
nodes, each = (int(sys.argv[place].split("=")[1]) for place in (1, 2))
assert sys.argv[1:4] == [f"--nodes={{nodes}}", f"--ntasks-per-node={{each}}", "--kill-on-bad-exit=1"], sys.argv
tasks = []
for task in range(nodes * each):
    who = dict(SLURM_PROCID=task, SLURM_LOCALID=task % each, SLURM_NODEID=task // each, SLURM_NTASKS=nodes * each)
    environment = {{**os.environ, **{{name: str(value) for name, value in who.items()}}}}
    tasks.append(subprocess.Popen(sys.argv[4:], env=environment))
sys.exit(max(task.wait() for task in tasks))
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """An odd number of utterances."""
    return make_corpus(tmp_path_factory.mktemp("odd"), num_train=11)


@pytest.fixture(scope="module")
def alone(odd: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert train(odd, out, *PLAIN) == 0
    return out


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one small recipe, whose `asr` is this one."""
    root = tmp_path / "a checkout"
    shutil.copytree(ROOT / "recipes" / "cluster", root / "recipes" / "cluster")
    shutil.copy(ROOT / "recipes" / "stages.sh", root / "recipes")
    (root / "asr").symlink_to(ROOT / "asr")
    write(root / "recipes" / "mini" / "run.sh", RECIPE)
    write(root / "recipes" / "mini" / "prepare.py", "import sys\nfrom pathlib import Path\nPath(sys.argv[1]).touch()\n")
    write(root / "conf" / "mini.yaml", "model: {}\n")
    write(root / "tools" / "setup", "#!/usr/bin/env bash\n")
    write(root / ".venv" / "bin" / "python", f'#!/usr/bin/env bash\nexec "{sys.executable}" "$@"\n')
    write(root / ".venv" / "bin" / "asr", f'#!/usr/bin/env bash\nexec "{sys.executable}" -m asr "$@"\n')
    write(root / "bin" / "srun", SRUN)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    path.chmod(0o755)


def start(
    checkout: Path, script: str, arguments: list[str], log: Path, **environment: str
) -> "subprocess.Popen[bytes]":
    path = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    everything = {**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    command = [str(checkout / "recipes" / "cluster" / script), *arguments]
    with open(log, "wb") as file:
        return subprocess.Popen(command, cwd=checkout, stdout=file, stderr=file, env=everything, start_new_session=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.mark.slow
def test_torchrun_on_two_nodes_is_one_process(alone: Path, odd: Corpus, checkout: Path, tmp_path: Path) -> None:
    out, port = tmp_path / "run", str(free_port())
    arguments = ["mini", "--corpus", str(odd.folder), "--out", str(out), *PLAIN]
    place = {"NODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    logs = [tmp_path / f"node{rank}.log" for rank in (0, 1)]
    nodes = [
        start(checkout, "torchrun.sh", arguments, log, NODE_RANK=str(rank), **place) for rank, log in enumerate(logs)
    ]
    codes = [nodes[0].wait(240)]
    if codes[0]:  # the other one would wait for it
        os.killpg(nodes[1].pid, signal.SIGKILL)
    codes.append(nodes[1].wait(60))
    texts = [log.read_text("utf-8") for log in logs]
    assert codes == [0, 0], texts
    assert_close(alone, out)
    assert texts[0].count("new run") == 1
    assert "new run" not in texts[1]
    assert sorted(path.name for path in (out / "stages").glob("*.json")) == ["tokens.json", "train.json"]


@pytest.mark.slow
def test_slurm_on_two_nodes_is_one_process(alone: Path, odd: Corpus, checkout: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    job = {
        "SLURM_JOB_ID": str(free_port()),
        "SLURM_JOB_NAME": "asr",
        "SLURM_SUBMIT_DIR": str(checkout),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NODELIST": "127.0.0.1,127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    arguments = ["mini", "--corpus", str(odd.folder), "--out", str(out), *PLAIN]
    assert start(checkout, "slurm.sh", arguments, log, **job).wait(240) == 0, log.read_text("utf-8")
    assert_close(alone, out)
    assert log.read_text("utf-8").count("new run") == 1


@pytest.mark.parametrize(
    ("script", "arguments", "environment", "message"),
    [
        ("torchrun.sh", ["none"], {}, "'none' is no recipe"),
        ("torchrun.sh", ["../mini"], {}, "'../mini' is no recipe"),
        ("torchrun.sh", ["mini"], {}, "NODES=''"),
        ("torchrun.sh", ["mini"], {"NODES": "2", "NODE_RANK": "2"}, "NODE_RANK='2': give this node's number, 0 to 1"),
        ("torchrun.sh", ["mini"], {"NODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "a b"}, "MASTER_ADDR='a b'"),
        ("slurm.sh", ["mini"], {}, "submit it: sbatch"),
        ("slurm.sh", ["mini"], {"SLURM_SUBMIT_DIR": "/"}, "'/' is not the checkout"),
    ],
)
def test_what_is_missing_is_told(
    checkout: Path, tmp_path: Path, script: str, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    log = tmp_path / "log"
    assert start(checkout, script, arguments, log, **environment).wait(60) == 2
    assert message in log.read_text("utf-8")
