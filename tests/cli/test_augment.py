from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.audio.augment import WaveformAugmentConfig, draw
from asr.audio.files import read_audio, write_audio
from asr.cli.main import main
from asr.data.loader import AugmentConfig, LoaderConfig, TrainingData
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.features.frontend import FeatureConfig
from asr.features.inversion import masked_parts
from asr.features.mixing import draw_snr_db
from asr.model import AcousticModel, ModelConfig
from asr.nn.encoder import EncoderConfig
from asr.randomness import utterance_seed
from asr.text.tokenizer import Tokenizer
from asr.training.objective import training_features

SPECTRAL = {
    "mixing": {"probability": 0.5},
    "spectrum": {
        "frequency_masks": 1,
        "time_masks_per_second": 4.0,
        "time_width_ms": 200.0,
        "time_share": 0.2,
    },
}
SPECTRAL_SETTINGS = [
    f"augment.{part}.{key}={value}" for part, values in SPECTRAL.items() for key, value in values.items()
]


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


def augmented(manifest: Path, out: Path, *settings: str) -> list[Utterance]:
    assert main(["augment", str(manifest), *SPECTRAL_SETTINGS, *settings, "--out", str(out)]) == 0
    return read_manifest(out / "manifest.jsonl")


def epoch_0(manifest: Path, normalization: str, seed: int, views: int) -> tuple[AcousticModel, torch.Tensor, list[str]]:
    """Return a model, the features of the first epoch's one batch, and what the files should say of the mixing."""
    tokenizer = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", "▁", *"enosy"]})
    config = ModelConfig(
        features=FeatureConfig.model_validate({"normalization": normalization}),
        encoder=EncoderConfig(subsampling_width=16, layers=1, hidden=16),
    )
    model, augment = AcousticModel(config, tokenizer), AugmentConfig.model_validate(SPECTRAL)
    data = TrainingData(
        read_manifest(manifest), tokenizer, 16000, LoaderConfig(workers=0), augment, seed=seed, views=views
    )
    (part,) = data.parts(0, rank=0, ranks=1)
    batch = data[part]
    assert batch.ids == ["utt-a", "utt-b", "utt-c"]
    assert batch.partners is not None
    snr_db = draw_snr_db(augment.mixing, batch.seeds[:, 0])
    rows = batch.partners.rows.tolist()
    mixed = [f"_mixed-snr{snr_db[row].item():.1f}dB" if row in rows else "" for row in range(3)]
    return model, training_features(model, batch, augment)[0], mixed


def test_spectra_are_those_of_the_first_epoch(manifest: Path, tmp_path: Path) -> None:
    rows = augmented(manifest, tmp_path / "out", "--seed", "4")
    trained, normalised, mixed = epoch_0(manifest, "utterance", seed=4, views=1)
    assert len(set(mixed)) > 1  # with this seed, some rows have a partner and some have none
    frames, bands = masked_parts(normalised)
    lengths = torch.tensor([int(16000 * source.duration) for source in read_manifest(manifest)])
    frames &= trained.frontend.heard(lengths, frames.shape[1])
    model, features, _ = epoch_0(manifest, "none", seed=4, views=1)
    for row, source, index in zip(rows, read_manifest(manifest), range(3), strict=True):
        time, band = f"_time{0.01 * int(frames[index].sum()):.2f}s", f"_bands{int(bands[index].sum())}"
        expected = mixed[index] + (time if frames[index].any() else "") + (band if bands[index].any() else "")
        assert row.id == f"{source.id}{expected or '_unchanged'}.spectral"
        assert row.audio.name == row.id + ".wav"
        assert (row.text, row.start, row.duration) == ("yes no", 0.0, 0.5)
        waveform = torch.from_numpy(read_audio(row.audio)[0])[None]
        heard = model.frontend.unnormalized(waveform, torch.tensor([8000]))[0][0]
        loud = features[index] > features[index].max() - 8
        assert (heard - features[index])[loud].abs().mean() < 0.2
        inner = frames[index].float().unfold(0, 5, 1).amin(1).bool()  # two masked neighbours on both sides
        assert (
            heard[2:-2][inner] < 9
        ).all()  # some steps of 16 bits (the floor is 6); what sounds here is at 16 and above
    assert frames.unfold(1, 5, 1).all(2).any()


def test_mixing_draws_from_the_whole_manifest_whatever_the_limit(manifest: Path, tmp_path: Path) -> None:
    everything = augmented(manifest, tmp_path / "all", "--seed", "4")
    first = augmented(manifest, tmp_path / "one", "--seed", "4", "--limit", "1")
    assert [row.id for row in first] == [everything[0].id]
    assert "mixed" in first[0].id
    assert first[0].audio.read_bytes() == everything[0].audio.read_bytes()


def test_waveform_and_both_views_of_a_consistency_training(manifest: Path, tmp_path: Path) -> None:
    settings = ["augment.waveform.speed_factors=[0.9]", "train.consistency=0.2", "--limit", "1"]
    rows = augmented(manifest, tmp_path / "out", *settings)
    assert [row.id.split("_")[-1] for row in rows] == ["speed0.9", "view1.spectral", "view2.spectral"]
    assert all(row.id.startswith("utt-a_speed0.9") for row in rows)
    assert {len(read_audio(row.audio)[0]) for row in rows} == {8889}
    views = [read_audio(row.audio)[0] for row in rows[1:]]
    assert np.abs(views[0] - views[1]).max() > 0.01


def test_cepstra_can_be_listened_to(manifest: Path, tmp_path: Path) -> None:
    settings = [
        "model.features.kind=mfcc",
        "augment.spectrum.frequency_masks=3",
        "augment.spectrum.frequency_width=4",
        "--limit",
        "1",
        "--seed",
        "3",
    ]
    (row,) = augmented(manifest, tmp_path / "out", *settings)
    assert "cepstra" in row.id
    assert np.abs(read_audio(row.audio)[0]).max() > 0.01


def test_an_id_too_long_for_a_file_name(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = manifest.parent / "long.jsonl"
    write_manifest(long, [replace(read_manifest(manifest)[0], id="x" * 235)])
    out = manifest.parent / "out"
    assert main(["augment", str(long), "augment.waveform.gain_db=[-9,-9]", "--out", str(out)]) == 3
    assert "too long for a file name" in capsys.readouterr().err
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, "nothing to do"),
        (["augment.waveform.gain=[0,1]"], 2, "did you mean 'gain_db'"),
        (["augment.waveform.speed_factors=[0.912]"], 2, "denominator"),
        (["train.epochs=3"], 2, "nothing to do"),
        (["augment.mixing.snr_db=[5,10]"], 2, "nothing to do"),
        (["augment.waveform.gain_db=[0,1]", "--seed", "-1"], 2, "--seed -1"),
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


def test_the_files_that_are_read_are_not_overwritten(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    manifest = manifest.rename(tmp_path / "manifest.jsonl")
    before = manifest.read_bytes()
    setting = "augment.waveform.gain_db=[-6,-6]"
    assert main(["augment", str(manifest), setting, "--out", str(tmp_path)]) == 2
    assert "manifest.jsonl: is one of the files to read" in capsys.readouterr().err
    assert manifest.read_bytes() == before
    assert not list(folder.iterdir())

    audio = folder / "utt-a_gain-6.0dB.wav"
    (tmp_path / "wav" / "a.wav").rename(audio)
    write_manifest(manifest, [Utterance("utt-a", audio, 0.25, 0.5)])
    before = audio.read_bytes()
    assert main(["augment", str(manifest), setting, "--out", str(folder)]) == 2
    assert f"{audio.name} in it is one of the files to read" in capsys.readouterr().err
    assert audio.read_bytes() == before
    assert [item.name for item in folder.iterdir()] == [audio.name]
