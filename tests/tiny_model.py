"""A random model as small as can be whose transcripts are long and varied, and audio for it to hear."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from asr.features.frontend import FeatureConfig
from asr.model import AcousticModel, ModelConfig, ModelNotes
from asr.nn.encoder import EncoderConfig
from asr.text.tokenizer import Tokenizer

LETTERS = "▁abcdefghij"


def tiny_model(
    *,
    sample_rate: int = 16000,
    normalization: str = "global",
    domain: dict[str, float] | None = None,
    **encoder: object,
):
    """Return a model of about 10,000 parameters; outputs are scaled up so that the best token keeps changing.

    Args: encoder: values of its configuration.
    """
    config = ModelConfig(
        features=FeatureConfig(sample_rate=sample_rate, num_bins=16, normalization=normalization),
        encoder=EncoderConfig.model_validate({"subsampling_width": 16, "layers": 2, "hidden": 16} | encoder),
    )
    tokenizer = Tokenizer.from_state({"kind": "char", "normalizer": {}, "symbols": ["<blank>", *LETTERS]})
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AcousticModel(config, tokenizer, ModelNotes(domain=domain)).eval()
    with torch.no_grad():
        _spread_outputs(model)
    return model


def _spread_outputs(model: AcousticModel) -> None:
    """Normalise the features by babble's statistics, and centre and scale the outputs on babble.

    The forget gates are half shut: what lies a second away is then certainly forgotten, so windows can be
    compared with the whole exactly.
    """
    for name, parameter in model.encoder.named_parameters():
        if "bias_ih" in name:
            parameter[16:32] = -1.0
    waveform = torch.from_numpy(babble(20, model.sample_rate, seed=99))[None]
    lengths = torch.tensor([waveform.shape[1]])
    features, _ = model.frontend.unnormalized(waveform, lengths)
    model.frontend.normalizer.set_statistics(features.mean((0, 1)), features.var((0, 1)))
    output = model.encoder.output
    for _ in range(2):  # once on the raw outputs, once more after scaling
        log_probs, _ = model(waveform, lengths)
        output.bias.sub_(log_probs.mean((0, 1)))
        scale = 4.0 / log_probs.std(1).mean()
        output.weight.mul_(scale)
        output.bias.mul_(scale)
    output.bias[:2] += 1.0  # more blanks and spaces: shorter words


def babble(seconds: float, sample_rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Return noise whose loudness and colour change several times a second."""
    generator = np.random.default_rng(seed)
    num_samples = round(seconds * sample_rate)
    step = sample_rate // 12
    knots = num_samples // step + 2
    places = np.arange(knots) * step
    loudness = np.interp(np.arange(num_samples), places, generator.uniform(-4, -1, knots))
    mixture = np.interp(np.arange(num_samples), places, generator.uniform(0, 1, knots))
    noise = generator.standard_normal(num_samples + 1)
    coloured = mixture * noise[1:] + (1 - mixture) * np.cumsum(noise)[1:] / 60
    return np.clip(coloured * 10**loudness, -0.9, 0.9).astype(np.float32)


def write_wav(path: Path, waveform: np.ndarray, sample_rate: int = 16000) -> Path:
    """Write (S,) or (S, channels) floats as 16-bit WAV."""
    soundfile.write(path, waveform, sample_rate, subtype="PCM_16")
    return path
