"""A recording whose name is not UTF-8 (from an old disk, say) ended `asr transcribe` with a traceback.

soundfile encodes names strictly; Python keeps such bytes as halves of surrogate pairs, which that cannot encode.
"""

import json
import os
from pathlib import Path

import pytest

from asr.cli.main import main
from tests.tiny_model import babble, tiny_model, write_wav


def test_it_is_transcribed_and_named_in_valid_json(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    tiny_model().save(tmp_path / "tiny.safetensors")
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    try:
        write_wav(tmp_path / "plain.wav", babble(2)).rename(name)
    except OSError:
        pytest.skip("this file system takes no such names")
    assert main(["transcribe", "--model", str(tmp_path / "tiny.safetensors"), "--format", "json", name]) == 0
    (line,) = capfdbinary.readouterr().out.decode("utf-8").splitlines()
    assert json.loads(line)["file"] == name
