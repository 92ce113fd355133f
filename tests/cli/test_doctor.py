"""`asr doctor` on whole, broken and foreign machines."""

import json
import re
import subprocess
import sys
import warnings
from configparser import ConfigParser
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy
import pytest

from asr.cli import doctor
from asr.cli.doctor import Finding, Package
from asr.cli.main import main

ROOT = Path(__file__).parents[2]
GIB = 1 << 30


class Usage(NamedTuple):
    """What shutil.disk_usage returns."""

    total: int
    used: int
    free: int


def test_needed_packages_are_those_of_the_installation() -> None:
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"].split("\n")
    required = {re.split(r"[<>=~! \[]", text.strip())[0] for text in lines if text.strip() and text[0] != "#"}
    assert {package.name for package in doctor.NEEDED} == required


def test_extras_are_those_of_the_installation() -> None:
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = {extra: text for extra, text in setup["options.extras_require"].items() if extra != "test"}
    required = {extra: re.split(r"[<>=~! \[]", text.strip())[0] for extra, text in lines.items()}
    assert {extra: package.name for extra, package in doctor.EXTRAS.items()} == required


def test_an_extra_that_is_missing_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _light(monkeypatch, Package("numpy", "numpy", "-"))
    monkeypatch.setattr(doctor, "EXTRAS", {"tea": Package("no-such-package", "no_such_package", "no tea")})
    assert main(["doctor"]) == 0
    assert (
        f"note     no-such-package: not installed; costs: no tea; cure: {sys.executable} -m pip install no-such-package"
        in (capsys.readouterr().out)
    )


def _light(monkeypatch: pytest.MonkeyPatch, *packages: Package) -> None:
    """Let the doctor look at light packages only: this process may not import torch for a test."""
    monkeypatch.setattr(doctor, "NEEDED", packages)
    monkeypatch.setattr(doctor, "EXTRAS", {})


def test_whole_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _light(monkeypatch, Package("soundfile", "soundfile", "-"), Package("numpy", "numpy", "-"))
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert shown.endswith("\neverything needed is there\n")
    assert "ok       audio formats: WAV, FLAC, Ogg Vorbis, Ogg Opus, MP3, NIST SPHERE" in shown
    for name in ("asr", "soundfile", "numpy", "processor", "vector units", "GPU", "memory", "disk", "git"):
        assert f" {name}: " in shown


def test_missing_package_names_cost_and_cure_and_exits_4(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _light(monkeypatch, Package("no-such-package", "no_such_package", "no tea"))
    assert main(["doctor"]) == 4
    shown = capsys.readouterr().out
    cure = f"cure: {sys.executable} -m pip install no-such-package (or tools/setup in a clone)"
    assert f"MISSING  no-such-package: not installed; costs: no tea; {cure}\n" in shown
    assert shown.endswith("\nmissing or broken: no-such-package\n")


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _light(monkeypatch, Package("no-such-package", "no_such_package", "no tea"))
    assert main(["doctor", "--json"]) == 4
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [each["name"] for each in findings if each["state"] == "missing"] == ["no-such-package"]


def test_speaks_when_every_package_is_gone() -> None:
    """In a Python without any package: what a failed installation leaves."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); from asr.cli.main import main; sys.exit(main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(ROOT)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr == ""
    for package in doctor.NEEDED:
        assert f"MISSING  {package.name}: not installed; costs: {package.cost}; cure: " in done.stdout


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            "raise OSError('libc10_cuda.so: cannot open\\nshared object file')",
            "OSError: libc10_cuda.so: cannot open sh",
        ),
        ("raise RuntimeError('compiled with different CUDA versions')", "RuntimeError: compiled with different CUDA"),
        ("raise ValueError('numpy.dtype size changed')", "ValueError: numpy.dtype size changed"),
        ("import no_such_neighbour", "it needs no_such_neighbour"),
        ("from json import no_such_name", "ImportError: cannot import name 'no_such_name'"),
    ],
)
def test_broken_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str) -> None:
    (tmp_path / "broken_for_doctor.py").write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = doctor.try_import("broken_for_doctor")
    assert isinstance(found, str)
    assert found.startswith(f"broken: {reason}")
    assert "\n" not in found


def test_broken_package_that_is_installed_is_reinstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "try_import", lambda _: "broken: OSError: x")
    monkeypatch.setattr(doctor, "installed", lambda _: "1.2")
    finding = doctor._package(Package("soundfile", "soundfile", "no audio"), {})
    assert finding.detail == "1.2, broken: OSError: x"
    assert finding.cure.startswith(f"{sys.executable} -m pip install --force-reinstall soundfile")


@pytest.mark.parametrize(
    ("torch", "torchaudio", "right"),
    [
        ("2.11.0", "2.11.0", True),
        ("2.11.1+cpu", "2.11.0+cpu", True),
        (None, "2.11.0", True),  # the missing one gets its own line
        ("2.15.0", "2.11.0", False),
        ("2.1.1", "2.11.0", False),
        ("2.110.0", "2.11.0", False),
    ],
)
def test_torch_and_torchaudio_are_a_pair(torch: str | None, torchaudio: str | None, right: bool) -> None:
    fault = doctor.pair_fault(torch, torchaudio)
    assert (fault is None) == right
    if fault is not None:
        assert fault.state == "missing"
        assert f"torch {torch} beside torchaudio {torchaudio}" in fault.detail
        assert "pip install 'torch>=2.11,<2.12' 'torchaudio>=2.11,<2.12'" in fault.cure


class FakeCuda:
    """A card as torch shows it."""

    def __init__(self, available: bool, warning: str = "") -> None:
        self._available, self._warning = available, warning

    def is_available(self) -> bool:
        """Return whether there is a usable card; warn as torch does of old drivers."""
        if self._warning:
            warnings.warn(self._warning, stacklevel=1)
        return self._available

    def device_count(self) -> int:
        """Return 1."""
        return 1

    def get_device_properties(self, index: int) -> SimpleNamespace:
        """Return name and memory."""
        return SimpleNamespace(name=f"Card {index}", total_memory=80 * GIB)


def _torch(cuda: FakeCuda, *, version: str | None = "13.0", ones: Any = lambda *_, **__: numpy.ones(2)) -> ModuleType:
    torch = ModuleType("torch")
    torch.__dict__.update(cuda=cuda, version=SimpleNamespace(cuda=version), ones=ones)
    return torch


def test_gpu_with_memory() -> None:
    assert list(doctor.gpu_findings(_torch(FakeCuda(True)))) == [Finding("GPU 0", "ok", "Card 0, 80.0 GiB, CUDA 13.0")]


def test_gpu_without_kernels_is_a_note() -> None:
    def ones(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA error: no kernel image is available\nfor execution")

    (finding,) = doctor.gpu_findings(_torch(FakeCuda(True), ones=ones))
    assert (finding.state, finding.cost) == ("note", "this GPU is not usable")
    assert "no kernel image is available for execution" in finding.detail


@pytest.mark.parametrize(
    ("driver", "version", "warning", "detail"),
    [
        (False, "13.0", "", "none"),
        (True, None, "", "an NVIDIA driver, but a torch for CPUs only"),
        (True, "13.0", "driver too old", "torch cannot use it: driver too old"),
        (True, "13.0", "", "torch cannot use it: no device is visible to this process"),
    ],
)
def test_no_gpu_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: bool, version: str | None, warning: str, detail: str
) -> None:
    monkeypatch.setattr(doctor, "_NVIDIA_DRIVER", tmp_path if driver else tmp_path / "absent")
    (finding,) = doctor.gpu_findings(_torch(FakeCuda(False, warning), version=version))
    assert (finding.state, finding.detail) == ("note", detail)


def test_format_that_the_library_lacks() -> None:
    import soundfile

    def write(file: BytesIO, waveform: Any, sample_rate: int, *, format: str, subtype: str) -> None:  # noqa: A002
        if format == "OGG":
            raise ValueError(f"Unknown format: {format}")
        if format == "MP3":
            raise soundfile.LibsndfileError(1)
        soundfile.write(file, waveform, sample_rate, format=format, subtype=subtype)

    old = SimpleNamespace(__libsndfile_version__="1.0.25", write=write, read=soundfile.read)
    good, bad = doctor.audio_findings(old, numpy)
    assert good.detail.startswith("WAV, FLAC, NIST SPHERE (libsndfile 1.0.25")
    assert (bad.state, bad.detail) == ("missing", "libsndfile 1.0.25 lacks Ogg Vorbis, Ogg Opus, MP3")


def test_little_disk_and_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage(64 << 20, 0, GIB // 2))
    assert doctor._disk(tmp_path).state == "note"
    (shared,) = doctor._shared_memory(tmp_path)
    assert (shared.detail, shared.cure) == ("64 MiB", "start the container with --shm-size=1g")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage(GIB, 0, 9 * GIB))
    assert doctor._disk(tmp_path) == Finding("disk", "ok", "9.0 GiB free in the working folder")
    assert list(doctor._shared_memory(tmp_path)) == []


def test_system_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.receipts, "system_value", lambda *_: None)
    assert doctor._memory().detail == "unknown on this system"
    assert [finding.name for finding in doctor.processor_findings(None)] == ["processor", "vector units"]


def test_no_vector_units_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.receipts, "system_value", lambda _, key: "sse2 fpu" if key == "flags" else None)
    assert doctor._vector_units(None).detail == "no AVX2"


def test_thread_limit_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(doctor.receipts, "cores", lambda: 8)
    torch = ModuleType("torch")
    capability = SimpleNamespace(cpu=SimpleNamespace(get_cpu_capability=lambda: "AVX2"))
    torch.__dict__.update(get_num_threads=lambda: 1, backends=capability)
    findings = {finding.name: finding for finding in doctor.processor_findings(torch)}
    assert findings["threads"].detail == "OMP_NUM_THREADS is 1"
    assert findings["vector units"].detail.endswith("torch uses AVX2")
