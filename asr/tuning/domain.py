"""When does a transcript look unlike what a model knows?  A threshold on posteriors, fitted on held-out speech."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.audio.source import AudioSource
from asr.errors import DataError, InputError
from asr.model import AcousticModel
from asr.recognizer import Recognizer

# Of speech that is in the domain, this share is flagged.
FLAGGED_SHARE = 0.02
NO_WORDS = "no words were recognised"


def fit_domain(model: AcousticModel, sources: Sequence[AudioSource]) -> dict[str, float]:
    """Return the thresholds for a model file's `domain`, from in-domain utterances that it was not trained on.

    `min_confidence` is the quantile FLAGGED_SHARE of the utterances' mean posterior, calibrated or not.
    Raises: DataError if an utterance cannot be read or nothing is recognised in any.
    """
    posteriors = []
    for source, transcript in zip(sources, Recognizer(model).transcribe_files(sources), strict=True):
        if isinstance(transcript, InputError):
            raise DataError(f"{Path(source.path).name}: {transcript}")
        if transcript.posterior is not None:
            posteriors.append(transcript.posterior)
    if not posteriors:
        raise DataError(f"{NO_WORDS} in the utterances given for the domain; train longer")
    return {"min_confidence": round(float(np.quantile(posteriors, FLAGGED_SHARE)), 4)}
