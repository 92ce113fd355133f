"""Token spans in encoder frames -> words with times in seconds.

A word starts where the first frame of its first token starts and ends where the last frame of its last token
ends.  CTC spells a token in few frames, often one, so times are good to about one encoder frame at the start
of a word, and its end may come early.  The model's silence padding lies outside the recording: times are
clipped to [0, duration].
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.decoding.confidence import span_confidence, span_peaks
from asr.decoding.hypothesis import Token, TokenSpan, Word
from asr.units import FrameGeometry, Seconds

if TYPE_CHECKING:
    from asr.text.tokenizer import Tokenizer


def span_seconds(start: int, end: int, geometry: FrameGeometry, duration: Seconds) -> tuple[Seconds, Seconds]:
    """Return the times of encoder frames [start, end), clipped to [0, duration]; order is kept."""
    first, last = geometry.encoder_frame_start(start), geometry.encoder_frame_start(end)
    return min(max(first, 0.0), duration), min(max(last, 0.0), duration)


def words_from_spans(
    spans: Sequence[TokenSpan],
    frame_log_probs: NDArray[np.float32],
    tokenizer: "Tokenizer",
    geometry: FrameGeometry,
    duration: Seconds,
    names: Sequence[str] | None = None,
) -> list[Word]:
    """Return the words that token spans spell, in order, with times and confidence.

    Args:
        spans: in order, without overlap.
        frame_log_probs: (E,) natural log of the posterior of each frame's aligned token.
        geometry: of the model that made them.
        duration: of the audio, in seconds.
        names: of the words; None: as the tokens spell them.
    """
    words = []
    spelled = tokenizer.words_of([span.token_id for span in spans])
    for text, (_, first, last) in zip(names or [text for text, _, _ in spelled], spelled, strict=True):
        aligned = spans[first:last]
        start, end = span_seconds(aligned[0].start, aligned[-1].end, geometry, duration)
        words.append(Word(text, start, end, span_confidence(aligned, frame_log_probs)))
    return words


def tokens_from_spans(
    spans: Sequence[TokenSpan],
    frame_log_probs: NDArray[np.float32],
    tokenizer: "Tokenizer",
    geometry: FrameGeometry,
    duration: Seconds,
) -> list[Token]:
    """Return the tokens of spans, spaces too, with times and confidence.  Args: as of `words_from_spans`."""
    confidences = np.minimum(np.exp(span_peaks(spans, frame_log_probs)), 1.0).tolist()
    return [
        Token(tokenizer.symbols[span.token_id], *span_seconds(span.start, span.end, geometry, duration), confidence)
        for span, confidence in zip(spans, confidences, strict=True)
    ]
