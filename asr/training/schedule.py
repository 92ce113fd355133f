"""The learning rate as a function of the step and of how much of the training is done."""

import math

from asr.training.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: int, progress: float) -> float:
    """Return the learning rate of a step.

    Args:
        step: steps done before this one, for the warm-up.
        progress: share of the training done, in [0, 1): epochs differ in steps, so the schedule counts shares.
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    final = config.final_ratio
    if config.schedule == "constant":
        share = 1.0
    elif config.schedule == "linear":
        share = 1 - (1 - final) * progress
    elif config.schedule == "cosine":  # Loshchilov & Hutter 2017, without restarts
        share = final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
    else:
        share = max(final, 1e-4) ** progress
    return config.learning_rate * warmup * share
