"""Errors counted by word add up to the counts of the score."""

from asr.scoring.confusions import count_confusions
from asr.scoring.error_rate import Pair, score


def test_each_error_is_counted_once_most_frequent_first() -> None:
    result = score(
        [Pair("1", "a b c", "x b"), Pair("2", "a d", "x d e"), Pair("3", "b a", "x a"), Pair("4", "", "e e")]
    )
    found = count_confusions(result.utterances)
    assert found.pairs == ((("a", "x"), 2), (("b", "x"), 1))
    assert found.deleted == (("c", 1),)
    assert found.inserted == (("e", 3),)
    assert found.substituted == (("a", 2), ("b", 1))
    assert found.falsely_recognised == (("x", 3),)
    assert sum(count for _, count in found.pairs) == result.words.substitutions
    assert sum(count for _, count in found.inserted) == result.words.insertions
    assert sum(count for _, count in found.deleted) == result.words.deletions
