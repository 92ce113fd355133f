"""Progress: what is said, how often, and where."""

import io

import pytest

import asr.cli.progress as progress_module
from asr.cli.progress import clock, describe, progress_bar


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the clock's reading, to be changed by the test."""
    reading = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: reading[0])
    return reading


def test_plain_lines_come_at_intervals_and_at_the_end(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    with progress_bar("decode", "utterances", stream) as progress:
        for second in range(1, 26):
            now[0] = 100.0 + second
            progress(second, 25, audio_seconds=240.0 * second)
    assert stream.getvalue().splitlines() == [
        "decode: 10/25 utterances, 240 audio h/h, 0:15 left",
        "decode: 20/25 utterances, 240 audio h/h, 0:05 left",
        "decode: 25/25 utterances, 240 audio h/h",
    ]
    assert capsys.readouterr() == ("", "")


def test_last_state_is_shown_when_the_work_fails(now: list[float]) -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), progress_bar("train", "steps", stream) as progress:  # noqa: PT012
        now[0] += 1
        progress(3, None, note="loss 1.50")
        raise KeyboardInterrupt
    assert stream.getvalue() == "train: 3 steps, loss 1.50\n"


def test_bar_on_a_terminal() -> None:
    stream = Terminal()
    with progress_bar("decode", "utterances", stream) as progress:
        progress(1, 2, note="[a]")
    assert "decode" in stream.getvalue()
    assert "[a]" in stream.getvalue()


def test_standard_output_stays_where_it_was_redirected(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    with progress_bar("transcribe", "files", stream):
        print("the transcript")
    assert capsys.readouterr().out == "the transcript\n"
    assert "the transcript" not in stream.getvalue()


def test_describe_says_only_what_is_known() -> None:
    assert describe(0.0, 0, None, 0.0, "") == ""
    assert describe(10.0, 5, None, 36_000.0, "x") == "3.6e+03 audio h/h, x"
    assert describe(10.0, 10, 10, 0.0, "") == ""


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0.4, 59.6, 3599.4, 3600)] == ["0:00", "1:00", "59:59", "1:00:00"]
