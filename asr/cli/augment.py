"""`asr augment`: what augmentation does to the utterances of a manifest, written to disk to listen to.

Waveform augmentation is written as it is.  What happens to the spectra (masks, mixing) is written from the
features of a training's epoch 0, made by the training's own code and turned back into audio.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.audio.augment import NoiseFolder, WaveformDraw, apply, draw
from asr.audio.files import write_audio
from asr.audio.resample import Waveform
from asr.cli.outputs import refuse_overwriting
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.data.reading import read_utterance
from asr.errors import EXIT_DONE, DataError, UsageError, writing
from asr.randomness import utterance_seed

if TYPE_CHECKING:
    from torch import Tensor

    from asr.data.loader import AugmentConfig, Batch
    from asr.features.frontend import FeatureConfig
    from asr.training.config import ExperimentConfig

HELP = "write augmented audio to disk, to listen to"
_MAX_NAME_BYTES = 230  # of a file name; file systems allow 255, and a file being written has a longer one
_UNCHANGED = "unchanged"
_EXAMPLE = "augment.waveform.gain_db=[-6,6]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `asr augment`."""
    parser.add_argument("manifest", metavar="MANIFEST", help="utterances to augment (*.jsonl)")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="CONFIG.yaml | key.path=value",
        help=f"a training's configuration file, and values that override it, such as {_EXAMPLE}",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", type=Path, help="folder for the audio and manifest.jsonl"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="take the first N utterances only; what is mixed in may come from all"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="draw as epoch 0 of a training with this seed")


def run(args: argparse.Namespace) -> int:
    """Write the augmented files of each utterance and a manifest of them; return the exit code."""
    from asr.cli.notes import log_on_stderr
    from asr.cli.progress import progress_bar

    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit must be at least 1, got {args.limit}")
    if not 0 <= args.seed < 1 << 63:
        raise UsageError(f"--seed {args.seed}: must lie between 0 and 2^63 - 1, as of a training")
    experiment = _experiment(args.settings)
    utterances = read_manifest(args.manifest)
    if not utterances:
        raise DataError(f"{args.manifest}: no utterances to augment; give a manifest that has some")
    refuse_overwriting(args.out / "manifest.jsonl", [args.manifest])
    files = _Files(args.out, utterances, experiment, args.seed)
    with writing(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
    written: list[Utterance] = []
    seconds = 0.0
    chosen = utterances[: args.limit]
    with log_on_stderr("asr augment"), progress_bar("augment", unit="utterances") as progress:
        for index, utterance in enumerate(chosen):
            written += files.write(index)
            seconds += utterance.duration
            progress(index + 1, len(chosen), seconds)
    write_manifest(args.out / "manifest.jsonl", written)
    print(f"{len(written)} utterances in {args.out}; {args.out / 'manifest.jsonl'} lists them")
    return EXIT_DONE


def describe(drawn: WaveformDraw, noise: NoiseFolder | None) -> str:
    """Return what was drawn as a part of a file name, such as `speed0.9_noise-car-12.3dB_gain+2.0dB`."""
    parts = [f"speed{drawn.speed:g}"] if drawn.speed != 1 else []
    if drawn.noise is not None and noise is not None:
        name = "".join(letter if letter.isalnum() else "-" for letter in noise.paths[drawn.noise].stem)[:30]
        parts.append(f"noise-{name}-snr{drawn.snr_db:.1f}dB")
    if drawn.gain_db:
        parts.append(f"gain{drawn.gain_db:+.1f}dB")
    return "_".join(parts) or _UNCHANGED


def _experiment(settings: Sequence[str]) -> "ExperimentConfig":
    """Return the configuration of a training from at most one file and overrides."""
    from asr.config import apply_override, parse, read_yaml
    from asr.training.config import ExperimentConfig

    files = [setting for setting in settings if "=" not in setting]
    if len(files) > 1:
        raise UsageError(f"'{files[1]}': one configuration file at most ('{files[0]}' is one already)")
    values = read_yaml(files[0]) if files else {}
    for setting in settings:
        if "=" in setting:
            apply_override(values, setting)
    where = files[0] if files else "command line"
    experiment = parse(ExperimentConfig, values, where=where)
    if experiment.augment.waveform.is_off and not _changes_spectra(experiment.augment):
        raise UsageError(f"{where}: nothing to do, augment is all off; add for example {_EXAMPLE}")
    return experiment


def _changes_spectra(augment: "AugmentConfig") -> bool:
    spectrum = augment.spectrum
    if augment.joining.probability > 0 or augment.mixing.probability > 0:
        return True
    return spectrum.frequency_masks > 0 or spectrum.time_masks_per_second > 0


class _Files:
    """The files of the utterances of a manifest, one utterance after another."""

    def __init__(self, out: Path, utterances: Sequence[Utterance], experiment: "ExperimentConfig", seed: int) -> None:
        self._out, self._utterances, self._seed = out, utterances, seed
        self._config = experiment.augment.waveform
        self._sample_rate = experiment.model.features.sample_rate
        folder = self._config.noise_folder
        self._noise = None if folder is None else NoiseFolder(folder, self._sample_rate)
        self._read_files = {os.path.realpath(item.audio) for item in utterances}
        self._read_files |= {os.path.realpath(path) for path in (self._noise.paths if self._noise else ())}
        self._spectra = _Spectra(utterances, experiment, seed) if _changes_spectra(experiment.augment) else None

    def write(self, index: int) -> Iterator[Utterance]:
        """Write what the augmentations that are on make of an utterance; yield the manifest's rows."""
        utterance = self._utterances[index]
        drawn = draw(utterance_seed(self._seed, 0, utterance.id), self._config, self._noise)
        what = describe(drawn, self._noise)
        if not self._config.is_off:
            yield self._write(utterance, what, apply(self._read(utterance), drawn, self._noise))
        if self._spectra is not None:
            for change, waveform in self._spectra.waveforms(index):
                parts = [part for part in (what, change) if part != _UNCHANGED]
                yield self._write(utterance, "_".join(parts) or _UNCHANGED, waveform, ".spectral")

    def _read(self, utterance: Utterance) -> Waveform:
        return read_utterance(utterance, self._sample_rate)

    def _write(self, utterance: Utterance, what: str, waveform: Waveform, kind: str = "") -> Utterance:
        name = f"{utterance.id}_{what}{kind}"
        if len(name.encode()) > _MAX_NAME_BYTES:
            raise DataError(f"utterance '{utterance.id[:40]}...': its id is too long for a file name; shorten it")
        path = self._out / f"{name}.wav"
        if os.path.realpath(path) in self._read_files:
            raise UsageError(f"--out {self._out}: {path.name} in it is one of the files to read; choose another folder")
        write_audio(path, waveform, self._sample_rate)
        duration = len(waveform) / self._sample_rate
        return replace(utterance, id=name, audio=path.resolve(), start=0.0, duration=duration, channel=None)


class _Spectra:
    """Waveforms that have the augmented spectra of a training's epoch 0.

    A partner to mix in is drawn from all utterances, as in a training that leaves none out.
    """

    def __init__(self, utterances: Sequence[Utterance], experiment: "ExperimentConfig", seed: int) -> None:
        import torch

        from asr.data.loader import TrainingData
        from asr.features.frontend import Frontend
        from asr.model import AcousticModel
        from asr.text.normalize import Normalizer, NormalizerConfig
        from asr.text.tokenizer import train_char

        self._augment = experiment.augment
        tokenizer = train_char(["a"], Normalizer(NormalizerConfig()))  # no text is needed
        # Normalised features would need to be un-normalised to be heard; what is drawn does not depend on it.
        features = experiment.model.features.model_copy(update={"normalization": "none"})
        with torch.device("meta"):  # only the frontend is used
            self._model = AcousticModel(experiment.model.model_copy(update={"features": features}), tokenizer)
        self._model.frontend = Frontend(features)
        self._data = TrainingData(
            [replace(utterance, text=None) for utterance in utterances],
            tokenizer,
            features.sample_rate,
            experiment.train.loader,
            experiment.augment,
            seed=seed,
            views=2 if experiment.train.consistency else 1,
        )
        self._parts = self._data.each_alone(epoch=0)

    def waveforms(self, index: int) -> Iterator[tuple[str, Waveform]]:
        """Yield (what was drawn, waveform (S,) in [-1, 1]) for each view that the training has of an utterance."""
        from asr.features.inversion import griffin_lim, mel_energies
        from asr.training.objective import training_features

        part = self._parts[index]
        batch = self._data[part]
        features, _ = training_features(self._model, batch, self._augment)
        frontend, views = self._model.frontend, batch.seeds.shape[1]
        energies, lengths = mel_energies(frontend, features), batch.lengths.repeat(views)
        inverted = griffin_lim(frontend, energies, lengths, batch.seeds[0])
        joined = f"joined{len(part.chains[0])}" if len(part.chains[0]) > 1 else ""
        mixed, heard = self._mixed(batch), frontend.heard(batch.lengths, features.shape[1])
        for view in range(views):
            parts = [joined, mixed, _describe_masks(features[view : view + 1], heard, frontend.config)]
            parts += [f"view{view + 1}"] if views > 1 else []
            waveform: Waveform = inverted[view].numpy()
            peak = np.abs(waveform).max(initial=1)  # scaled down as a whole, not clipped
            yield "_".join(filter(None, parts)) or _UNCHANGED, waveform / peak

    def _mixed(self, batch: "Batch") -> str:
        from asr.features.mixing import draw_snr_db

        if batch.partners is None or not len(batch.partners.rows):
            return ""
        return f"mixed-snr{draw_snr_db(self._augment.mixing, batch.seeds[:, 0]).item():.1f}dB"


def _describe_masks(features: "Tensor", heard: "Tensor", config: "FeatureConfig") -> str:
    """Return what is masked of (1, T, F) features where heard (1, T), such as `time0.42s_bands14`."""
    from asr.features.inversion import masked_parts

    frames, dimensions = masked_parts(features)
    seconds = int((frames & heard).sum()) * config.samples(config.hop_ms) / config.sample_rate
    kind = "bands" if config.kind == "logmel" else "cepstra"
    parts = [f"time{seconds:.2f}s"] if seconds else []
    parts += [f"{kind}{int(dimensions.sum())}"] if dimensions.any() else []
    return "_".join(parts)
