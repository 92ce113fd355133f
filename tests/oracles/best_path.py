"""Best path decoding as the paper writes it, one frame at a time, for one utterance."""

from math import exp, log


def best_path(rows: list[list[float]], blank_id: int = 0) -> tuple[list[tuple[int, int, int]], float]:
    """Return ([(token, start, end)], log-probability of the path) of rows of log-probabilities."""
    spans: list[tuple[int, int, int]] = []
    score, previous = 0.0, -1
    for frame, row in enumerate(rows):
        token = max(range(len(row)), key=lambda index: row[index])
        score += row[token]
        if token != blank_id:
            if token == previous:
                spans[-1] = (token, spans[-1][1], frame + 1)
            else:
                spans.append((token, frame, frame + 1))
        previous = token
    return spans, score


def most_probable_path(rows: list[list[float]]) -> float:
    """Return the log-probability of the best of all V ** E paths, by trying each."""
    totals = [1.0]
    for row in rows:
        totals = [total * exp(value) for total in totals for value in row]
    return log(max(totals))
