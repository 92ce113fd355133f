"""Training of an LSTM language model: it learns, goes on where it was interrupted, and keeps what was best."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr.config import parse
from asr.errors import UsageError
from asr.lm.lstm import LstmLanguageModel
from asr.lm.sentences import read_sentences
from asr.training.language import LanguageConfig, LanguagePosition, LanguageTraining, plan
from asr.training.language_fit import LanguageOutcome, LanguageRequest, fit_language, state_path
from tests.lm.test_lstm import letters

CONFIG: dict[str, Any] = {
    "model": {"width": 16, "layers": 1, "dropout": 0.1},
    "train": {"epochs": 3, "batch_tokens": 64, "optimizer": {"learning_rate": 0.02, "warmup_steps": 2}},
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Sentences of two kinds of words, which follow each other by turns."""
    random = np.random.default_rng(1)
    words = [["abba", "cab"], ["dig", "jig", "fig"]]
    lines = [" ".join(random.choice(words[place % 2]) for place in range(random.integers(1, 7))) for _ in range(120)]
    (tmp_path / "text").write_text("\n".join(lines) + "\n")
    return tmp_path / "text"


def config(**changes: Any) -> LanguageConfig:
    return parse(LanguageConfig, {**CONFIG, "train": {**CONFIG["train"], **changes}}, where="test")


def request(text: Path, out: str = "lm.safetensors", *, resume: bool = False, seed: int = 1, **changes: Any) -> Any:
    sentences = read_sentences(text, letters())
    return LanguageRequest(config(**changes), letters(), sentences, None, str(text), text.parent / out, seed, resume)


def fitted(asked: LanguageRequest) -> tuple[LanguageOutcome, list[str]]:
    said: list[str] = []
    return fit_language(asked, say=said.append, progress=lambda *_, **__: None), said


def test_it_learns_what_follows_what(text: Path) -> None:
    outcome, said = fitted(request(text, epochs=8))
    model = LstmLanguageModel.load(text.parent / "lm.safetensors")
    likely, unlikely, short = model.log_prob(["abba dig cab jig", "dig abba jig cab", "abba"])
    assert likely > unlikely + 5
    assert short > likely
    assert outcome.perplexity.per_token < 2.0
    assert f"epoch {outcome.best_epoch}, " in "".join(said)
    assert not state_path(text.parent / "lm.safetensors").exists()


def test_an_equal_seed_gives_equal_bits_and_another_does_not(text: Path) -> None:
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        fitted(request(text, out, seed=seed))
    first, again, other = (LstmLanguageModel.load(text.parent / out).state_dict() for out in "abc")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["bias"], other["bias"])


@pytest.mark.parametrize("step", [4, 12, 20])
def test_what_was_interrupted_ends_in_the_same_bits(text: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    fitted(request(text, "whole"))
    taken = LanguageTraining.optimizer_step

    def interrupted(self: LanguageTraining, *arguments: Any, **keywords: Any) -> None:
        taken(self, *arguments, **keywords)
        if self.position.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    try:
        with monkeypatch.context() as patch:
            patch.setattr(LanguageTraining, "optimizer_step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                fitted(request(text, "parts"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (text.parent / "parts").exists()
    with pytest.raises(UsageError, match="an unfinished training; continue it with --resume, delete it, or give"):
        fitted(request(text, "parts"))
    with pytest.raises(UsageError, match="what differs is config; undo that"):
        fitted(request(text, "parts", resume=True, epochs=4))
    _, said = fitted(request(text, "parts", resume=True))
    assert f"resumed at step {step}, " in said[0]
    whole, parts = (LstmLanguageModel.load(text.parent / out).state_dict() for out in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_the_best_epoch_is_kept_and_patience_ends(text: Path) -> None:
    """With ever larger steps the first epochs are the best ones."""
    outcome, said = fitted(
        request(
            text, epochs=30, patience=2, optimizer={"learning_rate": 0.5, "schedule": "constant", "warmup_steps": 0}
        )
    )
    assert outcome.epochs < 30
    assert outcome.best_epoch == outcome.epochs - 2
    assert said[-1] == "no better perplexity in 2 epochs: stopped early"
    best = next(line for line in said if line.startswith(f"epoch {outcome.best_epoch}, "))
    assert f"perplexity {outcome.perplexity.per_token:.4f} a token" in best


def test_weights_that_are_not_finite_end_in_one_line(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoiled(self: LanguageTraining, *_: Any, **__: Any) -> None:
        with torch.no_grad():
            self.model.bias.fill_(torch.nan)

    monkeypatch.setattr(LanguageTraining, "on_before_optimizer_step", spoiled)
    with pytest.raises(UsageError, match=r"no finite probability; lower train.optimizer.learning_rate \(now 0.02\)"):
        fitted(request(text))


def test_a_long_sentence_is_learned_from_up_to_a_token(text: Path) -> None:
    sentences = read_sentences(text, letters())
    module = LanguageTraining(
        LstmLanguageModel(config().model, letters()), sentences, config(max_tokens=4).train, 1, LanguagePosition(), {}
    )
    seen = 0
    for tokens, lengths in module.train_dataloader():
        assert tokens.shape[1] <= 6
        seen += int(lengths.sum())
    assert seen == int(np.where(sentences.lengths > 4, 4, sentences.lengths + 1).sum())


@pytest.mark.parametrize("batch_tokens", [1, 64, 500, 10**6])
def test_an_epoch_holds_every_sentence_once(batch_tokens: int) -> None:
    lengths = np.random.default_rng(2).integers(1, 90, 700)
    batches = plan(lengths, batch_tokens, 1, 0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(700))
    assert all(len(batch) * lengths[batch].max() <= batch_tokens or len(batch) == 1 for batch in batches)
    assert [batch.tolist() for batch in plan(lengths, batch_tokens, 1, 0)] == [batch.tolist() for batch in batches]
    if batch_tokens < 10**6:
        assert [batch.tolist() for batch in plan(lengths, batch_tokens, 1, 1)] != [batch.tolist() for batch in batches]
