"""tools/setup against a false Python and a false df: what it refuses, says, repeats and survives."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USED = "bash cat chmod dirname env flock grep head kill mkdir rm sha256sum sleep tail"

# Answers what tools/setup asks of an interpreter; `-m venv` copies it, `-m pip` writes what it was asked for.
PYTHON = """#!/usr/bin/env bash
home=$(dirname "${BASH_SOURCE[0]}")
case "$*" in
    *version_info*) exit "${FAKE_TOO_OLD:-0}" ;;
    *ensurepip*) exit "${FAKE_NO_VENV:-0}" ;;
    "-m venv "*)
        mkdir -p "$3/bin"
        cat "${BASH_SOURCE[0]}" >"$3/bin/python" && chmod +x "$3/bin/python"
        printf 'version = 3.12.1\\n' >"$3/pyvenv.cfg"
        ;;
    "-m pip "*)
        printf '%s\\n' "$*" >>"$FAKE_LOG"
        printf 'pip talks on standard output\\n'
        [[ -z ${FAKE_DIES:-} ]] || { kill -9 "$PPID" && exit 1; }
        sleep "${FAKE_SLEEP:-0}"
        [[ -z ${FAKE_FAILS:-} ]] || exit 1
        [[ $* == *--editable* ]] || exit 0
        printf '#!/usr/bin/env bash\\necho asr "$@"\\n' >"$home/asr" && chmod +x "$home/asr"
        ;;
esac
"""
DF = """#!/usr/bin/env bash
printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\\n'
printf '/dev/a disk 264000000 1000 %s  31%% /a folder\\n' "$FAKE_FREE"
"""


class Clone:
    """A clone with only the tools, on a machine with only false interpreters."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a clone"
        self.path = folder / "bin"
        self.log = folder / "pip.log"
        (self.root / "tools").mkdir(parents=True)
        for name in ("tools/setup", "tools/transcribe", "setup.cfg", "pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, self.root / name)
        self.path.mkdir()
        for name in USED.split():
            found = shutil.which(name)
            assert found, f"this test needs {name}"
            (self.path / name).symlink_to(found)
        self.program("python3.12", PYTHON)
        self.program("df", DF)

    def program(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def start(self, tool: str = "setup", *arguments: str, **settings: str) -> subprocess.Popen[str]:
        environment = {"PATH": str(self.path), "FAKE_LOG": str(self.log), "FAKE_FREE": str(50 << 20), **settings}
        command = [self.root / "tools" / tool, *arguments]
        return subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    def run(self, tool: str = "setup", *arguments: str, **settings: str) -> tuple[int, str, str]:
        process = self.start(tool, *arguments, **settings)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def pip_calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_first_start_says_the_size_first_and_leaves_standard_output_to_transcripts(clone: Clone) -> None:
    code, out, err = clone.run("transcribe", "--format", "json")
    assert (code, out) == (0, "asr transcribe --format json\n")
    assert "2.6 GB to fetch and 5 GB on disk" in err.splitlines()[0]
    assert "pip talks" in err
    assert all("requirements.lock" in call for call in clone.pip_calls())
    assert "setuptools" in clone.pip_calls()[0]
    assert "--no-cache-dir" not in clone.pip_calls()[0]
    assert not (clone.root / ".venv-setup").exists()


def test_second_start_does_nothing_and_says_nothing(clone: Clone) -> None:
    clone.run()
    calls = clone.pip_calls()
    started = time.perf_counter()
    assert clone.run() == (0, "", "")
    assert time.perf_counter() - started < 1  # 20 ms on an idle machine
    assert clone.run(FAKE_FREE="1000")[0] == 0, "the disk no longer matters"
    assert clone.pip_calls() == calls


@pytest.mark.parametrize("name", ["requirements.lock", "setup.cfg"])
def test_a_changed_lock_is_brought_up_to_date_without_asking_for_the_disk_again(clone: Clone, name: str) -> None:
    clone.run()
    with (clone.root / name).open("a") as file:
        file.write("# changed\n")
    code, _, err = clone.run(FAKE_FREE="1000")
    assert code == 0
    assert "up to date" in err
    assert len(clone.pip_calls()) == 4
    assert clone.run() == (0, "", "")


def test_too_little_disk_is_one_line_and_exit_4(clone: Clone) -> None:
    code, out, err = clone.run(FAKE_FREE=str(7_950_000))
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert "7.7 GB are free" in err
    assert "8 GB are needed" in err
    assert not (clone.root / ".venv").exists()
    code, _, _ = clone.run(FAKE_FREE=str(8_300_000))
    assert code == 0
    assert "--no-cache-dir" in clone.pip_calls()[0], "what is fetched and pip's copy of it would not both fit"


def test_a_missing_venv_module_is_one_line_and_exit_4(clone: Clone) -> None:
    code, out, err = clone.run(FAKE_NO_VENV="1")
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert "python3.12 has no venv module" in err
    assert "apt-get install python3.12-venv" in err


def test_no_python_that_runs_is_one_line_and_exit_4(clone: Clone) -> None:
    clone.program("python3.13", "#!/usr/bin/env bash\necho 'shim: command not found' >&2\nexit 127\n")
    code, out, err = clone.run(FAKE_TOO_OLD="1")
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert "no Python 3.11, 3.12 or 3.13 runs as python3.13 python3.12 python3.11" in err


def test_a_shim_with_nothing_behind_it_and_a_python_without_venv_are_passed_over(clone: Clone) -> None:
    clone.program("python3.13", "#!/usr/bin/env bash\nexit 127\n")
    clone.program("python3.12", PYTHON.replace("${FAKE_NO_VENV:-0}", "1"))
    clone.program("python3.11", PYTHON.replace("3.12.1", "3.11.2"))
    code, _, _ = clone.run()
    assert code == 0
    assert "3.11.2" in (clone.root / ".venv" / "pyvenv.cfg").read_text()


def test_python_can_be_named(clone: Clone) -> None:
    clone.program("snake", PYTHON.replace("3.12.1", "3.13.9"))
    assert clone.run(PYTHON=str(clone.path / "snake"))[0] == 0
    assert "3.13.9" in (clone.root / ".venv" / "pyvenv.cfg").read_text()


def test_another_index_means_less_to_fetch(clone: Clone) -> None:
    index = "file:///a/folder"
    code, _, err = clone.run(ASR_CPU_INDEX=index, FAKE_FREE=str(4 << 20))
    assert code == 0
    assert "0.4 GB" in err
    assert all(f"--extra-index-url {index}" in call for call in clone.pip_calls())


def test_a_failure_of_pip_ends_with_exit_4_and_is_taken_up_again(clone: Clone) -> None:
    code, out, err = clone.run(FAKE_FAILS="1")
    assert (code, out) == (4, "")
    assert "start again" in err.splitlines()[-1]
    assert clone.run()[0] == 0
    assert clone.run() == (0, "", "")


def test_kill_during_set_up_is_redone_from_the_start(clone: Clone) -> None:
    half_done = clone.root / ".venv" / "half-done"
    code, _, _ = clone.run(FAKE_DIES="1")
    assert code == -signal.SIGKILL
    half_done.touch()
    code, _, err = clone.run()
    assert code == 0
    assert "incomplete" in err
    assert not half_done.exists()
    assert clone.run() == (0, "", "")


def test_a_moved_clone_is_set_up_again(clone: Clone) -> None:
    clone.run()
    clone.root = clone.root.rename(clone.root.with_name("moved"))
    code, _, err = clone.run()
    assert code == 0
    assert "was moved" in err


def test_an_environment_that_somebody_else_made_is_kept(clone: Clone) -> None:
    subprocess.run(
        [clone.path / "python3.12", "-m", "venv", clone.root / ".venv"], env={"PATH": str(clone.path)}, check=True
    )
    theirs = clone.root / ".venv" / "theirs"
    theirs.touch()
    assert clone.run()[0] == 0
    assert theirs.exists()


def test_two_starts_at_once_set_up_once(clone: Clone) -> None:
    first = clone.start(FAKE_SLEEP="0.5")
    deadline = time.monotonic() + 20
    while not clone.log.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    code, out, err = clone.run()
    assert (code, out) == (0, "")
    assert "waiting" in err
    first.communicate(timeout=30)
    assert first.returncode == 0
    assert len(clone.pip_calls()) == 2, "one start did both steps, the other none"


def test_tools_can_be_started() -> None:
    for name in ("tools/setup", "tools/transcribe", "tools/test", "tools/bench", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name
        subprocess.run(["bash", "-n", ROOT / name], check=True)


@pytest.mark.parametrize("name", ["", "nothing", "../bench", "_common"])
def test_a_benchmark_that_is_not_there_is_exit_2_and_lists_those_that_are(name: str) -> None:
    done = subprocess.run([ROOT / "tools" / "bench", name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'{name}' is no benchmark; there are: " in done.stderr
    assert "transcribe" in done.stderr
