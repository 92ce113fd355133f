"""A language model by an LSTM over the tokens of a recogniser.

Over tokens and not over words: whatever the recogniser can write has a probability, so no word is unknown; both spell
alike, because the tokenizer lies in the file; and the output layer stays small.  A text has the probability of the one
way in which the tokenizer spells it.
Sources: Mikolov et al. 2010 (recurrent language models); Sundermeyer et al. 2012 (by an LSTM); Press & Wolf 2017 (one
matrix for input and output).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from asr.config import Config, parse
from asr.errors import DataError
from asr.model import TOKENIZER_TENSOR, check_tensors, tokenizer_bytes
from asr.nn.cells.lstm import Lstm, initialize_lstm
from asr.nn.dropout import Dropout
from asr.nn.recurrence import run_cells
from asr.store import Storage, compress, load, save
from asr.text.tokenizer import Tokenizer
from asr.units import is_number

KIND = "lstm-lm"
BORDER = 0  # before and after a sentence: the number of the blank, which no text contains
_STEPS = 256  # tokens of a long text computed at once
_MAX_VALUES = 1 << 24  # log-probs computed at once

State = tuple[tuple[Tensor, Tensor], ...]  # hidden (B, D) and memory (B, D) of each layer


class LstmConfig(Config):
    """Shape of the network."""

    width: int = Field(256, ge=1, le=8192, description="cells of a layer, and numbers that stand for a token")
    layers: int = Field(2, ge=1, le=16, description="LSTM layers")
    dropout: float = Field(0.3, ge=0, lt=1, description="dropout before each LSTM layer and before the output")


@dataclass(frozen=True)
class LstmNotes:
    """What a file carries beside what the model computes.

    Attributes:
        storage: how matrices are kept in the file.
        rescoring: weight and bonus that were fitted for ranking answers (`asr lm weigh`), or None.
        training: how it was made, as plain values; never needed.
    """

    storage: Storage = "float32"
    rescoring: dict[str, float] | None = None
    training: dict[str, Any] | None = None


class LstmLanguageModel(nn.Module):
    """Token ids -> log-probabilities of the token that follows, the end of the sentence among them."""

    def __init__(self, config: LstmConfig, tokenizer: Tokenizer, notes: LstmNotes | None = None) -> None:
        super().__init__()
        self.notes = notes or LstmNotes()
        self.config = config
        self.tokenizer = tokenizer
        self.tokens = nn.Embedding(tokenizer.size, config.width)  # of the input and of the output
        self.layers = nn.ModuleList(Lstm(config.width, config.width) for _ in range(config.layers))
        self.bias = nn.Parameter(torch.zeros(tokenizer.size))
        self.dropout = Dropout(config.dropout)
        self._scale = math.sqrt(config.width)  # rows small enough for the output, and of variance 1 as input
        for layer in self.layers:
            initialize_lstm(layer)  # type: ignore[arg-type]
        if not self.tokens.weight.is_meta:
            nn.init.normal_(self.tokens.weight, std=1 / self._scale)

    def forward(self, previous: Tensor) -> Tensor:
        """Return the log-probs (B, U, V) of what follows each token of sentences (B, U) that start with BORDER."""
        hidden = self._embedded(previous)
        for layer in self.layers:
            ((hidden, _),) = run_cells([layer], [self.dropout(hidden)])  # type: ignore[list-item]
        return self._log_probs(hidden)

    def follow(self, previous: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the same and the state after the last token: sentences may come in parts.

        Args: state: after the tokens before these; None: there are none.
        """
        hidden, after = self._embedded(previous), []
        for number, layer in enumerate(self.layers):
            before = None if state is None else state[number]
            ((hidden, ended),) = run_cells([layer], [self.dropout(hidden)], [before])  # type: ignore[list-item]
            after.append(ended)
        return self._log_probs(hidden), tuple(after)

    def check_tokens(self, tokenizer: Tokenizer, where: str) -> None:
        """Raise DataError naming `where` if a recogniser with these tokens can write what the model cannot spell."""
        tokens = (tokenizer.decode([number]) for number in range(1, tokenizer.size))
        spoken = tokens if tokenizer.lexicon is None else tokenizer.lexicon.words
        strange = dict.fromkeys(letter for text in spoken for letter in self.tokenizer.unknown(text))
        if tokenizer.has_space and not self.tokenizer.has_space:
            strange[" "] = None
        if strange:
            shown = ", ".join(map(repr, list(strange)[:10])) + (", ..." if len(strange) > 10 else "")
            raise DataError(
                f"{where}: cannot spell what the recogniser writes: {shown}; train it on the tokens of this recogniser"
                " (asr lm train --kind lstm --model)"
            )

    def log_prob(self, texts: Sequence[str]) -> list[float]:
        """Return the natural log-probability of each text as one sentence, its end included.

        Raises: DataError for a text with characters outside the alphabet.
        """
        return self.log_prob_of_ids([self.tokenizer.encode(text) for text in texts])

    @torch.inference_mode()
    def log_prob_of_ids(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Return the natural log-probability of each row of token ids as one sentence, its end included."""
        assert not self.training, "dropout would change what the model says; call eval() first"
        found = [0.0] * len(rows)
        for places in _batches([len(row) + 1 for row in rows], self.tokenizer.size):
            for place, value in zip(places, self._totals([rows[place] for place in places]), strict=True):
                found[place] = value
        return found

    def _totals(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """Return the log-probability of each row; what lies beyond the end of a row is never added."""
        tokens, lengths = bordered(rows)
        total, state = torch.zeros(len(rows), dtype=torch.float64), None
        for first in range(0, tokens.shape[1] - 1, _STEPS):
            part = tokens[:, first : first + _STEPS + 1]
            log_probs, state = self.follow(part[:, :-1], state)
            chosen = log_probs.gather(2, part[:, 1:, None]).squeeze(2).double()
            valid = torch.arange(first, first + chosen.shape[1]) < lengths[:, None]
            total += torch.where(valid, chosen, 0.0).sum(1)
        return total.tolist()

    def _embedded(self, previous: Tensor) -> Tensor:
        """Return the layers' input, time-major (U, B, D)."""
        embedded: Tensor = self.tokens(previous.t()) * self._scale
        return embedded

    def _log_probs(self, hidden: Tensor) -> Tensor:
        logits = nn.functional.linear(self.dropout(hidden), self.tokens.weight, self.bias)
        return logits.float().log_softmax(-1).transpose(0, 1)

    def save(self, path: str | Path) -> None:
        """Write the file of the model (docs/formats.md), stored as its notes say.  Raises: MachineError."""
        description, model_bytes = self.tokenizer.state()
        tensors = compress(self.state_dict(), self.notes.storage)
        if model_bytes:
            tensors[TOKENIZER_TENSOR] = torch.frombuffer(bytearray(model_bytes), dtype=torch.uint8)
        header = {
            "kind": KIND,
            "lm": self.config.model_dump(mode="json"),
            "tokenizer": description,
            **asdict(self.notes),
        }
        save(path, tensors, header)

    @staticmethod
    def load(path: str | Path) -> "LstmLanguageModel":
        """Return the model of a file, in evaluation mode.  Raises: DataError if it is none."""
        tensors, header = load(path)
        if header.get("kind") != KIND or not isinstance(header.get("lm"), dict):
            raise DataError(
                f"{path}: holds a {str(header.get('kind'))[:40]!r}, not an LSTM language model; make one with asr lm"
                " train --kind lstm"
            )
        config = _stored_config(header, str(path))
        model_bytes = tokenizer_bytes(tensors.pop(TOKENIZER_TENSOR, None), str(path))
        tokenizer = Tokenizer.from_state(header.get("tokenizer", {}), model_bytes, where=str(path))
        with torch.device("meta"):  # no time is lost on random weights
            model = LstmLanguageModel(config, tokenizer, _stored_notes(header, str(path)))
        check_tensors(model, tensors, str(path))
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise DataError(f"{path}: tensor '{name}' holds NaN or infinite numbers; get the file again")
        model.load_state_dict(tensors, strict=True, assign=True)
        return model.eval()


def bordered(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return (token ids (B, U + 1) with BORDER before each row and from its end on, (B,) tokens to foresee in each)."""
    lengths = [len(row) + 1 for row in rows]
    tokens = torch.full((len(rows), max(lengths) + 1), BORDER)
    for place, row in enumerate(rows):
        tokens[place, 1 : 1 + len(row)] = torch.as_tensor(row)
    return tokens, torch.tensor(lengths)


def _batches(lengths: Sequence[int], num_tokens: int) -> Iterator[list[int]]:
    """Yield the places of rows to compute together, the longest first, so that a batch needs little memory."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    while order:
        rows = max(1, _MAX_VALUES // (num_tokens * min(lengths[order[0]], _STEPS)))
        yield order[:rows]
        order = order[rows:]


def _stored_config(header: dict[str, Any], where: str) -> LstmConfig:
    try:
        return parse(LstmConfig, header["lm"], where=where)
    except ValueError as error:
        raise DataError(f"{error}; the model was made by another version: upgrade the toolkit") from None


def _stored_notes(header: dict[str, Any], where: str) -> LstmNotes:
    notes = LstmNotes(header.get("storage", "float32"), header.get("rescoring"), header.get("training"))
    sound = {
        "storage": notes.storage in get_args(Storage),
        "rescoring": notes.rescoring is None or _are_numbers(notes.rescoring),
        "training": notes.training is None or isinstance(notes.training, dict),
    }
    for key, fits in sound.items():
        if not fits:
            raise DataError(f"{where}: '{key}' is {str(header[key])[:80]!r} in its header: get the file again")
    return notes


def _are_numbers(values: object) -> bool:
    return isinstance(values, dict) and all(map(is_number, values.values()))
