"""The second block of the VGG-like front end saw a frame that lies beyond the utterance.

The pooling window behind the last valid output still covers the last valid input, so in a padded batch the
frame after the end was not 0 when the next block's convolution read it; alone, there was nothing.  Log-probs
differed by 0.06 with factor 4.  Found by the padding test on 2026-11-23.
"""

import torch

from asr.nn.subsampling import VggSubsampling


def test_the_frame_after_the_end_is_zero_for_the_next_block() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = VggSubsampling(8, 6, 4, 0.0).eval()
    features = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(1))
    alone, _ = layer(features, torch.tensor([6]))
    padded, lengths = layer(torch.nn.functional.pad(features, (0, 0, 0, 6)), torch.tensor([6]))
    torch.testing.assert_close(padded[:, : lengths[0]], alone, atol=1e-6, rtol=0)
