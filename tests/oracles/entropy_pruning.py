"""Entropy pruning by dictionaries, each n-gram for itself and the whole distribution: Stolcke 1998, section 3."""

import math

from tests.oracles.back_off import Ngram, log10_prob


def relative_entropies(probs: dict[Ngram, float], backoffs: dict[Ngram, float], words: list[str]) -> dict[Ngram, float]:
    """Return for every n-gram of two words or more by how much perplexity grows, as a share, without it.

    By the definition, equation 2: the sum over all words of the distribution after its context, which is summed up anew
    without the n-gram.
    """
    growths = {}
    for gram in probs:
        if len(gram) < 2:
            continue
        context = gram[:-1]
        explicit = [word for word in words if (*context, word) in probs and word != gram[-1]]
        lower = {word: 10 ** log10_prob(probs, backoffs, context[1:], word) for word in words}
        left = 1 - sum(10 ** probs[(*context, word)] for word in explicit)
        weight = left / (1 - sum(lower[word] for word in explicit))
        distance = 0.0
        for word in words:
            old = 10 ** log10_prob(probs, backoffs, context, word)
            new = 10 ** probs[(*context, word)] if word in explicit else weight * lower[word]
            distance += old * (math.log(old) - math.log(new))
        growths[gram] = math.expm1(_history(probs, context) * distance)
    return growths


def _history(probs: dict[Ngram, float], context: Ngram) -> float:
    """Return the probability of a context, word by word; <s> is as frequent as </s>."""
    total = probs[("</s>",)] if context[0] == "<s>" else probs[context[:1]]
    for k in range(2, len(context) + 1):
        total += probs[context[:k]]
    return float(10**total)
