"""Who follows whom in joined utterances, one utterance after another, each from a generator of its own."""

from collections.abc import Sequence

from asr.randomness import stream


def followers(
    seed: int, index: int, num_samples: Sequence[int], probability: float, max_seconds: float, sample_rate: int
) -> list[int]:
    """Return the utterances that follow utterance `index`, in order."""
    room = int(max_seconds * sample_rate) - int(num_samples[index])
    draw, found = stream(seed, "joining"), []
    while draw.random() < probability:
        other = int(draw.integers(len(num_samples)))
        room -= int(num_samples[other])
        if room < 0:
            break
        found.append(other)
    return found
