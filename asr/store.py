"""One file of tensors with a JSON header: how models and checkpoints are kept.

The file is a `.safetensors` file (no code is ever executed when it is read); the header lies in its metadata
under the key "asr".  Matrices may be stored as float16 or as int8 with scales, and are expanded to float32 when
they are read.  Files are written beside their place and renamed, so that a crash leaves the old file or none.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asr.errors import DataError, MachineError, writing

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 2
MAX_FILE_BYTES = 4 << 30
MAX_HEADER_BYTES = 16 << 20
SCALE_SUFFIX = "#scale"  # of the tensor that holds the scales of an int8 one
SMALL_MATRIX = 1 << 15  # values up to which int8 storage leaves a matrix as it is
SCALED_TOGETHER = 64  # neighbours in a row that share an int8 scale
# what files begin with that are given by mistake
_NGRAMS = {
    b"asr-ngram\n": "an n-gram language model",
    b"\\data\\": "an n-gram language model",
    b"\x1f\x8b": "a gzip file, perhaps an n-gram language model",
}

Storage = Literal["float32", "float16", "int8"]


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    The data is flushed to disk before the rename.  The target of a link is replaced, not the link; a device or
    pipe is written to, not replaced.  Raises: MachineError if it cannot be written.
    """
    if _is_special(path):
        with _passing_on(path) as temporary:
            yield temporary
        return
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())  # some writers make files that only their owner can read
            os.replace(temporary, target)
    finally:
        with suppress(OSError):  # the error that matters is already on its way
            temporary.unlink(missing_ok=True)


def _is_special(path: str | Path) -> bool:
    """Return whether there is something at `path` that is neither a file nor a folder: a device, a pipe."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def _passing_on(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; on success, write what is there to the device or pipe at `path`."""
    import shutil
    import tempfile

    with writing(path), tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / Path(path).name
        yield temporary
        with open(temporary, "rb") as source, open(os.open(path, os.O_WRONLY), "wb") as device:
            shutil.copyfileobj(source, device)


def _umask() -> int:
    mask = os.umask(0o077)  # the only way to ask for it is to set it
    os.umask(mask)
    return mask


def read_limited(path: str | Path, max_bytes: int, *, what: str, cure: str, too_large: str) -> bytes:
    """Return the bytes of a file.

    Args: what: the file is, for messages; cure: where it cannot be read; too_large: what is said of a larger one.
    Raises: DataError.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot read {what}: {error.strerror}; {cure}") from None
    if len(data) > max_bytes:
        raise DataError(f"{path}: {too_large}")
    return data


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text through a temporary file.  Raises: MachineError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write one JSON document, readable by people, through a temporary file.  Raises: MachineError."""
    write_text(path, json_text(value, indent=2) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """Return JSON that is UTF-8 even where a file name is not: half a surrogate pair is written as its escape."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def save(path: str | Path, tensors: Mapping[str, "Tensor"], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON-able header to `path`.

    Raises: MachineError if the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    text = json_text({"format": FORMAT_VERSION, **header})
    data = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(data, temporary, metadata={"asr": text})
        except SafetensorError as error:  # carries the system's message only as text
            raise MachineError(f"{path}: cannot write: {error}; free some space or choose another folder") from None


def load(path: str | Path) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """Return (tensors, header) of a file written by `save`, compressed matrices expanded to float32.

    Raises: DataError if the file is missing, truncated, of a newer format, or not such a file.
    """
    tensors, header = load_stored(path)
    try:
        return expand(tensors), header
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def load_stored(path: str | Path) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """Return (tensors, header) of a file written by `save`, the tensors as they are stored.

    Raises: DataError as `load`.
    """
    from safetensors import SafetensorError, safe_open

    header = read_header(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise _not_a_model(path, str(error)) from None


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the header of a file without reading its tensors and without torch.

    Raises: DataError as `load`.
    """
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as file:
            _refuse_ngrams(path, file.read(max(map(len, _NGRAMS))))
            file.seek(0)
            count = int.from_bytes(file.read(8), "little")
            if not 2 <= count <= min(MAX_HEADER_BYTES, size - 8):
                raise _not_a_model(path, f"no header in its {size} bytes")
            metadata = json.loads(file.read(count))
    except OSError as error:
        raise DataError(f"{path}: cannot read the model: {error.strerror}; check the path") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise _not_a_model(path, "its header is not JSON") from None
    if size > MAX_FILE_BYTES:
        raise DataError(f"{path}: {size} bytes is larger than any model of ours (at most {MAX_FILE_BYTES})")
    return _checked_header(path, metadata)


def _checked_header(path: str | Path, metadata: Any) -> dict[str, Any]:
    try:
        header = json.loads(metadata["__metadata__"]["asr"])
        version = header["format"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise _not_a_model(path, "a safetensors file of another program") from None
    if not isinstance(version, int) or version < 1:
        raise _not_a_model(path, f"its format is {version!r}")
    if version > FORMAT_VERSION:
        raise DataError(
            f"{path}: format {version}; this version reads 1 to {FORMAT_VERSION}; upgrade the toolkit to read it"
        )
    return dict(header)


def refuse_other_kinds(header: Mapping[str, Any], where: str) -> None:
    """Raise DataError unless a header is that of a recogniser, whose kind is "model"."""
    kind = header.get("kind")
    if kind == "lstm-lm":
        raise DataError(
            f"{where}: holds an LSTM language model, not a recogniser; it goes with --rescore, see asr lm info"
        )
    if kind != "model" or not isinstance(header.get("model"), dict):
        raise DataError(f"{where}: holds a {str(kind)[:40]!r}, not a model; give a model file")


def _refuse_ngrams(path: str | Path, start: bytes) -> None:
    for mark, what in _NGRAMS.items():
        if start.startswith(mark):
            raise DataError(f"{path}: not a model file but {what}, which goes with --lm; see asr lm info")


def _not_a_model(path: str | Path, why: str) -> DataError:
    return DataError(f"{path}: not a model file, or a truncated one ({why}); get the file again")


def compress(tensors: Mapping[str, "Tensor"], storage: Storage) -> dict[str, "Tensor"]:
    """Return the tensors as they are stored: matrices as float16, or int8 with bfloat16 scales.

    Vectors (biases, norms) stay float32: they are small, and rounding them costs accuracy.
    int8: symmetric, one scale = max |value| / 127 for 64 neighbours in a row (the last axes as one); matrices of up to
    32,768 values stay float32, as an output layer of few tokens: it is small, and half of the error came from it
    (measured on AN4).
    """
    import torch

    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if storage == "float32" or tensor.ndim < 2 or not tensor.is_floating_point():
            stored[name] = tensor
        elif storage == "float16":
            stored[name] = tensor.to(torch.float16)
        elif tensor.numel() <= SMALL_MATRIX:
            stored[name] = tensor
        else:
            stored[name], stored[name + SCALE_SUFFIX] = _rounded(tensor.float())
    return stored


def _rounded(tensor: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Return (int8 values of a matrix, bfloat16 scales (rows, groups))."""
    import torch

    flat = tensor.flatten(1)
    groups = torch.nn.functional.pad(flat, (0, -flat.shape[1] % SCALED_TOGETHER)).unflatten(1, (-1, SCALED_TOGETHER))
    scale = (groups.abs().amax(2) / 127).clamp_min(1e-30).to(torch.bfloat16)
    return (tensor / _spread(scale, tensor)).round().clamp(-127, 127).to(torch.int8), scale


def _spread(scale: "Tensor", tensor: "Tensor") -> "Tensor":
    """Return the scale (rows, groups) of every value of a matrix, float32."""
    columns = tensor.flatten(1).shape[1]
    return scale.float().repeat_interleave(SCALED_TOGETHER, dim=1)[:, :columns].view(tensor.shape)


def _is_scaled(tensor: "Tensor", scale: "Tensor") -> bool:
    """Return whether `scale` is what `compress` makes for an int8 tensor."""
    import torch

    if tensor.ndim < 2 or scale.dtype != torch.bfloat16 or not scale.isfinite().all():
        return False
    return scale.shape == (tensor.shape[0], -(-tensor.flatten(1).shape[1] // SCALED_TOGETHER))


def expand(stored: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    """Return stored tensors as float32 ones: the inverse of `compress` up to its rounding.

    Raises: DataError for an int8 tensor without scales.
    """
    import torch

    tensors: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        if tensor.dtype == torch.int8:
            scale = stored.get(name + SCALE_SUFFIX)
            if scale is None or not _is_scaled(tensor, scale):
                raise DataError(
                    f"tensor '{name}': int8 without a finite bfloat16 scale for each {SCALED_TOGETHER} values of a row;"
                    " get the file again, or store the model anew with asr average"
                )
            tensor = tensor.float() * _spread(scale, tensor)
        elif tensor.dtype == torch.float16:
            tensor = tensor.float()
        tensors[name] = tensor
    return tensors
