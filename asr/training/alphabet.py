"""A trained model with another alphabet: output rows follow their symbols, new symbols start fresh."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asr.model import AcousticModel, ModelConfig
from asr.nn.ctc import BLANK_ID
from asr.text.tokenizer import SPACE, Tokenizer

_FRESH, _SPELLED, _KEPT = 0, 1, 2


@dataclass(frozen=True)
class AlphabetChange:
    """What became of the symbols of a model, blank not counted.

    Attributes:
        kept: known before and still; their rows are copied.
        spelled: pieces new as such, started from the rows of their characters.
        new: without anything to start from.
        dropped: known before and no longer.
    """

    kept: tuple[str, ...]
    spelled: tuple[str, ...]
    new: tuple[str, ...]
    dropped: tuple[str, ...]

    @property
    def shares_nothing(self) -> bool:
        """Whether no symbol but the space has anything to start from."""
        return not self.spelled and set(self.kept) <= {SPACE}

    def __str__(self) -> str:
        spelled = f"spelled {len(self.spelled)}, " if self.spelled else ""
        return f"kept {len(self.kept)}, {spelled}new {len(self.new)}, dropped {len(self.dropped)}, blank kept"


def alphabet_change(old: Tokenizer, new: Tokenizer) -> AlphabetChange:
    """Return what becomes of the symbols where `new` takes the place of `old`."""
    groups: dict[int, list[str]] = {_FRESH: [], _SPELLED: [], _KEPT: []}
    sources = _sources(old, new)
    for symbol, rows in zip(new.symbols[1:], sources[1:], strict=True):
        kind = _FRESH if not rows else _KEPT if old.symbols[rows[0]] == symbol else _SPELLED
        groups[kind].append(symbol)
    gone = set(old.symbols[1:]) - set(new.symbols)
    dropped = tuple(symbol for symbol in old.symbols[1:] if symbol in gone)
    return AlphabetChange(tuple(groups[_KEPT]), tuple(groups[_SPELLED]), tuple(groups[_FRESH]), dropped)


def with_alphabet(model: AcousticModel, tokenizer: Tokenizer, config: ModelConfig) -> AcousticModel:
    """Return a model of `config` with the weights of `model`, its output layers those of the symbols of `tokenizer`.

    A symbol known to both keeps its row; a piece of several characters starts from the mean of their rows (the mark
    of a word's start is not one of them); anything else starts fresh, drawn from torch's generator.  An intermediate
    head that `model` lacks starts as its output layer does.  The given model is left as it is.

    Args: config: that of the model, but for what changes no weight.
    """
    made = AcousticModel(config, tokenizer)
    sources = _sources(model.tokenizer, tokenizer)
    state = dict(model.state_dict())
    fresh = made.state_dict()
    for head in ("output", "intermediate_output"):
        if getattr(made.encoder, head) is None:
            state = {name: tensor for name, tensor in state.items() if not name.startswith(f"encoder.{head}.")}
            continue
        known = getattr(model.encoder, head) or model.encoder.output
        assert isinstance(known, nn.Linear), "the heads are linear layers"
        for name, tensor in (("weight", known.weight), ("bias", known.bias)):
            state[f"encoder.{head}.{name}"] = _rows(tensor.detach(), sources, fresh[f"encoder.{head}.{name}"])
    made.load_state_dict(state)
    return made


def _sources(old: Tokenizer, new: Tokenizer) -> list[list[int]]:
    """Return for each new symbol the old rows that it starts from, none where it starts fresh."""
    ids = {symbol: index for index, symbol in enumerate(old.symbols)}
    found: list[list[int]] = [[BLANK_ID]]
    for symbol in new.symbols[1:]:
        if symbol in ids:
            found.append([ids[symbol]])
        else:
            spoken = [character for character in symbol if character != SPACE] if _is_spelled(symbol) else []
            found.append([ids[character] for character in spoken if character in ids])
    return found


def _is_spelled(symbol: str) -> bool:
    """Return whether a symbol is spelled by its characters: not the name of a byte, as in '<0x41>'."""
    return len(symbol) > 1 and not (symbol.startswith("<0x") and symbol.endswith(">"))


def _rows(known: Tensor, sources: Sequence[Sequence[int]], fresh: Tensor) -> Tensor:
    rows = [known[list(old)].mean(0) if old else row for old, row in zip(sources, fresh, strict=True)]
    return torch.stack(rows)
