"""Running normalisation, one frame after another."""

import math


def running(
    frames: list[list[float]], mean: list[float], variance: list[float], prior: float, memory: float
) -> list[list[float]]:
    """Return each frame normalised by the mean and variance of the prior and all frames so far, its own included.

    When they are `memory` frames, each counts half from then on.
    """
    count = prior
    totals = [prior * value for value in mean]
    squares = [prior * (v + m * m) for v, m in zip(variance, mean, strict=True)]
    rows = []
    for frame in frames:
        count += 1
        totals = [total + value for total, value in zip(totals, frame, strict=True)]
        squares = [square + value * value for square, value in zip(squares, frame, strict=True)]
        row = []
        for value, total, square in zip(frame, totals, squares, strict=True):
            centre = total / count
            row.append((value - centre) / math.sqrt(max(square / count - centre * centre, 1e-5)))
        rows.append(row)
        if count >= memory:
            count, totals, squares = count / 2, [total / 2 for total in totals], [square / 2 for square in squares]
    return rows
