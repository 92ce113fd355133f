"""Stamps of recipe stages: a stage that is done and unchanged is skipped, a changed one runs again.

A stamp (`RUN/stages/NAME.json`, docs/formats.md) holds what a stage was made from: its command, the hashes of
its inputs and of the code that it runs, and the hashes of its outputs.  recipes/stages.sh asks

    python -m asr.stamps begin --run RUN --stage NAME --input PATH --output PATH -- COMMAND ...

which prints `skip`, `run` or `resume` on standard output and the reason on standard error, runs COMMAND, and
then calls `python -m asr.stamps end --run RUN --stage NAME`.

A file is hashed by its content, a folder by the names, sizes and times of its files.  The code of a stage is
the file that it starts with and every module of ours that this one imports, so a change to the
downloads does not repeat the training.
"""

import argparse
import ast
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from asr.errors import EXIT_DONE, DataError, InputError, UsageError, writing
from asr.store import write_json

Verdict = Literal["skip", "run", "resume"]
Hashes = dict[str, str | None]  # path -> SHA-256, None where there is nothing

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE.parent


@dataclass(frozen=True)
class Stage:
    """One stage as a recipe asks for it.

    Attributes:
        run: the run folder.
        command: `asr SUBCOMMAND ...`, `python FILE.py ...`, or the name of a shell function with `code` given.
        inputs, outputs: files and folders; an input that is not there yet is one that the stage fetches.
        state: the folder from which the command can resume, if it can.
        code: the file that the stage starts with; None: the one that the command names.
    """

    run: Path
    name: str
    command: tuple[str, ...]
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    state: Path | None = None
    code: Path | None = None


@dataclass(frozen=True)
class Stamp:
    """What a stage was made from and what it made.

    Attributes:
        done: whether the stage ended well; a stamp that is not done belongs to an interrupted stage.
        started: seconds since 1970.
        wall_seconds: of the stage; None until it is done.
    """

    command: tuple[str, ...]
    inputs: Hashes
    code: Hashes
    outputs: Hashes = field(default_factory=dict)
    done: bool = False
    started: float = 0.0
    wall_seconds: float | None = None


def begin(stage: Stage) -> tuple[Verdict, str]:
    """Return what to do with a stage and why; unless it is skipped, mark it as begun.

    What an earlier, different configuration left in `stage.state` is set aside, never resumed from.
    Raises: DataError if an input cannot be read; MachineError if the run folder cannot be written.
    """
    verdict, reason = judge(stage)
    if verdict == "skip":
        return verdict, reason
    now = replace(_fingerprint(stage), outputs=dict.fromkeys(_named(stage, stage.outputs)), started=time.time())
    if verdict == "run" and stage.state is not None and _holds_anything(stage.state):
        reason += f"; what was there is now {_set_aside(stage.state).name}"
    _write(stage.run, stage.name, now)
    return verdict, reason


def judge(stage: Stage) -> tuple[Verdict, str]:
    """Return (what to do with a stage, why) without touching anything.  Raises: DataError."""
    old = _read(stage.run, stage.name)
    if old is None:
        return "run", "not done yet"
    changes = _changes(old, _fingerprint(stage))
    if changes:
        more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
        return "run", f"{changes[0]}{more}"
    resumable = stage.state is not None and _holds_anything(stage.state)
    if not old.done:
        return ("resume", "was interrupted; going on") if resumable else ("run", "was interrupted")
    now = _hashes(stage, stage.outputs)
    for path, found in now.items():
        if found is None or found != old.outputs.get(path):
            return "resume" if resumable else "run", f"its output {path} {'is missing' if found is None else 'changed'}"
    return "skip", f"done and unchanged: {', '.join(now) or 'no outputs'}"


def end(run: Path, name: str) -> Stamp:
    """Return the stamp of a stage that ended well, after writing it.

    Raises: DataError if the stage was not begun, or has not made one of its outputs.
    """
    begun = _read(run, name)
    if begun is None:
        raise DataError(f"{_stamp_path(run, name)}: stage {name} was not begun; run the recipe's run.sh")
    # What the stage has fetched itself counts from now on.
    inputs = {path: found or hash_path(_place(run, path)) for path, found in begun.inputs.items()}
    outputs = {path: hash_path(_place(run, path)) for path in begun.outputs}
    missing = [path for path, found in outputs.items() if found is None]
    if missing:
        raise DataError(f"{run}: stage {name} ended without making {', '.join(missing)}; run it again")
    stamp = replace(begun, inputs=inputs, outputs=outputs, done=True, wall_seconds=time.time() - begun.started)
    _write(run, name, stamp)
    return stamp


def hash_path(path: Path) -> str | None:
    """Return the SHA-256 of a file's content, or of a folder's names, sizes and times; None if there is none.

    Raises: DataError if it cannot be read.
    """
    try:
        if not path.is_dir():
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for below in sorted(_files_below(path)):
            status = below.stat()
            digest.update(os.fsencode(f"{below.relative_to(path)}\0{status.st_size}\0{status.st_mtime_ns}\n"))
        return digest.hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}; check its permissions") from None


def code_files(start: Path, package: Path = _PACKAGE) -> list[Path]:
    """Return `start` and every file of `package` that it imports, directly or not, sorted.

    Imports inside functions count; those inside the package's own `__init__` do not, as they run only when asked.
    Raises: UsageError if `start` does not exist.
    """
    if not start.is_file():
        raise UsageError(f"{start}: no such file to run; check the stage's command")
    found: set[Path] = set()
    waiting = [start.resolve()]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        if file != package / "__init__.py":
            waiting += _imported(file, package)
    return sorted(found)


def _imported(file: Path, package: Path) -> Iterator[Path]:
    """Yield the package's files that `file` imports, those of the folders above them included."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == package.name:
                yield from _module_files(package.parent, parts)


def _module_files(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    for part in parts:
        folder = folder / part
        for file in (folder / "__init__.py", folder.with_suffix(".py")):
            if file.is_file():
                yield file


def _fingerprint(stage: Stage) -> Stamp:
    code = stage.code or _entry_point(stage)
    return Stamp(
        command=tuple(argument.replace(str(stage.run), "RUN") for argument in stage.command),
        inputs=_hashes(stage, stage.inputs),
        code={_name(stage.run, file): hash_path(file) for file in code_files(code)},
    )


def _entry_point(stage: Stage) -> Path:
    match stage.command:
        case ("asr", name, *_):
            return _PACKAGE / "cli" / f"{name}.py"
        case ("python", file, *_):
            return Path(file)
    raise UsageError(f"stage {stage.name}: '{stage.command[0]}' is neither asr nor python; say which --code it runs")


def _hashes(stage: Stage, paths: Iterable[Path]) -> Hashes:
    return {name: hash_path(_place(stage.run, name)) for name in _named(stage, paths)}


def _named(stage: Stage, paths: Iterable[Path]) -> list[str]:
    return [_name(stage.run, path) for path in paths]


def _name(run: Path, path: Path) -> str:
    """Return how stamps call a path: below RUN or below the checkout, so that both can be moved, or absolute."""
    path = path.absolute()
    if path.is_relative_to(run.absolute()):
        return str("RUN" / path.relative_to(run.absolute()))
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else str(path)


def _place(run: Path, name: str) -> Path:
    """Return the path that stamps call `name`."""
    first, *rest = Path(name).parts
    return run.joinpath(*rest) if first == "RUN" else _ROOT / name


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.is_file():
                yield file


def _holds_anything(folder: Path) -> bool:
    return next(_files_below(folder), None) is not None


def _set_aside(folder: Path) -> Path:
    """Rename a folder to NAME.before-1, NAME.before-2, ... and return the new path."""
    number = 1
    while (target := folder.with_name(f"{folder.name}.before-{number}")).exists():
        number += 1
    with writing(folder):
        return folder.rename(target)


def _changes(old: Stamp, new: Stamp) -> list[str]:
    """Return what differs between two fingerprints, in words."""
    changes = []
    if old.command != new.command:
        changes.append(_command_change(old.command, new.command))
    changes += _hash_changes("", old.inputs, new.inputs)
    changes += _hash_changes("the code ", old.code, new.code)
    return changes


def _command_change(old: Sequence[str], new: Sequence[str]) -> str:
    gone = [argument for argument in old if argument not in new]
    added = [argument for argument in new if argument not in old]
    if gone and added:
        return f"its command changed: '{' '.join(gone)}' is now '{' '.join(added)}'"
    if gone or added:
        return f"its command changed: {'without' if gone else 'with'} '{' '.join(gone or added)}'"
    return "its command changed: other order"


def _hash_changes(kind: str, old: Mapping[str, str | None], new: Mapping[str, str | None]) -> list[str]:
    changes = [f"{kind}{path} is new" for path in new if path not in old]
    changes += [f"{kind}{path} is no longer used" for path in old if path not in new]
    changes += [f"{kind}{path} changed" for path in new if path in old and old[path] != new[path]]
    return changes


def _stamp_path(run: Path, name: str) -> Path:
    return run / "stages" / f"{name}.json"


def _read(run: Path, name: str) -> Stamp | None:
    """Return a stamp; None if there is none, or one that this version does not understand."""
    try:
        values: Any = json.loads(_stamp_path(run, name).read_bytes())
        stamp = Stamp(**{entry.name: values[entry.name] for entry in fields(Stamp)})
        return replace(stamp, command=tuple(stamp.command))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{_stamp_path(run, name)}: cannot read: {error.strerror}; check its permissions") from None
    except (ValueError, KeyError, TypeError):
        return None


def _write(run: Path, name: str, stamp: Stamp) -> None:
    write_json(_stamp_path(run, name), asdict(stamp))


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m asr.stamps` and return its exit code; messages go to standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    args, command = _parser().parse_args(arguments[:split]), tuple(arguments[split + 1 :])
    stage = Stage(args.run, args.stage, command, tuple(args.input), tuple(args.output), args.state, args.code)
    try:
        if args.action == "end":
            _say(stage, f"done in {end(stage.run, stage.name).wall_seconds:.0f} s")
        else:
            verdict, reason = begin(stage) if args.action == "begin" else judge(stage)
            begun = args.action == "begin" and verdict != "skip"
            _say(stage, f"starting; {reason}" if begun else reason)
            print(verdict)
    except InputError as error:
        _say(stage, str(error))
        return error.exit_code
    return EXIT_DONE


def _say(stage: Stage, message: str) -> None:
    print(f"{stage.name}: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    usage = "python -m asr.stamps begin|end|judge --run RUN --stage NAME [OPTIONS] [-- COMMAND ...]"
    parser = argparse.ArgumentParser(usage=usage, description=__doc__, allow_abbrev=False)
    parser.add_argument("action", choices=("begin", "end", "judge"))
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run folder")
    parser.add_argument("--stage", required=True, metavar="NAME")
    parser.add_argument("--input", type=Path, action="append", default=[], metavar="PATH")
    parser.add_argument("--output", type=Path, action="append", default=[], metavar="PATH")
    parser.add_argument("--state", type=Path, metavar="DIR", help="the folder from which the command can resume")
    parser.add_argument("--code", type=Path, metavar="FILE", help="where the code starts (default: as COMMAND says)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
