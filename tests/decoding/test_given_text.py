"""Known texts in the recogniser: where they lie, whole, in windows and in batches; token times of all readers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.decoding.beam import BeamConfig
from asr.decoding.given_text import GivenTextReader
from asr.decoding.greedy import GreedyReader
from asr.decoding.hypothesis import Token, Word
from asr.decoding.searching import SearchReader
from asr.errors import DataError, InputError, UsageError
from asr.model import AcousticModel
from asr.recognizer import Reader, Recognizer, RecognizerConfig, Transcript
from tests.decoding.test_lexicon import phones
from tests.tiny_model import babble, tiny_model, write_wav

WINDOWED = RecognizerConfig(whole_seconds=1, window_seconds=4, context_seconds=4)
TEXT = "abc gbd ij"
FRAME_SECONDS = 0.03 + 1e-9  # of the model an4


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    return tiny_model()


def differences_of(words: Sequence[Word], others: Sequence[Word]) -> list[float]:
    """Return how far the starts and the ends of the same words lie apart, in seconds."""
    pairs = list(zip(words, others, strict=True))
    return [abs(word.start - other.start) for word, other in pairs] + [
        abs(word.end - other.end) for word, other in pairs
    ]


def assert_ordered(items: Sequence[Word | Token], duration: float) -> None:
    times = [time for item in items for time in (item.start, item.end)]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= duration
    assert all(0 <= item.confidence <= 1 for item in items)


def test_what_is_read_is_the_text(model: AcousticModel) -> None:
    transcript = Recognizer(model).align(babble(3, seed=1), "  Abc gbd\nij ".lower(), 16000)
    assert transcript.text == TEXT
    assert [word.word for word in transcript.words] == TEXT.split()
    assert "".join(token.token for token in transcript.tokens) == TEXT.replace(" ", "▁")
    assert_ordered(transcript.words, 3.0)
    assert_ordered(transcript.tokens, 3.0)
    for word, first, last in ((0, 0, 2), (1, 4, 6), (2, 8, 9)):
        assert transcript.words[word].start == transcript.tokens[first].start
        assert transcript.words[word].end == transcript.tokens[last].end
    assert transcript.row(tokens=True)["tokens"] == [
        {
            "token": token.token,
            "start": round(token.start, 3),
            "end": round(token.end, 3),
            "confidence": round(token.confidence, 4),
        }
        for token in transcript.tokens
    ]
    assert "tokens" not in transcript.row()


def test_its_own_best_text_lies_where_it_was_read(model: AcousticModel) -> None:
    """The best path spells its text; no path that spells it is better."""
    waveform = babble(6, seed=4)
    read = Recognizer(model).transcribe(waveform, 16000)
    text = "".join(token.token for token in read.tokens).replace("▁", " ")
    assert text == read.text, "of this babble the best path writes no space twice"
    aligned = Recognizer(model).align(waveform, text, 16000)
    assert aligned.words == read.words
    assert aligned.tokens == read.tokens
    assert aligned.score == pytest.approx(read.score, abs=1e-4)


READERS = [
    GreedyReader(),
    SearchReader(BeamConfig(beam=8)),
    GivenTextReader([2, 3, 4, 1, 8, 3, 5, 1, 10, 11]),
]


@pytest.mark.parametrize("reader", READERS, ids=["best path", "search", "given text"])
def test_token_times_are_the_same_whole_and_in_windows(model: AcousticModel, reader: Reader) -> None:
    waveform = babble(9, seed=4)
    whole = Recognizer(model, reader=reader).transcribe(waveform, 16000)
    assert len(whole.tokens) >= 10
    assert_ordered(whole.tokens, whole.duration)
    assert_ordered(whole.words, whole.duration)
    windowed = Recognizer(model, reader=reader, config=WINDOWED).transcribe(waveform, 16000)
    times = [(token.token, token.start, token.end) for token in whole.tokens]
    assert [(token.token, token.start, token.end) for token in windowed.tokens] == times


def test_files_are_aligned_in_batches_as_alone(
    tmp_path: Path, model: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.recognizer.CPU_MIN_ROWS", 2)
    recognizer = Recognizer(model, config=RecognizerConfig(whole_seconds=4, window_seconds=4, context_seconds=4))
    seconds = (2.1, 6.0, 1.2, 2.2, 0.3)
    files = [write_wav(tmp_path / f"{index}.wav", babble(length, seed=index)) for index, length in enumerate(seconds)]
    texts = ["abc", "gbd ij", "c", "ab ab", "j"]
    for file, text, found in zip(files, texts, recognizer.align_files(files, texts), strict=True):
        alone = recognizer.align(file, text)
        assert isinstance(found, Transcript)
        assert (found.text, found.duration) == (text, alone.duration)
        times = [(token.start, token.end) for token in alone.tokens]
        assert [(token.start, token.end) for token in found.tokens] == times


def test_what_cannot_be_aligned_is_an_error_in_its_place(tmp_path: Path, model: AcousticModel) -> None:
    file = write_wav(tmp_path / "a.wav", babble(1, seed=1))
    long = write_wav(tmp_path / "long.wav", babble(3, seed=1))
    recognizer = Recognizer(model, config=RecognizerConfig(whole_seconds=2, window_seconds=1, context_seconds=1))
    files = [file, file, file, tmp_path / "none.wav", long, file]
    texts = ["abc", " ", "Zé", "a", "ab" * 90, "ab" * 90]
    results = list(recognizer.align_files(files, texts))
    assert isinstance(results[0], Transcript)
    messages = [str(result) for result in results if isinstance(result, InputError)]
    assert messages[0] == "the text is empty: there is nothing to align; write what is said"
    assert messages[1].startswith("the text holds 'Z' (U+005A), 'é' (U+00E9), which the model cannot write; ")
    assert messages[2] == f"{tmp_path / 'none.wav'}: there is no such audio file; check the path"
    assert messages[3].endswith("encoder frames cannot spell 180 tokens, which need 180; check the text")
    assert messages[4].endswith("encoder frames cannot spell 180 tokens, which need 180; check the text")
    assert all(isinstance(result, DataError) for result in results[1:])
    assert [str(result) for result in recognizer.align_files([file], [""])] == messages[:1]
    assert list(recognizer.align_files([], [])) == []


def test_wrong_calls_are_refused(model: AcousticModel) -> None:
    recognizer = Recognizer(model)
    with pytest.raises(UsageError, match="2 texts for 1 files; give one each"):
        list(recognizer.align_files(["a.wav"], ["a", "b"]))
    with pytest.raises(UsageError, match="a waveform needs sample_rate"):
        recognizer.align(babble(1), "a")
    with pytest.raises(DataError, match="NaN or infinite"):
        recognizer.align(np.array([0.0, np.nan]), "a", 16000)
    assert isinstance(recognizer.reader, GreedyReader), "a text is forgotten once it is aligned"


def test_rows_that_are_no_log_probs_are_refused() -> None:
    reader = GivenTextReader([1])
    (heard,) = reader.hear(torch.zeros(1, 5, 4), torch.tensor([5]))
    with pytest.raises(DataError, match=r"rows sum to 4\.0"):
        reader.read(heard)


@pytest.mark.corpora
def test_word_times_of_transcripts_are_those_of_forced_alignment(corpora: Path) -> None:
    """Of AN4 test utterances that are read right: at most an encoder frame (30 ms) between them, in the median."""
    lines = (corpora / "an4" / "etc" / "an4_test.transcription").read_text("utf-8").splitlines()[::6]
    texts = {line.rsplit("(", 1)[1].strip(") \n"): line.rsplit("(", 1)[0].strip().lower() for line in lines}
    files = {file.stem: file for file in (corpora / "an4" / "wav" / "an4test_clstk").rglob("*.flac")}
    sources = [files[name] for name in texts]
    recognizer = Recognizer.load("an4")
    aligned = list(recognizer.align_files(sources, texts.values()))
    for reader in (GreedyReader(), SearchReader(BeamConfig(beam=20))):
        read = recognizer.with_reader(reader).transcribe_files(sources)
        differences: list[float] = []
        for transcript, alignment in zip(read, aligned, strict=True):
            assert isinstance(transcript, Transcript)
            assert isinstance(alignment, Transcript)
            if transcript.text == alignment.text:
                differences += differences_of(transcript.words, alignment.words)
        assert len(differences) > 60
        assert np.median(differences) <= FRAME_SECONDS
        assert np.mean(np.array(differences) > FRAME_SECONDS) < 0.05


def test_words_that_a_lexicon_lacks_are_named() -> None:
    model = tiny_model()
    model.tokenizer = phones("two a")
    with pytest.raises(DataError, match="the lexicon of the tokens lacks 'zebra'; add the pronunciation"):
        Recognizer(model).align(babble(1), "two zebra", 16000)
