"""TextGrids: tiers that cover the recording, and that our own importer reads back."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.importers.textgrid import parse_textgrid
from asr.decoding.hypothesis import Token, Word
from asr.decoding.textgrid import TICKS, Label, covering, to_textgrid


def test_the_text_is_praats_long_form() -> None:
    words = [Word("no", 0.25, 0.5, 1.0)]
    tokens = [Token("n", 0.25, 0.375, 1.0), Token('"', 0.375, 0.5, 1.0)]
    text = to_textgrid(words, tokens, 1.0)
    assert text.startswith(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 1\ntiers? <exists>\nsize = 2\n'
        "item []:\n"
        '    item [1]:\n        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n        xmax = 1\n'
        "        intervals: size = 3\n        intervals [1]:\n            xmin = 0\n            xmax = 0.25\n"
        '            text = ""\n        intervals [2]:\n            xmin = 0.25\n            xmax = 0.5\n'
        '            text = "no"\n'
    )
    assert '            text = """"\n' in text
    assert text.endswith('            xmin = 0.5\n            xmax = 1\n            text = ""\n')


@pytest.mark.parametrize("word", ['say "no"', '"', '""', "! <exists> 3", "\u4f60\u597d", 'a"b"'])
def test_any_label_is_read_back(word: str) -> None:
    tiers = parse_textgrid(to_textgrid([Word(word, 0.1, 0.4, 1.0)], [Token(word, 0.2, 0.3, 1.0)], 0.5))
    assert list(tiers) == ["words", "tokens"]
    assert [interval.text for interval in tiers["words"]] == ["", word, ""]
    assert [(interval.start, interval.end) for interval in tiers["tokens"]] == [(0, 0.2), (0.2, 0.3), (0.3, 0.5)]


@given(
    st.lists(st.integers(0, 1000), max_size=12).map(sorted),
    st.sampled_from([1 / 48000, 0.004, 1.0, 36000.0]),
)
def test_intervals_cover_the_recording_and_none_is_empty(places: list[int], duration: float) -> None:
    times = [place / 1000 * duration for place in places[: len(places) // 2 * 2]]
    words = [Word(f"w{start}", start, end, 1.0) for start, end in zip(times[::2], times[1::2], strict=True)]
    read = parse_textgrid(to_textgrid(words, [], duration))["words"]
    assert [interval.text for interval in read if interval.text] == [word.word for word in words]
    assert (read[0].start, read[-1].end) == (0, pytest.approx(duration, abs=1e-9))
    assert all(interval.end == following.start for interval, following in itertools.pairwise(read))
    assert all(interval.end > interval.start for interval in read)


def test_what_is_long_enough_stays_where_it_is() -> None:
    second, thousandth = TICKS, TICKS // 1000
    labels = [Label(0, second // 4, "a"), Label(second // 4, second // 2, "b"), Label(second // 2 + 1, second, "c")]
    assert covering(labels, second) == [*labels[:2], Label(second // 2, second // 2 + 1, ""), labels[2]]
    early = covering([Label(0, 0, "a"), Label(0, second, "b")], second)
    assert early == [Label(0, thousandth, "a"), Label(thousandth, second, "b")]
    late = covering([Label(second, second, "a"), Label(second, second, "b")], second)
    starts = [0, second - 2 * thousandth, second - thousandth, second]
    assert late == [Label(*span, text) for span, text in zip(itertools.pairwise(starts), ["", "a", "b"], strict=True)]
