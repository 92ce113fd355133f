"""`asr doctor`: what this machine has, what is missing, which feature that costs, and the cure.

It must speak when everything else is broken, so it imports each package by name inside a guard and uses
nothing of ours that needs a package.
"""

import argparse
import importlib
import json
import os
import platform
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import asr
from asr import receipts
from asr.errors import EXIT_DONE, EXIT_MACHINE, to_install

HELP = "say what this machine has, what is missing, what that costs and how to cure it"

State = Literal["ok", "note", "missing"]

# What the import of a broken foreign package has been seen to raise: a missing or mismatched shared library
# (ImportError, OSError), torchaudio's check of CUDA versions (RuntimeError), a binary built for another numpy
# (ValueError, SystemError), a package of another age than its neighbour (AttributeError, TypeError).
_BROKEN = (ImportError, OSError, RuntimeError, ValueError, SystemError, AttributeError, TypeError)

_PAIR = "2.11"  # the newest torchaudio; it loads beside a torch of the same number only
_PAIR_CURE = "pip install 'torch>=2.11,<2.12' 'torchaudio>=2.11,<2.12' (or tools/setup in a clone)"
_CPUINFO = Path("/proc/cpuinfo")
_NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_GIB = 1 << 30
_LOW_DISK = 2 * _GIB  # the checkpoints and logs of one training of the recipes
_LOW_SHARED = 256 << 20  # some batches of audio for each of several workers


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; "missing" means that something needed is not there."""

    name: str
    state: State
    detail: str
    cost: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """A package, the module to import, and what does not work without it."""

    name: str
    module: str
    cost: str


NEEDED = (
    Package("torch", "torch", "no model runs: no training, decoding or transcribing"),
    Package("torchaudio", "torchaudio", "no tests that compare features, resampling and alignments with its own"),
    Package("lightning", "lightning", "no training"),
    Package("sentencepiece", "sentencepiece", "no models whose tokens are word pieces (those of characters work)"),
    Package("soundfile", "soundfile", "no audio file can be read or written"),
    Package("numpy", "numpy", "nothing works but this command"),
    Package("numba", "numba", "no search, n-gram model, stream, cell but the LSTM, or CPU training from 192 cells on"),
    Package("pydantic", "pydantic", "no configuration can be read: nothing works but this command"),
    Package("ruamel.yaml", "ruamel.yaml", "no configuration can be read: nothing works but this command"),
    Package("safetensors", "safetensors", "no model file can be read or written"),
    Package("kaldialign", "kaldialign", "no error rates: no asr score, no validation"),
    Package("fsspec", "fsspec", "no training from shards at a URL (those in a folder work)"),
    Package("rich", "rich", "no progress bar on a terminal"),
    Package("tensorboard", "tensorboard", "no TensorBoard log of a training"),
)

# By the name of the extra that brings each; nothing else needs them.
EXTRAS = {
    "plots": Package("matplotlib", "matplotlib", "no asr curve, asr plot or --plot, no pictures of recipes/long_range"),
    "ray": Package("ray", "ray", "no asr transcribe --ray: an archive is transcribed by one process"),
    "huggingface": Package("pyarrow", "pyarrow", "no asr import huggingface"),
    "microphone": Package("sounddevice", "sounddevice", "no asr transcribe --live of a microphone"),
}

FORMATS = (
    ("WAV", "WAV", "PCM_16"),
    ("FLAC", "FLAC", "PCM_16"),
    ("Ogg Vorbis", "OGG", "VORBIS"),
    ("Ogg Opus", "OGG", "OPUS"),
    ("MP3", "MP3", "MPEG_LAYER_III"),
    ("NIST SPHERE", "NIST", "PCM_16"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `asr doctor`."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 0 if everything needed is there, 4 otherwise."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not args.json:  # one by one: a package that kills the process is the one after the last line
            print(line(finding), flush=True)
    missing = [finding.name for finding in findings if finding.state == "missing"]
    if args.json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}, ensure_ascii=False))
    else:
        print(f"\nmissing or broken: {', '.join(missing)}" if missing else "\neverything needed is there")
    return EXIT_MACHINE if missing else EXIT_DONE


def line(finding: Finding) -> str:
    """Return a finding as one line: state, name, detail, what it costs, the cure."""
    parts = [finding.detail]
    if finding.cost:
        parts.append(f"costs: {finding.cost}")
    if finding.cure:
        parts.append(f"cure: {finding.cure}")
    state = finding.state.upper() if finding.state == "missing" else finding.state
    return f"{state:<8} {finding.name}: {'; '.join(parts)}"


def examine() -> Iterator[Finding]:
    """Yield everything that is looked at, on this machine, now."""
    yield Finding("asr", "ok", f"{asr.__version__}, Python {platform.python_version()}, {platform.platform()}")
    pair = pair_fault(installed("torch"), installed("torchaudio"))
    if pair is not None:
        yield pair
    modules: dict[str, ModuleType] = {}
    for package in NEEDED:
        yield _package(package, modules)
    for package in EXTRAS.values():
        yield _extra(package)
    yield from processor_findings(modules.get("torch"))
    yield from gpu_findings(modules.get("torch"))
    yield _memory()
    if "soundfile" in modules and "numpy" in modules:
        yield from audio_findings(modules["soundfile"], modules["numpy"])
    yield _disk(Path.cwd())
    yield from _shared_memory(Path("/dev/shm"))
    yield _git()


def installed(name: str) -> str | None:
    """Return the version of an installed package, None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def pair_fault(torch: str | None, torchaudio: str | None) -> Finding | None:
    """Return what is wrong with the pair of versions, None if nothing is or one of them is absent."""
    if torch is None or torchaudio is None:
        return None
    if all(version.split("+")[0].startswith(f"{_PAIR}.") for version in (torch, torchaudio)):
        return None
    detail = f"torch {torch} beside torchaudio {torchaudio}; torchaudio {_PAIR} (the last one) needs torch {_PAIR}"
    return Finding("torch pair", "missing", detail, "import torchaudio fails or its operators are absent", _PAIR_CURE)


def try_import(module: str) -> ModuleType | str:
    """Return a module, or why it cannot be imported, on one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.split(".")[0]
        return "not installed" if error.name in (module, root) else f"broken: it needs {error.name}"
    except _BROKEN as error:
        return f"broken: {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _package(package: Package, modules: dict[str, ModuleType]) -> Finding:
    """Return the finding on one package; if it works, add it to `modules`."""
    found = try_import(package.module)
    if isinstance(found, ModuleType):
        modules[package.name] = found
        return Finding(package.name, "ok", installed(package.name) or "version unknown")
    version = installed(package.name)
    detail = f"{version}, {found}" if version else found
    cure = to_install(f"--force-reinstall {package.name}" if version else package.name)
    cure = _PAIR_CURE if package.name in ("torch", "torchaudio") else f"{cure} (or tools/setup in a clone)"
    return Finding(package.name, "missing", detail, package.cost, cure)


def _extra(package: Package) -> Finding:
    """Return the finding on a package that one feature alone needs."""
    found = _package(package, {})
    return found if found.state == "ok" else replace(found, state="note", cure=to_install(package.name))


def processor_findings(torch: ModuleType | None) -> Iterator[Finding]:
    """Yield model, cores, threads and the vector units that decide the speed on a CPU."""
    cores = receipts.cores()
    threads = f", torch uses {torch.get_num_threads()} threads" if torch is not None else ""
    yield Finding("processor", "ok", f"{receipts.processor()}, {cores} logical cores{threads}")
    if torch is not None and torch.get_num_threads() < cores and "OMP_NUM_THREADS" in os.environ:
        limit = os.environ["OMP_NUM_THREADS"]
        yield Finding("threads", "note", f"OMP_NUM_THREADS is {limit}", "cores stay idle", "unset OMP_NUM_THREADS")
    yield _vector_units(torch)


def _vector_units(torch: ModuleType | None) -> Finding:
    words = set((receipts.system_value(_CPUINFO, "flags") or receipts.system_value(_CPUINFO, "Features") or "").split())
    shown = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "sve", "bf16")
    units = [name for name in shown if name in words]
    used = f"; torch uses {torch.backends.cpu.get_cpu_capability()}" if torch is not None else ""
    if not words:
        return Finding("vector units", "note", f"unknown on this system{used}")
    if not {"avx2", "asimd"} & words:
        return Finding("vector units", "note", f"no AVX2{used}", "training and recognition are slow", "a newer CPU")
    return Finding("vector units", "ok", ", ".join(units) + used)


def gpu_findings(torch: ModuleType | None) -> Iterator[Finding]:
    """Yield each GPU with its memory, or why there is none; none is needed."""
    if torch is None:
        yield Finding("GPU", "note", "unknown: torch is not there to ask")
        return
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        for index in range(torch.cuda.device_count()):
            yield _gpu(torch, index)
    elif not _NVIDIA_DRIVER.exists():
        yield Finding("GPU", "note", "none", "training runs on the CPU; large corpora take long")
    elif torch.version.cuda is None:
        yield Finding("GPU", "note", "an NVIDIA driver, but a torch for CPUs only", "the GPU is not used", _PAIR_CURE)
    else:
        reason = " ".join(str(heard[0].message).split())[:200] if heard else "no device is visible to this process"
        cure = f"a driver for CUDA {torch.version.cuda}, and devices handed to the container"
        yield Finding("GPU", "note", f"torch cannot use it: {reason}", "the GPU is not used", cure)


def _gpu(torch: ModuleType, index: int) -> Finding:
    properties = torch.cuda.get_device_properties(index)
    detail = f"{properties.name}, {properties.total_memory / _GIB:.1f} GiB, CUDA {torch.version.cuda}"
    try:
        total = float(torch.ones(2, device=f"cuda:{index}").sum())  # fails where torch has no kernels for the card
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        cure = "a torch built for this card, a free card or a newer driver"
        return Finding(f"GPU {index}", "note", f"{detail}: {reason}", "this GPU is not usable", cure)
    assert total == 2.0, f"GPU {index} adds 1 and 1 to {total}"
    return Finding(f"GPU {index}", "ok", detail)


def audio_findings(soundfile: Any, numpy: Any) -> Iterator[Finding]:
    """Yield for each audio format whether a second of silence, written in memory, can be read back."""
    library = soundfile.__libsndfile_version__
    good: list[str] = []
    bad: list[str] = []
    for name, container, coding in FORMATS:
        (good if _reads(soundfile, numpy, container, coding) else bad).append(name)
    if good:
        yield Finding("audio formats", "ok", f"{', '.join(good)} (libsndfile {library}; NIST SPHERE without shorten)")
    if bad:
        cost, cure = "files of these kinds cannot be read", "pip install --upgrade soundfile, which brings libsndfile"
        yield Finding("audio formats", "missing", f"libsndfile {library} lacks {', '.join(bad)}", cost, cure)


def _reads(soundfile: Any, numpy: Any, container: str, coding: str) -> bool:
    file = BytesIO()
    try:
        soundfile.write(file, numpy.zeros(16000, dtype="float32"), 16000, format=container, subtype=coding)
        file.seek(0)
        waveform, sample_rate = soundfile.read(file)
    except (RuntimeError, ValueError):  # LibsndfileError is a RuntimeError; ValueError: the format has no such name
        return False
    return bool(sample_rate == 16000 and len(waveform) >= 16000)


def _memory() -> Finding:
    values = {name: _meminfo(name) for name in ("MemTotal", "MemAvailable")}
    if None in values.values():
        return Finding("memory", "note", "unknown on this system")
    shown = [f"{(value or 0) / _GIB:.1f} GiB" for value in values.values()]
    return Finding("memory", "ok", f"{shown[0]}, {shown[1]} available")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    detail = f"{free / _GIB:.1f} GiB free in the working folder"
    if free < _LOW_DISK:
        return Finding("disk", "note", detail, "a training may stop for lack of space", "free some space")
    return Finding("disk", "ok", detail)


def _shared_memory(folder: Path) -> Iterator[Finding]:
    """Yield a note where workers could not hand over their batches (small in containers by default)."""
    if not folder.is_dir():
        return
    size = shutil.disk_usage(folder).total
    if size < _LOW_SHARED:
        cost = "data workers may die with 'Bus error'"
        yield Finding("shared memory", "note", f"{size >> 20} MiB", cost, "start the container with --shm-size=1g")


def _git() -> Finding:
    path = shutil.which("git")
    if path is None:
        return Finding("git", "note", "not installed", "receipts carry no commit", "install git")
    return Finding("git", "ok", "found")


def _meminfo(key: str) -> int | None:
    """Return a size of /proc/meminfo in bytes, None where there is none."""
    value = receipts.system_value(Path("/proc/meminfo"), key)
    return int(value.split()[0]) * 1024 if value else None
