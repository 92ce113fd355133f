"""Little texts for the tests of language models."""

import random
from pathlib import Path

TOY = """\
the cat sat on the mat
the dog sat on the mat
a cat saw the dog
the dog saw a cat on a mat
a dog
"""


def random_text(seed: int, num_sentences: int, num_words: int = 12) -> list[list[str]]:
    """Return sentences of 0 to 8 words, some words far more frequent than others, as in a language."""
    generator = random.Random(seed)
    words = [f"w{k}" for k in range(num_words)]
    weights = [1 / (k + 1) for k in range(num_words)]
    return [generator.choices(words, weights, k=generator.randint(0, 8)) for _ in range(num_sentences)]


def write_text(path: Path, sentences: list[list[str]]) -> Path:
    """Write sentences, one a line, and return the path."""
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences), encoding="utf-8")
    return path
