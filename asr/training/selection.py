"""Which utterances can be trained on, and why the others are left out."""

from collections.abc import Callable, Sequence

from asr.audio.augment import perturbed_samples
from asr.data.loader import Replay, token_ids
from asr.data.manifest import Utterance, read_manifest
from asr.data.shard_index import ShardIndex
from asr.data.sharded import refuse_untrainable
from asr.errors import DataError
from asr.nn.ctc import frames_to_spell
from asr.training.request import Request
from asr.units import FrameGeometry, samples_from_seconds

_SHOWN = 5  # utterances in a message


def trainable(request: Request, say: Callable[[str], None]) -> tuple[Sequence[Utterance] | ShardIndex, dict[str, str]]:
    """Return what is trained on, and why each utterance that is not is left out.  Raises: DataError."""
    if not isinstance(request.train, ShardIndex):
        return _usable(request, request.train, "training", say)
    loader, augment = request.experiment.train.loader, request.experiment.augment
    left_out = refuse_untrainable(request.train, request.tokenizer, loader, augment)
    _tell(left_out, len(request.train), "training", say)
    return request.train, left_out


def _usable(
    request: Request, utterances: Sequence[Utterance], kind: str, say: Callable[[str], None]
) -> tuple[list[Utterance], dict[str, str]]:
    """Return the utterances that can be trained on, and why each of the others is left out.

    Args: kind: what they are called in messages.
    Raises: DataError if too many cannot be spelled by CTC, or none is left.
    """
    usable, left_out, unspellable = [], {}, 0
    geometry = request.experiment.model.geometry()
    for utterance in utterances:
        why, spellable = _obstacle(utterance, request, geometry)
        unspellable += not spellable
        if why:
            left_out[utterance.id] = why
        else:
            usable.append(utterance)
    _tell(left_out, len(utterances), kind, say)
    if unspellable > request.experiment.train.max_infeasible * len(utterances):
        raise DataError(
            f"{unspellable} of {len(utterances)} {kind} utterances have no label or fewer encoder frames than CTC"
            " needs at the fastest of augment.waveform.speed_factors; lower these or model.encoder.factor, or leave the"
            " utterances named above out"
        )
    if not usable:
        raise DataError(f"no utterance to train on is left; run asr check on the {kind} manifest")
    return usable, left_out


def _tell(left_out: dict[str, str], total: int, kind: str, say: Callable[[str], None]) -> None:
    """Say which utterances are left out, and why."""
    if left_out:
        shown = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:_SHOWN])
        more = f"; and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        say(f"{len(left_out)} of {total} {kind} utterances left out: {shown}{more}")


def replayed(request: Request, say: Callable[[str], None]) -> Replay | None:
    """Return the old utterances among the new ones, if they are wanted.  Raises: DataError as `read_manifest`."""
    config = request.experiment.finetune.replay
    if config.manifest is None:
        return None
    old = _read_old("finetune.replay.manifest", config.manifest)
    return Replay(_usable(request, old, "replay", say)[0], config.ratio)


def guarding(request: Request) -> list[Utterance]:
    """Return the held-out utterances of the old kind.  Raises: DataError if they have no texts to compare with."""
    path = request.experiment.finetune.guard
    if path is None:
        return []
    utterances = _read_old("finetune.guard", path)
    if not any(request.tokenizer.normalizer(utterance.text or "") for utterance in utterances):
        raise DataError(f"{path}: no utterance of finetune.guard has a text; give references to compare with")
    return utterances


def _read_old(setting: str, path: str) -> list[Utterance]:
    """Return the utterances of a manifest that a setting names.  Raises: DataError if it is faulty or empty."""
    try:
        utterances = read_manifest(path)
    except DataError as error:
        raise DataError(f"{setting}: {error}") from None
    if not utterances:
        raise DataError(f"{setting}: {path}: holds no utterances; give a manifest with at least one")
    return utterances


def _obstacle(utterance: Utterance, request: Request, geometry: FrameGeometry) -> tuple[str, bool]:
    """Return (why an utterance cannot be trained on, or "", whether it has a text that CTC can spell)."""
    speeds = request.experiment.augment.waveform.speed_factors
    limit = request.experiment.train.loader.max_seconds
    if utterance.text is None:
        return "no text", True
    ids = token_ids(request.tokenizer, utterance)
    if not len(ids):
        return "its text is empty", False
    if utterance.duration / min(speeds, default=1.0) > limit:
        return f"{utterance.duration:.1f} s is above {limit:g} s", True
    samples = samples_from_seconds(utterance.duration, geometry.sample_rate)
    frames = geometry.encoder_frames(perturbed_samples(samples, max(speeds, default=1.0)))
    needed = frames_to_spell(ids)
    if frames < needed:
        return f"{frames} encoder frames < {needed} needed ({len(ids)} labels + repeats)", False
    return "", True
