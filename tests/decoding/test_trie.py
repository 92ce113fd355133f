"""Tries: every text is found, nothing else is."""

import numpy as np

from asr.decoding.fusion import SPACE, Trie
from asr.decoding.trie import NOBODY, build_trie


def walk(trie: Trie, text: str) -> int | None:
    """Return the node that a text leads to, by looking at every arc."""
    node = 0
    for character in text:
        code = SPACE if character == " " else ord(character)
        arcs = range(trie.firsts[node], trie.firsts[node + 1])
        found = [trie.nexts[arc] for arc in arcs if trie.characters[arc] == code]
        if not found:
            return None
        (node,) = found
    return int(node)


def test_every_text_is_found_and_nothing_else() -> None:
    texts = ["new york", "new", "york", "a", "é", "newt", "日本", "new", "b c d"]
    values = np.arange(len(texts), dtype=np.float64)
    trie = build_trie(texts, values)
    for place, text in enumerate(texts):
        node = walk(trie, text)
        assert node is not None
        assert trie.ends[node] == texts.index(text), place
    prefixes = {text[:size] for text in texts for size in range(len(text) + 1)}
    assert len(trie.ends) == len(prefixes)
    assert sum(end != NOBODY for end in trie.ends) == len(set(texts))
    for prefix in prefixes:
        below = [value for text, value in zip(texts, values, strict=True) if text.startswith(prefix)]
        assert trie.values[walk(trie, prefix)] == max(below)
    assert walk(trie, "nw") is None
    for node in range(len(trie.ends)):
        row = trie.characters[trie.firsts[node] : trie.firsts[node + 1]]
        assert (np.diff(row) > 0).all(), "the search halves the arcs"


def test_random_texts() -> None:
    random = np.random.default_rng(3)
    texts = ["".join(random.choice(list("ab c"), random.integers(1, 9))) for _ in range(500)]
    trie = build_trie(texts, np.zeros(len(texts)))
    for text in texts:
        node = walk(trie, text)
        assert node is not None
        assert texts[trie.ends[node]] == text


def test_a_trie_of_nothing() -> None:
    trie = build_trie([], np.zeros(0))
    assert (trie.ends.tolist(), trie.firsts.tolist()) == ([NOBODY], [0, 0])
