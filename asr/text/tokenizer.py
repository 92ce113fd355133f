"""Tokens and their ids: characters, SentencePiece units, or the phones of a lexicon.

Token 0 is always the blank of CTC, which no text contains.  The space is the symbol '▁'.  A character
tokenizer has one symbol per code point; a SentencePiece one has the pieces of its model, without the model's
own control and unknown symbols; one of a lexicon has its phones, with the space between words.
Sources: Kudo & Richardson 2018 (SentencePiece); Kudo 2018 (unigram); Sennrich et al. 2016 (BPE).
"""

import base64
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asr.config import parse
from asr.errors import DataError, UsageError
from asr.store import read_limited, write_json
from asr.text.lexicon import MAX_BYTES, Lexicon, describe_missing, parse_lexicon, refuse_missing
from asr.text.normalize import Normalizer, NormalizerConfig

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

BLANK = "<blank>"
SPACE = "▁"  # U+2581, as SentencePiece writes it
_RESERVED = "▅"  # U+2585: SentencePiece leaves out training lines that hold it
_UNSPEAKABLE = re.compile(f"[{SPACE}\ud800-\udfff]")  # a literal '▁', half a surrogate pair: never in an alphabet
MAX_FILE_BYTES = 64 << 20
MAX_MODEL_BYTES = MAX_BYTES  # of a SentencePiece model, or of a lexicon
MAX_SYMBOLS = 1 << 20
MAX_PHONES = 1 << 16

Kind = Literal["char", "sentencepiece", "lexicon"]
SentencePieceKind = Literal["unigram", "bpe"]


class Tokenizer:
    """Text <-> token ids.

    Attributes:
        symbols: V symbols; ids index this list; symbols[0] is the blank.
        normalizer: applied to every text before it is encoded.
        lexicon: how words are pronounced, where the symbols are phones.
    """

    def __init__(
        self, symbols: Sequence[str], normalizer: Normalizer, model: bytes = b"", lexicon: Lexicon | None = None
    ) -> None:
        """Build from checked parts; `from_state` and `load` check foreign ones.

        Args: model: the serialised SentencePiece model, empty for characters and phones.
        Raises: DataError if the symbols are no token list or differ from those of the model or lexicon.
        """
        self.symbols = list(symbols)
        self.normalizer = normalizer
        self._model = model
        self._units = _Pieces(model) if model else None
        self.lexicon = lexicon
        _check_symbols(self.symbols, self._units, lexicon)
        self._ids = {symbol: index for index, symbol in enumerate(self.symbols)}
        self._alphabet = {symbol for symbol in self.symbols if len(symbol) == 1} - {SPACE}
        if SPACE in self._ids or self._units is not None:
            self._alphabet.add(" ")

    @property
    def kind(self) -> Kind:
        """What the symbols are."""
        if self.lexicon is not None:
            return "lexicon"
        return "char" if self._units is None else "sentencepiece"

    @property
    def size(self) -> int:
        """V, the number of symbols, blank included."""
        return len(self.symbols)

    @property
    def has_space(self) -> bool:
        """Whether texts may hold spaces: False for scripts without them, and where every text is one word."""
        return " " in self._alphabet

    @property
    def alphabet(self) -> str:
        """The characters that have symbols of their own, in order of code points; the space is not among them."""
        return "".join(sorted(self._alphabet - {" "}))

    @property
    def byte_fallback(self) -> bool:
        """Whether characters without a symbol are spelled in bytes, so that nothing is outside the alphabet."""
        return self._units is not None and len(self._units.byte_values) == 256

    def encode(self, text: str) -> list[int]:
        """Return the token ids (U) of `text`, normalised first.  Never contains the blank.

        Words are pronounced as their lexicon has it first.
        Raises: DataError listing the characters outside the alphabet, or the words that the lexicon lacks.
        """
        text = self.normalizer(text)
        if self.lexicon is not None:
            return self._pronounce(text, self.lexicon)
        ids = self._encode_characters(text) if self._units is None else self._units.encode(text)
        if ids is None:
            raise DataError(describe_unknown(self._outside(text)))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids: words with single spaces between them.

        Blanks are ignored; bytes that are no valid UTF-8 become U+FFFD; phones between two spaces that are no word of
        the lexicon stand joined by hyphens.
        Raises: IndexError for an id outside [0, V).
        """
        return " ".join(word for word, _, _ in self.words_of(ids))

    def unknown(self, text: str) -> list[str]:
        """Return the characters of the normalised text outside the alphabet, each once, in order of appearance.

        Of phones they are the words that the lexicon lacks.
        """
        return self._outside(self.normalizer(text))

    def is_word_start(self, token_id: int) -> bool:
        """Return whether a word starts with this token, or just after it where it is the space alone."""
        return self.symbols[token_id].startswith(SPACE)

    def words_of(self, ids: Sequence[int]) -> list[tuple[str, int, int]]:
        """Return (word, first, last) for each word of `ids`, its tokens being positions [first, last).

        A token that spells only a space belongs to no word.  In scripts without spaces, what stands between
        two spaces counts as one word.
        """
        if self.lexicon is not None:
            return self._pronounced(ids, self.lexicon)
        words: list[tuple[str, int, int]] = []
        inside = False
        for character, first, last in self._spell(ids):
            if character == SPACE or character.isspace():
                inside = False
            elif inside:
                word, start, _ = words[-1]
                words[-1] = (word + character, start, last)
            else:
                words.append((character, first, last))
                inside = True
        return words

    def state(self) -> tuple[dict[str, Any], bytes]:
        """Return (JSON-able description; SentencePiece model, lexicon or b""): what `from_state` takes."""
        description = {
            "kind": self.kind,
            "normalizer": self.normalizer.config.model_dump(mode="json"),
            "symbols": list(self.symbols),
        }
        return description, self._model if self.lexicon is None else self.lexicon.as_bytes()

    @classmethod
    def from_state(cls, description: Any, model: bytes = b"", *, where: str = "tokenizer") -> "Tokenizer":
        """Return the tokenizer of a description and model written by `state`; nothing in them is trusted.

        Args: where: the file that they came from, for the message.
        Raises: DataError on one line if they are not such a state.
        """
        try:
            return _from_description(description, model)
        except (DataError, UsageError) as error:
            raise DataError(f"{where}: not a usable token list: {error}; make it again with asr tokens") from None

    def save(self, path: str | Path) -> None:
        """Write `tokens.json`.  Raises: MachineError if it cannot be written."""
        description, model = self.state()
        write_json(path, {**description, "model": base64.b64encode(model).decode("ascii") if model else None})

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Return the tokenizer of a `tokens.json`.

        Raises: DataError on one line if the file is missing, too large or not a token list.
        """
        values = _read_json(path)
        encoded = values.pop("model", None)
        try:
            model = b"" if encoded is None else base64.b64decode(encoded, validate=True)
        except (TypeError, ValueError):
            raise _bad_file(path, "'model' is not base64") from None
        return cls.from_state(values, model, where=str(path))

    def _encode_characters(self, text: str) -> list[int] | None:
        if SPACE in text:  # it would pass for a space
            return None
        try:
            return [self._ids[character] for character in text.replace(" ", SPACE)]
        except KeyError:
            return None

    def _pronounce(self, text: str, lexicon: Lexicon) -> list[int]:
        words = text.split()
        if missing := lexicon.missing(words):
            raise DataError(describe_missing(missing))
        spoken = [[self._ids[symbol] for symbol in lexicon.words[word][0]] for word in words]
        return [token for word in spoken for token in (self._ids[SPACE], *word)][1:]

    def _pronounced(self, ids: Sequence[int], lexicon: Lexicon) -> list[tuple[str, int, int]]:
        """Return (word, first, last) for each run of phones between two spaces."""
        runs: list[tuple[list[str], int, int]] = [([], 0, 0)]
        for position, token_id in enumerate(ids):
            if token_id < 0:
                raise IndexError(f"token id {token_id} is negative")
            symbol = self.symbols[token_id]
            if symbol == SPACE:
                runs.append(([], 0, 0))
            elif token_id != 0:
                sounds, first, _ = runs[-1]
                runs[-1] = ([*sounds, symbol], first if sounds else position, position + 1)
        return [(lexicon.name(tuple(sounds)), first, last) for sounds, first, last in runs if sounds]

    def _outside(self, text: str) -> list[str]:
        if self.lexicon is not None:
            return self.lexicon.missing(text.split())
        if self.byte_fallback:
            return list(dict.fromkeys(_UNSPEAKABLE.findall(text)))
        return [character for character in dict.fromkeys(text) if character not in self._alphabet]

    def _spell(self, ids: Sequence[int]) -> list[tuple[str, int, int]]:
        """Return (character, first, last) for each character, spelled by the tokens at [first, last)."""
        byte_values = {} if self._units is None else self._units.byte_values
        spelled: list[tuple[str, int, int]] = []
        run: list[tuple[int, int]] = []  # (byte, position) of neighbouring bytes
        for position, token_id in enumerate(ids):
            if token_id < 0:
                raise IndexError(f"token id {token_id} is negative")
            symbol = self.symbols[token_id]
            if token_id == 0:
                continue
            if token_id in byte_values:
                run.append((byte_values[token_id], position))
                continue
            spelled += _spell_bytes(run)
            run = []
            spelled += [(character, position, position + 1) for character in symbol]
        return spelled + _spell_bytes(run)


class _Pieces:
    """A SentencePiece model, its ids renumbered so that 0 is the blank and control symbols are gone."""

    def __init__(self, model: bytes) -> None:
        self._processor = processor = _load_processor(model)
        spoken = [
            piece
            for piece in range(processor.get_piece_size())
            if not (processor.is_control(piece) or processor.is_unknown(piece) or processor.is_unused(piece))
        ]
        try:
            self.symbols = [BLANK, *(processor.id_to_piece(piece) for piece in spoken)]
        except UnicodeDecodeError:
            raise DataError("its sentencepiece model holds a piece that is not UTF-8") from None
        self._ours = [0] * processor.get_piece_size()
        for index, piece in enumerate(spoken, start=1):
            self._ours[piece] = index
        self.byte_values = {
            index: _byte_value(self.symbols[index])
            for index, piece in enumerate(spoken, start=1)
            if processor.is_byte(piece)
        }

    def encode(self, text: str) -> list[int] | None:
        """Return the ids of a normalised text, or None if a character of it has no piece."""
        if _UNSPEAKABLE.search(text):
            return None
        ids = [self._ours[piece] for piece in self._processor.encode(text)]
        return None if 0 in ids else ids


def describe_unknown(characters: Sequence[str]) -> str:
    """Return the message about characters outside the alphabet."""
    verb, what = ("is", "it") if len(characters) == 1 else ("are", "them")
    return (
        f"{named_characters(characters)} {verb} not in the alphabet; take {what} away by text.remove,"
        f" map {what} in text.map, or train with tokens of your texts (asr tokens, --tokens)"
    )


def named_characters(characters: Sequence[str]) -> str:
    """Return the first characters for a message, with their code points, and how many more there are."""
    shown = ", ".join(f"'{_printable(character)}' (U+{ord(character):04X})" for character in characters[:20])
    return f"{shown} and {len(characters) - 20} more" if len(characters) > 20 else shown


def train_char(texts: Iterable[str], normalizer: Normalizer) -> Tokenizer:
    """Return a tokenizer with one symbol for every character of the normalised texts.

    Blank, then the space if there is one, then the others by code point.
    Raises: DataError if the texts are empty or hold characters that cannot be tokens.
    """
    characters: set[str] = set()
    for text in texts:
        characters.update(normalizer(text))
    _check_trainable(characters)
    space = [SPACE] if " " in characters else []
    return Tokenizer([BLANK, *space, *sorted(characters - {" "})], normalizer)


def train_lexicon(texts: Iterable[str], normalizer: Normalizer, lexicon: Lexicon) -> Tokenizer:
    """Return a tokenizer with one symbol for every phone of a lexicon, which it keeps.

    Blank, then the space, then the phones by their names.  Of words that sound alike the one that is more frequent in
    the texts is read.
    Raises: DataError naming the words of the texts that the lexicon lacks.
    """
    lexicon = lexicon.by_frequency(refuse_missing(lexicon, map(normalizer, texts)))
    return Tokenizer([BLANK, SPACE, *lexicon.symbols], normalizer, lexicon=lexicon)


def train_sentencepiece(
    texts: Iterable[str],
    normalizer: Normalizer,
    size: int,
    model: SentencePieceKind = "unigram",
    byte_fallback: bool = False,
) -> Tokenizer:
    """Return a tokenizer of `size` symbols (V, blank included) trained on the normalised texts.

    Every character of the texts can be spelled.  The same texts give the same tokenizer, byte for byte.
    Raises: UsageError if `size` cannot be reached or cannot hold the characters, with the limit; DataError
        if the texts are empty or hold characters that cannot be tokens.
    """
    if not 1 <= size <= MAX_SYMBOLS:
        raise UsageError(f"{size} symbols are not possible; give 1 to {MAX_SYMBOLS}")
    lines = [line for line in map(normalizer, texts) if line]
    characters = set().union(*lines)
    _check_trainable(characters, reserved=SPACE + _RESERVED)
    tokenizer = _from_model(_train_model(lines, size, model, byte_fallback), normalizer)
    left_out = characters - tokenizer._alphabet
    assert byte_fallback or not left_out, f"sentencepiece left out characters of the texts: {sorted(left_out)}"
    return tokenizer


def _train_model(lines: list[str], size: int, model: SentencePieceKind, byte_fallback: bool) -> bytes:
    from sentencepiece import SentencePieceTrainer

    trained = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=trained,
            model_type=model,
            vocab_size=size,  # its unknown symbol is counted in place of our blank
            byte_fallback=byte_fallback,
            character_coverage=1.0,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            unk_id=0,
            unk_piece="<\x01>",  # no text can hold it; texts do hold "<unk>", whose letters would be left out
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            max_sentence_length=max(4096, *(len(line.encode()) for line in lines)) + 1,  # longer ones are left out
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _size_error(str(error), size) from None
    return trained.getvalue()


def _size_error(message: str, size: int) -> UsageError:
    """Return the error about a vocabulary size, with the limit that SentencePiece found."""
    too_high = re.search(r"value <= (\d+)", message)
    if too_high:
        return UsageError(f"{size} symbols are too many for these texts; the largest possible is {too_high[1]}")
    too_low = re.search(r"(?:required_chars|smaller than).*?(\d+) vs (\d+)", message, re.DOTALL)
    if too_low:
        return UsageError(f"{size} symbols cannot hold the characters; the smallest possible is {too_low[2]}")
    return UsageError(f"sentencepiece cannot train {size} symbols: {' '.join(message.split())}")


def _from_model(model: bytes, normalizer: Normalizer) -> Tokenizer:
    return Tokenizer(_Pieces(model).symbols, normalizer, model)


def _load_processor(model: bytes) -> "SentencePieceProcessor":
    from sentencepiece import SentencePieceProcessor

    if len(model) > MAX_MODEL_BYTES:
        raise DataError(f"its sentencepiece model has {len(model)} bytes (at most {MAX_MODEL_BYTES})")
    processor = SentencePieceProcessor()
    try:
        processor.load_from_serialized_proto(model)
    except (RuntimeError, ValueError):  # a ValueError where its own message is not UTF-8
        raise DataError("its sentencepiece model cannot be read") from None
    return processor


def _from_description(description: Any, model: bytes) -> Tokenizer:
    if not isinstance(description, dict):
        raise DataError(f"expected an object, found {type(description).__name__}")
    kind = description.get("kind")
    if kind not in ("char", "sentencepiece", "lexicon"):
        raise DataError(f"kind {kind!r} is neither 'char', 'sentencepiece' nor 'lexicon'")
    if (kind != "char") != bool(model):
        what = "lexicon" if kind == "lexicon" else "sentencepiece model"
        raise DataError(f"kind '{kind}' {'with' if model else 'without'} a {what}")
    if not isinstance(description.get("normalizer"), dict):
        raise DataError("no normalizer")
    symbols = description.get("symbols")
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise DataError("'symbols' is not a list of strings")
    normalizer = Normalizer(parse(NormalizerConfig, description["normalizer"], where="normalizer"))
    if kind == "lexicon":
        return Tokenizer(symbols, normalizer, lexicon=parse_lexicon(model, normalizer, where="its lexicon"))
    return Tokenizer(symbols, normalizer, model)


def _check_symbols(symbols: list[str], units: _Pieces | None, lexicon: Lexicon | None) -> None:
    if not 2 <= len(symbols) <= MAX_SYMBOLS:
        raise DataError(f"{len(symbols)} symbols (2 to {MAX_SYMBOLS} are possible)")
    if symbols[0] != BLANK:
        raise DataError(f"symbol 0 is {symbols[0]!r}, not '{BLANK}'")
    if lexicon is not None:
        if len(lexicon.symbols) > MAX_PHONES:
            raise DataError(f"{len(lexicon.symbols)} phones (at most {MAX_PHONES} are possible)")
        if lexicon.is_list or symbols != [BLANK, SPACE, *lexicon.symbols]:
            raise DataError("its symbols are not the phones of its lexicon")
        return
    seen: set[str] = set()
    for index, symbol in enumerate(symbols):
        if symbol in seen:
            raise DataError(f"symbol {index} {symbol!r} is there twice")
        if units is None and index > 0 and (len(symbol) != 1 or symbol.isspace() or _is_surrogate(symbol)):
            raise DataError(f"symbol {index} {symbol!r} is not one character (the space is '{SPACE}')")
        seen.add(symbol)
    if units is not None and units.symbols != symbols:
        raise DataError("its symbols are not those of its sentencepiece model")


def _check_trainable(characters: set[str], *, reserved: str = SPACE) -> None:
    if not characters - {" "}:
        raise DataError("the texts hold no characters; give transcripts to make tokens from")
    wrong = [character for character in sorted(characters) if character in reserved or _is_surrogate(character)]
    if wrong:
        shown = ", ".join(f"'{_printable(character)}' (U+{ord(character):04X})" for character in wrong[:20])
        raise DataError(f"{shown} cannot be a token; drop it with text.remove or map it in text.map")


def _byte_value(symbol: str) -> int:
    match = re.fullmatch("<0x([0-9A-F]{2})>", symbol)
    if match is None:
        raise DataError(f"its sentencepiece model names a byte {symbol!r}")
    return int(match[1], 16)


def _spell_bytes(run: list[tuple[int, int]]) -> list[tuple[str, int, int]]:
    """Return (character, first, last) for neighbouring (byte, position); U+FFFD where they are no UTF-8."""
    spelled: list[tuple[str, int, int]] = []
    data = bytes(value for value, _ in run)
    begin = 0
    while begin < len(data):
        try:
            text, bad_from, bad_to = data[begin:].decode(), len(data), len(data)
        except UnicodeDecodeError as error:
            text, bad_from, bad_to = data[begin : begin + error.start].decode(), begin + error.start, begin + error.end
        for character in text:
            end = begin + len(character.encode())
            spelled.append((character, run[begin][1], run[end - 1][1] + 1))
            begin = end
        if bad_from < len(data):
            spelled.append(("\ufffd", run[bad_from][1], run[bad_to - 1][1] + 1))
        begin = bad_to
    return spelled


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _printable(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def _read_json(path: str | Path) -> dict[str, Any]:
    too_large = _not_usable(f"longer than {MAX_FILE_BYTES} bytes")
    data = read_limited(path, MAX_FILE_BYTES, what="the tokens", cure="make them with asr tokens", too_large=too_large)
    try:
        values = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _bad_file(path, "not JSON") from None
    if not isinstance(values, dict):
        raise _bad_file(path, f"expected an object, found {type(values).__name__}")
    return values


def _bad_file(path: str | Path, why: str) -> DataError:
    return DataError(f"{path}: {_not_usable(why)}")


def _not_usable(why: str) -> str:
    return f"not a usable token list: {why}; make it again with asr tokens"
