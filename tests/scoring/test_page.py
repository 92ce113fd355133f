"""The page: well formed, complete, and deaf to what texts say."""

import base64
import hashlib
import re
from html.parser import HTMLParser

from asr.scoring.bootstrap import Interval
from asr.scoring.error_rate import Pair, score
from asr.scoring.page import page
from asr.scoring.slices import slices
from asr.scoring.sound import Sound, Sounds
from asr.scoring.texts import Text

VOID = {"meta", "input", "img", "br"}


class _Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that what is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _page(pairs: list[Pair], *, speaker: str = "s", title: str = "t", sounds: Sounds | None = None) -> str:
    result = score(pairs)
    references = {pair.id: Text(pair.reference, None, {"speaker": speaker}) for pair in pairs}
    words = [{"word": "x", "start": 0.25 * n, "end": 0.25 * n + 0.2} for n in range(2)]
    hypotheses = {pair.id: Text(pair.hypothesis, None, {"words": words}) for pair in pairs}
    tables = {"speaker": slices(result, dict.fromkeys(references, speaker), seed=0)}
    interval = Interval(0.1, 0.9, 0.95, 100, 0)
    return page(title, result, interval, tables, references, hypotheses, sounds or Sounds({}, ()))


def test_every_utterance_error_and_number_is_there() -> None:
    shown = _Reader(_page([Pair("u1", "a b c", "a x"), Pair("u2", "d", "d e")]))
    cards = shown.all("article")
    assert [(card["data-errors"], card["data-rate"], card["data-order"]) for card in cards] == [
        *(("2", "0.666667", "0"), ("1", "1.000000", "1"))
    ]  # fmt: skip
    assert cards[0]["data-text"] == "u1\ns\na b c\na x\n b→x c→ "
    assert cards[1]["data-text"] == "u2\ns\nd\nd e\n →e "
    kinds = [attributes.get("class") for attributes in shown.all("li")]
    assert [kind for kind in kinds if kind in ("sub", "del", "ins")] == ["sub", "del", "ins"]
    assert [button["data-query"] for button in shown.all("button") if "data-query" in button] == ["b→x", "c→", "→e"]
    text = "".join(shown.texts)
    assert "75.00 %" in text
    assert "95 % interval 10.00 to 90.00" in text
    assert "3 errors in 4 words: 1 substituted, 1 deleted, 1 inserted" in text


def test_words_know_their_time_only_where_the_times_are_theirs() -> None:
    shown = _Reader(_page([Pair("u1", "a b c", "a x"), Pair("u2", "d", "d e f")]))
    timed = [(button["data-start"], button["data-end"]) for button in shown.all("button") if "data-start" in button]
    assert timed == [("0.000", "0.200"), ("0.250", "0.450")]  # of the first; the second has three words and two times


def test_texts_are_data() -> None:
    evil = "\"><script>alert(1)</script><img/src=x/onerror=alert(2)>&amp;{{title}}'x"
    sounds = Sounds({}, (f"note {evil}",))
    plain = _Reader(_page([Pair("u", "a", "b")], sounds=Sounds({}, ("note",))))
    shown = _Reader(_page([Pair(evil, evil, evil + "2")], speaker=evil, title=evil, sounds=sounds))
    assert [tag for tag, _ in shown.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in shown.tags] == [sorted(attributes) for _, attributes in plain.tags]
    assert shown.texts.count(evil) == 5  # title twice, id, speaker of the table, what was said
    assert shown.all("button")[0]["data-query"] == f"{evil}→{evil}2"


def test_only_its_own_script_may_run_and_nothing_is_fetched() -> None:
    text = _page([Pair("u", "a", "b")], sounds=Sounds({"u": Sound(b"fLaC", b"png", 1.5)}, ()))
    shown = _Reader(text)
    (policy,) = (str(meta["content"]) for meta in shown.all("meta") if "http-equiv" in meta)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")
    assert shown.all("audio")[0]["src"] == "data:audio/flac;base64,ZkxhQw=="
    assert shown.all("img")[0]["src"] == "data:image/png;base64,cG5n"
    assert not re.search(r"https?://|@import|url\(", text)
    assert not shown.all("link")


def test_silence_only() -> None:
    shown = _Reader(_page([Pair("u", "", "")]))
    assert "no error" in shown.texts
    assert shown.all("article")[0]["data-rate"] == "0.000000"


def test_words_run_as_their_script_does() -> None:
    shown = _Reader(
        _page([Pair("u", "שלום a", "a"), Pair("v", "1 a שלום", "a"), Pair("w", "", "سلام"), Pair("x", "7", "7")])
    )
    directions = [attributes["dir"] for attributes in shown.all("ol") if "dir" in attributes]
    assert directions == ["rtl", "ltr", "rtl", "ltr"]
