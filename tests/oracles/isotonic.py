"""Isotonic regression by the max-min formula: no pooling, cubic in the number of values."""

from collections.abc import Sequence


def isotonic_regression(inputs: Sequence[float], targets: Sequence[float]) -> list[float]:
    """Return the rising function nearest to the targets, at each input; equal inputs get equal values.

    At the k-th distinct input: the greatest, over beginnings i <= k, of the least mean over i..j with j >= k.
    Source: Robertson, Wright and Dykstra 1988, theorem 1.4.4.
    """
    distinct = sorted(set(inputs))
    at = [[target for value, target in zip(inputs, targets, strict=True) if value == place] for place in distinct]

    def mean(first: int, last: int) -> float:
        inside = [target for group in at[first : last + 1] for target in group]
        return sum(inside) / len(inside)

    count = range(len(distinct))
    best = [max(min(mean(i, j) for j in count if j >= k) for i in count if i <= k) for k in count]
    return [best[distinct.index(value)] for value in inputs]
