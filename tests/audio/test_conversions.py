import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from asr.audio.conversions import OncePerKind
from asr.audio.files import open_blocks, read_audio
from tests.audio.conftest import write


@pytest.fixture(autouse=True)
def fresh_filter() -> Iterator[None]:
    logger = logging.getLogger("asr")
    filters = list(logger.filters)
    logger.filters[:] = [item for item in filters if not isinstance(item, OncePerKind)]
    yield
    logger.filters[:] = filters


def test_each_kind_is_said_once(tmp_path: Path, tone: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "asr")
    mono = write(tmp_path / "call.wav", tone, "wav", 8000)
    stereo = write(tmp_path / "two.wav", np.stack([tone, tone], 1), "wav", 44100)
    for _ in range(2):
        read_audio(mono, sample_rate=16000)
        read_audio(stereo, sample_rate=16000)
        list(open_blocks(mono, 1.0, 16000))
        read_audio(stereo, channel=1)
        read_audio(mono, sample_rate=8000)
    said = [record.getMessage().removeprefix(f"{tmp_path}/") for record in caplog.records]
    assert said == [
        "call.wav: 8000 Hz -> 16000 Hz; nothing above 4 kHz (said once for all such files)",
        "two.wav: 2 channels mixed (said once for all such files)",
        "two.wav: 44100 Hz -> 16000 Hz (said once for all such files)",
    ]


def test_other_messages_pass(caplog: pytest.LogCaptureFixture) -> None:
    item = OncePerKind()
    plain = logging.LogRecord("asr", logging.INFO, "", 0, "text", None, None)
    assert item.filter(plain)
    assert item.filter(plain)
