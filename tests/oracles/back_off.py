"""A back-off model read from an ARPA text by dictionaries, and the probability of a sentence by its definition."""

from collections.abc import Sequence

Ngram = tuple[str, ...]


def read(text: str) -> tuple[dict[Ngram, float], dict[Ngram, float]]:
    """Return (log10 probabilities, log10 back-off weights) of all n-grams of an ARPA text."""
    probs: dict[Ngram, float] = {}
    backoffs: dict[Ngram, float] = {}
    length = 0
    for line in text.splitlines():
        if line.startswith("\\") and line.endswith("-grams:"):
            length = int(line[1:].split("-")[0])
        elif length and line and not line.startswith("\\"):
            prob, *fields = line.split()
            gram = tuple(fields[:length])
            probs[gram] = float(prob)
            if fields[length:]:
                backoffs[gram] = float(fields[length])
    return probs, backoffs


def log10_prob(probs: dict[Ngram, float], backoffs: dict[Ngram, float], context: Ngram, word: str) -> float:
    """Return log10 p(word | context) (Katz 1987): the longest n-gram there is, and the weights of what it is not."""
    if (*context, word) in probs:
        return probs[(*context, word)]
    if not context:
        return probs.get(("<unk>",), -100.0)
    return backoffs.get(context, 0.0) + log10_prob(probs, backoffs, context[1:], word)


def sentence_log10(probs: dict[Ngram, float], backoffs: dict[Ngram, float], words: Sequence[str], order: int) -> float:
    """Return the log10 probability of a sentence with its end."""
    known = ["<s>", *(word if (word,) in probs else "<unk>" for word in words), "</s>"]
    return sum(
        log10_prob(probs, backoffs, tuple(known[max(0, k - order + 1) : k]), known[k]) for k in range(1, len(known))
    )
