"""Normalisation: what is always done, what the configuration adds, and that doing it twice changes nothing."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import parse
from asr.errors import UsageError
from asr.text.normalize import Case, Normalizer, NormalizerConfig

ANY_TEXT = st.text(st.characters(), max_size=40)  # surrogates and unassigned code points included


def normalizer(case: Case = "keep", mapping: dict[str, str] | None = None, remove: str = "") -> Normalizer:
    return Normalizer(NormalizerConfig(case=case, map=mapping or {}, remove=remove))


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("\ufeffhello\r\n", "hello"),
        ("  a \t b\u00a0\u3000c\u2028d ", "a b c d"),
        ("zero\u200bwidth\u2060 so\u00adft", "zerowidth soft"),
        ("be\x00ll\x07\x1b", "bell"),
        ("\u200fשלום\u200e", "שלום"),
        ("don’t", "don’t"),
        ("", ""),
        (" \ufeff ", ""),
    ],
)
def test_always(written: str, spelled: str) -> None:
    assert normalizer()(written) == spelled


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian: the non-joiner is spelling
        ("می\u200c خواهم\u200c", "می خواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
        ("auf\u200clage \u200dx\u200c", "auflage x"),
        ("ب\u200c\u200c\u200dت", "ب\u200cت"),
    ],
)
def test_joiners_stay_where_they_are_spelling(written: str, spelled: str) -> None:
    assert normalizer()(written) == spelled


@pytest.mark.parametrize(
    ("case", "written", "spelled"),
    [
        ("lower", "HELLO Élan ΟΔΟΣ", "hello élan οδος"),
        ("upper", "straße", "STRASSE"),
        ("keep", "Abc", "Abc"),
        ("lower", "你好 नमस्ते سلام 🙂", "你好 नमस्ते سلام 🙂"),
    ],
)
def test_case(case: Case, written: str, spelled: str) -> None:
    assert normalizer(case)(written) == spelled


def test_map_takes_the_longest_key_first() -> None:
    assert normalizer(mapping={"&": " and ", "&&": " also ", "’": "'"})("a&&b & don’t") == "a also b and don't"


def test_map_sees_text_before_and_after_the_case() -> None:
    turkish = normalizer("lower", {"I": "ı", "İ": "i"})
    assert turkish("DIŞ İŞ") == "dış iş"
    assert normalizer("lower", {"é": "e"})("É") == "e"


def test_map_and_remove_compose_their_characters_first() -> None:
    assert normalizer(mapping={"e\u0301": "e"})("caf\u00e9") == "cafe"
    assert normalizer(remove="e\u0301")("tee caf\u00e9\u0301") == "tee caf\u0301"


def test_remove_sees_text_after_the_case_too() -> None:
    normalizer = Normalizer(NormalizerConfig(case="lower", remove="x"))
    assert normalizer("aXbxc") == "abc"


def test_remove_can_drop_every_space() -> None:
    assert normalizer(remove=" ,")("你\t好， 世界, ") == "你好，世界"


@settings(deadline=None, max_examples=400)
@given(text=ANY_TEXT, case=st.sampled_from(["lower", "upper", "keep"]))
def test_twice_is_once(text: str, case: Case) -> None:
    spell = normalizer(case, remove="-.e\u0301", mapping={"ß": "sz", "&": " and ", "aa": "a", "ΐ": "i", "\u200c": " "})
    spelled = spell(text)
    assert spell(spelled) == spelled
    assert spelled == unicodedata.normalize("NFC", spelled)
    assert spelled == " ".join(spelled.split())
    assert not set(spelled) & set("\x00\ufeff\u200b\u2060-.")


@settings(deadline=None, max_examples=200)
@given(
    text=st.text("abcAB -", max_size=12),
    mapping=st.dictionaries(st.text("abcAB -", min_size=1, max_size=3), st.text("abcAB -", max_size=3), max_size=4),
    case=st.sampled_from(["lower", "upper", "keep"]),
)
def test_any_map_is_refused_or_settles(text: str, mapping: dict[str, str], case: Case) -> None:
    try:
        spell = Normalizer(parse(NormalizerConfig, {"map": mapping, "case": case}, where="text"))
        spelled = spell(text)
    except UsageError:
        return
    assert spell(spelled) == spelled


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"map": {"a": "b", "b": "a"}}, "text: map: 'a' becomes 'b', in which 'b' is mapped again"),
        ({"map": {"x": "yy", "y": "xx"}}, "text: map: 'x' becomes 'yy', in which 'y' is mapped again"),
        ({"map": {"": "b"}}, "text: map: an empty key matches everywhere"),
        ({"map": {"é": "e", "e\u0301": "e"}}, "text: map: 'é' is given twice in two Unicode forms"),
        ({"case": "title"}, "text: case: 'title' is no choice; known: keep, lower, upper"),
        ({"cas": "lower"}, "text: cas: unknown key; did you mean 'case'?"),
    ],
)
def test_bad_configuration(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(NormalizerConfig, values, where="text")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_map_that_never_ends_is_stopped() -> None:
    with pytest.raises(UsageError, match=r"text\.map: never comes to an end on 'aaa"):
        normalizer(mapping={"ab": "bba"})("a" * 60 + "b")  # doubles with every a


def test_a_map_that_grows_is_stopped_early(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0
    one_round = Normalizer._round

    def watched(self: Normalizer, text: str) -> str:
        nonlocal longest
        assert longest < 100_000, "still growing"
        spelled = one_round(self, text)
        longest = max(longest, len(spelled))
        return spelled

    monkeypatch.setattr(Normalizer, "_round", watched)
    with pytest.raises(UsageError, match="never comes to an end"):
        normalizer(mapping={"ab": "bbaa"})("ab" * 20)


def test_configuration_survives_json() -> None:
    config = NormalizerConfig(case="upper", map={"’": "'"}, remove=".")
    assert NormalizerConfig.model_validate_json(config.model_dump_json()) == config
