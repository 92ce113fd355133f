"""What makes a run this run: a resumed one must agree."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from asr.data.loader import Replay
from asr.data.manifest import Utterance
from asr.data.shard_index import ShardIndex
from asr.model import AcousticModel
from asr.text.tokenizer import Tokenizer
from asr.training.config import ExperimentConfig
from asr.training.request import Request

# how a run is carried out, not what it computes; keep_* only say what stays on disk
_MAY_CHANGE = {
    "train.loader.workers",
    "train.loader.cache_mb",
    "train.loader.shard_cache_mb",
    "train.devices",
    "train.num_nodes",
    "train.tensorboard",
    "train.checkpoint_steps",
    "train.keep_best",
    "train.keep_last",
    "train.threads",
}


def run_identity(
    request: Request,
    utterances: Sequence[Utterance] | ShardIndex,
    replay: Replay | None,
    guarded: Sequence[Utterance],
) -> dict[str, Any]:
    """Return what makes a run this run: a resumed one must agree."""
    run = {
        "seed": request.seed,
        "config": request.experiment.model_dump(mode="json"),
        "training data": data_hash(utterances),
        "validation data": data_hash(request.valid),
        "tokens": _tokens_hash(request.tokenizer),
    }
    if request.start is not None:
        run["model of --from"] = _model_hash(request.start)
    if replay is not None:
        run["replay data"] = data_hash(replay.utterances)
    if guarded:
        run["guard data"] = data_hash(guarded)
    return run


def differences(saved: dict[str, Any], now: dict[str, Any]) -> str:
    """Return what of two identities differs and may not, for a message; "" where they are of one run."""
    names = [
        name for name in sorted(saved.keys() | now.keys()) if name != "config" and saved.get(name) != now.get(name)
    ]
    # keys that the version which saved it did not know stand at their defaults
    flat_saved = _flat(ExperimentConfig().model_dump(mode="json")) | _flat(saved.get("config", {}))
    flat_now = _flat(now["config"])
    for name in sorted(flat_saved.keys() | flat_now.keys()):
        before, after = flat_saved.get(name), flat_now.get(name)
        if before != after and name not in _MAY_CHANGE:
            names.append(f"{name} (was {before!r}, now {after!r})")
    return ", ".join(names)


def _tokens_hash(tokenizer: Tokenizer) -> str:
    description, model_bytes = tokenizer.state()
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode() + model_bytes).hexdigest()


def _model_hash(model: AcousticModel) -> str:
    """Return a hash of what a model computes, whatever else its file says."""
    found = hashlib.sha256(_tokens_hash(model.tokenizer).encode() + model.config.model_dump_json().encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def data_hash(utterances: Sequence[Utterance] | ShardIndex) -> str:
    """Return a hash of what is learned from, not of where it lies."""
    if isinstance(utterances, ShardIndex):
        return utterances.sha256
    found, between = hashlib.sha256(), ""
    for item in utterances:
        row = f"{between}{item.id}\t{_stretch(item)}\t{item.duration}\t{item.text}"
        found.update(row.encode("utf-8", "surrogatepass"))
        between = "\n"
    return found.hexdigest()


def _stretch(utterance: Utterance) -> str:
    """Return where in its file an utterance starts, and on which channel unless on all (older runs never noted it)."""
    return f"{utterance.start}" + ("" if utterance.channel is None else f"@{utterance.channel}")


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    return {
        name: value
        for key, inner in values.items()
        for name, value in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }
