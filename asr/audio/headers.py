"""What headers declare against what files hold: libsndfile shortens a truncated file without a word."""

from pathlib import Path

_STREAMED = 0x7FFF0000  # a size from here on was written by a program that could not know it yet
_OGG_PAGE = 65307  # bytes of the longest page

_MARKS = {
    b"RIFF": ".wav",
    b"RIFX": ".wav",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
    b"ID3": ".mp3",
    b"NIST_1A": ".sph",
}


def audio_suffix(head: bytes) -> str | None:
    """Return the suffix of the format that a file with these first bytes has, such as ".wav"; None: none that we know.

    MP3 is known by its tags alone: a bare frame begins as raw samples may.
    """
    return next((suffix for mark, suffix in _MARKS.items() if head.startswith(mark)), None)


def truncation(path: str | Path, format_name: str) -> str | None:
    """Return how the file falls short of its header, such as "holds 10 of 20 bytes of audio", or None.

    Args: format_name: libsndfile's name (WAV, WAVEX, NIST and OGG are examined; the others fail when read).
    Raises: OSError.
    """
    if format_name in ("WAV", "WAVEX"):
        return _wav_truncation(path)
    if format_name == "NIST":
        return _sphere_truncation(path)
    return _ogg_truncation(path) if format_name == "OGG" else None


def sphere_fields(path: str | Path) -> dict[str, str]:
    """Return the fields of a NIST SPHERE header, such as sample_coding; empty if it is not one.  Raises: OSError."""
    with open(path, "rb") as file:
        if file.read(8) != b"NIST_1A\n":
            return {}
        lines = file.read(1 << 16).decode("latin-1").splitlines()
    fields = {"header_bytes": lines[0].strip() if lines else ""}
    for line in lines[1:]:
        name, _, rest = line.partition(" ")
        if name == "end_head":
            break
        fields[name] = rest.partition(" ")[2].strip()  # "sample_count -i 1000"
    return fields


def is_chained(path: str | Path) -> bool:
    """Return whether an Ogg file ends with another stream than those it starts with.  Raises: OSError."""
    with open(path, "rb") as file:
        head = file.read(_OGG_PAGE)
        file.seek(max(0, file.seek(0, 2) - _OGG_PAGE))
        tail = file.read()
    first_serials, position = set(), 0
    while head[position : position + 4] == b"OggS" and head[position + 5] & 2:  # pages that begin a stream
        first_serials.add(head[position + 14 : position + 18])
        num_segments = head[position + 26]
        position += 27 + num_segments + sum(head[position + 27 : position + 27 + num_segments])
    last = tail.rfind(b"OggS")
    return tail[last + 14 : last + 18] not in first_serials


def _wav_truncation(path: str | Path) -> str | None:
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        big_endian = file.read(4) == b"RIFX"
        position = 12  # after "RIFF", the file's size and "WAVE"
        while position + 8 <= size:
            file.seek(position)
            chunk = file.read(8)
            declared = int.from_bytes(chunk[4:], "big" if big_endian else "little")
            if chunk[:4] == b"data":
                return _shortfall(declared, size - position - 8)
            position += 8 + declared + declared % 2
    return None


def _shortfall(declared: int, held: int) -> str | None:
    if declared >= _STREAMED or declared <= held:
        return None
    return f"holds {held} of {declared} bytes of audio"


def _sphere_truncation(path: str | Path) -> str | None:
    fields = sphere_fields(path)
    try:
        header = int(fields["header_bytes"])
        samples = int(fields["sample_count"]) * int(fields.get("channel_count", "1"))
        declared = samples * int(fields["sample_n_bytes"])
    except (KeyError, ValueError):
        return None  # libsndfile has accepted it; there is nothing to compare with
    return _shortfall(declared, Path(path).stat().st_size - header)


def _ogg_truncation(path: str | Path) -> str | None:
    """Return whether the last page is cut off (a stream without an end mark is a legal recording)."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _OGG_PAGE))
        tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0:
        return None
    header = tail[page : page + 27]
    segments = tail[page + 27 : page + 27 + header[26]] if len(header) == 27 else b""
    if len(header) < 27 or len(segments) < header[26]:
        return "ends inside a page header"
    return _shortfall(sum(segments), len(tail) - page - 27 - len(segments))
