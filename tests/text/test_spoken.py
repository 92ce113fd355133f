"""What is said of a printed sentence."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.text.spoken import without_punctuation


@pytest.mark.parametrize(
    ("printed", "spoken"),
    [
        ('„Ahoj," řekl – tedy: e-mail?', "Ahoj řekl tedy e mail"),
        ("It’s ‘quoted’; the dogs' rock'n'roll…", "It's quoted the dogs rock'n'roll"),
        ("¿Qué? ¡No! (sí) [no] {a}", "Qué No sí no a"),
        ("col·legi · O`Hare l'été", "col·legi O'Hare l'été"),
        ("צה״ל ג'ירפה", "צה״ל ג'ירפה"),
        ("བོད་སྐད།", "བོད་སྐད"),
        ("100 % & 5 € + 2#", "100 % & 5 € + 2#"),
        ("→ ♪ © a/b a_b *c*", "a b a b c"),
        ("你好，世界。", "你好 世界"),
        ("हिन्दी।", "हिन्दी"),
        ("e\u0301te\u0301", "été"),
        ("e··\u0301x", "e \u0301x"),
        (" '…' ", ""),
        ("", ""),
    ],
)
def test_words_without_the_marks_between_them(printed: str, spoken: str) -> None:
    assert without_punctuation(printed) == spoken


@given(st.text())
def test_letters_and_digits_stay_and_doing_it_again_changes_nothing(text: str) -> None:
    once = without_punctuation(text)
    assert without_punctuation(once) == once
    letters = [character for character in unicodedata.normalize("NFC", text) if character.isalnum()]
    kept = [character for character in once if character.isalnum()]
    assert [letter for letter in letters if letter != "ʼ"] == kept
