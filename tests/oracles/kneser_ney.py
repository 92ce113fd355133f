"""Interpolated modified Kneser-Ney by dictionaries, a line for each equation of Chen & Goodman 1999, section 4.2."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

Ngram = tuple[str, ...]
FALLBACK = [0.0, 0.5, 1.0, 1.5]


def reference_model(
    sentences: Sequence[Sequence[str]], order: int, cutoffs: Sequence[int] = (), vocabulary: set[str] | None = None
) -> tuple[dict[Ngram, float], dict[Ngram, float]]:
    """Return (log10 probability of every n-gram that is kept, log10 back-off weight of every context)."""
    limits = {n: (list(cutoffs) + [cutoffs[-1] if cutoffs else 0] * order)[n - 1] for n in range(1, order + 1)}
    counts = _counts(sentences, order)
    kept = {n: {gram for gram in counts[n] if counts[n][gram] > limits[n] or _is_mark(gram)} for n in counts}
    kept[1] |= {("<unk>",), *((word,) for word in vocabulary or ())}
    if vocabulary is not None:
        allowed = vocabulary | {"<unk>", "<s>", "</s>"}
        kept = {n: {gram for gram in kept[n] if allowed.issuperset(gram)} for n in kept}

    probs: dict[Ngram, float] = {(): 1 / (len(kept[1]) - 1)}  # uniform over all but <s>
    backoffs: dict[Ngram, float] = {}
    for n in range(1, order + 1):
        adjusted = _adjusted(counts, n, order)
        discounts = _discounts(Counter(adjusted.values()))
        by_context: dict[Ngram, list[Ngram]] = defaultdict(list)
        for gram in adjusted:
            by_context[gram[:-1]].append(gram)
        for context, grams in by_context.items():
            total = sum(adjusted[gram] for gram in grams)
            taken = sum(discounts[min(adjusted[gram], 3)] if gram in kept[n] else adjusted[gram] for gram in grams)
            backoffs[context] = taken / total
        for gram in kept[n]:
            count = adjusted.get(gram, 0)
            total = sum(adjusted[other] for other in by_context[gram[:-1]])
            own = (count - discounts[min(count, 3)]) / total
            probs[gram] = own + backoffs[gram[:-1]] * probs[gram[1:]]
    probs[("<s>",)] = 1.0
    del probs[()], backoffs[()]
    return (
        {gram: math.log10(prob) for gram, prob in probs.items()},
        {gram: math.log10(weight) for gram, weight in backoffs.items() if gram in probs},
    )


def _is_mark(gram: Ngram) -> bool:
    return gram in {("<s>",), ("</s>",), ("<unk>",)}


def _counts(sentences: Sequence[Sequence[str]], order: int) -> dict[int, Counter[Ngram]]:
    counts: dict[int, Counter[Ngram]] = {n: Counter() for n in range(1, order + 1)}
    for sentence in sentences:
        marked = ("<s>", *sentence, "</s>")
        for n in range(1, order + 1):
            counts[n].update(marked[k : k + n] for k in range(len(marked) - n + 1))
    return counts


def _adjusted(counts: dict[int, Counter[Ngram]], n: int, order: int) -> dict[Ngram, int]:
    """Return c of the longest n-grams, N1+(. gram) of the others (equation 25); c again where only <s> comes before."""
    if n == order:
        adjusted = dict(counts[n])
    else:
        adjusted = dict(Counter(longer[1:] for longer in counts[n + 1]))
        adjusted |= {gram: count for gram, count in counts[n].items() if gram[0] == "<s>"}
    adjusted.pop(("<s>",), None)
    return adjusted


def _discounts(kinds: Counter[int]) -> list[float]:
    """Return D of the counts 0, 1, 2, 3 and more (equation 26), or fixed ones where that cannot be."""
    if not (kinds[1] and kinds[2] and kinds[3]):
        return FALLBACK
    y = kinds[1] / (kinds[1] + 2 * kinds[2])
    values = [0.0, *(k - (k + 1) * y * kinds[k + 1] / kinds[k] for k in (1, 2, 3))]
    return values if all(0 <= value <= k for k, value in enumerate(values)) else FALLBACK
