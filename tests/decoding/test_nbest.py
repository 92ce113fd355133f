"""N-best lists: different texts, best first, each with the scores of the best answer that spells it."""

import pytest

from asr.decoding.beam import BeamConfig, Prefix
from asr.decoding.hypothesis import Candidate
from asr.decoding.nbest import distinct_texts
from asr.decoding.scorer import fuse
from asr.decoding.searching import SearchReader
from asr.errors import UsageError
from asr.recognizer import Recognizer
from asr.text.tokenizer import Tokenizer
from tests.tiny_model import babble, tiny_model


def prefix(ids: list[int], score: float) -> Prefix:
    return Prefix(tuple(ids), tuple(range(len(ids))), score, score - 1, -2.0)


def test_what_spells_the_same_is_listed_once(tokenizer: Tokenizer) -> None:
    answers = [
        prefix([2, 1, 3], -1),
        prefix([2, 1, 1, 3], -2),
        prefix([2, 1, 3, 1], -3),
        prefix([4], -4),
        prefix([], -5),
    ]
    assert distinct_texts(answers, tokenizer, 5) == (
        Candidate("a b", -1, -2, -2),
        Candidate("c", -4, -5, -2),
        Candidate("", -5, -6, -2),
    )
    assert [candidate.text for candidate in distinct_texts(answers, tokenizer, 2)] == ["a b", "c"]
    assert distinct_texts(answers, tokenizer, 0) == ()


def test_a_transcript_lists_them() -> None:
    model = tiny_model()
    waveform = babble(3, seed=4)
    fusion = fuse(model.tokenizer, hotwords={"abc": 0.5})
    one = Recognizer(model, reader=SearchReader(BeamConfig(beam=20), fusion)).transcribe(waveform, 16000)
    several = Recognizer(model).with_reader(SearchReader(BeamConfig(beam=20), fusion, nbest=5))
    transcript = several.transcribe(waveform, 16000)
    assert (transcript.text, transcript.score, transcript.words) == (one.text, one.score, one.words)
    assert one.nbest == ()
    assert transcript.nbest[0].text == transcript.text
    assert transcript.nbest[0].score == transcript.score
    assert len({candidate.text for candidate in transcript.nbest}) == len(transcript.nbest) == 5
    scores = [candidate.score for candidate in transcript.nbest]
    assert scores == sorted(scores, reverse=True)
    assert transcript.row()["nbest"] == [
        {
            "text": candidate.text,
            "score": round(candidate.score, 4),
            "acoustic_score": round(candidate.acoustic_score, 4),
            "lm_score": 0,
        }
        for candidate in transcript.nbest
    ]
    assert "nbest" not in one.row()


@pytest.mark.parametrize("nbest", [-1, 21])
def test_no_more_than_the_search_keeps(nbest: int) -> None:
    with pytest.raises(UsageError, match=f"nbest {nbest}: the search keeps 20 prefixes"):
        SearchReader(BeamConfig(beam=20), nbest=nbest)
