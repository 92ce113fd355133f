"""Training of an LSTM language model, from a text to a file: what `asr lm train --kind lstm` calls."""

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from numpy.typing import NDArray
from torch import Tensor

from asr import store
from asr.errors import DataError, UsageError
from asr.lm.lstm import LstmLanguageModel, LstmNotes
from asr.lm.lstm_perplexity import TokenPerplexity, token_perplexity
from asr.lm.sentences import Sentences, hold_out
from asr.text.tokenizer import Tokenizer
from asr.training.checkpoint import optimizer_tensors
from asr.training.fit import OUR_OWN, quiet_lightning
from asr.training.language import LanguageConfig, LanguagePosition, LanguageTraining
from asr.training.monitor import Progress
from asr.training.stopping import InterruptionError, StopsOnInterrupt

_KIND = "lstm-lm training"
_PARTS = ("raw", "best", "optimizer")  # of a training's state
_NAMED_STEPS = 20  # steps between two reports of progress


@dataclass(frozen=True)
class LanguageRequest:
    """What to train, where and how.

    Attributes:
        sentences: the text as the tokenizer spells it.
        valid: what to judge by; None: a share of the sentences, which then are not learned from.
        text: what messages call the text.
        out: the file of the model.
        resume: go on with the training that was interrupted.
    """

    config: LanguageConfig
    tokenizer: Tokenizer
    sentences: Sentences
    valid: Sentences | None
    text: str
    out: Path
    seed: int
    resume: bool = False


@dataclass(frozen=True)
class LanguageOutcome:
    """What a training came to.

    Attributes:
        perplexity: of the held-out sentences, by the model in the file.
        epochs, best_epoch: done, and after which the model was best.
        sentences, tokens: learned from in an epoch, and seen in all.
    """

    perplexity: TokenPerplexity
    steps: int
    epochs: int
    best_epoch: int
    sentences: int
    tokens: int
    parameters: int
    wall_seconds: float


@dataclass(frozen=True)
class _State:
    position: LanguagePosition
    raw: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]


def fit_language(request: LanguageRequest, *, say: Callable[[str], None], progress: Progress) -> LanguageOutcome:
    """Train, write the model that foresaw the held-out sentences best, and return what came of it.

    Raises: UsageError, DataError or MachineError for what the user can cure.
    """
    if not 0 <= request.seed < 1 << 63:
        raise UsageError(f"--seed {request.seed}: must lie between 0 and 2^63 - 1")
    if request.valid is None:
        numbers = hold_out(request.sentences, request.config.train.valid_share, request.text)
        learned, judged = (request.sentences.part(some) for some in numbers)
    else:
        learned, judged = request.sentences, request.valid
    run = _identity(request)
    state = _load_state(request, run)
    torch.manual_seed(request.seed)
    model = LstmLanguageModel(request.config.model, request.tokenizer).train()
    if state is not None:
        model.load_state_dict(state.raw)
    position = state.position if state else LanguagePosition()
    module = LanguageTraining(
        model,
        learned,
        request.config.train,
        request.seed,
        position,
        state.optimizer if state else {},
    )
    watch = _Watch(request.out, run, judged, state.best if state else {}, say=say, progress=progress)
    say(_described(module, len(judged), request.config.train.max_tokens, resumed=state is not None))
    _train(module, watch, request.config.train.epochs, say)
    return _written(request, module, watch, judged, {**run, "epochs": position.best_epoch})


def state_path(out: Path) -> Path:
    """Return where the state of an unfinished training of the model `out` lies."""
    return out.with_name(f"{out.name}.training")


class _Watch(StopsOnInterrupt, Callback):
    """Judges after every epoch, keeps the best weights, saves the state, and stops if nothing gets better."""

    def __init__(
        self,
        out: Path,
        run: dict[str, Any],
        judged: Sentences,
        best: dict[str, Tensor],
        *,
        say: Callable[[str], None],
        progress: Progress,
    ) -> None:
        super().__init__()
        self.best = best
        self._out, self._run, self._judged, self._say, self._progress = out, run, judged, say, progress
        self._started, self._before = time.monotonic(), 0.0
        self._due = False

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self.catch(signal.SIGTERM)  # only here: Lightning puts its own in place at the start, which saves nothing
        self._started, self._before = time.monotonic(), pl_module.position.wall_seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell the progress, and save where that is due; at the end of an epoch it is done after judging."""
        module: LanguageTraining = pl_module
        position, config = module.position, module.train_config
        if position.step % _NAMED_STEPS == 0:
            note = f"step {position.step} loss {float(outputs['loss']):.3f}"
            self._progress(position.epoch, config.epochs, 0.0, note)
        due = self._asked or position.step % config.checkpoint_steps == 0
        if due and not module.epoch_is_over:
            self._save(trainer, module)
            if self._asked:
                raise InterruptionError

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Judge, and keep the weights if they are the best so far.  Raises: UsageError if they are not finite."""
        module: LanguageTraining = pl_module
        position, config = module.position, module.train_config
        position.epoch, position.step_in_epoch = position.epoch + 1, 0
        found = self._judge(module)
        if found.per_token < position.best:
            position.best, position.best_epoch, position.worse = found.per_token, position.epoch, 0
            self.best = {name: tensor.detach().clone() for name, tensor in module.model.state_dict().items()}
        else:
            position.worse += 1
        self._progress(position.epoch, config.epochs, 0.0, f"step {position.step}")
        if 0 < config.patience <= position.worse:
            self._say(f"no better perplexity in {config.patience} epochs: stopped early")
            trainer.should_stop = True
        last = trainer.should_stop or position.epoch >= config.epochs
        if not last:
            self._save(trainer, module)
        if self._asked and not last:
            raise InterruptionError

    def _judge(self, module: LanguageTraining) -> TokenPerplexity:
        position = module.position
        found = token_perplexity(module.model.eval(), self._judged)
        module.model.train()
        if not math.isfinite(found.log_prob):
            raise UsageError(
                f"epoch {position.epoch}: the held-out sentences have no finite probability; lower"
                f" train.optimizer.learning_rate (now {module.train_config.optimizer.learning_rate:g})"
            )
        self._say(
            f"epoch {position.epoch}, step {position.step}: perplexity {found.per_token:.4f} a token,"
            f" {found.per_word:.2f} a word"
        )
        return found

    def _save(self, trainer: Trainer, module: LanguageTraining) -> None:
        position = module.position
        position.wall_seconds = self._before + time.monotonic() - self._started
        moments = optimizer_tensors(trainer.optimizers[0], dict(module.model.named_parameters()))
        tensors = {f"raw/{name}": tensor for name, tensor in module.model.state_dict().items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for name, values in moments.items():
            tensors |= {f"optimizer/{name}/{key}": tensor for key, tensor in values.items()}
        best = position.best if math.isfinite(position.best) else None  # JSON knows no infinity
        store.save(
            state_path(self._out),
            tensors,
            {"kind": _KIND, "position": {**asdict(position), "best": best}, "run": self._run},
        )


def _train(module: LanguageTraining, watch: _Watch, epochs: int, say: Callable[[str], None]) -> None:
    """Let Lightning train.  Raises: KeyboardInterrupt after Ctrl-C."""
    started = time.monotonic()
    before = module.position.wall_seconds
    with quiet_lightning():
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=epochs - module.position.epoch,
            callbacks=[watch],
            **OUR_OWN,
        )
        try:
            with watch.stopping_on_interrupt():
                trainer.fit(module)
        except InterruptionError:
            say(f"interrupted after step {module.position.step}; continue with --resume")
            raise KeyboardInterrupt from None
        except SystemExit:  # Lightning's answer to a second Ctrl-C
            raise KeyboardInterrupt from None
    module.position.wall_seconds = before + time.monotonic() - started


def _written(
    request: LanguageRequest, module: LanguageTraining, watch: _Watch, judged: Sentences, training: dict[str, Any]
) -> LanguageOutcome:
    """Write the best weights, and return what the file that holds them is worth."""
    module.model.load_state_dict(watch.best)
    module.model.notes = LstmNotes(storage=request.config.train.storage, training=training)
    module.model.save(request.out)
    state_path(request.out).unlink(missing_ok=True)
    position = module.position
    return LanguageOutcome(
        perplexity=token_perplexity(LstmLanguageModel.load(request.out), judged),
        steps=position.step,
        epochs=position.epoch,
        best_epoch=position.best_epoch,
        sentences=len(module.sentences),
        tokens=position.tokens,
        parameters=sum(parameter.numel() for parameter in module.model.parameters()),
        wall_seconds=position.wall_seconds,
    )


def _identity(request: LanguageRequest) -> dict[str, Any]:
    """Return what makes a training this one: a resumed one must agree."""
    description, model_bytes = request.tokenizer.state()
    tokens = hashlib.sha256(json.dumps(description, sort_keys=True).encode() + model_bytes).hexdigest()
    return {
        "seed": request.seed,
        "config": request.config.model_dump(mode="json"),
        "text": _hash(request.sentences.keys),
        "validation text": None if request.valid is None else _hash(request.valid.keys),
        "tokens": tokens,
    }


def _hash(keys: NDArray[np.uint64]) -> str:
    return hashlib.sha256(keys.astype("<u8").tobytes()).hexdigest()


def _load_state(request: LanguageRequest, run: dict[str, Any]) -> _State | None:
    """Return the state to go on from, None for a new training.

    Raises: UsageError where an unfinished training would be lost, or is another one; DataError for a broken file.
    """
    path = state_path(request.out)
    if not path.is_file():
        return None
    if not request.resume:
        raise UsageError(f"{path}: an unfinished training; continue it with --resume, delete it, or give another --out")
    tensors, header = store.load(path)
    saved = header.get("run")
    if header.get("kind") != _KIND or not isinstance(saved, dict):
        raise DataError(f"{path}: not the state of a language model's training; delete it to start anew")
    different = [key for key, value in run.items() if saved.get(key) != value]
    if different:
        raise UsageError(
            f"{path}: --resume continues the same training, but what differs is {', '.join(different)}; undo that, or"
            " delete the file to start anew"
        )
    return _unpacked(path, tensors, header)


def _unpacked(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> _State:
    try:
        position = LanguagePosition(**header["position"])
    except (KeyError, TypeError):
        raise DataError(f"{path}: the state of another version; delete it to start anew") from None
    position.best = math.inf if position.best is None else position.best
    raw, best, moments = (
        {name.removeprefix(f"{part}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{part}/")}
        for part in _PARTS
    )
    optimizer: dict[str, dict[str, Tensor]] = {}
    for name, tensor in moments.items():
        parameter, _, key = name.rpartition("/")
        optimizer.setdefault(parameter, {})[key] = tensor
    return _State(position, raw, best, optimizer)


def _described(module: LanguageTraining, held: int, max_tokens: int, *, resumed: bool) -> str:
    sentences, position = module.sentences, module.position
    millions = sum(parameter.numel() for parameter in module.model.parameters()) / 1e6
    cut = int(np.count_nonzero(sentences.lengths > max_tokens))
    told = f"{len(sentences)} sentences, {len(sentences.ids)} tokens; {held} held out; {millions:.2f} M parameters"
    told += f"; {cut} sentences learned from up to token {max_tokens} (train.max_tokens)" if cut else ""
    return told + (f"; resumed at step {position.step}, epoch {position.epoch}" if resumed else "")
