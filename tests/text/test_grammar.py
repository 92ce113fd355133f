"""Grammars as they are read: lists, JSGF, expressions, and what is refused with its line."""

from pathlib import Path

import pytest

from asr.errors import DataError
from asr.text.grammar import (
    MAX_BYTES,
    Choice,
    Grammar,
    Reference,
    Repeat,
    Row,
    Word,
    parse_grammar,
    read_grammar,
)
from asr.text.normalize import Normalizer, NormalizerConfig

LOWER = Normalizer(NormalizerConfig(case="lower"))
HEADER = "#JSGF V1.0 UTF-8 en;\n"


def grammar(text: str, name: str = "a.regex") -> Grammar:
    return parse_grammar(text, LOWER, where=name)


def test_a_list_has_a_phrase_a_line() -> None:
    found = grammar("# commands\nCall  home\n\nstop\n", "commands.txt")
    assert found.root == Choice((Row((Word("call", 2), Word("home", 2))), Word("stop", 4)))
    assert found.is_list


def test_an_expression_binds_as_usual() -> None:
    found = grammar("call (home|[the] boss)+ | a{2} b* c? d{1,} e{0,3}\n").root
    again = Repeat(Choice((Word("home", 1), Row((Repeat(Word("the", 1), 0, 1), Word("boss", 1))))), 1, None)
    letters = [Repeat(Word(word, 1), *bounds) for word, bounds in zip("abc", [(2, 2), (0, None), (0, 1)], strict=True)]
    more = [Repeat(Word("d", 1), 1, None), Repeat(Word("e", 1), 0, 3)]
    assert found == Choice((Row((Word("call", 1), again)), Row((*letters, *more))))
    assert grammar("yes\nno\n").root == Choice((Word("yes", 1), Word("no", 2))), "a line is an alternative"


def test_jsgf() -> None:
    found = grammar(
        HEADER + "grammar com.acme.phone; // its name\n/* several\nlines */\n"
        'public <call> = /2.5/ Call <who> {tag \\} "} | /1/ ("hang up") [now];\n'
        "<who> = home | boss*;\npublic <x>=stop;",
        "a.txt",
    )
    hang_up = Row((Word("hang", 5), Word("up", 5)))
    assert found.rules == {
        "call": Choice((Row((Word("call", 5), Reference("who", 5))), Row((hang_up, Repeat(Word("now", 5), 0, 1))))),
        "who": Choice((Word("home", 6), Repeat(Word("boss", 6), 0, None))),
        "x": Word("stop", 7),
    }
    assert [part.name for part in found.root.parts] == ["call", "x"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a", "", "a: holds no phrases; write a phrase a line"),
        ("a", "# nothing\n\n", "a: holds no phrases"),
        ("a", "yes\n\x01\n", 'a:2: "\\u0001" is empty once normalised; write a word or take it out'),
        ("a.regex", "yes\n(no", "a.regex:2: ')' is missing before the end; see docs/formats.md"),
        ("a.regex", "yes )", "a.regex:1: the end is missing before ')'"),
        ("a.regex", "yes | | no", "a.regex:1: a word is missing before '|'"),
        ("a.regex", "* yes", "a.regex:1: a word is missing before '*'"),
        ("a.regex", "yes{3,2}", "a.regex:1: '{3,2}' asks for at least 3 and at most 2"),
        ("a.regex", "yes{x}", "a.regex:1: '{' stands where it means nothing"),
        ("a.regex", "(" * 101 + "a" + ")" * 101, "a.regex:1: more than 100 brackets within each other"),
        ("a.jsgf", "yes\n", "a.jsgf:1: a JSGF grammar begins with '#JSGF V1.0;'; write that line"),
        ("a", "#JSGF V1.0\n", "a:1: a JSGF grammar begins with"),
        ("a", HEADER + "import <b.*>;", "a:2: rules of other files are not read"),
        ("a", HEADER + "<b> = yes;", "a: no rule is public; write 'public' before the rule that is said"),
        ("a", HEADER + "public <b> = <cat>;\n<cut> = no;", "a:2: there is no rule <cat>; did you mean 'cut'?"),
        ("a", HEADER + "public <b> = yes;\n<b> = no;", "a:3: rule <b> is there already"),
        ("a", HEADER + "public <b> = yes\n<c> = no;", "a:3: ';' is missing before '='"),
        ("a", HEADER + "public <b> = yes;\nno", "a:3: expected a rule such as '<name> = yes | no;', found 'no'"),
        ("a", HEADER + "public <b> = yes {tag;", "a:2: '{' stands where it means nothing"),
        ("a", HEADER + "/* no end\npublic <b> = yes;", "a:2: '/' stands where it means nothing"),
        ("a", HEADER + 'public <b> = "";', 'a:2: "" is empty once normalised'),
    ],
)
def test_what_is_no_grammar_is_one_line(name: str, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        grammar(text, name)
    assert str(caught.value).startswith(message)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with pytest.raises(DataError, match="cannot read the grammar: No such file or directory; check --grammar"):
        read_grammar(file, LOWER)
    file.write_bytes(b"yes\nno\xff\n")
    with pytest.raises(DataError, match="a:2: not UTF-8; save the file as UTF-8"):
        read_grammar(file, LOWER)
    file.write_bytes(b"a" * (MAX_BYTES + 1))
    with pytest.raises(DataError, match="larger than 8 MB"):
        read_grammar(file, LOWER)
