"""Names that a manifest may hold, made of any others: legal, unique, and the same every time; lists of them."""

import re
from collections.abc import Iterable, Sequence

MAX_NAMED = 5  # in a message
_ILLEGAL = re.compile(r"[\s/\x00-\x1f\x7f]+")


def legal_name(text: str) -> str:
    """Return `text` with each run of white space, slashes and control characters as one "_"."""
    name = _ILLEGAL.sub("_", text)
    return name if name.strip(".") else f"{name}_"  # "", "." and ".." are no file names


def unique_names(texts: Iterable[str]) -> list[str]:
    """Return a legal name for each text, in order: a name that is taken gets "-2", "-3", ...

    Texts that are legal and unique stay as they are, whatever the others are.
    """
    names = [legal_name(text) for text in texts]
    taken, given = set(names), set[str]()
    numbers: dict[str, int] = {}
    unique = []
    for name in names:
        candidate = name
        while candidate in given or (candidate != name and candidate in taken):
            numbers[name] = numbers.get(name, 1) + 1
            candidate = f"{name}-{numbers[name]}"
        given.add(candidate)
        unique.append(candidate)
    return unique


def named(names: Sequence[str]) -> str:
    """Return the first names for a message, and that there are more."""
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")
