"""How far the backward direction sees in a training step: drawn, so that one model serves several latencies."""

from asr.model import ModelConfig
from asr.nn.chunks import Context
from asr.randomness import stream, utterance_seed
from asr.training.config import TrainConfig


def drawn_contexts(model: ModelConfig, config: TrainConfig, views: int, seed: int, step: int) -> list[Context]:
    """Return the context of each view of a step: the same on every rank, whatever the step is split into.

    Soft forgetting cuts the utterances of an offline model at random, both directions beginning anew in each chunk;
    of two views the first stays whole, and the consistency between them makes it the twin of the paper.  So do two
    views with contexts of their own learn from each other.
    Sources: Audhkhasi et al. 2019, "Forget a bit to learn better: soft forgetting for CTC-based automatic speech
    recognition", section 3 (there the twin is another model, trained before); Yu et al. 2021, "Dual-mode ASR"
    (one network for both, the one with more context teaching the other).
    """
    generator = stream(utterance_seed(seed, step, "context"), "context")
    if config.forgetting_ms is not None:
        first, last = (model.context_of(value, 0).chunk or 1 for value in config.forgetting_ms)
        cut = Context(int(generator.integers(first, last + 1)), carried=False)
        return [model.context, cut] if views == 2 else [cut]
    if config.contexts_ms:
        drawn = generator.integers(len(config.contexts_ms), size=views).tolist()
        return [model.context_of(*config.contexts_ms[index]) for index in drawn]
    return [model.context] * views


def costliest_context(model: ModelConfig, config: TrainConfig) -> Context:
    """Return the context that takes the most frames to compute, of those that may be drawn."""
    drawn = [model.context_of(*values) for values in config.contexts_ms] or [model.context]
    return max(drawn, key=lambda context: context.right / context.chunk if context.chunk else 0)
