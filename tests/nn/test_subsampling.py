"""Subsampling: widths, lengths, and kernels that the frame geometry is told."""

import pytest
import torch

from asr.nn.subsampling import ConvSubsampling, VggSubsampling, strided_kernels, subsampled_lengths
from asr.units import FrameGeometry

LAYERS = {"conv": ConvSubsampling, "vgg": VggSubsampling}


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", LAYERS)
def test_as_many_frames_as_the_geometry_says_and_ceil_of_the_quotient(kind: str, factor: int) -> None:
    layer = LAYERS[kind](7, 12, factor, 0.0).eval()
    geometry = FrameGeometry(sample_rate=16000, edge=0, window=1, hop=1, strided=strided_kernels(factor, kind))
    assert geometry.subsampling == factor
    for length in range(1, 41):
        outputs, lengths = layer(torch.zeros(1, length, 7), torch.tensor([length]))
        assert outputs.shape == (1, -(-length // factor), 12)
        assert lengths.tolist() == [outputs.shape[1]] == [geometry.subsampled(length)]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("num_features", [1, 4, 13, 80])
def test_any_number_of_features(kind: str, num_features: int) -> None:
    outputs, _ = LAYERS[kind](num_features, 8, 4, 0.0)(torch.zeros(2, 9, num_features), torch.tensor([9, 3]))
    assert outputs.shape == (2, 3, 8)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("kind", LAYERS)
def test_an_output_frame_is_centred_on_its_input_frame(kind: str, factor: int) -> None:
    """What the times of words rest on: the frames that an output sees lie evenly around index * factor."""
    layer = LAYERS[kind](5, 6, factor, 0.0).double().eval()
    features = torch.randn(1, 61, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    index = 7
    seen = set()
    before = layer(features, torch.tensor([61]))[0][0, index]
    for frame in range(61):
        changed = features.clone()
        changed[0, frame] += 10.0
        if not torch.equal(layer(changed, torch.tensor([61]))[0][0, index], before):
            seen.add(frame)
    assert min(seen) + max(seen) == 2 * index * factor


def test_no_frame_stays_no_frame() -> None:
    assert subsampled_lengths(torch.tensor([0, 1, 2, 3]), 3, 2).tolist() == [0, 1, 1, 2]
