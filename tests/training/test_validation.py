"""Validation: rates, share of blanks, and the same whatever the batches."""

from pathlib import Path

import pytest
import torch

from asr.data.manifest import Utterance
from asr.model import AcousticModel
from asr.recognizer import Recognizer
from asr.training.validation import Validator
from tests.tiny_model import babble, tiny_model, write_wav


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("audio")
    found = []
    for number in range(5):
        seconds = 0.5 + 0.4 * number
        path = write_wav(folder / f"{number}.wav", babble(seconds, seed=number))
        found.append(Utterance(str(number), path, 0.0, seconds, "a b c"))
    return found


def test_what_is_heard_is_what_the_recognizer_hears(utterances: list[Utterance]) -> None:
    model = tiny_model()
    recognizer = Recognizer(model)
    heard = [
        utterance.__class__(**{**vars_of(utterance), "text": recognizer.transcribe(utterance.audio).text})
        for utterance in utterances
    ]
    assert Validator(heard, model, 2.0).run(model).wer == 0.0


def vars_of(utterance: Utterance) -> dict[str, object]:
    return {name: getattr(utterance, name) for name in utterance.__dataclass_fields__}


def test_batches_change_nothing(utterances: list[Utterance]) -> None:
    model = tiny_model()
    alone, together = (Validator(utterances, model, seconds).run(model) for seconds in (0.1, 100.0))
    assert alone == together
    assert len(alone.pairs) == 3
    assert 0 < alone.blank_share < 1
    assert alone.mean_tokens > 1


def test_the_model_stays_in_its_mode(utterances: list[Utterance]) -> None:
    for training in (True, False):
        model = tiny_model().train(training)
        Validator(utterances, model, 2.0).run(model)
        assert model.training is training


def test_a_model_that_says_nothing_has_only_blanks(utterances: list[Utterance]) -> None:
    model: AcousticModel = tiny_model()
    with torch.no_grad():
        model.encoder.output.bias[0] = 1e4
    found = Validator(utterances, model, 2.0).run(model)
    assert (found.wer, found.blank_share, found.mean_tokens) == (100.0, 1.0, 0.0)


def test_references_are_normalised_as_the_model_does(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", babble(0.5))
    validator = Validator([Utterance("a", path, 0.0, 0.5, "  a   b ")], tiny_model(), 2.0)
    assert validator.references == ["a b"]
