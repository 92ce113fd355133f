"""What is spoken of a sentence as printed: the words, without the marks between them."""

import unicodedata

_APOSTROPHES = "'’‘ʼ`´＇"
_INSIDE = "'·\u0f0b׳״"  # between two letters they are spelling: it's, col·legi, and marks of Tibetan and Hebrew
_SAID = "%‰&@#§°+=<>×÷±"  # read out as words: they stay, for somebody to spell them


class _Marks(dict[int, int]):
    """What `str.translate` makes of each character: itself or a space."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        category = unicodedata.category(character)
        seen = category[0] in "PS" and category != "Sc" and character not in _INSIDE + _SAID
        self[code] = ord(" ") if seen else code
        return self[code]


_MARKS = _Marks({ord(character): ord("'") for character in _APOSTROPHES})


def without_punctuation(text: str) -> str:
    """Return a text without what is seen and not said: single spaces between words, one kind of apostrophe.

    Apostrophes, and the few marks like them that are part of a word, stay between letters; dashes separate words;
    digits and signs that are read out as words (% & + €) are left as they are.  Unicode NFC.
    """
    words = unicodedata.normalize("NFC", text).translate(_MARKS)
    if any(mark in words for mark in _INSIDE):
        words = "".join(
            " " if mark in _INSIDE and not _joins(words, index) else mark for index, mark in enumerate(words)
        )
    return " ".join(words.split())


def _joins(text: str, index: int) -> bool:
    """Return whether there is a letter (or a mark on one) on both sides."""
    neighbours = text[max(0, index - 1) : index] + text[index + 1 : index + 2]
    return len(neighbours) == 2 and all(unicodedata.category(character)[0] in "LM" for character in neighbours)
