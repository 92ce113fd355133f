"""Grammars: which phrases may be said, as a list, a JSGF file or an expression over words (docs/formats.md)."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from asr.errors import DataError, did_you_mean, shown
from asr.store import read_limited

MAX_BYTES = 8 << 20
MAX_NESTING = 100  # brackets within brackets
JSGF_HEADER = "#JSGF"
EXPRESSION_SUFFIX = ".regex"
NOTHING, NEVER = "NULL", "VOID"  # rules of JSGF: said by silence, and never said

Normalize = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Word:
    """A word, as the model's texts spell it."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Reference:
    """What the rule of a name says."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Row:
    """One part after the other."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the parts."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part at least and at most so many times; None: any number."""

    part: "Node"
    least: int
    most: int | None


Node = Word | Reference | Row | Choice | Repeat


@dataclass(frozen=True)
class Grammar:
    """Phrases that may be said.

    Attributes:
        root: all of them.
        rules: what references in them mean; each reference has its rule.
        is_list: whether they were listed, a phrase a line.
        where: the file, for messages.
    """

    root: Node
    rules: Mapping[str, Node]
    is_list: bool
    where: str


def read_grammar(path: str | Path, normalize: Normalize) -> Grammar:
    """Return the grammar of a file: JSGF if it begins so, an expression if it is named *.regex, else a list.

    Args: normalize: spells words as the model's texts.
    Raises: DataError naming file and line.
    """
    too_large = f"larger than {MAX_BYTES >> 20} MB, the most that a grammar may be; list fewer phrases"
    data = read_limited(path, MAX_BYTES, what="the grammar", cure="check --grammar", too_large=too_large)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None
    return parse_grammar(text, normalize, where=str(path))


def parse_grammar(text: str, normalize: Normalize, *, where: str) -> Grammar:
    """Return the grammar of a text.  Args, Raises: as `read_grammar`; where: the file's name decides too."""
    if text.startswith(JSGF_HEADER):
        return _Jsgf(text, normalize, where).grammar()
    if where.lower().endswith((".jsgf", ".gram")):
        raise DataError(f"{where}:1: a JSGF grammar begins with '{JSGF_HEADER} V1.0;'; write that line")
    is_list = not where.lower().endswith(EXPRESSION_SUFFIX)
    parts: list[Node] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if is_list:
            parts.append(_row([Word(word, number) for word in _words(line, normalize, f"{where}:{number}")]))
        else:
            parts.append(_Parser(_symbols(line, _EXPRESSION, where, number), normalize, where).whole())
    if not parts:
        raise DataError(f"{where}: holds no phrases; write a phrase a line")
    return Grammar(_choice(parts), {}, is_list, where)


class _Symbol(NamedTuple):
    """kind: word, rule, mark, times; the end of the text is the mark ''."""

    kind: str
    text: str
    line: int


_EXPRESSION = re.compile(
    r"(?P<blank>\s+)|(?P<times>\{[0-9]{1,6}(?:,[0-9]{0,6})?\})|(?P<mark>[|()\[\]?*+])|(?P<word>[^\s|()\[\]?*+{}]+)"
)
_JSGF = re.compile(
    r"(?P<blank>\s+|//[^\n]*|/\*.*?\*/|/\s*[0-9][0-9.eE+-]*\s*/|\{(?:\\.|[^\\{}])*\})|(?P<rule><[\w.:$+-]+>)"
    r'|"(?P<quoted>[^"\\]*)"|(?P<mark>[;=|*+()\[\]])|(?P<word>[^\s;=|*+<>()\[\]{}/"\\]+)',
    re.DOTALL,
)


def _symbols(text: str, pattern: re.Pattern[str], where: str, line: int) -> Iterator[_Symbol]:
    position = 0
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise DataError(f"{where}:{line}: '{text[position]}' stands where it means nothing; see docs/formats.md")
        kind = match.lastgroup or ""
        if kind != "blank":
            yield _Symbol("word" if kind == "quoted" else kind, match[kind], line)
        line += match[0].count("\n")
        position = match.end()
    yield _Symbol("mark", "", line)


class _Parser:
    """Reads expressions: `a b`, `a | b`, `( )`, `[ ]`, `*`, `+`, `?`, `{m,n}`."""

    def __init__(self, symbols: Iterator[_Symbol], normalize: Normalize, where: str) -> None:
        self._symbols, self._normalize, self._where = symbols, normalize, where
        self.next = next(symbols)
        self._nesting = 0

    def whole(self) -> Node:
        """Return the expression that ends with the text."""
        node = self.choice()
        self.take("")
        return node

    def choice(self) -> Node:
        """Return the alternatives that stand here."""
        parts = [self._row()]
        while self._at("|"):
            self.step()
            parts.append(self._row())
        return _choice(parts)

    def step(self) -> _Symbol:
        """Return the next symbol and go on."""
        symbol = self.next
        self.next = next(self._symbols, symbol)
        return symbol

    def take(self, mark: str) -> None:
        """Go on after a mark.  Raises: DataError if it is not there."""
        if not self._at(mark):
            raise self.wrong(f"{_named(mark)} is missing before {_named(self.next.text)}")
        self.step()

    def wrong(self, what: str) -> DataError:
        """Return the error about what stands here."""
        return DataError(f"{self._where}:{self.next.line}: {what}; see docs/formats.md")

    def _at(self, *marks: str) -> bool:
        return self.next.kind == "mark" and self.next.text in marks

    def _row(self) -> Node:
        parts: list[Node] = []
        while self.next.kind in ("word", "rule") or self._at("(", "["):
            parts.append(self._repeated(self._part()))
        if not parts:
            raise self.wrong(f"a word is missing before {_named(self.next.text)}")
        return _row(parts)

    def _part(self) -> Node:
        symbol = self.step()
        if symbol.kind == "word":
            words = _words(symbol.text, self._normalize, f"{self._where}:{symbol.line}")
            return _row([Word(word, symbol.line) for word in words])
        if symbol.kind == "rule":
            return Reference(symbol.text[1:-1], symbol.line)
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self.wrong(f"more than {MAX_NESTING} brackets within each other")
        node = self.choice()
        self.take(")" if symbol.text == "(" else "]")
        self._nesting -= 1
        return node if symbol.text == "(" else Repeat(node, 0, 1)

    def _repeated(self, node: Node) -> Node:
        while self.next.kind == "times" or self._at("*", "+", "?"):
            symbol = self.next
            least, most = _times(symbol.text)
            if most is not None and most < least:
                raise self.wrong(f"'{symbol.text}' asks for at least {least} and at most {most}")
            self.step()
            node = Repeat(node, least, most)
        return node


class _Jsgf(_Parser):
    """Reads the rules of a JSGF file; weights and tags are passed over."""

    def __init__(self, text: str, normalize: Normalize, where: str) -> None:
        header = re.match(rf"{JSGF_HEADER}\s[^;\n]*;", text)
        if header is None:
            raise DataError(f"{where}:1: a JSGF grammar begins with '{JSGF_HEADER} V1.0;'; write that line")
        super().__init__(_symbols(text[header.end() :], _JSGF, where, 1), normalize, where)

    def grammar(self) -> Grammar:
        """Return all public rules as one choice."""
        rules: dict[str, Node] = {}
        public: list[Node] = []
        if self.next.text == "grammar":
            self.step()
            self.step()
            self.take(";")
        while not self._at(""):
            if self.next.text == "import":
                raise self.wrong("rules of other files are not read: write them into this one in place of 'import'")
            is_public = self.next.text == "public"
            if is_public:
                self.step()
            name, node = self._rule(rules)
            rules[name] = node
            if is_public:
                public.append(Reference(name, self.next.line))
        if not public:
            raise DataError(f"{self._where}: no rule is public; write 'public' before the rule that is said")
        self._refuse_unknown(rules)
        return Grammar(_choice(public), rules, False, self._where)

    def _rule(self, rules: Mapping[str, Node]) -> tuple[str, Node]:
        if self.next.kind != "rule":
            raise self.wrong(f"expected a rule such as '<name> = yes | no;', found {_named(self.next.text)}")
        name = self.next.text[1:-1]
        if name in rules or name in (NOTHING, NEVER):
            raise self.wrong(f"rule <{name}> is there already")
        self.step()
        self.take("=")
        node = self.choice()
        self.take(";")
        return name, node

    def _refuse_unknown(self, rules: Mapping[str, Node]) -> None:
        for node in rules.values():
            for reference in _references(node):
                if reference.name not in (*rules, NOTHING, NEVER):
                    cure = did_you_mean(reference.name, rules)
                    raise DataError(f"{self._where}:{reference.line}: there is no rule <{reference.name}>{cure}")


def _references(node: Node) -> Iterator[Reference]:
    if isinstance(node, Reference):
        yield node
    elif isinstance(node, Repeat):
        yield from _references(node.part)
    elif not isinstance(node, Word):
        for part in node.parts:
            yield from _references(part)


def _words(text: str, normalize: Normalize, place: str) -> list[str]:
    words = normalize(text).split()
    if not words:
        raise DataError(f"{place}: {shown(text.strip())} is empty once normalised; write a word or take it out")
    return words


def _times(mark: str) -> tuple[int, int | None]:
    """Return (least, most) of '*', '+', '?', '{2}', '{2,}' or '{2,3}'."""
    if mark in ("*", "+", "?"):
        return int(mark == "+"), 1 if mark == "?" else None
    least, comma, most = mark[1:-1].partition(",")
    return int(least), int(most) if most else None if comma else int(least)


def _named(mark: str) -> str:
    return f"'{mark}'" if mark else "the end"


def _row(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else Row(tuple(parts))


def _choice(parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else Choice(tuple(parts))
