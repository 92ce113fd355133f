"""The loss: a sum over utterances by their global count, with options that enter it."""

from typing import Any

import pytest
import torch

from asr.config import parse
from asr.data.loader import AugmentConfig, Batch, TrainingData
from asr.model import AcousticModel
from asr.training.config import ExperimentConfig
from asr.training.objective import BatchLoss, batch_loss
from tests.training.miniature import RATE, Corpus, experiment


def made(corpus: Corpus, config: ExperimentConfig, **loader: Any) -> tuple[AcousticModel, TrainingData]:
    torch.manual_seed(1)
    model = AcousticModel(config.model, corpus.tokenizer).train()
    loading = config.train.loader.model_copy(update=loader)
    views = 2 if config.train.consistency else 1
    data = TrainingData(corpus.utterances, corpus.tokenizer, RATE, loading, config.augment, seed=1, views=views)
    return model, data


def batches(data: TrainingData) -> list[Batch]:
    return [data[part] for part in data.parts(1, rank=0, ranks=1) if len(part.rows)]


def losses(corpus: Corpus, config: ExperimentConfig, **loader: Any) -> list[BatchLoss]:
    model, data = made(corpus, config, **loader)
    return [batch_loss(model, batch, config.train, config.augment) for batch in batches(data)]


def test_parts_add_up_to_the_step(corpus: Corpus) -> None:
    config = experiment()
    (whole,) = losses(corpus, config, batch_seconds=60.0)
    parts = losses(corpus, config, batch_seconds=60.0, accumulate=5)
    assert len(parts) == 5
    assert sum(part.total.item() for part in parts) == pytest.approx(whole.total.item(), rel=1e-5)
    assert sum(part.ctc.item() for part in parts) == pytest.approx(whole.ctc.item(), rel=1e-5)


def test_the_loss_is_that_of_torch_over_the_global_count(corpus: Corpus) -> None:
    config = experiment()
    model, data = made(corpus, config)
    for batch in batches(data):
        log_probs, lengths = model(batch.waveform, batch.lengths)
        expected = torch.nn.functional.ctc_loss(
            log_probs.transpose(0, 1), batch.targets, lengths, batch.target_lengths, reduction="sum"
        )
        found = batch_loss(model, batch, config.train, config.augment)
        assert found.total.item() == pytest.approx(expected.item() / batch.global_count, rel=1e-5)


def test_the_intermediate_head_takes_its_share(corpus: Corpus) -> None:
    shares = (0.0, 0.5, 0.9)
    totals = []
    for share in shares:
        config = experiment(model__encoder__layers=2, model__encoder__intermediate=1, train__intermediate_weight=share)
        totals.append(torch.stack([loss.total.detach() for loss in losses(corpus, config)]))
    ctc = totals[0]
    inner = (totals[1] - 0.5 * ctc) / 0.5
    assert not torch.allclose(inner, ctc)
    torch.testing.assert_close(totals[2], 0.1 * ctc + 0.9 * inner)


def test_consistency_of_equal_views_costs_nothing_and_of_masked_ones_something(corpus: Corpus) -> None:
    masked = {"augment__spectrum__frequency_masks": 2, "augment__spectrum__frequency_width": 8}
    for changes, differs in (({}, False), (masked, True)):
        found = losses(corpus, experiment(train__consistency=1.0, **changes))
        extra = [(loss.total - loss.ctc).item() for loss in found]
        assert all(value > 1e-6 for value in extra) if differs else extra == pytest.approx([0.0] * len(extra), abs=1e-6)


def test_two_views_are_averaged(corpus: Corpus) -> None:
    one, two = losses(corpus, experiment()), losses(corpus, experiment(train__consistency=0.5))
    assert [float(loss.ctc) for loss in two] == pytest.approx([float(loss.ctc) for loss in one], rel=1e-5)


def test_infeasible_and_non_finite_utterances_are_named_and_left_out(corpus: Corpus) -> None:
    config = experiment()
    model, data = made(corpus, config, batch_seconds=60.0)
    (batch,) = batches(data)
    rows = {name: row for row, name in enumerate(batch.ids)}
    crowded = torch.ones(len(rows), 400, dtype=torch.int64)
    crowded[:, : batch.targets.shape[1]] = batch.targets
    lengths = batch.target_lengths.clone()
    lengths[rows["u03"]] = 400  # far more labels than frames
    batch.waveform[rows["u05"]] = float("nan")
    spoilt = Batch(**{**vars(batch), "targets": crowded, "target_lengths": lengths})
    loss = batch_loss(model, spoilt, config.train, config.augment)
    assert (loss.infeasible, loss.nonfinite) == (["u03"], ["u05"])
    assert torch.isfinite(loss.total)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_the_loss_is_float32_in_any_precision(corpus: Corpus, precision: str) -> None:
    config = experiment()
    model, data = made(corpus, config)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        loss = batch_loss(model, batches(data)[0], config.train, parse(AugmentConfig, {}, where="test"))
    assert loss.total.dtype == torch.float32
