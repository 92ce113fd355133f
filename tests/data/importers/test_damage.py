"""Damaged sources of every format end as a manifest or as one line, never as a traceback."""

import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data.importers import FORMATS, import_manifest
from asr.data.importers.task import ImportOptions
from asr.data.manifest import read_manifest
from asr.errors import InputError
from tests.data.importers.sources import record
from tests.data.importers.test_huggingface import PARQUET, SAVED
from tests.data.importers.test_lhotse import MONO, TRIMMED
from tests.data.importers.test_textgrid import LONG, SHORT

ARROW = SAVED / "train" / "data-00000-of-00001.arrow"
WHOLE: dict[str, tuple[tuple[str, bytes], ...]] = {  # format: files, of which the last is damaged
    "kaldi": (
        ("text", b"u1 yes\nu2 no\n"),
        ("wav.scp", b"a m.wav\nb cat -- m.wav |\nc flac -c -d -s m.wav |\n"),
        ("segments", b"u1 a 0 1\nu2 b 0.5 -1\n"),
    ),
    "nemo": (("n.json", b'{"audio_filepath": "m.wav", "duration": 1.0, "text": "yes", "offset": 0.5}\n'),),
    "table": (("t.csv", 'path;text;start;end\nm.wav;"a ""b"" c";0,5;1\nm.wav;;;\n'.encode("utf-16")),),
    "folder": (("m.txt", "\ufeffnaïve".encode()),),
    "textgrid": (("m.TextGrid", SHORT.encode("utf-16")),),
    "ctm": (("m.ctm", b";; x\nm A 0.5 0.25 good 0.9\nm A 2.5 0.5 yes\n"),),
    "huggingface": (("m.parquet", PARQUET.read_bytes()),),
    "lhotse": (("m.jsonl", f"{json.dumps(MONO)}\n{json.dumps(TRIMMED)}\n".encode()),),
}
MORE: dict[str, tuple[tuple[str, bytes], ...]] = {
    "kaldi": (("text", b"a yes\n"), ("wav.scp", b"a sph2pipe -f wav -p -c 1 m.wav |\n")),
    "textgrid": (("m.TextGrid", LONG.encode()),),
    "huggingface": (("m.arrow", ARROW.read_bytes()),),
    "lhotse": (("m.jsonl.gz", gzip.compress(json.dumps(MONO).encode(), mtime=0)),),
}
FOLDERS = ("kaldi", "folder")
Damage = Callable[[bytes], bytes]


@st.composite
def damage(draw: st.DrawFn) -> Damage:
    """Draw what cuts off, replaces, repeats or inserts some bytes."""
    first, length = draw(st.floats(0, 1)), draw(st.integers(0, 8))
    special = (b'"', b"\n", b"\0", b"|", b"-", b"1e999", b"[", b"\xff\xfe", b";")
    new = draw(st.binary(max_size=4) | st.sampled_from(special))

    def apply(data: bytes) -> bytes:
        start = int(first * len(data))
        return data[:start] + new + data[start + length :]

    return apply


@pytest.mark.parametrize("name", FORMATS)
@given(changes=st.lists(damage(), max_size=3), kind=st.sampled_from([WHOLE, MORE]), skip=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_damage(
    name: str, changes: list[Damage], kind: dict[str, tuple[tuple[str, bytes], ...]], skip: bool
) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        record(root / "m.wav", 2.5)
        for file, data in kind.get(name, WHOLE[name]):
            (root / file).write_bytes(data)
        for change in changes:
            data = change(data)
        (root / file).write_bytes(data)
        source = root if name in FOLDERS else root / file
        before = set(root.rglob("*"))
        out = Path(folder) / "out" / "m.jsonl"
        with suppress(InputError):
            import_manifest(name, source, out, ImportOptions(skip_faulty=skip))
        written = set(out.parent.rglob("*"))
        assert not written or read_manifest(out)
        assert set(root.rglob("*")) == before


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", [WHOLE, MORE], ids=["whole", "more"])
def test_the_sources_are_right_where_nothing_is_damaged(
    name: str, kind: dict[str, tuple[tuple[str, bytes], ...]], tmp_path: Path
) -> None:
    record(tmp_path / "data" / "m.wav", 4.0)
    for file, data in kind.get(name, WHOLE[name]):
        (tmp_path / "data" / file).write_bytes(data)
    source = tmp_path / "data" if name in FOLDERS else tmp_path / "data" / file
    import_manifest(name, source, tmp_path / "out.jsonl", ImportOptions(allow_pipes=name == "kaldi"))
