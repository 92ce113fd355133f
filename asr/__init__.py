"""A speech recognition toolkit built on the LSTM.

Letters used for the axes of tensors, everywhere in this package:

    B  utterances in a batch        E  encoder frames (after subsampling)
    S  samples of a waveform        D  model width
    T  feature frames               V  tokens, blank included (blank is 0)
    F  feature dimensions (bins)    U  target tokens
    K  hypotheses                   C  channels of a convolution

Batch first.  Lengths are int64 counts of valid items, never fractions.  Masks are bool, True = valid.
Waveforms are float32 in [-1, 1].  `log_probs` are natural logarithms, normalised over V, float32.

    import asr
    model = asr.load("an4")
    transcript = model.transcribe("a.wav")
    transcript.text, transcript.words
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from asr.recognizer import Recognizer


def load(model: str, *, device: str = "cpu") -> "Recognizer":
    """Return a recogniser for a bundled model's name, a model file or a run folder.

    Raises: InputError if there is no such model or the file is not one.
    """
    from asr.recognizer import Recognizer

    return Recognizer.load(model, device=device)
