"""`asr augment`: what augmentation does to the utterances of a manifest, written to disk to listen to."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from asr.audio.augment import NoiseFolder, WaveformAugmentConfig, WaveformDraw, apply, draw
from asr.audio.files import read_audio, write_audio
from asr.cli.progress import progress_bar
from asr.config import apply_override, parse, read_yaml
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.errors import EXIT_DONE, DataError, UsageError, writing
from asr.randomness import utterance_seed

HELP = "write augmented audio to disk, to listen to"
_RATE = 16000  # Hz: what models hear, and so the rate to listen at
_MAX_ID_BYTES = 180  # of an utterance's id in a file name; file systems allow 255 for the whole name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `asr augment`."""
    parser.add_argument("manifest", metavar="MANIFEST", help="utterances to augment (*.jsonl)")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="CONFIG.yaml | augment.KEY=VALUE",
        help="a configuration file, of which the section 'augment' is used, and values that override it",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", type=Path, help="folder for the audio and manifest.jsonl"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="take the first N utterances only")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draw as epoch 0 of a training with this seed")


def run(args: argparse.Namespace) -> int:
    """Write one augmented file an utterance and a manifest of them; return the exit code."""
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit must be at least 1, got {args.limit}")
    config = _waveform_config(args.settings)
    utterances = read_manifest(args.manifest)[: args.limit]
    if not utterances:
        raise DataError(f"{args.manifest}: no utterances to augment")
    noise = None if config.noise_folder is None else NoiseFolder(config.noise_folder, _RATE)
    with writing(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
    written: list[Utterance] = []
    with progress_bar("augment", unit="utterances") as progress:
        seconds = 0.0
        for utterance in utterances:
            drawn = draw(utterance_seed(args.seed, 0, utterance.id), config, noise)
            written.append(_write_waveform(args.out, utterance, drawn, noise))
            seconds += utterance.duration
            progress(len(written), len(utterances), seconds)
    # Spectral augmentation (masks, mixing in the spectra of other utterances) joins here: a second list of
    # utterances, written from features that were turned back into audio, added to the same manifest.
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


def _waveform_config(settings: Sequence[str]) -> WaveformAugmentConfig:
    """Return the section `augment` of the configuration file, if one is given, with the overrides applied."""
    files = [setting for setting in settings if "=" not in setting]
    overrides = [setting for setting in settings if "=" in setting]
    if len(files) > 1:
        raise UsageError(f"'{files[1]}': one configuration file at most ('{files[0]}' is one already)")
    values = read_yaml(files[0]) if files else {}
    for override in overrides:
        if not override.startswith("augment."):
            raise UsageError(f"'{override}': only keys below 'augment.' are used here, such as augment.gain_db=[-6,6]")
        apply_override(values, override)
    where = files[0] if files else "augment"
    section = values.get("augment") or {}
    if not isinstance(section, dict):
        raise UsageError(f"{where}: augment: expected keys below it, found {section!r}")
    config = parse(WaveformAugmentConfig, section, where=where)
    if config.is_off:
        raise UsageError(f"{where}: nothing to do, all augmentation is off; add for example augment.gain_db=[-6,6]")
    return config


def _write_waveform(out: Path, utterance: Utterance, drawn: WaveformDraw, noise: NoiseFolder | None) -> Utterance:
    waveform, _ = read_audio(
        utterance.audio,
        start=utterance.start,
        duration=utterance.duration,
        channel=utterance.channel,
        sample_rate=_RATE,
    )
    augmented = apply(waveform, drawn, noise)
    name = f"{utterance.id}_{describe(drawn, noise)}"
    if len(utterance.id.encode()) > _MAX_ID_BYTES:
        raise DataError(f"utterance '{utterance.id[:40]}...': its id is too long for a file name; shorten it")
    path = out / f"{name}.wav"
    write_audio(path, augmented, _RATE)
    return Utterance(
        id=name,
        audio=path.resolve(),
        start=0.0,
        duration=len(augmented) / _RATE,
        text=utterance.text,
        speaker=utterance.speaker,
        channel=None,
        language=utterance.language,
    )
