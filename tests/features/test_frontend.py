"""The frontend as a whole: configuration, dither, silence, and training features = inference features."""

import pytest
import torch

from asr.config import parse
from asr.errors import UsageError
from asr.features.frontend import FeatureConfig, Frontend
from asr.features.mixing import MixingConfig, Partners
from tests.tiny_model import babble


def two_waveforms() -> tuple[torch.Tensor, torch.Tensor]:
    waveform = torch.from_numpy(babble(2.0, seed=3)).view(2, 16000)
    return waveform, torch.tensor([16000, 9000])


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"sample_rate": 100}, "sample_rate"),
        ({"kind": "plp"}, "kind"),
        ({"low_hz": 9000.0}, "high_hz must lie between low_hz and 8000 Hz, got 8000"),
        ({"high_hz": 8001.0}, "got 8001"),
        ({"high_hz": -8000.0}, "got 0"),
        ({"kind": "mfcc", "num_cepstra": 81}, "num_cepstra must be at most num_bins (80), got 81"),
        ({"window_ms": 5.0}, "window_ms must be at least hop_ms (10), got 5"),
        ({"hop_ms": 0.01}, "hop_ms must hold at least 1 sample"),
        ({"hop_ms": 0.1, "window_ms": 0.1, "sample_rate": 16000}, "and window_ms 2 at 16000 Hz"),
        ({"normalization": "batch"}, "normalization"),
        ({"dither": -1}, "dither"),
        ({"preemphasis": float("nan")}, "preemphasis"),
    ],
)
def test_wrong_settings_are_refused_on_one_line(values: dict[str, object], fault: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(FeatureConfig, values, where="x.yaml")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_training_features_are_inference_features() -> None:
    """Without dither and mixing, seeds change nothing; nor does the module's mode."""
    frontend = Frontend(FeatureConfig(num_bins=20))
    waveform, lengths = two_waveforms()
    training, _ = frontend.train()(waveform, lengths, seeds=torch.tensor([1, 2]))
    inference, _ = frontend.eval()(waveform, lengths)
    assert torch.equal(training, inference)


def test_dither_needs_seeds_and_has_the_wanted_size() -> None:
    frontend = Frontend(FeatureConfig(num_bins=20, dither=1.0, normalization="none"))
    silence, lengths = torch.zeros(2, 16000), torch.tensor([16000, 16000])
    quiet, _ = frontend(silence, lengths)
    assert torch.equal(quiet[:, 10:-10], frontend.filterbank.floor.log().expand_as(quiet[:, 10:-10]))
    dithered, _ = frontend(silence, lengths, seeds=torch.tensor([1, 2]))
    again, _ = frontend(silence, lengths, seeds=torch.tensor([1, 2]))
    assert torch.equal(dithered, again)
    assert not torch.equal(dithered[0], dithered[1])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 16000, generator=generator) / 32768
    expected, _ = frontend(noise, lengths)
    inside = slice(12, 80)  # frames without the edges' silence
    assert dithered[:, inside].mean() == pytest.approx(expected[:, inside].mean().item(), abs=0.1)


def test_frames_beyond_the_end_are_zero_and_lengths_count_int64() -> None:
    frontend = Frontend(FeatureConfig(num_bins=20, normalization="global"))
    waveform, lengths = two_waveforms()
    features, frame_lengths = frontend(waveform, lengths)
    assert frame_lengths.dtype == torch.int64
    assert frame_lengths.tolist() == [frontend.geometry.num_frames(int(length)) for length in lengths]
    assert not features[1, frame_lengths[1] :].any()
    assert features.dtype == torch.float32


def test_partners_reach_only_their_rows_and_only_with_seeds() -> None:
    frontend = Frontend(FeatureConfig(num_bins=20))
    waveform, lengths = two_waveforms()
    partners = Partners(torch.tensor([1]), torch.from_numpy(babble(0.7, seed=8))[None], torch.tensor([11200]))
    mixing = MixingConfig(probability=1.0, snr_db=(0.0, 5.0))
    plain, _ = frontend(waveform, lengths)
    mixed, _ = frontend(waveform, lengths, seeds=torch.tensor([1, 2]), partners=partners, mixing=mixing)
    assert torch.equal(mixed[0], plain[0])
    assert (mixed[1] - plain[1]).abs().max() > 0.1
    unseeded, _ = frontend(waveform, lengths, partners=partners, mixing=mixing)
    assert torch.equal(unseeded, plain)


def test_a_silent_partner_changes_nothing() -> None:
    frontend = Frontend(FeatureConfig(num_bins=20))
    waveform, lengths = two_waveforms()
    partners = Partners(torch.tensor([0]), torch.zeros(1, 4000), torch.tensor([4000]))
    mixed, _ = frontend(waveform, lengths, seeds=lengths, partners=partners, mixing=MixingConfig(probability=1.0))
    assert torch.equal(mixed, frontend(waveform, lengths)[0])


@pytest.mark.parametrize("normalization", ["none", "utterance", "global", "running"])
def test_the_silence_of_the_edges_does_not_reach_the_recorded_frames(normalization: str) -> None:
    """Counted in the statistics, digital silence halved the scale of speech, and of short recordings the most."""
    waveform, lengths = two_waveforms()
    narrow = Frontend(FeatureConfig(num_bins=20, normalization=normalization, edge_ms=50))
    wide = Frontend(FeatureConfig(num_bins=20, normalization=normalization, edge_ms=400))
    few, _ = narrow(waveform, lengths)
    many, _ = wide(waveform, lengths)
    torch.testing.assert_close(few[:, 5:-5], many[:, 40:-40], atol=1e-5, rtol=0)
    assert not many[:, :40].any(), "edges are 0"
    assert not many[1, 40 + (9000 - 400) // 160 + 1 :].any(), "nothing is heard after the last whole window"
    assert many[1, 40 + (9000 - 400) // 160].any()


def test_speech_has_mean_0_and_variance_1() -> None:
    frontend = Frontend(FeatureConfig(num_bins=20))
    waveform, lengths = two_waveforms()
    features, _ = frontend(waveform, lengths)
    for row, heard in zip(features, frontend.heard(lengths, features.shape[1]), strict=True):
        torch.testing.assert_close(row[heard].mean(0), torch.zeros(20), atol=1e-4, rtol=0)
        torch.testing.assert_close(row[heard].square().mean(0), torch.ones(20), atol=1e-3, rtol=0)


def test_less_than_a_window_of_sound_is_all_edge() -> None:
    frontend = Frontend(FeatureConfig(num_bins=20))
    features, frame_lengths = frontend(torch.full((1, 399), 0.1), torch.tensor([399]))
    assert frame_lengths.item() == frontend.geometry.num_frames(399)
    assert not features.any()
