"""`train.keep_last=3` kept one checkpoint.

The last three were cut out of the list of kept ones by `steps[len(steps) - 3:]`: with two in the list this is
`steps[-1:]`, so one of them was deleted, and the list never grew to three.
"""

from pathlib import Path

from tests.training.test_monitor import Watch


def test_the_last_three_are_kept(tmp_path: Path) -> None:
    watch = Watch(tmp_path, keep_best=0, keep_last=3)
    kept = []
    for wer in (50, 60, 40, 45, 70):
        watch.validate(wer)
        kept.append(watch.kept())
    assert kept == [[10], [10, 20], [10, 20, 30], [20, 30, 40], [30, 40, 50]]
