"""Contract 2: alone = in any batch, for every layer, loss and decoder; see tests/padding.py."""

import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import asr.features
import asr.nn
from asr.decoding.greedy import best_paths
from asr.features.frontend import FeatureConfig, Frontend
from asr.features.mixing import MixingConfig, Partners, mix
from asr.features.normalization import Normalizer
from asr.features.random import normal, uniform
from asr.features.specaugment import SpecAugmentConfig, specaugment_mask
from asr.masking import time_mask
from asr.model import AcousticModel, ModelConfig
from asr.nn.cells import CELL_NAMES, CellName
from asr.nn.chunks import WHOLE, ChunkPlan, Context
from asr.nn.ctc import consistency_losses, ctc_losses
from asr.nn.encoder import Encoder, EncoderConfig
from asr.nn.lookahead import Lookahead
from asr.nn.recurrent import BidirectionalLayer, UnidirectionalLayer
from asr.nn.reversal import reversal_index, reverse
from asr.nn.subsampling import ConvSubsampling, VggSubsampling
from asr.text.tokenizer import Tokenizer
from tests.padding import Function, Padded, assert_padding_changes_nothing
from tests.tiny_model import babble

NORMALIZATIONS = ("none", "utterance", "global", "running")
KINDS = ("conv", "vgg")
FACTORS = (1, 2, 3, 4)
LENGTHS = (5, 1, 2, 23, 64, 17, 3)  # frames
SEEDS = torch.tensor([11, 2**62, 7, 123456789, 0, 5, 99])
COVERED = {
    *(Frontend, Normalizer, ConvSubsampling, VggSubsampling, BidirectionalLayer, UnidirectionalLayer, Lookahead),
    *(Encoder, AcousticModel),
}


def frames(width: int, *, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, width, generator=generator, dtype=dtype) for length in LENGTHS]


def waveforms() -> list[Tensor]:
    rate, samples = 16000, (1, 399, 1600, 5003, 16000, 8)
    return [torch.from_numpy(babble(count / rate, rate, seed)) for seed, count in enumerate(samples)]


def random_statistics(normalizer: Normalizer) -> None:
    generator = torch.Generator().manual_seed(2)
    size = normalizer.mean.shape
    normalizer.set_statistics(torch.randn(size, generator=generator), torch.rand(size, generator=generator) + 0.5)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        yield


def test_no_module_is_left_out() -> None:
    inner = {"MelFilterBank", "Dropout"}  # inside others, position by position: they take no lengths
    found = set()
    for package in (asr.features, asr.nn):
        for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            for name, item in vars(importlib.import_module(info.name)).items():
                if inspect.isclass(item) and issubclass(item, nn.Module) and item.__module__ == info.name:
                    found.add(name)
    assert found - inner == {item.__name__ for item in COVERED - {AcousticModel}}


@pytest.mark.parametrize("kind", ["logmel", "mfcc"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_frontend(kind: str, normalization: str) -> None:
    frontend = Frontend(FeatureConfig(kind=kind, num_bins=20, normalization=normalization))
    random_statistics(frontend.normalizer)
    assert_padding_changes_nothing(lambda batch: frontend(batch.values, batch.lengths), waveforms(), fill=torch.nan)


def test_frontend_of_a_training() -> None:
    frontend = Frontend(FeatureConfig(num_bins=20, dither=3.0))
    rows = waveforms()
    mixing = MixingConfig(probability=1.0, snr_db=(0.0, 20.0))

    def augmented(batch: Padded) -> tuple[Tensor, Tensor]:
        partners = [rows[(index + 3) % len(rows)] for index in batch.rows]
        waveform = nn.utils.rnn.pad_sequence(partners, batch_first=True)
        lengths = torch.tensor([len(partner) for partner in partners])
        together = Partners(torch.arange(len(partners)), waveform, lengths)
        seeds = SEEDS[batch.rows]
        result: tuple[Tensor, Tensor] = frontend(
            batch.values, batch.lengths, seeds=seeds, partners=together, mixing=mixing
        )
        return result

    # features of a frame below the dither are differences of small numbers: float32 leaves 1e-4 of them
    assert_padding_changes_nothing(augmented, rows, fill=torch.nan, tolerance=1e-4)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_normalizer(normalization: str) -> None:
    normalizer = Normalizer(normalization, 6)
    random_statistics(normalizer)

    def function(batch: Padded) -> tuple[Tensor, Tensor]:
        return normalizer(batch.values, time_mask(batch.lengths, batch.values.shape[1])), batch.lengths

    assert_padding_changes_nothing(function, frames(6), fill=100.0)


def test_masks_of_specaugment() -> None:
    config = SpecAugmentConfig(frequency_masks=2, frequency_width=5, time_masks_per_second=8.0, time_share=0.3)

    def function(batch: Padded) -> tuple[Tensor, Tensor]:
        shape = (batch.values.shape[1], batch.values.shape[2])
        keep = specaugment_mask(config, SEEDS[batch.rows], batch.lengths, shape, frames_per_second=100)
        return keep, batch.lengths

    assert_padding_changes_nothing(function, frames(12), tolerance=0)


@pytest.mark.parametrize("draw", [uniform, normal])
def test_random_numbers(draw: Callable[[Tensor, int, int], Tensor]) -> None:
    def function(batch: Padded) -> tuple[Tensor, Tensor]:
        return draw(SEEDS[batch.rows], 4, batch.values.shape[1]), batch.lengths

    # cos and log of a vector may take another path for the last few elements than for the rest
    assert_padding_changes_nothing(function, frames(1), tolerance=0 if draw is uniform else 2e-6)


def test_mixing() -> None:
    energies = [row.exp() for row in frames(4)]

    def function(batch: Padded) -> tuple[Tensor, Tensor]:
        partners = [energies[(index + 2) % len(energies)] for index in batch.rows]
        partner = nn.utils.rnn.pad_sequence(partners, batch_first=True, padding_value=50.0)
        lengths = torch.tensor([len(row) for row in partners])
        snr_db = torch.tensor([float(index) for index in batch.rows])
        mask = time_mask(batch.lengths, batch.values.shape[1])
        return mix(batch.values, mask, partner, lengths, snr_db), batch.lengths

    assert_padding_changes_nothing(function, energies, fill=7.0)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("layer", [ConvSubsampling, VggSubsampling])
def test_subsampling(layer: type[nn.Module], factor: int) -> None:
    subsampling = layer(9, 8, factor, 0.0).eval()
    assert_padding_changes_nothing(lambda batch: subsampling(batch.values, batch.lengths), frames(9))


def time_major(function: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def batch_first(batch: Padded) -> tuple[Tensor, Tensor]:
        index = reversal_index(batch.lengths, batch.values.shape[1])
        return function(batch.values.transpose(0, 1).contiguous(), index).transpose(0, 1), batch.lengths

    return batch_first


def test_reversal() -> None:
    assert_padding_changes_nothing(time_major(reverse), frames(5), fill=9.0, tolerance=0)


def layer_of(layer: BidirectionalLayer | UnidirectionalLayer, context: Context) -> Function:
    def batch_first(batch: Padded) -> tuple[Tensor, Tensor]:
        own = batch.values.transpose(0, 1).contiguous()
        plan = ChunkPlan(context, batch.lengths, len(own))
        return layer(plan.frames(own), plan)[0].own.transpose(0, 1), batch.lengths

    return batch_first


@pytest.mark.parametrize("context", [WHOLE, Context(4, 3), Context(5, 0, carried=False)])
@pytest.mark.parametrize("cell", CELL_NAMES)
def test_recurrent_layer(cell: CellName, context: Context) -> None:
    layer = BidirectionalLayer(cell, 6, 8)
    assert_padding_changes_nothing(layer_of(layer, context), frames(6), fill=100.0)


def test_recurrent_layer_of_one_direction() -> None:
    assert_padding_changes_nothing(layer_of(UnidirectionalLayer("lstm", 6, 8), WHOLE), frames(6), fill=100.0)


def test_lookahead() -> None:
    layer = Lookahead(6, 4)
    nn.init.normal_(layer.weight)

    def function(batch: Padded) -> tuple[Tensor, Tensor]:
        return layer(batch.values.transpose(0, 1)).transpose(0, 1), batch.lengths

    assert_padding_changes_nothing(function, frames(6))


@pytest.mark.parametrize(("residual", "layer_norm"), list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize(("kind", "factor"), list(itertools.product(KINDS, FACTORS)))
def test_encoder(kind: str, factor: int, residual: bool, layer_norm: bool) -> None:
    config = EncoderConfig(
        subsampling=kind,
        factor=factor,
        subsampling_width=16,
        layers=2,
        hidden=8,
        residual=residual,
        layer_norm=layer_norm,
    )
    encoder = Encoder(config, 9, 5).eval()

    def function(batch: Padded) -> tuple[Tensor, Tensor]:
        output = encoder(batch.values, batch.lengths)
        assert not output.log_probs[~time_mask(output.lengths, output.log_probs.shape[1])].any()
        return output.log_probs, output.lengths

    assert_padding_changes_nothing(function, frames(9))


def test_ctc_losses() -> None:
    log_probs = [row.log_softmax(-1) for row in frames(4)]
    targets = torch.tensor([[1, 2, 2], [3, 0, 0], [1, 1, 1], [3, 2, 1], [1, 3, 1], [0, 0, 0], [2, 0, 0]])
    counts = torch.tensor([3, 1, 3, 3, 2, 0, 1])

    def function(batch: Padded) -> tuple[Tensor, None]:
        result = ctc_losses(batch.values, batch.lengths, targets[batch.rows], counts[batch.rows])
        return torch.stack([result.losses, result.feasible.float(), result.finite.float()], 1), None

    assert_padding_changes_nothing(function, log_probs, fill=-1000.0, tolerance=1e-4)  # of losses of about 60


def test_consistency_losses() -> None:
    views = [torch.cat([row[:, :4].log_softmax(-1), row[:, 4:].log_softmax(-1)], 1) for row in frames(8)]

    def function(batch: Padded) -> tuple[Tensor, None]:
        mask = time_mask(batch.lengths, batch.values.shape[1])
        return consistency_losses(batch.values[..., :4], batch.values[..., 4:], mask), None

    assert_padding_changes_nothing(function, views, fill=-3.0, tolerance=1e-4)  # of losses of about 60


def test_best_paths() -> None:
    def function(batch: Padded) -> tuple[Tensor, Tensor]:
        paths = best_paths(batch.values, batch.lengths)
        rows = [torch.from_numpy(np.stack([path.token_ids, path.log_probs], 1)) for path in paths]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), batch.lengths

    assert_padding_changes_nothing(function, [row.log_softmax(-1) for row in frames(4)], fill=torch.nan, tolerance=0)


def small_model(kind: str, factor: int, normalization: str, *, residual: bool, layer_norm: bool) -> AcousticModel:
    config = ModelConfig(
        features=FeatureConfig(num_bins=12, normalization=normalization),
        encoder=EncoderConfig(
            subsampling=kind,
            factor=factor,
            subsampling_width=16,
            layers=2,
            hidden=8,
            residual=residual,
            layer_norm=layer_norm,
        ),
    )
    tokenizer = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *"▁abcd"]})
    model = AcousticModel(config, tokenizer).eval()
    random_statistics(model.frontend.normalizer)
    return model


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize(("kind", "factor"), list(itertools.product(KINDS, FACTORS)))
def test_model_from_waveform_to_log_probs(kind: str, factor: int, normalization: str) -> None:
    # every pair of (residual, layer norm) meets every kind, factor and normalisation
    number = FACTORS.index(factor) + NORMALIZATIONS.index(normalization)
    model = small_model(kind, factor, normalization, residual=number % 2 == 0, layer_norm=number % 4 < 2)
    with torch.inference_mode():
        assert_padding_changes_nothing(
            lambda batch: model(batch.values, batch.lengths), waveforms(), fill=torch.nan, tolerance=1e-5
        )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_batch_are_the_sum_of_its_rows(kind: str) -> None:
    model = small_model(kind, 4, "utterance", residual=True, layer_norm=True).double()
    rows = [row.double() for row in waveforms() if len(row) > 1000]
    targets = torch.tensor([[2, 3], [4, 4], [2, 1]])

    def gradients(chosen: list[int], width: int) -> list[Tensor]:
        values = torch.zeros(len(chosen), width, dtype=torch.float64)
        for place, index in enumerate(chosen):
            values[place, : len(rows[index])] = rows[index]
        log_probs, lengths = model(values, torch.tensor([len(rows[index]) for index in chosen]))
        losses = ctc_losses(log_probs, lengths, targets[chosen], torch.tensor([2] * len(chosen))).losses
        model.zero_grad()
        losses.sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    alone = [gradients([index], len(rows[index])) for index in range(3)]
    together = gradients([0, 1, 2], 17000)
    assert len(together) == len(list(model.parameters()))
    for parts, whole in zip(zip(*alone, strict=True), together, strict=True):
        # the loss itself is computed in float32
        torch.testing.assert_close(sum(parts), whole, rtol=1e-4, atol=1e-5)
