from pathlib import Path

import numpy as np
import pytest

from asr.audio.augment import WaveformAugmentConfig, draw
from asr.audio.files import read_audio, write_audio
from asr.cli.main import main
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.randomness import utterance_seed


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    rows = []
    for name in ("a", "b", "c"):
        audio = tmp_path / "wav" / f"{name}.wav"
        write_audio(audio, (random.standard_normal(16000) * 0.1).astype(np.float32), 16000)
        rows.append(Utterance(f"utt-{name}", audio, 0.25, 0.5, "yes no", "s1", None, "en"))
    write_manifest(tmp_path / "in.jsonl", rows)
    return tmp_path / "in.jsonl"


def test_writes_audio_and_a_manifest(manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_audio(tmp_path / "noise" / "car.wav", np.full(8000, 0.1, np.float32), 16000)
    settings = tmp_path / "conf.yaml"
    settings.write_text(
        f"train:\n  epochs: 3\naugment:\n  waveform:\n    speed_factors: [0.9]\n"
        f"    noise_folder: {tmp_path / 'noise'}\n    noise_probability: 1\n"
    )
    out = tmp_path / "out"
    assert main(["augment", str(manifest), str(settings), "--out", str(out), "augment.waveform.gain_db=[-6,-3]"]) == 0
    rows = read_manifest(out / "manifest.jsonl")
    config = WaveformAugmentConfig(gain_db=(-6, -3))
    for row, name in zip(rows, ("utt-a", "utt-b", "utt-c"), strict=True):
        gain = draw(utterance_seed(1, 0, name), config, None).gain_db
        assert row.id.startswith(f"{name}_speed0.9_noise-car-snr")
        assert row.id.endswith(f"dB_gain{gain:+.1f}dB")
        assert row.audio.name == row.id + ".wav"
        assert (row.text, row.speaker, row.language) == ("yes no", "s1", "en")
        assert len(read_audio(row.audio)[0]) == round(row.duration * 16000) == 8889
    assert capsys.readouterr().out.startswith("3 utterances in ")
    assert not list(out.glob("*.tmp"))


def test_limit_and_seed(manifest: Path, tmp_path: Path) -> None:
    def names(seed: int) -> list[str]:
        out = tmp_path / f"out{seed}"
        assert main(["augment", str(manifest), "augment.waveform.gain_db=[-9,9]", "--out", str(out), "--limit", "2",
                     "--seed", str(seed)]) == 0  # fmt: skip
        return [row.id for row in read_manifest(out / "manifest.jsonl")]

    assert len(names(1)) == 2
    for row, source in zip(read_manifest(tmp_path / "out1" / "manifest.jsonl"), read_manifest(manifest), strict=False):
        gain = 10 ** (float(row.id.split("_gain")[1].removesuffix("dB")) / 20)
        expected = read_audio(source.audio)[0][4000:12000]  # [0.25, 0.75) s
        np.testing.assert_allclose(read_audio(row.audio)[0], expected * gain, rtol=0.01, atol=1e-4)
    assert names(1) == names(1)
    assert names(1) != names(2)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, "nothing to do"),
        (["augment.waveform.gain=[0,1]"], 2, "did you mean 'gain_db'"),
        (["augment.waveform.speed_factors=[0.912]"], 2, "denominator"),
        (["train.epochs=3"], 2, "nothing to do"),
        (["augment.waveform.noise_folder=/none"], 3, "no such folder"),
        (["augment.waveform.gain_db=[0,1]", "--limit", "0"], 2, "--limit"),
        (["one.yaml", "two.yaml"], 2, "one configuration file"),
        (["none.yaml"], 3, "none.yaml"),
    ],
)
def test_wrong_use_is_one_line(
    manifest: Path, tmp_path: Path, arguments: list[str], code: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["augment", str(manifest), *arguments, "--out", str(tmp_path / "out")]) == code
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()
