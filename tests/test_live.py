"""Live recognition: partial texts, one final an utterance, times of the stream; and the command line."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asr import live as live_module
from asr.cli import live as cli_live
from asr.cli.main import main
from asr.decoding.endpoint import EndpointConfig
from asr.decoding.greedy import FramePath, GreedyReader, Reading
from asr.errors import DataError
from asr.live import Event, LiveRecognizer
from asr.model import AcousticModel
from asr.recognizer import Recognizer
from tests.tiny_model import babble, tiny_model

RATE = 16000
STREAMING = {"normalization": "running", "chunk_ms": 160, "right_context_ms": 80}


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    found: AcousticModel = tiny_model(**STREAMING)
    return found


class Spelled:
    """A stream that says what is written: one character an encoder frame of 40 ms, "." a blank, as audio comes."""

    text = ""

    def __init__(self, model: AcousticModel, sample_rate: int) -> None:
        self.model, self.num_samples, self.frames, self.sample_rate = model, 0, 0, sample_rate

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate

    def forget(self, seconds: float) -> None:
        pass

    def check(self, waveform: np.ndarray, sample_rate: int | None = None) -> np.ndarray:
        return waveform

    def accept(self, waveform: np.ndarray, sample_rate: int | None = None) -> Tensor:
        self.num_samples += len(waveform)
        return self._until(int(self.num_samples / self.sample_rate / 0.04))

    def finish(self) -> Tensor:
        return self._until(len(self.text))

    def _until(self, end: int) -> Tensor:
        symbols = self.model.tokenizer.symbols
        ids = [0 if letter == "." else symbols.index(letter) for letter in self.text[self.frames : end]]
        self.frames = max(self.frames, end)
        return torch.full((len(ids), len(symbols)), -20.0).scatter_(
            1, torch.tensor(ids, dtype=torch.int64)[:, None], 0.0
        )


def events_of(
    model: AcousticModel, monkeypatch: pytest.MonkeyPatch, text: str, endpoint: EndpointConfig, size: int = 1600
) -> list[Event]:
    """Return the events of audio that is loud where the text has letters, in pieces of 100 ms."""
    monkeypatch.setattr(Spelled, "text", text)
    monkeypatch.setattr(live_module, "Stream", Spelled)
    live = LiveRecognizer(Recognizer(model), RATE, endpoint)
    lag = round(-model.geometry.encoder_frame_start(0) / 0.04)
    loud = np.repeat([0.0 if letter == "." else 0.5 for letter in text[lag:]], 640)
    events = [event for first in range(0, len(loud), size) for event in live.accept(loud[first : first + size])]
    return events + live.finish()


def test_one_final_for_each_utterance_and_partials_before(
    model: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "." * 30 + "a.b.▁.c.d" + "." * 25 + "e.f" + "." * 40
    events = events_of(model, monkeypatch, text, EndpointConfig(silence_ms=400))
    finals = [event.transcript.text for event in events if event.kind == "final"]
    assert finals == ["ab cd", "ef"]
    partials = [event.transcript.text for event in events if event.kind == "partial" and event.transcript.text]
    assert partials[0] in ("a", "ab")
    assert partials[-1] == "ef"
    kinds = [event.kind for event in events if event.transcript.text]
    assert kinds.index("final") > 0
    assert kinds[-1] == "final"


def test_a_pause_shorter_than_the_silence_ends_nothing(model: AcousticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a.b" + "." * 9 + "▁.c.d"
    finals = [e for e in events_of(model, monkeypatch, text, EndpointConfig(silence_ms=400)) if e.kind == "final"]
    assert [event.transcript.text for event in finals] == ["ab cd"]


def test_one_long_piece_gives_the_finals_of_many_short_ones(
    model: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spelled, "text", ("." * 30 + "a.b" + "." * 50) * 5)
    monkeypatch.setattr(live_module, "Stream", Spelled)
    live = LiveRecognizer(Recognizer(model), RATE, EndpointConfig(silence_ms=400))
    events = live.accept(np.zeros(640 * len(Spelled.text), np.float32)) + live.finish()
    assert [(event.kind, event.transcript.text) for event in events] == [("final", "ab")] * 5


@pytest.mark.parametrize("size", [160, 1600, 4000, 24000])
def test_what_is_not_over_is_told_however_long_the_pieces(
    model: AcousticModel, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    text = "." * 10 + "a.b" + "." * 5
    events = events_of(model, monkeypatch, text, EndpointConfig(), size)
    told = [(event.kind, event.transcript.text) for event in events]
    assert told[-2:] == [("partial", "ab"), ("final", "ab")]


@pytest.mark.parametrize("size", [37, 1600, 7777, 100_000])
def test_where_utterances_end_does_not_depend_on_the_pieces(
    model: AcousticModel, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    # a gap of 25 blanks whose first half is loud, so that it ends late, and one long enough to end by its blanks
    text = "." * 9 + "a.b" + "." * 25 + "c" + "." * 11 + "d.▁.e" + "." * 70 + "f" + "." * 9 + "a.b"
    endpoint = EndpointConfig(silence_ms=400, max_seconds=3)
    expected, found = (
        [event for event in events_of(model, monkeypatch, text, endpoint, each) if event.kind == "final"]
        for each in (1600, size)
    )
    assert found == expected
    assert [event.transcript.text for event in found] == ["ab", "c", "d e", "fab"]


def test_a_cut_at_the_limit_keeps_the_times_of_what_follows(
    model: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "." * 4 + "abcdefab" * 12
    whole = events_of(model, monkeypatch, text, EndpointConfig(max_seconds=600))
    cut = events_of(model, monkeypatch, text, EndpointConfig(max_seconds=1))
    (tokens,) = (event.transcript.tokens for event in whole if event.kind == "final")
    finals = [event for event in cut if event.kind == "final"]
    assert len(finals) > 2
    found = [token for final in finals for token in final.transcript.tokens]
    assert [token.token for token in found] == [token.token for token in tokens]
    for edge in ("start", "end"):
        assert [getattr(token, edge) for token in found] == pytest.approx([getattr(token, edge) for token in tokens])


def test_a_stream_may_be_asked_for_finals_alone(model: AcousticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spelled, "text", "." * 10 + "a.b" + "." * 30 + "c")
    monkeypatch.setattr(live_module, "Stream", Spelled)
    live = LiveRecognizer(Recognizer(model), RATE, EndpointConfig(silence_ms=400), partials=False)
    events = [event for _ in range(20) for event in live.accept(np.zeros(1600, np.float32))] + live.finish()
    assert [(event.kind, event.transcript.text) for event in events] == [("final", "ab"), ("final", "c")]


class Says:
    """A reader that finds the same token at the start of all that it hears."""

    def __init__(self, token_id: int, *warnings: str) -> None:
        self.token_id, self.warnings = token_id, warnings

    def hear(self, log_probs: Tensor, lengths: Tensor) -> list[Tensor]:
        return list(log_probs)

    def read(self, log_probs: Tensor) -> Reading:
        token_ids = np.zeros(len(log_probs), np.int64)
        token_ids[:1] = self.token_id
        return Reading(FramePath(token_ids, np.zeros(len(log_probs), np.float32), None, self.warnings), 0.0)


def test_silence_says_nothing_to_a_reader_that_finds_something_in_all(
    model: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spelled, "text", "." * 40 + "a.b" + "." * 90)
    monkeypatch.setattr(live_module, "Stream", Spelled)
    live = LiveRecognizer(Recognizer(model, reader=Says(3)), RATE)
    events = live.accept(np.zeros(640 * len(Spelled.text), np.float32)) + live.finish()
    assert [event.kind for event in events] == ["final"]


def test_what_was_shown_and_is_nothing_in_the_end_gets_its_final(
    model: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spelled, "text", "." * 10 + "a.b" + "." * 60)
    monkeypatch.setattr(live_module, "Stream", Spelled)
    live = LiveRecognizer(Recognizer(model, reader=Says(0, "mute")), RATE)
    events = [event for _ in range(28) for event in live.accept(np.zeros(1600, np.float32))] + live.finish()
    assert [(event.kind, event.transcript.text) for event in events][-1] == ("final", "")
    assert events[-1].transcript.warnings == ("mute",)
    assert sum(event.kind == "final" for event in events) == 1


def test_times_are_those_of_the_stream(model: AcousticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "." * 10 + "a.b" + "." * 30 + "c.d" + "." * 30
    finals = [e for e in events_of(model, monkeypatch, text, EndpointConfig(silence_ms=400)) if e.kind == "final"]
    for event, first in zip(finals, (10, 43), strict=True):
        (word,) = event.transcript.words
        assert word.start == pytest.approx(model.geometry.encoder_frame_start(first), abs=1e-6)
        assert word.end == pytest.approx(model.geometry.encoder_frame_start(first + 3), abs=1e-6)
    # 200 ms of silence before the first token are kept
    starts = [model.geometry.encoder_frame_start(first - 5) for first in (10, 43)]
    assert [event.start for event in finals] == pytest.approx(starts, abs=1e-6)


def test_hours_of_silence_are_forgotten(model: AcousticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spelled, "text", "." * 100_000)
    monkeypatch.setattr(live_module, "Stream", Spelled)
    live = LiveRecognizer(Recognizer(model), RATE)
    for _ in range(300):
        assert live.accept(np.zeros(16000, np.float32)) == []
    assert len(live._path.token_ids) < 50
    assert len(live._loudness._power) < 50


@pytest.mark.parametrize("loudness", [0.0, 3e-4, 0.1])
def test_silence_and_noise_are_forgotten_by_the_normaliser(
    model: AcousticModel, monkeypatch: pytest.MonkeyPatch, loudness: float
) -> None:
    monkeypatch.setattr(live_module, "best_paths", _blanks)
    live = LiveRecognizer(Recognizer(model), RATE)
    noise = loudness * np.random.default_rng(1).standard_normal(60 * RATE)
    live.accept(noise.astype(np.float32))
    kept = (live.stream.features.moments - live.recognizer.model.frontend.normalizer.prior())[0, 0, 0]
    assert float(kept) < 60  # of 6,000 frames, 0.4 s and what came after the last look at them


def _blanks(log_probs: Tensor, lengths: Tensor) -> list[FramePath]:
    return [FramePath(np.zeros(len(row), np.int64), np.zeros(len(row), np.float32)) for row in log_probs]


def test_a_hundred_streams_through_one_recogniser_are_a_hundred_fresh_ones(model: AcousticModel) -> None:
    recognizer = Recognizer(model)
    texts = []
    for _ in range(2):
        for seed in range(50):
            live = LiveRecognizer(recognizer, RATE)
            waveform = babble(0.6, RATE, seed)
            events = [event for part in np.split(waveform, 6) for event in live.accept(part)] + live.finish()
            texts.append([event.transcript.text for event in events if event.kind == "final"])
    assert texts[:50] == texts[50:]
    assert len({str(text) for text in texts}) > 40
    whole = Recognizer(model).transcribe(babble(0.6, RATE, 7), RATE)
    assert texts[7] == [whole.text]


@pytest.fixture(scope="module")
def file(model: AcousticModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "tiny.safetensors"
    model.save(path)
    return path


def raw(seconds: float = 1.0) -> bytes:
    return (babble(seconds, RATE, 3) * 20000).astype("<i2").tobytes()


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "asr", "transcribe", "--live", *words]
    return subprocess.run(command, input=stdin, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_raw_samples_of_standard_input_are_what_the_file_holds(file: Path, model: AcousticModel) -> None:
    done = run("-", "--model", str(file), stdin=raw() + b"\x01")  # half a sample at the end is none
    samples = np.frombuffer(raw(), "<i2").astype(np.float32) / 32768
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == Recognizer(model).transcribe(samples, RATE).text + "\n"


def test_a_file_on_standard_input_is_not_heard_as_noise(file: Path) -> None:
    done = run("-", "--model", str(file), stdin=b"RIFF" + bytes(40) + raw())
    assert done.returncode == 3
    assert done.stdout == b""
    assert b"standard input is a .wav file, and --live reads raw samples" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("stdin", [b"", b"\x01"])
def test_what_holds_no_sample_at_all_is_told(file: Path, stdin: bytes) -> None:
    done = run("-", "--model", str(file), stdin=stdin)
    assert done.returncode == 3
    assert done.stderr == b"asr transcribe: standard input ended before any sample; see whether the recorder runs\n"


@pytest.mark.parametrize("words", [["--live", "-"], ["-"]])
def test_a_closed_standard_input_is_told(
    words: list[str], file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after <&-
    assert main(["transcribe", *words, "--model", str(file)]) == 3
    assert capsys.readouterr().err == (
        "asr transcribe: standard input is closed; pipe something to it, or give a file\n"
    )


def test_an_input_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    number = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(DataError, match="standard input cannot be read: Is a directory; pipe raw samples to it"):
        cli_live._read(number, 8)
    os.close(number)


def test_an_input_that_does_not_block_is_waited_for(file: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    command = [sys.executable, "-m", "asr", "transcribe", "--live", "-", "--model", str(file)]
    with subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.close(reading)
        assert process.stderr is not None
        with open(writing, "wb", buffering=0) as pipe:
            for start in range(0, 32000, 8000):
                pipe.write(raw()[start : start + 8000])
                time.sleep(0.1)
        said, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, b"")
    assert said.decode() == run("-", "--model", str(file), stdin=raw()).stdout.decode()


class Counts(GreedyReader):
    """The best path's reader that says what it did."""

    def __init__(self) -> None:
        self.heard = self.read_ = 0

    def hear(self, log_probs: Tensor, lengths: Tensor) -> list[FramePath]:
        self.heard += 1
        return super().hear(log_probs, lengths)

    def read(self, path: FramePath) -> Reading:
        self.read_ += 1
        return super().read(path)


def test_all_is_compiled_before_somebody_speaks(model: AcousticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spelled, "text", "." * 25)  # a model that knows silence, where nothing is read
    monkeypatch.setattr(live_module, "Stream", Spelled)
    reader = Counts()
    cli_live._warm_up(Recognizer(model).with_reader(reader), RATE)
    assert (reader.heard, reader.read_) == (1, 1)


def test_speech_unlike_the_training_is_flagged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "speech.raw"
    source.write_bytes(raw())
    tiny_model(**STREAMING, domain={"min_confidence": 0.999}).save(tmp_path / "m.safetensors")
    with open(source, encoding="latin-1") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(["transcribe", "--live", "-", "--model", str(tmp_path / "m.safetensors")]) == 0
    assert "asr transcribe: 0.0 s: looks unlike what this model knows" in capsys.readouterr().err


def test_events_as_json(file: Path) -> None:
    done = run("-", "--model", str(file), "--format", "json", "endpoint.silence_ms=300", stdin=raw())
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["event"] for row in rows} == {"partial", "final"}
    assert rows[-1]["event"] == "final"
    assert {"text", "words", "start", "duration", "confidence"} <= rows[-1].keys()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--live", "-", "--model", "an4"], 2, "this model is offline"),
        (["--live", "speech.wav"], 2, "'speech.wav' is a file: leave --live out"),
        (["--live", "-", "--format", "srt"], 2, "txt or json as it is spoken, not srt"),
        (["--live", "-", "--out", "folder"], 2, "leave out --out"),
        (["--live", "-", "--rate", "5"], 2, "--rate 5: give the samples a second"),
        (["--live", "-", "endpoint.silence=1"], 2, "did you mean 'silence_ms'"),
        (["--live", "-", "endpoint.silence_ms=0"], 2, "endpoint.silence_ms: input should be greater than 0"),
        (["speech.wav", "--rate", "8000"], 2, "--rate is of raw samples, with --live"),
        (["speech.wav", "endpoint.silence_ms=300"], 2, "give it with --live"),
        (["speech.wav", "encoder.right_context_ms=300"], 2, "give chunk_ms, too"),
    ],
)
def test_what_cannot_be_live_is_refused(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", *words]) == code
    assert says in capsys.readouterr().err


def test_a_chunk_shorter_than_an_encoder_frame_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", "--live", "-", "--model", str(file), "encoder.chunk_ms=10"]) == 2
    assert "encoder.chunk_ms=10 is shorter than one encoder frame of 40 ms" in capsys.readouterr().err


def test_without_a_way_to_a_microphone_a_line_says_so(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["transcribe", "--live", "--model", str(file)]) == 4
    assert "-m pip install sounddevice" in capsys.readouterr().err


class NoMicrophone:
    """The package where there is no device."""

    class PortAudioError(Exception):
        """As the package's."""

    @staticmethod
    def InputStream(**options: object) -> None:  # noqa: N802
        raise NoMicrophone.PortAudioError("Error querying device -1")


def test_without_a_microphone_a_line_says_so(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", NoMicrophone)
    assert main(["transcribe", "--live", "--model", str(file)]) == 4
    assert "no microphone to hear at 16000 Hz: Error querying device -1; connect one" in capsys.readouterr().err


class Unplugged:
    """The package whose microphone loses samples twice in a row, and is gone after a second."""

    class PortAudioError(Exception):
        """As the package's."""

    class InputStream:
        blocksize = 800

        def __init__(self, **options: object) -> None:
            self.blocks = iter(np.split(babble(1.0, RATE, 9).astype(np.float32), 20))
            self.reads = 0

        def start(self) -> None:
            pass

        def __enter__(self) -> "Unplugged.InputStream":
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def read(self, count: int) -> tuple[np.ndarray, bool]:
            self.reads += 1
            block = next(self.blocks, None)
            if block is None:
                raise Unplugged.PortAudioError("device unavailable")
            return block[:, None], self.reads in (3, 4)


def test_a_microphone_that_goes_away_ends_what_was_said(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Unplugged)
    assert main(["transcribe", "--live", "--model", str(file)]) == 4
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "asr transcribe: listening; Ctrl-C ends it",
        "asr transcribe: samples of the microphone were lost, as they came faster than they were heard",
        "asr transcribe: the microphone is gone: device unavailable; connect it and start again",
    ]
    assert len(told.out.splitlines()) == 1


def test_wide_characters_take_two_columns() -> None:
    assert cli_live._end_of("abc", 3) == "abc"
    assert cli_live._end_of("abcd", 3) == "bcd"
    assert cli_live._end_of("\u4eca\u5929\u5929\u6c14", 5) == "\u5929\u6c14"
    assert cli_live._end_of("xe\u0301", 2) == "xe\u0301"


def test_words_are_revised_on_a_screen(file: Path, model: AcousticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, source = Screen(), file.with_suffix(".raw")
    source.write_bytes(raw())
    with open(source, encoding="latin-1") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stdout", screen)
        assert main(["transcribe", "--live", "-", "--model", str(file)]) == 0
    shown = screen.getvalue()
    assert shown.count("\r\x1b[K") > 3
    assert shown.endswith("\n")
    assert shown.count("\n") == 1
