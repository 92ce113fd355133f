import errno
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio.files import RawFormat, audio_info, open_blocks, read_audio, write_audio
from asr.audio.mp3 import read_mp3_length
from asr.audio.resample import resample
from asr.errors import DataError, InputError, MachineError, UsageError
from tests.audio.conftest import KINDS, RATE, speechlike, write

LOSSLESS = {"wav", "wav24", "wavfloat", "flac", "sphere"}


def path_of(folder: Path, kind: str) -> Path:
    return folder / f"{kind}{KINDS[kind][0]}"


def message(call: object, *args: object, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        call(*args, **options)  # type: ignore[operator]
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_reads_every_format(tmp_path: Path, tone: np.ndarray, kind: str) -> None:
    rate = 8000 if kind == "gsm" else RATE
    path = write(path_of(tmp_path, kind), tone, kind, rate)
    waveform, found_rate = read_audio(path)
    info = audio_info(path)
    assert (found_rate, info.sample_rate, info.channels) == (rate, rate, 1)
    assert info.format.split() == [KINDS[kind][1], KINDS[kind][2]]
    assert waveform.dtype == np.float32
    assert waveform.shape == (info.num_samples,)
    assert info.duration == info.num_samples / rate
    slack = 1100 if "adpcm" in kind else 0  # ADPCM comes in whole blocks
    assert 0 <= len(waveform) - len(tone) <= slack
    error = np.sqrt(np.mean((waveform[: len(tone)] - tone) ** 2)) / np.sqrt(np.mean(tone**2))
    assert error < (1e-3 if kind in LOSSLESS else 0.5)


@pytest.mark.parametrize("rate", [1, 999, 768_001, 1_000_000_007])
def test_sample_rates_of_no_recording_are_refused(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100, np.float32), rate, subtype="PCM_16")
    for call in (audio_info, read_audio, lambda path: next(open_blocks(path, 1.0, RATE))):
        text = message(call, path)
        assert text.startswith(f"{path}: its header says {rate} Hz; sample rates are 1000 to 768000 Hz; ")


@pytest.mark.parametrize("rate", [1000, 768_000])
def test_the_lowest_and_the_highest_sample_rate_are_read(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100, np.float32), rate, subtype="PCM_16")
    assert read_audio(path)[1] == rate


@pytest.mark.parametrize("kind", KINDS)
def test_a_segment_is_the_slice_of_the_whole(tmp_path: Path, kind: str) -> None:
    rate = 8000 if kind == "gsm" else RATE
    waveform = speechlike(12.0, rate)
    path = write(path_of(tmp_path, kind), waveform, kind, rate)
    check_segments(path, 25)


@pytest.mark.parametrize(
    ("kind", "level"), [("mp3", 0.5), ("mp3", 0.9), ("mp3", 0.99), ("vorbis", 0.5), ("opus", 0.9), ("opus", 0.99)]
)
def test_segments_late_in_lossy_files_are_exact(tmp_path: Path, kind: str, level: float) -> None:
    # At low rates MP3 frames borrow bits from many earlier ones and Opus predicts from seconds ago, which
    # libsndfile's own seeking ignores: errors of up to 0.3 were seen.
    options: dict[str, object] = {"compression_level": level}
    if kind == "mp3":
        options["bitrate_mode"] = "VARIABLE"
    path = write(path_of(tmp_path, kind), speechlike(132.0), kind, **options)
    check_segments(path, 12, earliest=121.0)


def check_segments(path: Path, count: int, earliest: float = 0.0) -> None:
    whole, rate = read_audio(path)
    random = np.random.default_rng(5)
    for _ in range(count):
        start = float(random.uniform(earliest, len(whole) / rate - 0.5))
        duration = float(random.uniform(0.001, 0.5))
        segment, _ = read_audio(path, start=start, duration=duration)
        first = int(start * rate + 0.5)
        assert len(segment) == int(duration * rate + 0.5)
        # decoders of lossy formats round differently by a bit with the alignment of their buffers
        np.testing.assert_allclose(segment, whole[first : first + len(segment)], atol=1e-6)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus", "gsm"])
@pytest.mark.parametrize("block_seconds", [0.01, 0.7, 60.0])
def test_blocks_joined_are_the_whole(tmp_path: Path, kind: str, block_seconds: float) -> None:
    rate = 8000 if kind == "gsm" else RATE
    path = write(path_of(tmp_path, kind), speechlike(4.0, rate), kind, rate)
    for target in (RATE, 11025):
        blocks = list(open_blocks(path, block_seconds, target))
        assert all(len(block) for block in blocks)
        whole, _ = read_audio(path, sample_rate=target)
        np.testing.assert_allclose(np.concatenate(blocks), whole, atol=2e-6)


def test_blocks_of_an_hour_take_no_more_memory(tmp_path: Path) -> None:
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_U8") as file:
        for _ in range(60):
            file.write(np.zeros(8000 * 60, np.float32))
    tracemalloc.start()
    total = sum(len(block) for block in open_blocks(path, 10.0, RATE))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 3600 * RATE
    assert peak < 16 << 20  # the hour itself is 230 MB


def test_segment_is_resampled(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "a.flac", tone, "flac")
    segment, rate = read_audio(path, start=0.5, duration=1.0, sample_rate=8000)
    native, _ = read_audio(path, start=0.5, duration=1.0)
    assert rate == 8000
    np.testing.assert_array_equal(segment, resample(native, RATE, 8000))


def test_segment_may_end_ten_milliseconds_late(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "a.wav", tone, "wav")
    assert len(read_audio(path, start=1.0, duration=2.009)[0]) == 2 * RATE
    text = message(read_audio, path, start=1.0, duration=2.02)
    assert "[1.00, 3.02) s" in text
    assert "lasts 3.00 s" in text


@pytest.mark.parametrize(
    ("start", "duration"), [(3.0, None), (-0.1, 1.0), (0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0), (1.0, float("nan"))]
)
def test_segments_outside_are_refused(tmp_path: Path, tone: np.ndarray, start: float, duration: float | None) -> None:
    path = write(tmp_path / "a.wav", tone, "wav")
    assert str(path) in message(read_audio, path, start=start, duration=duration)


def test_channels(tmp_path: Path, tone: np.ndarray) -> None:
    stereo = np.stack([tone, -0.5 * tone], 1)
    path = write(tmp_path / "a.wav", stereo, "wavfloat")
    np.testing.assert_array_equal(read_audio(path, channel=0)[0], tone)
    np.testing.assert_array_equal(read_audio(path, channel=1)[0], -0.5 * tone)
    np.testing.assert_allclose(read_audio(path)[0], 0.25 * tone, atol=1e-7)
    assert read_audio(path, channel=1)[0].flags.c_contiguous
    for channel in (2, -1):
        text = message(read_audio, path, channel=channel)
        assert f"no channel {channel}; the file has 2" in text
    assert "no channel 1; the file has 1" in message(read_audio, write(tmp_path / "m.wav", tone, "wav"), channel=1)


@pytest.mark.parametrize("order", ["big", "little"])
def test_headerless_files_need_to_be_described(tmp_path: Path, tone: np.ndarray, order: str) -> None:
    samples = np.rint(tone * 32767).astype(">i2" if order == "big" else "<i2")
    path = tmp_path / "an4.raw"
    path.write_bytes(samples.tobytes())
    assert "headerless" in message(read_audio, path)
    waveform, rate = read_audio(path, raw=RawFormat(16000, order))
    assert rate == 16000
    np.testing.assert_array_equal(waveform, samples.astype(np.float32) / 32768)
    path.write_bytes(samples.tobytes()[:-1])
    assert "truncated" in message(read_audio, path, raw=RawFormat(16000, order))


def test_missing_folder_empty_and_text(tmp_path: Path) -> None:
    assert "no such audio file" in message(read_audio, tmp_path / "none.wav")
    assert "a folder" in message(read_audio, tmp_path)
    for suffix in (".wav", ".flac", ".mp3", ".ogg", ".sph", ".vox", ".txt"):
        path = tmp_path / f"file{suffix}"
        path.write_bytes(b"")
        assert "empty (0 bytes)" in message(audio_info, path)
        path.write_text("this is no audio at all\n" * 40)
        assert str(path) in message(audio_info, path)
    fifo = tmp_path / "pipe.wav"
    os.mkfifo(fifo)
    assert "not a regular file" in message(read_audio, fifo)
    assert "cannot read" in message(read_audio, tmp_path / ("x" * 300 + ".wav"))
    assert "cannot read" in message(read_audio, "a\0b.wav")


def test_no_permission(tmp_path: Path, tone: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.wav", tone, "wav")

    def refuse(*args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)  # tests may run as root, whom no mode stops
    assert "no permission" in message(read_audio, path)


@pytest.mark.parametrize("kind", ["wav", "wavfloat", "flac", "vorbis", "sphere"])
def test_no_samples(tmp_path: Path, kind: str) -> None:
    path = write(path_of(tmp_path, kind), np.zeros(0, np.float32), kind)
    message(read_audio, path)
    if kind.startswith("wav"):
        assert "holds no samples" in message(audio_info, path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "gsm"])
@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = write(path_of(tmp_path, kind), speechlike(10.0), kind)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    text = message(read_audio, path)
    assert str(path) in text
    if share == 0.5:
        assert "truncated" in text
        if kind != "flac":  # whose header alone is right
            assert "truncated" in message(audio_info, path)


def test_truncated_files_are_refused_in_blocks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", speechlike(10.0), "flac")
    path.write_bytes(path.read_bytes()[:-2000])
    message(lambda: list(open_blocks(path, 1.0, RATE)))


def test_a_wave_file_of_unknown_length_is_read(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "a.wav", tone, "wav")
    data = bytearray(path.read_bytes())
    at = data.find(b"data") + 4
    data[at : at + 4] = data[4:8] = b"\xff\xff\xff\xff"  # as programs write it to a pipe
    path.write_bytes(data)
    assert len(read_audio(path)[0]) == len(tone)


def test_flac_of_unknown_length_is_counted(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "a.flac", tone, "flac")
    whole, _ = read_audio(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of the length, as programs leave them that write to a pipe
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert audio_info(path).num_samples == len(tone)
    np.testing.assert_array_equal(read_audio(path)[0], whole)
    np.testing.assert_array_equal(read_audio(path, start=1.0, duration=0.5)[0], whole[16000:24000])
    path.write_bytes(data[:-3000])
    assert "truncated" in message(read_audio, path)


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
def test_joined_ogg_files_are_refused(tmp_path: Path, tone: np.ndarray, kind: str) -> None:
    # libsndfile reads the first and says nothing of the others
    first, second = write(tmp_path / "a.ogg", tone, kind), write(tmp_path / "b.ogg", tone * 0.5, kind)
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert "several Ogg streams" in message(read_audio, first)


@pytest.mark.parametrize("kind", ["flac", "mp3", "vorbis"])
def test_damage_inside_is_refused(tmp_path: Path, kind: str) -> None:
    path = write(path_of(tmp_path, kind), speechlike(10.0), kind)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\x55" * 3000
    path.write_bytes(data)
    assert "damaged" in message(read_audio, path)


def test_not_finite(tmp_path: Path, tone: np.ndarray) -> None:
    for value in (np.nan, np.inf):
        tone[RATE] = value
        path = write(tmp_path / "a.wav", tone, "wavfloat")
        assert "not finite, the first at 1.00 s" in message(read_audio, path)
        assert len(read_audio(path, start=1.5, duration=0.5)[0]) == RATE // 2  # only what is read counts


def test_integers_stored_as_floats(tmp_path: Path, tone: np.ndarray) -> None:
    path = write(tmp_path / "a.wav", tone * 32768, "wavfloat")
    assert "scale it" in message(read_audio, path)
    assert len(read_audio(write(path, tone * 3, "wavfloat"))[0]) == len(tone)  # over full scale is only loud


def test_shorten_is_refused_with_the_cure(tmp_path: Path) -> None:
    header = (
        "NIST_1A\n   1024\nsample_count -i 1000\nsample_rate -i 16000\nchannel_count -i 1\nsample_n_bytes -i 2\n"
        "sample_byte_format -s2 10\nsample_sig_bits -i 16\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    )
    path = tmp_path / "a.sph"
    path.write_bytes(header.encode().ljust(1024) + b"ajkg" + bytes(500))
    assert "sph2pipe" in message(read_audio, path)


class TestMp3Length:
    """An MP3 without a length header was cut to libsndfile's guess, in silence."""

    # a picture that looks like frames
    TAG = b"ID3\x04\0\0" + bytes([0, 100000 >> 14, 100000 >> 7 & 127, 100000 & 127]) + b"\xff\xfb\x90\x00" * 25000

    def loud_first(self, tmp_path: Path) -> tuple[Path, int]:
        waveform = np.concatenate([speechlike(4.0) * 1.5, np.zeros(RATE * 20, np.float32)])
        path = write(tmp_path / "a.mp3", waveform, "mp3", bitrate_mode="VARIABLE", compression_level=0.5)
        return path, len(waveform)

    def test_without_header(self, tmp_path: Path) -> None:
        path, num_samples = self.loud_first(tmp_path)
        whole, _ = read_audio(path)
        length = read_mp3_length(path)
        assert length is not None
        assert length.declared == length.found
        path.write_bytes(path.read_bytes()[length.audio :])
        with soundfile.SoundFile(path) as file:
            assert file.frames < 0.6 * num_samples  # the fault that is guarded against
        waveform, _ = read_audio(path)
        assert audio_info(path).num_samples == len(waveform)
        assert 0 <= len(waveform) - num_samples < 4 * 1152  # padding of the encoder stays
        shift = np.argmax(np.correlate(waveform[:40000], whole[8000:24000], "valid")) - 8000
        np.testing.assert_allclose(waveform[shift + 8000 : shift + 60000], whole[8000:60000], atol=1e-4)
        check_segments(path, 5)
        path.write_bytes(self.TAG + path.read_bytes())
        np.testing.assert_array_equal(read_audio(path)[0], waveform)

    def test_joined_files(self, tmp_path: Path) -> None:
        path, num_samples = self.loud_first(tmp_path)
        path.write_bytes(path.read_bytes() * 2)
        assert len(read_audio(path)[0]) >= 2 * num_samples

    def test_tags_change_nothing(self, tmp_path: Path, tone: np.ndarray) -> None:
        path = write(tmp_path / "a.mp3", tone, "mp3")
        whole, _ = read_audio(path)
        path.write_bytes(self.TAG + path.read_bytes() + b"TAG".ljust(128, b"\0"))
        np.testing.assert_allclose(read_audio(path)[0], whole, atol=1e-6)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_written_and_read_is_equal(tmp_path: Path, suffix: str) -> None:
    samples = np.arange(-32768, 32768, dtype=np.float32) / 32768
    write_audio(tmp_path / f"a{suffix}", samples, RATE)
    np.testing.assert_array_equal(read_audio(tmp_path / f"a{suffix}")[0], samples)
    write_audio(tmp_path / f"b{suffix}", samples * 2, RATE)
    clipped = read_audio(tmp_path / f"b{suffix}")[0]
    assert clipped.min() == -1
    assert clipped.max() == 32767 / 32768


@pytest.mark.parametrize("suffix", [".ogg", ".opus", ".mp3"])
def test_minutes_are_written(tmp_path: Path, suffix: str) -> None:
    # one write of this length to Ogg Vorbis ends the process in libsndfile 1.2.2
    write_audio(tmp_path / f"a{suffix}", np.zeros(RATE * 250, np.float32), RATE)
    assert audio_info(tmp_path / f"a{suffix}").num_samples == RATE * 250


def test_write_refuses(tmp_path: Path, tone: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"cannot write '\.aac'"):
        write_audio(tmp_path / "a.aac", tone, RATE)
    with pytest.raises(UsageError, match="11025 Hz"):
        write_audio(tmp_path / "a.opus", tone, 11025)
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError):
        write_audio(tmp_path / "file" / "a.wav", tone, RATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_full_disk_leaves_nothing(tmp_path: Path, tone: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(self: Path, data: bytes) -> int:
        shutil.copyfile("/dev/null", self)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(MachineError, match="free some space"):
        write_audio(tmp_path / "a.wav", tone, RATE)
    assert list(tmp_path.iterdir()) == []


def test_random_bytes_never_do_more_than_fail(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "a.wav"
    heads = [
        b"",
        b"RIFF\xff\0\0\0WAVEfmt ",
        b"RIFX",
        b"fLaC",
        b"OggS",
        b"\xff\xfb\x90\x00",
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
    ]
    for head in [*heads, b"NIST_1A\n   1024\n", b"NIST_1A\n   xx\nsample_coding -s1 shorten\n"]:
        for _ in range(5):
            path.write_bytes(head + random.bytes(3000))
            with pytest.raises(InputError):
                read_audio(path)


@pytest.mark.corpora
def test_real_speech(corpora: Path, tmp_path: Path) -> None:
    source = sorted(corpora.glob("LibriSpeech/**/*.flac"))[0]
    whole, rate = read_audio(source)
    assert rate == 16000
    check_segments(source, 10)
    for suffix in (".mp3", ".ogg", ".opus", ".wav"):
        write_audio(tmp_path / f"a{suffix}", whole, rate)
        check_segments(tmp_path / f"a{suffix}", 10)
