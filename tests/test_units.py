"""Lengths are exact: the geometry's integers are what really comes out of the frontend and the encoder."""

import itertools

import pytest
import torch

from asr.features.frontend import FeatureConfig, Frontend
from asr.nn.encoder import Encoder, EncoderConfig
from asr.units import FrameGeometry, samples_from_seconds

CONFIGS = {
    "16 kHz": FeatureConfig(num_bins=4),
    "8 kHz": FeatureConfig(num_bins=4, sample_rate=8000),
    "no edge": FeatureConfig(num_bins=4, edge_ms=0.0),
    "no edge, odd window": FeatureConfig(num_bins=4, edge_ms=0.0, sample_rate=11025),
    "hop that divides nothing": FeatureConfig(num_bins=4, window_ms=21.3, hop_ms=7.7, edge_ms=33.3),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_frames_of_1_to_2000_samples_and_beyond(name: str) -> None:
    frontend = Frontend(CONFIGS[name])
    geometry = frontend.geometry
    noise = torch.randn(40000, generator=torch.Generator().manual_seed(1)) * 0.1
    with torch.inference_mode():
        for num_samples in [*range(1, 2001), 2719, 2720, 2721, 16000, 39999]:
            features, lengths = frontend(noise[None, :num_samples], torch.tensor([num_samples]))
            assert features.shape[1] == geometry.num_frames(num_samples), num_samples
            assert lengths.item() == features.shape[1], num_samples
            assert features.shape[1] >= 1


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["conv", "vgg"])
def test_encoder_frames_of_every_number_of_frames(kind: str, factor: int) -> None:
    config = EncoderConfig(subsampling=kind, factor=factor, subsampling_width=4, layers=1, hidden=2)
    encoder = Encoder(config, 4, 3).eval()
    geometry = FeatureConfig(num_bins=4).geometry(config.strided)
    shortest = {geometry.num_frames(count): count for count in range(20000, 0, -1)}  # frames -> samples
    with torch.inference_mode():
        for num_frames in [*range(1, 60), 119, 120, 121]:
            output = encoder(torch.zeros(1, num_frames, 4), torch.tensor([num_frames]))
            assert output.log_probs.shape[1] == output.lengths.item() == geometry.subsampled(num_frames)
            if num_frames in shortest:
                assert geometry.encoder_frames(shortest[num_frames]) == geometry.subsampled(num_frames)
    assert geometry.encoder_frames(1) >= 1
    assert geometry.encoder_frames(0) == 0


def test_one_frame_more_for_every_hop() -> None:
    geometry = FeatureConfig().geometry()
    frames = [geometry.num_frames(count) for count in range(1, 5000)]
    steps = [later - earlier for earlier, later in itertools.pairwise(frames)]
    assert set(steps) == {0, 1}
    rises = [index for index, step in enumerate(steps) if step]
    assert {later - earlier for earlier, later in itertools.pairwise(rises)} == {160}


def test_a_short_word_can_be_spelled() -> None:
    """At 40 ms a frame, 100 ms of edge on both sides give a word of 0.2 s ten frames instead of six."""
    geometry = FeatureConfig().geometry(EncoderConfig().strided)
    assert geometry.encoder_frames(3200) == 10
    bare = FeatureConfig(edge_ms=0).geometry(EncoderConfig().strided)
    assert bare.encoder_frames(3200) == 6  # half a window on both sides stays, for the sake of a single sample


def test_encoder_frames_tile_the_time_axis_and_are_centred_on_their_windows() -> None:
    geometry = FeatureConfig().geometry(EncoderConfig(factor=4).strided)
    assert geometry.subsampling == 4
    assert geometry.encoder_hop == 640
    starts = [geometry.encoder_frame_start(index) for index in range(5)]
    assert [round(later - earlier, 9) for earlier, later in itertools.pairwise(starts)] == [0.04] * 4
    # frame 0 is centred on the first window, whose middle lies 87.5 ms before the first sample
    assert starts[0] == pytest.approx(-0.0875 - 0.02)


def test_an_impulse_is_heard_in_the_frame_that_covers_it() -> None:
    config = FeatureConfig(num_bins=8, normalization="none", preemphasis=0.0)
    frontend, geometry = Frontend(config), config.geometry()
    waveform = torch.zeros(1, 16000)
    waveform[0, 8000] = 1.0
    features, _ = frontend(waveform, torch.tensor([16000]))
    loudest = int(features[0].sum(-1).argmax())
    start = geometry.encoder_frame_start(loudest)
    assert start <= 0.5 <= start + geometry.encoder_hop / 16000


@pytest.mark.parametrize(
    ("seconds", "rate", "samples"),
    [(0.0, 16000, 0), (1.0, 16000, 16000), (0.5 / 8000, 8000, 1), (0.49 / 8000, 8000, 0), (0.1, 22050, 2205)],
)
def test_seconds_are_rounded_half_up(seconds: float, rate: int, samples: int) -> None:
    assert samples_from_seconds(seconds, rate) == samples


def test_every_count_of_samples_survives_the_way_through_seconds() -> None:
    for rate in (8000, 11025, 16000, 44100):
        assert all(samples_from_seconds(count / rate, rate) == count for count in range(0, 200000, 37))


def test_more_edge_than_needed_is_no_error_and_less_than_a_window_is_raised() -> None:
    assert FeatureConfig(edge_ms=0).geometry().edge == 200
    assert FeatureConfig(edge_ms=1000).geometry().edge == 16000
    assert FrameGeometry(sample_rate=8000, edge=0, window=200, hop=80).num_frames(199) == 0
