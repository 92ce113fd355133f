"""Paired tests by looking at every possibility: all signs, all draws, segments cut out of a string."""

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import product


def sign_flips(differences: Sequence[int]) -> float:
    """Return the two-sided p-value of the mean of paired differences when each sign is a fair coin."""
    found = abs(sum(differences))
    flips = list(product((-1, 1), repeat=len(differences)))
    extreme = sum(abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= found for signs in flips)
    return extreme / len(flips)


def all_draws(differences: Sequence[int], lengths: Sequence[int]) -> list[Fraction]:
    """Return the difference of the rates in each of the n^n equally likely draws of n utterances."""
    places = range(len(lengths))
    draws = product(places, repeat=len(lengths))
    return [Fraction(sum(differences[i] for i in draw), sum(lengths[i] for i in draw)) for draw in draws]


def segments(columns: Sequence[tuple[str | None, str | None, str | None]]) -> list[tuple[int, int]]:
    """Return (errors of A, errors of B) of what is left of a string of columns cut at two or more good ones."""
    signs = {(False, False): "g", (True, False): "a", (False, True): "b", (True, True): "2"}
    text = "".join(signs[a != word, b != word] for word, a, b in columns)
    pieces = [piece for piece in re.split("g{2,}", text) if piece.strip("g")]
    return [(len(re.findall("[a2]", piece)), len(re.findall("[b2]", piece))) for piece in pieces]
