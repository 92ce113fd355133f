"""A tokenizer and a geometry as small as decoding needs them."""

import pytest

from asr.text.tokenizer import Tokenizer
from asr.units import FrameGeometry


@pytest.fixture
def tokenizer() -> Tokenizer:
    """Return the blank, the space and ten letters."""
    return Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *"▁abcdefghij"]})


@pytest.fixture
def geometry() -> FrameGeometry:
    """40 ms encoder frames at 16 kHz: 25 ms windows every 10 ms, 100 ms of edge, two convolutions of stride 2."""
    return FrameGeometry(sample_rate=16000, edge=1600, window=400, hop=160, strided=((3, 2), (3, 2)))
