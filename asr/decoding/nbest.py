"""The answers of a search -> the best texts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from asr.decoding.hypothesis import Candidate

if TYPE_CHECKING:
    from asr.decoding.beam import Prefix
    from asr.text.tokenizer import Tokenizer


def distinct_texts(answers: "Sequence[Prefix]", tokenizer: "Tokenizer", count: int) -> tuple[Candidate, ...]:
    """Return up to `count` texts, best first, each with the scores of the best answer that spells it.

    Answers of other tokens may spell the same: a space more at the end, a word in other pieces.
    """
    found: dict[str, Candidate] = {}
    for answer in answers:
        if len(found) == count:
            break
        text = answer.text(tokenizer)
        if text not in found:
            found[text] = Candidate(text, answer.score, answer.acoustic_score, answer.lm_score)
    return tuple(found.values())
