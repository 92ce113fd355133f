"""From waveforms and files to transcripts: alone or in batches, whole or in windows."""

import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from asr import recognizer as room
from asr.audio.files import read_audio, write_audio
from asr.audio.resample import resample
from asr.audio.source import AudioSource
from asr.decoding.greedy import best_paths, collapse, join_paths
from asr.decoding.hypothesis import Word
from asr.errors import DataError, MachineError, UsageError
from asr.model import AcousticModel
from asr.recognizer import Recognizer, RecognizerConfig, Transcript, resolve_model
from tests.tiny_model import babble, tiny_model, write_wav

SMALL_WINDOWS = RecognizerConfig(whole_seconds=2.0, window_seconds=1.0, context_seconds=0.8, window_batch=3)


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    return tiny_model()


@pytest.fixture(scope="module")
def recognizer(model: AcousticModel) -> Recognizer:
    return Recognizer(model)


def files_of(folder: Path, seconds: list[float]) -> list[Path]:
    return [write_wav(folder / f"{index}.wav", babble(length, seed=index)) for index, length in enumerate(seconds)]


def test_a_waveform_becomes_words_with_times_and_confidence(recognizer: Recognizer) -> None:
    transcript = recognizer.transcribe(babble(3.0), 16000)
    assert transcript.duration == 3.0
    assert len(transcript.words) > 2
    assert transcript.text == " ".join(word.word for word in transcript.words)
    assert transcript.score < 0
    assert transcript.warnings == ()
    times = [time for word in transcript.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= 3.0
    assert all(0 <= word.confidence <= 1 for word in transcript.words)


def test_the_transcript_is_that_of_the_models_best_path(recognizer: Recognizer, model: AcousticModel) -> None:
    waveform = babble(2.5, seed=3)
    with torch.inference_mode():
        log_probs, lengths = model(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    ids = [span.token_id for span in collapse(best_paths(log_probs, lengths)[0])]
    assert recognizer.transcribe(waveform, 16000).text == model.tokenizer.decode(ids)


def test_log_probs_are_those_of_the_model_whole_and_in_windows(recognizer: Recognizer, tmp_path: Path) -> None:
    files = [*files_of(tmp_path, [1.0, 3.0]), tmp_path / "none.wav"]
    calls: list[tuple[int, int | None, float]] = []
    short, long, missing = recognizer.log_probs(files, progress=lambda *call: calls.append(call))
    assert isinstance(missing, DataError)
    assert calls[-1][:2] == (3, 3)
    for file, found in ((files[0], short), (files[1], long)):
        waveform = read_audio(file)[0]
        with torch.inference_mode():
            expected, _ = recognizer.model(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        assert isinstance(found, np.ndarray)
        assert np.allclose(found, expected[0].numpy(), atol=1e-4)
    windowed = Recognizer(recognizer.model, config=SMALL_WINDOWS)
    (in_windows,) = windowed.log_probs(files[1:2])
    assert isinstance(in_windows, np.ndarray)
    assert in_windows.shape == np.shape(long)
    assert np.allclose(in_windows, long, atol=1e-3)
    assert type(windowed.reader) is type(recognizer.reader), "its own reader is left alone"


@pytest.mark.parametrize("num_samples", [1, 2, 159, 400, 1600])
def test_the_shortest_audio_has_a_transcript(recognizer: Recognizer, num_samples: int) -> None:
    transcript = recognizer.transcribe(babble(1.0)[:num_samples], 16000)
    assert transcript.duration == num_samples / 16000


def test_files_alone_and_in_batches_read_the_same(
    tmp_path: Path, model: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(tmp_path, [0.7, 2.9, 0.1, 1.3, 0.70001, 3.1, 0.2, 1.1])
    monkeypatch.setattr(room, "CPU_MIN_ROWS", 2)
    batched = Recognizer(model, config=RecognizerConfig(batch_seconds=5.0, pool_seconds=6.0))
    together = list(batched.transcribe_files(files))
    for file, result in zip(files, together, strict=True):
        alone = batched.transcribe(file)
        assert isinstance(result, Transcript)
        assert result.text == alone.text
        assert result.duration == alone.duration
        assert result.score == pytest.approx(alone.score, abs=1e-3)


@pytest.mark.parametrize("min_rows", [1, 3])
def test_batches_hold_every_file_once_within_the_limit(min_rows: int) -> None:
    lengths = np.sort(np.random.default_rng(0).exponential(4.0, 200))
    seconds = dict(enumerate(lengths.tolist()))
    batches = list(room._batches(list(seconds), seconds, 30.0, min_rows))
    assert [index for batch in batches for index in batch] == list(seconds)
    assert all(len(batch) == 1 or len(batch) * seconds[batch[-1]] <= 30.0 for batch in batches)
    assert all(len(batch) == 1 or len(batch) >= min_rows for batch in batches)
    assert max(map(len, batches)) > 10


def test_bad_files_yield_their_errors_in_place(tmp_path: Path, recognizer: Recognizer) -> None:
    good = files_of(tmp_path, [0.5, 1.5])
    text = tmp_path / "text.wav"
    text.write_text("this is not audio", encoding="utf-8")
    empty = write_wav(tmp_path / "empty.wav", np.zeros(0, np.float32))
    results = list(recognizer.transcribe_files([text, good[1], tmp_path / "missing.wav", empty, good[0]]))
    assert [isinstance(result, DataError) for result in results] == [True, False, True, True, False]
    assert "text.wav" in str(results[0])
    assert "missing.wav" in str(results[2])
    assert "empty.wav" in str(results[3])
    assert [result.duration for result in (results[1], results[4]) if isinstance(result, Transcript)] == [1.5, 0.5]


def test_no_files_yield_nothing(recognizer: Recognizer) -> None:
    assert list(recognizer.transcribe_files([])) == []


def test_short_and_long_files_come_out_in_the_order_given(tmp_path: Path, model: AcousticModel) -> None:
    files = files_of(tmp_path, [4.0, 0.5, 2.5, 1.0, 7.0, 0.3])
    recognizer = Recognizer(model, config=SMALL_WINDOWS)
    results = list(recognizer.transcribe_files(files))
    durations = [result.duration for result in results if isinstance(result, Transcript)]
    assert durations == [4.0, 0.5, 2.5, 1.0, 7.0, 0.3]


def test_segments_and_channels_of_a_file(tmp_path: Path, recognizer: Recognizer) -> None:
    left, right = babble(3.0, seed=1), babble(3.0, seed=2)
    file = write_wav(tmp_path / "two.wav", np.stack([left, right], 1))
    mono = write_wav(tmp_path / "one.wav", right[16000:40000])
    (segment,) = recognizer.transcribe_files([AudioSource(file, start=1.0, duration=1.5, channel=1)])
    assert segment == recognizer.transcribe(mono)
    assert recognizer.transcribe(file, channel=0).text != recognizer.transcribe(file, channel=1).text


def test_progress_counts_files_and_seconds(tmp_path: Path, model: AcousticModel) -> None:
    calls: list[tuple[int, int | None, float]] = []
    files = [*files_of(tmp_path, [0.5, 3.0, 0.1]), tmp_path / "missing.wav"]
    recognizer = Recognizer(model, config=SMALL_WINDOWS)
    list(recognizer.transcribe_files(files, progress=lambda *call: calls.append(call)))
    assert calls == sorted(calls)
    assert calls[-1] == (4, 4, pytest.approx(3.6))


# Windows


def blocks_of(waveform: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return iter(np.split(waveform, range(size, len(waveform), size)))


@pytest.mark.parametrize("block", [700, 16000, 10**9])
def test_windows_keep_every_frame_once_and_lie_on_the_whole_files_grid(model: AcousticModel, block: int) -> None:
    geometry = model.geometry
    generator = np.random.default_rng(0)
    for num_samples in [1, 639, 640, 641, *generator.integers(1, 100_000, 60).tolist()]:
        waveform = np.arange(num_samples, dtype=np.float32)
        kept = 0
        for window in room._windows(blocks_of(waveform, block), geometry, SMALL_WINDOWS):
            # the first sample says where the window starts
            assert window.waveform[0] == (kept - window.skip) * geometry.encoder_hop
            frames = geometry.encoder_frames(len(window.waveform))
            keep = frames - window.skip if window.keep is None else window.keep
            assert 0 < keep <= frames - window.skip
            kept += keep
        assert kept == geometry.encoder_frames(num_samples)


@pytest.mark.parametrize("seconds", [2.001, 3.0, 6.66, 9.04, 9.3])
def test_windowed_is_whole(model: AcousticModel, seconds: float) -> None:
    waveform = babble(seconds, seed=5)
    whole = Recognizer(model).transcribe(waveform, 16000)
    windowed = Recognizer(model, config=SMALL_WINDOWS).transcribe(waveform, 16000)
    assert windowed.text == whole.text
    assert [word.start for word in windowed.words] == [word.start for word in whole.words]
    assert windowed.duration == whole.duration
    assert windowed.score == pytest.approx(whole.score, abs=1e-2)


def test_a_long_file_is_read_in_blocks_and_reads_as_its_waveform(tmp_path: Path, model: AcousticModel) -> None:
    waveform = babble(8.0, 44100, seed=6)
    file = write_wav(tmp_path / "long.wav", waveform, 44100)
    recognizer = Recognizer(model, config=SMALL_WINDOWS)
    transcript = recognizer.transcribe(file)
    assert transcript.text == Recognizer(model).transcribe(file).text
    assert transcript.duration == pytest.approx(8.0, abs=1e-4)


def test_windows_are_normalised_over_the_whole_recording() -> None:
    model = tiny_model(normalization="utterance")
    waveform = np.concatenate([babble(4.0, seed=5), 0.01 * babble(4.0, seed=6)])  # each half alone has another level
    whole = Recognizer(model).transcribe(waveform, 16000)
    windowed = Recognizer(model, config=SMALL_WINDOWS).transcribe(waveform, 16000)
    # of random weights a near tie may fall otherwise; windows normalised by themselves are alike to 0.3 only
    assert difflib.SequenceMatcher(None, windowed.text, whole.text, autojunk=False).ratio() > 0.95
    assert windowed.score == pytest.approx(whole.score, rel=1e-2)


def test_a_bad_block_far_into_a_long_file_is_that_files_error(tmp_path: Path, model: AcousticModel) -> None:
    import soundfile

    waveform = babble(8.0)
    waveform[100_000] = np.nan
    broken = tmp_path / "nan.wav"
    soundfile.write(broken, waveform, 16000, subtype="FLOAT")
    (good,) = files_of(tmp_path, [5.0])
    first, second = Recognizer(model, config=SMALL_WINDOWS).transcribe_files([broken, good])
    assert isinstance(first, DataError)
    assert "nan.wav" in str(first)
    assert isinstance(second, Transcript)


def test_joining_nothing_is_empty() -> None:
    assert len(join_paths([]).token_ids) == 0


def test_an_abandoned_reader_ends(tmp_path: Path, recognizer: Recognizer) -> None:
    results = recognizer.transcribe_files(files_of(tmp_path, [0.5] * 6))
    next(results)
    results.close()


# Warnings, wrong calls, models


def test_unsure_transcripts_are_flagged() -> None:
    doubtful = Recognizer(tiny_model(domain={"min_confidence": 0.999}))
    (warning,) = doubtful.transcribe(babble(2.0), 16000).warnings
    assert warning.startswith("looks unlike what this model knows (mean posterior 0.")
    assert warning.endswith(" < 1.00): see asr info")
    assert Recognizer(tiny_model(domain={"min_confidence": 0.1})).transcribe(babble(2.0), 16000).warnings == ()


CALIBRATION = {
    "words": {"kind": "temperature", "temperature": 2.0, "bias": -1.0},
    "utterances": {"kind": "isotonic", "knots": [[0.0, 0.5], [1.0, 1.0]]},
}


def test_a_calibrated_model_says_the_probability_of_being_right(tmp_path: Path, recognizer: Recognizer) -> None:
    raw = recognizer.transcribe(babble(3.0), 16000)
    model = tiny_model(domain={"min_confidence": raw.posterior + 1e-6})
    model.notes = model.with_notes(calibration=CALIBRATION)
    found = Recognizer(model).transcribe(babble(3.0), 16000)
    assert raw.confidence == pytest.approx(np.mean([word.confidence for word in raw.words]))
    before, after = ([word.confidence for word in words] for words in (raw.words, found.words))
    expected = [1 / (1 + np.exp(1 - np.log(value / (1 - value)) / 2)) for value in before]
    assert after == pytest.approx(expected, abs=1e-6)
    assert np.argsort(after).tolist() == np.argsort(before).tolist()
    assert found.confidence == pytest.approx(0.5 + raw.confidence / 2)
    assert found.row()["confidence"] == round(found.confidence, 4)
    # the threshold of the domain is compared with what it was fitted on
    assert found.confidence > found.posterior + 0.01
    assert (found.text, found.posterior, len(found.warnings)) == (raw.text, raw.posterior, 1)
    files = files_of(tmp_path, [1.0, 2.5, 1.7])
    together = list(Recognizer(model).transcribe_files(files))
    for transcript, file in zip(together, files, strict=True):
        alone = Recognizer(model).transcribe(file)
        assert [word.word for word in transcript.words] == [word.word for word in alone.words]
        assert [word.confidence for word in transcript.words] == pytest.approx(
            [word.confidence for word in alone.words], abs=1e-3
        )


def test_a_text_without_words_has_no_confidence() -> None:
    silent = tiny_model(domain={"min_confidence": 1.0})
    silent.notes = silent.with_notes(calibration=CALIBRATION)
    with torch.no_grad():
        silent.encoder.output.bias[0] += 1000.0  # blanks only
    transcript = Recognizer(silent).transcribe(babble(1.0), 16000)
    assert (transcript.words, transcript.confidence, transcript.posterior, transcript.warnings) == ((), None, None, ())
    assert transcript.row()["confidence"] is None


def test_a_broken_calibration_is_refused(tmp_path: Path) -> None:
    model = tiny_model()
    model.save(tmp_path / "a.safetensors", notes=model.with_notes(calibration={"words": {"kind": "magic"}}))
    with pytest.raises(DataError, match=r"the model's calibration: words.*fit it anew"):
        Recognizer.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(0, np.float32), "at least one sample"),
        (np.zeros((2, 100), np.float32), "give one channel"),
        (np.zeros(100, np.int16), "divided by 32768"),
        (np.array([0.0, np.nan]), "NaN or infinite"),
        (np.array([0.0, 20000.0]), r"20000.*\[-1, 1\]"),
    ],
)
def test_wrong_waveforms_are_refused(recognizer: Recognizer, waveform: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        recognizer.transcribe(waveform, 16000)


def test_wrong_calls_are_refused(recognizer: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs sample_rate"):
        recognizer.transcribe(babble(1.0))
    with pytest.raises(UsageError, match="one channel"):
        recognizer.transcribe(babble(1.0), 16000, channel=1)
    with pytest.raises(UsageError, match="a file holds its own"):
        recognizer.transcribe(tmp_path / "a.wav", 16000)


def test_torch_waveforms_and_other_rates_are_taken(recognizer: Recognizer) -> None:
    waveform = babble(2.0)
    assert recognizer.transcribe(torch.from_numpy(waveform), 16000) == recognizer.transcribe(waveform, 16000)
    assert recognizer.transcribe(babble(2.0, 48000), 48000).duration == 2.0


def test_a_model_comes_from_a_file_or_a_run_folder(
    tmp_path: Path, model: AcousticModel, recognizer: Recognizer
) -> None:
    model.save(tmp_path / "model.safetensors")
    for given in (tmp_path, tmp_path / "model.safetensors", str(tmp_path)):
        loaded = Recognizer.load(given)
        assert loaded.transcribe(babble(1.0), 16000) == recognizer.transcribe(babble(1.0), 16000)


def test_a_bundled_models_name_goes_before_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = tmp_path / "package" / "an4.safetensors"
    monkeypatch.setattr(room, "bundled_models", lambda: {"an4": bundled})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "an4").mkdir()
    assert resolve_model("an4") == bundled
    with pytest.raises(DataError, match="a folder without model"):
        resolve_model("./an4/")
    with pytest.raises(DataError, match=r"'an5': neither a bundled model.*did you mean 'an4'"):
        resolve_model("an5")
    with pytest.raises(DataError, match="no such model file or run folder"):
        resolve_model("runs/an5")
    with pytest.raises(DataError, match="neither a bundled model, a file nor a run folder"):
        resolve_model("x" * 300)  # longer than a name may be


def test_a_device_that_is_not_there_is_refused(model: AcousticModel) -> None:
    with pytest.raises(UsageError, match="device 'gpu'"):
        Recognizer(model, device="gpu")
    with pytest.raises(MachineError, match="device 'cuda:99'"):
        Recognizer(model, device="cuda:99")


def test_hundred_calls_are_as_one(recognizer: Recognizer) -> None:
    """Nothing is carried from one recording to the next."""
    waveform = babble(0.6, seed=8)
    first = recognizer.transcribe(waveform, 16000)
    for seed in range(20):
        recognizer.transcribe(babble(0.3, seed=seed), 16000)
        assert recognizer.transcribe(waveform, 16000) == first


# Real speech


def _unmatched(words: Sequence[Word], others: Sequence[Word], borders: Sequence[float]) -> list[Word]:
    """Return the words within 1 s of a border that have no equal at the same time (0.1 s) among the others."""
    near = [word for word in words if any(word.start - 1 < border < word.end + 1 for border in borders)]
    return [
        word
        for word in near
        if not any(word.word == other.word and abs(word.start - other.start) <= 0.1 for other in others)
    ]


@pytest.mark.corpora
@pytest.mark.parametrize("name", ["fash/cen5-fash-b", "mdcs/cen2-mdcs-b", "fejs/cen5-fejs-b"])
def test_one_sentence_is_the_same_text_in_every_coding(corpora: Path, tmp_path: Path, name: str) -> None:
    """At 16 kHz and more, whatever the container, the number of channels and the rate; at 8 kHz it is read, too."""
    waveform, rate = read_audio(corpora / "an4" / "wav" / "an4_clstk" / f"{name}.flac")
    recognizer = Recognizer.load("an4")
    expected = recognizer.transcribe(waveform, rate).text
    assert len(expected) > 5
    for target, suffix in itertools.product((8000, 16000, 44100, 48000), ("wav", "flac", "ogg", "mp3")):
        mono = resample(waveform, rate, target)
        for channels in (1, 2):
            path = tmp_path / f"{target}-{channels}.{suffix}"
            write_audio(path, mono if channels == 1 else np.stack([mono, mono], axis=1), target)
            text = recognizer.transcribe(path).text
            assert text == expected if target >= 16000 else text, path.name


@pytest.mark.corpora
@pytest.mark.slow
@pytest.mark.parametrize("order", range(3))
def test_an4_joined_reads_the_same_whole_and_in_windows(corpora: Path, order: int) -> None:
    import kaldialign

    if "an4" not in room.bundled_models():
        pytest.skip("the bundled model an4 is not there yet")
    files = sorted((corpora / "an4" / "wav" / "an4test_clstk").rglob("*.flac"))
    np.random.default_rng(order).shuffle(files)
    waveform = np.concatenate([read_audio(file)[0] for file in files])
    model = Recognizer.load("an4").model
    whole = Recognizer(model, config=RecognizerConfig(whole_seconds=1e6)).transcribe(waveform, 16000)
    windowed = Recognizer(model).transcribe(waveform, 16000)
    difference = kaldialign.edit_distance(whole.text.split(), windowed.text.split())
    assert difference["total"] <= 1
    borders = np.arange(30.0, whole.duration, 30.0).tolist()
    assert _unmatched(whole.words, windowed.words, borders) == []
    assert _unmatched(windowed.words, whole.words, borders) == []
