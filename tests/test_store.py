"""One file of tensors: what is written is read, nothing half-written stays, nothing foreign is trusted."""

import errno
import json
import os
import pickle
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from asr import store
from asr.errors import DataError, InputError, MachineError
from asr.store import FORMAT_VERSION, compress, expand, load, read_header, replacing, save, write_json, write_text


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "matrix": torch.randn(7, 5, generator=generator),
        "kernel": torch.randn(3, 4, 5, generator=generator),
        "vector": torch.randn(6, generator=generator),
        "zeros": torch.zeros(2, 3),
        "count": torch.tensor([3, 4]),
        "bytes": torch.arange(256, dtype=torch.uint8),
        "scalar": torch.tensor(2.5),
    }


def data_fault(read: Callable[[Path], object], path: Path) -> str:
    """Return the message of the DataError that reading `path` ends with."""
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.safetensors"
    header = {"kind": "model", "text": "é\n\u2028", "nested": {"a": [1, 2.5, None, True]}}
    save(path, tensors(), header)
    found, read = load(path)
    assert read == {"format": FORMAT_VERSION, **header} == read_header(path)
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    assert [item.name for item in path.parent.iterdir()] == ["a.safetensors"]


def test_tensors_that_are_views_are_saved_as_they_look(tmp_path: Path) -> None:
    matrix = torch.arange(12.0).view(3, 4)
    save(tmp_path / "a.safetensors", {"turned": matrix.T, "part": matrix[1:, 2:]}, {})
    found, _ = load(tmp_path / "a.safetensors")
    assert torch.equal(found["turned"], matrix.T)
    assert torch.equal(found["part"], matrix[1:, 2:])


def test_files_can_be_read_by_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save(tmp_path / "a.safetensors", tensors(), {})
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    for name in ("a.safetensors", "a.txt"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644


@pytest.fixture
def no_matrix_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let int8 storage round the little matrices of these tests, too."""
    monkeypatch.setattr(store, "SMALL_MATRIX", 0)


def test_int8_leaves_small_matrices_alone() -> None:
    """Half of the rounding error of an4 came from its output layer, which has 28 rows."""
    small, large = torch.randn(32, 1024), torch.randn(33, 1024)
    stored = compress({"small": small, "large": large}, "int8")
    assert stored["small"] is small
    assert stored["large"].dtype == torch.int8


@pytest.mark.usefixtures("no_matrix_is_small")
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_storage_keeps_its_bounds_and_all_that_is_no_matrix(tmp_path: Path, storage: store.Storage) -> None:
    save(tmp_path / "a.safetensors", compress(tensors(), storage), {})
    found, _ = load(tmp_path / "a.safetensors")
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype, name
        if tensor.ndim < 2 or storage == "float32":
            assert torch.equal(found[name], tensor), name
        elif storage == "float16":
            torch.testing.assert_close(found[name], tensor, rtol=2**-11, atol=1e-7)
        else:
            largest = tensor.flatten(1).abs().amax(1).view(-1, *[1] * (tensor.ndim - 1))
            assert ((found[name] - tensor).abs() <= largest / 254 * 1.0001 + 1e-12).all(), name


@pytest.mark.usefixtures("no_matrix_is_small")
def test_a_large_int8_value_costs_only_its_64_neighbours_their_precision() -> None:
    matrix = torch.randn(3, 150, generator=torch.Generator().manual_seed(4))
    matrix[1, 70] = 1000
    stored = compress({"w": matrix}, "int8")
    assert stored["w#scale"].shape == (3, 3)
    errors = (expand(stored)["w"] - matrix).abs()
    assert errors[1, 64:128].max() > 1
    errors[1, 64:128] = 0
    assert errors.max() < matrix[matrix < 1000].abs().max() / 254 * 1.001


@pytest.mark.usefixtures("no_matrix_is_small")
def test_compressing_twice_changes_nothing_more() -> None:
    once = expand(compress(tensors(), "int8"))
    twice = expand(compress(once, "int8"))
    for name in once:
        torch.testing.assert_close(twice[name], once[name], rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("no_matrix_is_small")
def test_int8_without_its_scales_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    packed = compress({"w": torch.randn(3, 2)}, "int8")
    good = packed["w#scale"]
    bad = (None, good[:, 0], good[:2], good.float(), good.long(), good * torch.nan, good.expand(3, 2))
    cases = [(packed["w"], scale) for scale in bad]
    cases += [(torch.zeros(shape, dtype=torch.int8), good[:0]) for shape in ((), (0,), (3,))]
    for matrix, scale in cases:
        save(path, {"w": matrix} if scale is None else {"w": matrix, "w#scale": scale}, {})
        assert "tensor 'w': int8 without a finite bfloat16 scale for each 64 values of a row" in data_fault(load, path)


@pytest.mark.usefixtures("no_matrix_is_small")
@pytest.mark.parametrize("size", [1e-12, 1e-5, 1.0, 1e5])
def test_int8_is_as_exact_for_small_values_as_for_large_ones(size: float) -> None:
    matrix = size * torch.randn(20, 128, generator=torch.Generator().manual_seed(5))
    found = expand(compress({"w": matrix}, "int8"))["w"]
    assert (found - matrix).norm() / matrix.norm() < 0.008


# --- files that are none of ours


class Trap:
    """Touches a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt"])
@pytest.mark.parametrize("kind", ["pickle", "torch.save", "old torch.save"])
def test_a_malicious_pickle_does_nothing_but_fail(tmp_path: Path, name: str, kind: str) -> None:
    marker, path = tmp_path / "touched", tmp_path / name
    trap = {"state_dict": Trap(marker)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(trap))
    else:
        torch.save(trap, path, _use_new_zipfile_serialization=kind == "torch.save")
    for read in (load, read_header):
        assert "not a model file" in data_fault(read, path)
    assert not marker.exists()


def test_a_pickle_in_the_header_or_a_tensor_stays_bytes(tmp_path: Path) -> None:
    marker, path = tmp_path / "touched", tmp_path / "a.safetensors"
    data = pickle.dumps(Trap(marker))
    save(path, {"t": torch.frombuffer(bytearray(data), dtype=torch.uint8)}, {"text": data.decode("latin-1")})
    load(path)
    assert not marker.exists()


def write_safetensors(path: Path, header: bytes, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no header in its 0 bytes"),
        (b"abc", "no header in its 3 bytes"),
        (b"hello world, I am text\n", "no header in its 23 bytes"),
        (struct.pack("<Q", 2**63) + b"{}", "no header in its 10 bytes"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "no header in its 10 bytes"),
        (struct.pack("<Q", 100) + b"{}", "no header in its 10 bytes"),
        (struct.pack("<Q", 0) + b"{}", "no header in its 10 bytes"),
        (struct.pack("<Q", 4) + b"{]{]", "its header is not JSON"),
        (struct.pack("<Q", 2) + b"\xff\xfe", "its header is not JSON"),
        (struct.pack("<Q", 20000) + b"[" * 20000, "its header is not JSON"),
        (struct.pack("<Q", 2) + b"[]", "of another program"),
        (struct.pack("<Q", 2) + b"{}", "of another program"),
        (struct.pack("<Q", 2) + b"42", "of another program"),
    ],
)
def test_files_of_any_kind(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for read in (load, read_header):
        assert why in data_fault(read, path)


@pytest.mark.parametrize("text", ["{}", "[]", "3", '"x"', "{", "[" * 20000, '{"format": "1"}', '{"format": 0}'])
def test_headers_of_any_kind(tmp_path: Path, text: str) -> None:
    path = write_safetensors(tmp_path / "a.safetensors", json.dumps({"__metadata__": {"asr": text}}).encode())
    for read in (load, read_header):
        assert "not a model file" in data_fault(read, path)


def test_another_programs_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file(tensors(), path, metadata=metadata)
        assert "a safetensors file of another program" in data_fault(load, path)


def test_a_newer_format(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, tensors(), {"format": FORMAT_VERSION + 1})
    for read in (load, read_header):
        message = data_fault(read, path)
        newer = f"format {FORMAT_VERSION + 1}; this version reads 1 to {FORMAT_VERSION}; upgrade the toolkit to read it"
        assert message.endswith(newer)


def test_a_header_that_is_longer_than_any_of_ours_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    count = store.MAX_HEADER_BYTES + 1
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", count))
        file.truncate(8 + count)  # a hole: nothing is written
    assert "no header" in data_fault(read_header, path)


def test_a_file_that_is_larger_than_any_of_ours_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    save(path, tensors(), {})
    monkeypatch.setattr(store, "MAX_FILE_BYTES", 100)
    assert "is larger than any model of ours (at most 100)" in data_fault(load, path)


def test_truncated_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save(path, tensors(), {"kind": "model"})
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 23), len(whole) - 1]:
        path.write_bytes(whole[:size])
        assert "not a model file, or a truncated one" in data_fault(load, path)


def test_offsets_beyond_the_file(tmp_path: Path) -> None:
    def described(**entry: object) -> bytes:
        return json.dumps({"__metadata__": {"asr": '{"format": 1}'}, "t": entry}).encode()

    path = tmp_path / "a.safetensors"
    for entry in (
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
    ):
        write_safetensors(path, described(**entry), b"\0" * 4)
        assert "not a model file" in data_fault(load, path)


@pytest.mark.parametrize("read", [load, read_header])
def test_a_missing_file_and_a_folder(tmp_path: Path, read: Callable[[Path], object]) -> None:
    assert "cannot read the model: No such file" in data_fault(read, tmp_path / "none.safetensors")
    assert "cannot read the model: Is a directory" in data_fault(read, tmp_path)


# --- writing that fails


Write = Callable[[Path], None]
WRITES: dict[str, Write] = {
    "tensors": lambda path: save(path, {"w": torch.zeros(100_000)}, {"kind": "model"}),
    "text": lambda path: write_text(path, "x" * 400_000),
    "json": lambda path: write_json(path, ["x" * 400_000]),
}


def assert_nothing_changes(folder: Path, write: Write, words: str) -> None:
    """Assert that a failing write is one line, and leaves an old file, or none, and no rubbish."""
    path = folder / "a.safetensors"
    for old in (None, b"the old file"):
        if old is not None:
            path.write_bytes(old)
        with pytest.raises(MachineError) as caught:
            write(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: cannot write: ")
        assert words in message
        assert "\n" not in message
        assert [item.name for item in folder.iterdir()] == ([] if old is None else [path.name])
        assert old is None or path.read_bytes() == old
        path.unlink(missing_ok=True)


@contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Let no file grow beyond `limit` bytes: what a full disk does to a writer, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", WRITES)
def test_a_disk_that_fills_up_in_the_middle(tmp_path: Path, name: str) -> None:
    def write(path: Path) -> None:
        with small_files(100_000):
            WRITES[name](path)

    assert_nothing_changes(tmp_path, write, "")


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("step", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize(("number", "cure"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "may write to")])
def test_a_full_disk_and_a_read_only_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str, number: int, cure: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store.os, step, fail)
    assert_nothing_changes(tmp_path, WRITES[name], cure)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for write in WRITES.values():
        with pytest.raises(MachineError, match="cannot write"):
            write(tmp_path / "file" / "a.json")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", WRITES)
def test_a_folder_without_permission(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    with pytest.raises(MachineError, match="choose a folder that you may write to"):
        WRITES[name](folder / "a.json")


def test_an_error_or_an_interrupt_within_leaves_nothing(tmp_path: Path) -> None:
    def write_half(error: type[BaseException]) -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error

    for error in (KeyboardInterrupt, ZeroDivisionError):
        with pytest.raises(error):
            write_half(error)
    assert not list(tmp_path.iterdir())


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new, but not done")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent, "a rename is whole only within one folder"
    assert path.read_text() == "new, but not done"


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "folder" / "target.txt", tmp_path / "link.txt"
    write_text(target, "old")
    for to in (target, tmp_path / "folder" / "absent.txt"):
        link.symlink_to(to)
        write_text(link, "new")
        assert link.is_symlink()
        assert to.read_text() == "new"
        link.unlink()
    assert sorted(item.name for item in target.parent.iterdir()) == ["absent.txt", "target.txt"]


def test_a_link_to_itself_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    write_text(tmp_path / "loop", "new")  # there is nothing at its end to be kept
    assert (tmp_path / "loop").read_text() == "new"


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path, linked: bool) -> None:
    def write_half(path: Path) -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(path, "some text")
        assert os.read(reader, 100) == b"some text"
        with pytest.raises(ZeroDivisionError):
            write_half(path)
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert path.is_symlink() == linked
    assert len(list(tmp_path.iterdir())) == 1 + linked


def test_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    code = (
        "import os, signal; from asr.store import replacing\n"
        f"with replacing({str(path)!r}) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode < 0
    assert path.read_text() == "old"


def test_not_a_number_is_never_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    with pytest.raises(ValueError, match="JSON compliant"):
        save(tmp_path / "a.safetensors", {}, {"x": float("inf")})
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_unicode_are_written_as_escapes(tmp_path: Path) -> None:
    """A file name that is not UTF-8 reaches receipts and headers with half surrogate pairs in it."""
    value = {"command": ["train", "caf\udce9", "é"]}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value
    save(tmp_path / "a.safetensors", {}, value)
    assert read_header(tmp_path / "a.safetensors") == {"format": FORMAT_VERSION, **value}


def test_headers_need_no_torch(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", tensors(), {"kind": "model"})
    code = (
        "import sys; from asr.store import read_header; import asr.units, asr.config, asr.errors, asr.randomness\n"
        f"assert read_header({str(tmp_path / 'a.safetensors')!r})['kind'] == 'model'\n"
        "assert 'torch' not in sys.modules and 'safetensors' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_data_errors_are_input_errors() -> None:
    assert issubclass(DataError, InputError)
