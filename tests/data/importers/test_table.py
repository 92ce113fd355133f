"""CSV and TSV tables: columns, encodings, quotes, times."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.data.importers.table import _bad_quote
from asr.data.manifest import Utterance
from asr.errors import DataError, UsageError
from tests.data.importers.sources import imported, left, record, rows


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in "ab":
        record(tmp_path / "clips" / f"{name}.wav", 2.0)
    return tmp_path / "clips"


def table(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def fault(path: Path, **options: object) -> str:
    before = left(path.parent)
    with pytest.raises(DataError) as caught:
        imported("table", path, **options)
    assert left(path.parent) == before
    return str(caught.value).removeprefix(str(path))


def test_deepspeech(tmp_path: Path, clips: Path) -> None:
    path = table(tmp_path, "wav_filename,wav_filesize,transcript\nclips/a.wav,3,good morning\nclips/b.wav,4,\n")
    found, said = imported("table", path)
    assert found == [
        Utterance("a", clips / "a.wav", 0.0, 2.0, "good morning"),
        Utterance("b", clips / "b.wav", 0.0, 2.0, ""),
    ]
    assert said.notes == ("1 column not used: wav_filesize",)


def test_common_voice(tmp_path: Path, clips: Path) -> None:
    header = "client_id\tpath\tsentence_id\tsentence\tup_votes\tage\tlocale\tsegment\n"
    path = table(
        tmp_path, f'{header}c1\ta.wav\t7\tHe said "no".\t2\t\ten\t\nc2\tb.wav\t8\tYes, yes\t0\t\t\t\n', "x.tsv"
    )
    found = rows("table", path, audio_root=clips, language="cy")
    assert found == [
        Utterance("a", clips / "a.wav", 0.0, 2.0, 'He said "no".', "c1", None, "en"),
        Utterance("b", clips / "b.wav", 0.0, 2.0, "Yes, yes", "c2", None, "cy"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_spreadsheets_in_all_their_forms(tmp_path: Path, clips: Path, encoding: str, end: str, delimiter: str) -> None:
    lines = [
        "File Name;Start-Time;END;Text",
        "clips/a.wav;0,25;1,5;naïve",
        '"clips/b.wav";;0:01.75;"""quoted"""',
        " ;;;",
    ]
    text = "".join(line.replace(";", delimiter) + end for line in lines)
    if delimiter == ",":
        text = text.replace("0,25", "0.25").replace("1,5", "1.5")
    found, said = imported("table", table(tmp_path, text, "t.txt", encoding))
    assert found == [
        Utterance("a", clips / "a.wav", 0.25, 1.25, "naïve"),
        Utterance("b", clips / "b.wav", 0.0, 1.75, '"quoted"'),
    ]
    assert said.notes == ("1 row without any value skipped",)


def test_a_text_over_several_lines_is_one_cell(tmp_path: Path, clips: Path) -> None:
    path = table(tmp_path, 'path,text\nclips/a.wav,"one\ntwo"\nclips/b.wav,x\n')
    assert [row.text for row in rows("table", path)] == ["one\ntwo", "x"]


def test_a_quote_that_never_closes_is_told_with_its_line(tmp_path: Path, clips: Path) -> None:
    path = table(tmp_path, 'path\ttext\nclips/a.wav\t"fine"\nclips/b.wav\t"never\nclips/a.wav\tx\n' * 2, "t.tsv")
    assert fault(path).startswith(':3: a quote opens here and closes on line 6 before "fine\\""; close it')
    path = table(tmp_path, 'path\ttext\nclips/a.wav\t"fine\nreally"\nclips/b.wav\t"never\nclips/a.wav\tx\n', "t.tsv")
    assert fault(path) == (
        ":4: a quote opens here and never closes; close it, double the quotes inside a cell, or use --no-quotes if "
        "quotes are characters like others here"
    )
    found = rows("table", table(tmp_path, 'path\ttext\nclips/a.wav\t"fine\n', "t.tsv"), quotes=False)
    assert [row.text for row in found] == ['"fine']


def test_a_quote_that_closes_in_another_row_is_told(tmp_path: Path, clips: Path) -> None:
    """Two stray quotes would otherwise make one cell of all rows between, without a word."""
    path = table(tmp_path, 'path\ttext\tage\nclips/a.wav\t"so\t1\nclips/b.wav\tx\t1\nclips/b.wav\tlong"\t1\n', "t.tsv")
    assert fault(path).startswith(":2: a quote opens here and closes on line 4, with other rows between; close it")


def test_text_after_a_closing_quote_is_told(tmp_path: Path, clips: Path) -> None:
    path = table(tmp_path, 'path,text\nclips/a.wav,"yes" he said\n')
    assert fault(path).startswith(':2: a quote opens here and closes on line 2 before " he said"; close it')


def test_a_huge_cell_is_told(tmp_path: Path, clips: Path) -> None:
    assert fault(table(tmp_path, "path,text\nclips/a.wav," + "x" * 200_000)).startswith(":2: a cell is too long")


@given(st.lists(st.lists(st.text(alphabet='a",\n', max_size=6), min_size=2, max_size=2), max_size=4), st.integers(0, 3))
def test_the_line_of_a_bad_quote_is_where_it_opens(good: list[list[str]], blank: int) -> None:
    """Whatever legal records go before it."""
    quoted = "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in good)
    text = "path,text\n" + quoted + "\n" * blank + 'x,"open, ""and\nnever closed\n'
    line = text.count("\n", 0, text.rindex('"open')) + 1
    message = str(_bad_quote(Path("t.csv"), text, ",", 1))
    assert message.startswith(f"t.csv:{line}: a quote opens here and never closes")


def test_columns_can_be_named(tmp_path: Path, clips: Path) -> None:
    path = table(tmp_path, "Datei;Satz;Text;Wer\nclips/a.wav;eins;1;w\n")
    (row,) = rows("table", path, columns={"audio": "datei", "text": "Satz", "speaker": "Wer"})
    assert (row.text, row.speaker) == ("eins", "w")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"words": "Satz"}, r"^--column words=Satz: no such key; known: audio, channel"),
        ({"text": "Sats"}, r"^--column text=Sats: .* has no such column; did you mean 'Satz'\?$"),
    ],
)
def test_columns_that_there_are_not(tmp_path: Path, columns: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        imported("table", table(tmp_path, "Datei;Satz\nclips/a.wav;x\n"), columns=columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": empty; the first line must name the columns"),
        ("\n\n", ": empty; the first line must name the columns"),
        (
            "a.wav,yes\n",
            ": no column names the audio files (found: a.wav, yes); the first line must name the columns; ",
        ),
        ("path,file,text\n", ": columns 'path' and 'file' could both be the audio; say which with --column audio=NAME"),
        ("path,text\n", ": no utterances that can be imported; is this the right source?"),
    ],
)
def test_headers_that_do_not_tell(tmp_path: Path, text: str, message: str) -> None:
    assert fault(table(tmp_path, text)).startswith(message)


def test_a_table_without_texts_says_so(tmp_path: Path, clips: Path) -> None:
    found, said = imported("table", table(tmp_path, "path,Satz\nclips/a.wav,x\n"))
    assert found[0].text is None
    assert said.notes == (
        "no column is the text: utterances have none; name one with --column text=NAME",
        "1 column not used: Satz",
    )


def test_rows_that_are_wrong_are_told_together(tmp_path: Path, clips: Path) -> None:
    header = "path,text,start,end,duration,channel\n"
    lines = ("a,x", "a,x,0,1,1,0,9", ",x,,,,", "a,x,a,,,", "a,x,0,1,2,", "a,x,,,,left", "a,x,,,,²")
    more = ("a,x,0,1,1.01,0,", "a,x,1:00,,,", "a,x,,1e999,,")
    path = table(tmp_path, header + "".join(f"{line.replace('a', 'clips/a.wav', 1)}\n" for line in lines + more))
    assert fault(path).startswith(": 8 rows that cannot be read: line 2 (2 cells under 6 column names), line 3, ")
    found, said = imported("table", path, skip_faulty=True)
    assert [(row.duration, row.channel) for row in found] == [(1.01, 0)]
    assert [str(problem) for problem in said.skipped][1:] == [
        "line 3 (7 cells under 6 column names)",
        "line 4 (no audio file named)",
        'line 5 ("a" is no time; write seconds, as 1.5, or 1:02:03.5)',
        "line 6 (start 0, end 1 and duration 2 do not agree)",
        'line 7 (channel must be a number from 0, found "left")',
        'line 8 (channel must be a number from 0, found "\\u00b2")',
        'line 11 ("1e999" is no time; write seconds, as 1.5, or 1:02:03.5)',
        "a, line 10 (it spans [60.00, its end) s of 2.00 s)",
    ]


def test_ids_become_legal_and_unique(tmp_path: Path, clips: Path) -> None:
    text = "id,path,text\n" + "".join(f"{name},clips/a.wav,x\n" for name in ("a b", "a_b", "x/y", "", "a", "..", "é"))
    found, said = imported("table", table(tmp_path, text))
    assert [row.id for row in found] == ["a_b", "a_b-2", "x_y", "a", "a-2", ".._", "é"]
    assert said.notes[-1].startswith("5 ids made legal or unique: 'a b' -> a_b, 'a_b' -> a_b-2, ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"path,text\na.wav,caf\xe9\n", ":2: not UTF-8; save the file as UTF-8"),
        ("path,text\n".encode("utf-16-le"), ": holds zero bytes, as binary files do, or UTF-16 without its mark"),
        (b"\xff\xfep\x00a\x00t", ":1: not UTF-16"),
        (b"PK\x03\x04\x00\x00", ": holds zero bytes"),
    ],
)
def test_files_that_are_no_text(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    assert fault(path).startswith(message)
