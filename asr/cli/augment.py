"""`asr augment`: what augmentation does to the utterances of a manifest, written to disk to listen to."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.audio.augment import NoiseFolder, WaveformDraw, apply, draw
from asr.audio.files import read_audio, write_audio
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.errors import EXIT_DONE, DataError, UsageError, writing
from asr.randomness import utterance_seed

if TYPE_CHECKING:
    from asr.training.config import ExperimentConfig

HELP = "write augmented audio to disk, to listen to"
_MAX_ID_BYTES = 180  # of an utterance's id in a file name; file systems allow 255 for the whole name
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
    parser.add_argument("--limit", type=int, metavar="N", help="take the first N utterances only")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="draw as epoch 0 of a training with this seed")


def run(args: argparse.Namespace) -> int:
    """Write one augmented file an utterance and a manifest of them; return the exit code."""
    from asr.cli.notes import log_on_stderr
    from asr.cli.progress import progress_bar

    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit must be at least 1, got {args.limit}")
    experiment = _experiment(args.settings)
    config, sample_rate = experiment.augment.waveform, experiment.model.features.sample_rate
    utterances = read_manifest(args.manifest)[: args.limit]
    if not utterances:
        raise DataError(f"{args.manifest}: no utterances to augment; give a manifest that has some")
    noise = None if config.noise_folder is None else NoiseFolder(config.noise_folder, sample_rate)
    with writing(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
    written: list[Utterance] = []
    seconds = 0.0
    with log_on_stderr("asr augment"), progress_bar("augment", unit="utterances") as progress:
        for utterance in utterances:
            drawn = draw(utterance_seed(args.seed, 0, utterance.id), config, noise)
            written.append(_write_waveform(args.out, utterance, drawn, noise, sample_rate))
            seconds += utterance.duration
            progress(len(written), len(utterances), seconds)
    # Spectral augmentation (masks, mixing in the spectra of other utterances) joins here: more utterances for
    # the same manifest, written from features that were turned back into audio.
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
    return "_".join(parts) or "unchanged"


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
    if experiment.augment.waveform.is_off:
        raise UsageError(f"{where}: nothing to do, augment.waveform is all off; add for example {_EXAMPLE}")
    return experiment


def _write_waveform(
    out: Path, utterance: Utterance, drawn: WaveformDraw, noise: NoiseFolder | None, sample_rate: int
) -> Utterance:
    waveform, _ = read_audio(
        utterance.audio,
        start=utterance.start,
        duration=utterance.duration,
        channel=utterance.channel,
        sample_rate=sample_rate,
    )
    augmented = apply(waveform, drawn, noise)
    name = f"{utterance.id}_{describe(drawn, noise)}"
    if len(utterance.id.encode()) > _MAX_ID_BYTES:
        raise DataError(f"utterance '{utterance.id[:40]}...': its id is too long for a file name; shorten it")
    path = out / f"{name}.wav"
    write_audio(path, augmented, sample_rate)
    return Utterance(
        id=name,
        audio=path.resolve(),
        start=0.0,
        duration=len(augmented) / sample_rate,
        text=utterance.text,
        speaker=utterance.speaker,
        channel=None,
        language=utterance.language,
    )
