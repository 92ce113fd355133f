"""Receipts: who made a number, from what, where and when (docs/formats.md, "Receipt").

A receipt names no user, host name or folder of the machine beyond the paths that were typed, so that it can
be published beside its number.
"""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asr
from asr.errors import DataError
from asr.store import write_json

if TYPE_CHECKING:
    from asr.config import Config

_VERSIONED = ("torch", "torchaudio", "lightning")
_GIT_SECONDS = 20  # `git status` on a slow network disk; a receipt must not hang for longer


@dataclass(frozen=True)
class Receipt:
    """One receipt; the fields are the keys of docs/formats.md."""

    command: list[str]
    date: str
    commit: str | None
    dirty: bool | None
    version: dict[str, str | None]
    host: dict[str, str | int | None]
    config: dict[str, Any] | None
    seed: int | None
    inputs: dict[str, str]
    utterances: int | None
    words: int | None
    audio_seconds: float | None
    audio_seconds_seen: float | None
    wall_seconds: float | None
    result: dict[str, Any]


def collect(
    command: Sequence[str],
    *,
    config: "Config | Mapping[str, Any] | None",
    seed: int | None,
    inputs: Iterable[str | Path],
    result: Mapping[str, Any],
    utterances: int | None = None,
    words: int | None = None,
    audio_seconds: float | None = None,
    audio_seconds_seen: float | None = None,
    wall_seconds: float | None = None,
) -> Receipt:
    """Return the receipt of one stage, made now on this machine.

    Args:
        command: the argument vector as typed (`args.command_line` in a subcommand; `sys.argv` in a script).
        config: the resolved configuration.
        inputs: the files that were read; each is hashed.
        result: the numbers themselves, as JSON values.
        utterances, words, audio_seconds: what was measured on.
        audio_seconds_seen: what training had consumed, every view counted, after speed perturbation.
        wall_seconds: of the stage.
    Raises: DataError if an input cannot be read.
    """
    commit, dirty = checkout()
    return Receipt(
        command=_published(command),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        dirty=dirty,
        version=versions(),
        host=host(),
        config=_plain(config),
        seed=seed,
        inputs={_from_here(str(path)): file_hash(path) for path in inputs},
        utterances=utterances,
        words=words,
        audio_seconds=audio_seconds,
        audio_seconds_seen=audio_seconds_seen,
        wall_seconds=wall_seconds,
        result=dict(result),
    )


def write(path: str | Path, receipt: Receipt) -> None:
    """Write a receipt as JSON.  Raises: MachineError if it cannot be written."""
    write_json(path, asdict(receipt))


def receipt_path(path: str | Path) -> Path:
    """Return where the receipt of the file `path` lies: `test.score.json` -> `test.score.receipt.json`."""
    return Path(path).with_suffix(".receipt.json")


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal.  Raises: DataError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}; check the path") from None


def versions() -> dict[str, str | None]:
    """Return the versions of the toolkit, Python and the packages that decide numbers (None: not installed)."""
    found: dict[str, str | None] = {"asr": asr.__version__, "python": platform.python_version()}
    for name in _VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def host() -> dict[str, str | int | None]:
    """Return processor name, logical cores given to us, threads, and the GPU that this process has used.

    torch is asked only if the work has imported it: without it, the work ran on one thread and no GPU.
    """
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    return {
        "processor": processor(),
        "cores": cores(),
        "threads": torch.get_num_threads() if torch is not None else 1,
        "gpu": torch.cuda.get_device_name() if torch is not None and used else None,
    }


def processor() -> str:
    """Return the processor's model name, or its architecture where the system does not tell."""
    return system_value(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()


def system_value(path: Path, key: str) -> str | None:
    """Return the first value of `key` in a `key: value` file of the system, None where there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return None
    rows = (row.partition(":") for row in text.splitlines())
    return next((value.strip() for name, _, value in rows if name.strip() == key and value.strip()), None)


def cores() -> int:
    """Return the number of logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checkout() -> tuple[str | None, bool | None]:
    """Return (commit, whether tracked files differ) of the checkout we run from, (None, None) outside one.

    A package installed inside somebody else's repository is outside: the top of the checkout must be the
    folder that holds this package.
    """
    root = Path(__file__).resolve().parents[1]
    top = _git(root, "rev-parse", "--show-toplevel")
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if top is None or commit is None or Path(top).resolve() != root:
        return None, None
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else bool(changes)


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, None where it fails or is absent: fixed arguments, no shell, no hooks."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), "-c", "core.fsmonitor=false", *arguments]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _plain(config: "Config | Mapping[str, Any] | None") -> dict[str, Any] | None:
    if config is None:
        return None
    return dict(config) if isinstance(config, Mapping) else config.model_dump(mode="json")


def _published(command: Sequence[str]) -> list[str]:
    """Return the command without the folder that its program lies in, paths as seen from the working directory."""
    program, *arguments = command
    path = Path(program)
    return ["asr" if path.name == "__main__.py" else path.name, *(_from_here(argument) for argument in arguments)]


def _from_here(path: str) -> str:
    """Return an absolute path below the working directory relative to it, and anything else as it is.

    Receipts are published: where somebody keeps the checkout is nobody's business.
    """
    here = f"{Path.cwd()}/"
    return path.removeprefix(here)
