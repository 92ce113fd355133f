"""The training loss of a batch: CTC, with an intermediate head and consistency between views as options."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.data.loader import AugmentConfig, Batch
from asr.features.specaugment import specaugment_mask
from asr.masking import time_mask
from asr.model import AcousticModel
from asr.nn.chunks import Context
from asr.nn.ctc import CtcLosses, consistency_losses, ctc_losses
from asr.nn.encoder import EncoderOutput
from asr.training.config import TrainConfig

Encode = Callable[[Tensor, Tensor, Context], EncoderOutput]


@dataclass(frozen=True)
class BatchLoss:
    """The loss of one part of a step.

    Attributes:
        total: scalar, the sum over the part's utterances divided by the step's utterances.
        ctc: scalar without gradient, the same of the CTC loss alone.
        infeasible, nonfinite: ids of the utterances left out of the sum.
    """

    total: Tensor
    ctc: Tensor
    infeasible: list[str]
    nonfinite: list[str]


def training_features(model: AcousticModel, batch: Batch, augment: AugmentConfig) -> tuple[Tensor, Tensor]:
    """Return augmented (features (views * B, T, F), lengths), the views one after another; float32, no gradient."""
    with torch.no_grad(), torch.autocast(batch.waveform.device.type, enabled=False):
        features, lengths = model.frontend(
            batch.waveform,
            batch.lengths,
            seeds=batch.seeds[:, 0],
            partners=batch.partners,
            mixing=augment.mixing,
        )
        views = batch.seeds.shape[1]
        features, lengths = features.repeat(views, 1, 1), lengths.repeat(views)
        seeds = batch.seeds.transpose(0, 1).reshape(-1)
        frames_per_second = 1000 / model.config.features.hop_ms
        shape = (features.shape[1], features.shape[2])
        keep = specaugment_mask(augment.spectrum, seeds, lengths, shape, frames_per_second=frames_per_second)
        return features * keep, lengths


def batch_loss(
    model: AcousticModel,
    batch: Batch,
    config: TrainConfig,
    augment: AugmentConfig,
    *,
    contexts: Sequence[Context] | None = None,
    encode: Encode | None = None,
) -> BatchLoss:
    """Return the loss of a batch of at least one utterance.

    Args:
        contexts: what the encoder sees of each view; None: its own.
        encode: what stands in for the model's encoder, where its weights are not the ones trained.
    """
    features, lengths = training_features(model, batch, augment)
    views = batch.seeds.shape[1]
    output = _encoded(encode or model.encoder, features, lengths, contexts or [model.encoder.context] * views)
    targets, target_lengths = batch.targets.repeat(views, 1), batch.target_lengths.repeat(views)
    ctc = ctc_losses(output.log_probs, output.lengths, targets, target_lengths)
    losses = ctc.losses
    if output.intermediate is not None:
        inner = ctc_losses(output.intermediate, output.lengths, targets, target_lengths).losses
        losses = (1 - config.intermediate_weight) * losses + config.intermediate_weight * inner
    total = losses.sum() / views
    if views == 2:
        total = total + config.consistency * _consistency(output)
    ids = batch.ids * views
    return BatchLoss(
        total=total / batch.global_count,
        ctc=ctc.losses.detach().sum() / views / batch.global_count,
        infeasible=_named(ids, ~ctc.feasible),
        nonfinite=_named(ids, ctc.feasible & ~_finite(ctc)),
    )


def _encoded(encode: Encode, features: Tensor, lengths: Tensor, contexts: Sequence[Context]) -> EncoderOutput:
    """Return the output of all views, each in its context."""
    if len(set(contexts)) == 1:
        return encode(features, lengths, contexts[0])
    views = zip(features.chunk(len(contexts)), lengths.chunk(len(contexts)), contexts, strict=True)
    outputs = [encode(*view) for view in views]
    inner = [output.intermediate for output in outputs if output.intermediate is not None]
    return EncoderOutput(
        torch.cat([output.log_probs for output in outputs]),
        torch.cat([output.lengths for output in outputs]),
        torch.cat(inner) if inner else None,
    )


def _consistency(output: EncoderOutput) -> Tensor:
    first, second = output.log_probs.chunk(2)
    mask = time_mask(output.lengths[: len(first)], first.shape[1])
    return consistency_losses(first, second, mask).sum()


def _finite(ctc: CtcLosses) -> Tensor:
    return ctc.finite & ctc.losses.isfinite()


def _named(ids: list[str], chosen: Tensor) -> list[str]:
    return sorted({name for name, wanted in zip(ids, chosen.tolist(), strict=True) if wanted})
