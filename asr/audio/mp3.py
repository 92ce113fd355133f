"""How long an MP3 file is.

An MP3 need not say its length.  Where it does not, libsndfile guesses from the first frame and drops what lies
beyond its guess without a word (the half of a variable-rate file that starts loud), and of files joined with
`cat` it returns the first only.  So the frames are counted here, and where the file does not declare them
rightly, it is presented with a header that does.

Source: ISO/IEC 11172-3 section 2.4.2.3 (frame header); the Xing header as LAME writes it.
"""

import io
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_KBPS_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits
_LAYER_3 = 1
_TAGS = 4096  # bytes of tags that may follow the audio
_XING_KBPS_INDEX = 9  # 128 or 80 kbit/s: the frame has room for a header in every version
_SEARCH = 1 << 16  # bytes looked at for the first frame


@dataclass(frozen=True)
class Mp3Length:
    """What a layer III file declares and holds.

    Attributes:
        declared: audio frames according to its header, or None if it does not say.
        found: whole audio frames in the file.
        frame_samples: samples of a frame.
        audio: where its first audio frame starts, in bytes.
        frame_header: the four bytes of that frame's header.
    """

    declared: int | None
    found: int
    frame_samples: int
    audio: int
    frame_header: bytes

    @property
    def is_truncated(self) -> bool:
        """Whether frames are missing (one is forgiven: some encoders count the header as a frame)."""
        return self.declared is not None and self.found < self.declared - 1


def read_mp3_length(path: str | Path) -> Mp3Length | None:
    """Return what the file declares and holds, or None if it is not layer III or has no frames.

    A header that agrees with the file's size is believed; otherwise all frames are counted.
    Raises: OSError.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first = _first_frame(data)
        if first is None:
            return None
        header = bytes(data[first : first + 4])
        size = _frame_bytes(header)
        declared, declared_bytes = _declared(bytes(data[first : first + size]))
        audio = first if declared is None else first + size
        if declared and 0 <= len(data) - first - declared_bytes <= _TAGS:
            found = declared
        else:
            found = _count_frames(data, audio, header)
        audio_header = bytes(data[audio : audio + 4])
        samples = 1152 if header[1] >> 3 & 3 == 3 else 576
        return Mp3Length(declared or None, found, samples, audio, audio_header if _is_frame(audio_header) else header)


def with_length(path: str | Path, length: Mp3Length) -> BinaryIO:
    """Return the open file, its audio preceded by a header that declares the frames found.  Raises: OSError."""
    file = open(path, "rb")  # noqa: SIM115 (closed with the object that is returned)
    return io.BufferedReader(_Prefixed(_xing_frame(length), file, length.audio))


def _is_frame(header: bytes) -> bool:
    return (
        len(header) == 4
        and header[0] == 0xFF
        and header[1] & 0xE0 == 0xE0
        and header[1] >> 3 & 3 in _RATES
        and header[1] >> 1 & 3 == _LAYER_3
        and 0 < header[2] >> 4 < 15
        and header[2] >> 2 & 3 < 3
    )


def _frame_bytes(header: bytes) -> int:
    version = header[1] >> 3 & 3
    kbps = (_KBPS_1 if version == 3 else _KBPS_2)[header[2] >> 4]
    return (144000 if version == 3 else 72000) * kbps // _RATES[version][header[2] >> 2 & 3] + (header[2] >> 1 & 1)


def _first_frame(data: mmap.mmap) -> int | None:
    start = 0
    while data[start : start + 3] == b"ID3" and len(data) >= start + 10:
        size = data[start + 6 : start + 10]
        start += 10 + sum((byte & 127) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))
    for position in range(start, min(start + _SEARCH, len(data) - 3)):
        header = bytes(data[position : position + 4])
        if _is_frame(header):
            end = position + _frame_bytes(header)
            if end + 4 > len(data) or _same_stream(header, bytes(data[end : end + 4])):
                return position
    return None


def _same_stream(header: bytes, other: bytes) -> bool:
    return _is_frame(other) and (header[1] | 1, header[2] & 12) == (other[1] | 1, other[2] & 12)


def _declared(frame: bytes) -> tuple[int | None, int]:
    """Return (frames, bytes) of a Xing header; (None, 0) if the frame is audio; 0 for what it does not say."""
    at = max(frame.find(b"Xing", 4, 48), frame.find(b"Info", 4, 48))
    if at < 0:
        return None, 0
    flags, fields = frame[at + 7], frame[at + 8 :]
    frames = int.from_bytes(fields[:4], "big") if flags & 1 else 0
    skip = 4 if flags & 1 else 0
    return frames, int.from_bytes(fields[skip : skip + 4], "big") if flags & 2 else 0


def _count_frames(data: mmap.mmap, position: int, header: bytes) -> int:
    count = 0
    while position + 4 <= len(data):
        found = bytes(data[position : position + 4])
        if _same_stream(header, found):
            position += _frame_bytes(found)
            count += position <= len(data)
        else:
            position = data.find(b"\xff", position + 1)
            if position < 0:
                break
    return count


def _xing_frame(length: Mp3Length) -> bytes:
    header = bytes(
        [
            0xFF,
            length.frame_header[1] | 1,  # no checksum
            _XING_KBPS_INDEX << 4 | length.frame_header[2] & 12,
            length.frame_header[3],
        ]
    )
    is_mono = header[3] >> 6 == 3
    side = (17 if is_mono else 32) if header[1] >> 3 & 3 == 3 else (9 if is_mono else 17)
    frame = header + bytes(side) + b"Xing" + (1).to_bytes(4, "big") + length.found.to_bytes(4, "big")
    return frame.ljust(_frame_bytes(header), b"\0")


class _Prefixed(io.RawIOBase):
    """A file from `offset` on, with `prefix` before it."""

    def __init__(self, prefix: bytes, file: BinaryIO, offset: int) -> None:
        self._prefix, self._file, self._offset = prefix, file, offset
        self._size = len(prefix) + file.seek(0, io.SEEK_END) - offset
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        inside = self._position - len(self._prefix)
        if inside < 0:
            data = self._prefix[self._position : self._position + len(view)]
        else:
            self._file.seek(self._offset + inside)
            data = self._file.read(len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
