"""`asr compare` as a user types it."""

import json
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.receipts import file_hash

REFERENCES = [{"id": name, "text": text} for name, text in (("u1", "one two three"), ("u2", "yes"), ("u3", "go on"))]
A = [{"id": "u1", "text": "one too"}, {"id": "u2", "text": "yes"}, {"id": "u3", "text": "go on oh"}]
B = [{"id": "u3", "text": "go on"}, {"id": "u1", "text": "one two three"}, {"id": "u2", "text": "yet"}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with all three files."""
    for name, rows in (("ref", REFERENCES), ("a", A), ("b", B)):
        _write(tmp_path / f"{name}.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_prints_rates_tests_and_the_utterances_that_decide(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "ref.jsonl", "a.jsonl", "b.jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "A: a.jsonl",
        "   %WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ]",
        "B: b.jsonl",
        "   %WER 16.67 [ 1 / 6, 0 ins, 0 del, 1 sub ]",
    ]
    assert lines[4].startswith("B - A: -33.33 points of WER, 95 % interval -66.67 to ")
    assert lines[6:10] == [
        "matched pairs (MAPSSWE): p = 0.450; 3 segments with an error; fewer than 50: a rough figure",
        "McNemar on utterances: p = 1.000; only A right 1, only B right 2",
        "no difference is shown: not both tests of words give p < 0.05",
        "",
    ]
    assert lines[10:] == [
        "3 of 3 utterances differ in their errors: 2 in favour of B, 1 of A",
        "",
        "u1: A 2, B 0",
        "ref: one two three",
        "A:   one too *****",
        "         S   D",
        "B:   one two three",
        "",
        "u2: A 0, B 1",
        "ref: yes",
        "A:   yes",
        "B:   yet",
        "     S",
        "",
        "u3: A 1, B 0",
        "ref: go on **",
        "A:   go on oh",
        "           I",
        "B:   go on **",
    ]


def test_show_says_how_many(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "ref.jsonl", "a.jsonl", "b.jsonl", "--show", "1"]) == 0
    out = capsys.readouterr().out
    assert "u1: A 2, B 0" in out
    assert "u2:" not in out
    assert out.endswith("\n... and 2 more; --show N says how many to print\n")
    assert main(["compare", "ref.jsonl", "a.jsonl", "b.jsonl", "--show", "-1"]) == 2
    assert capsys.readouterr().err == "asr compare: --show -1: must be 0 or more\n"


def test_a_difference_that_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    references = [{"id": f"u{n}", "text": "one two three four"} for n in range(40)]
    _write(folder / "ref.jsonl", references)
    _write(folder / "a.jsonl", [{"id": f"u{n}", "text": "one two" if n % 3 else "one"} for n in range(40)])
    _write(folder / "b.jsonl", references)
    assert main(["compare", "ref.jsonl", "a.jsonl", "b.jsonl"]) == 0
    assert "B is better: both tests of words give p < 0.05" in capsys.readouterr().out
    assert main(["compare", "ref.jsonl", "b.jsonl", "a.jsonl"]) == 0
    assert "A is better: both tests of words give p < 0.05" in capsys.readouterr().out


def test_out_writes_comparison_and_receipt(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "ref.jsonl", "a.jsonl", "b.jsonl", "--out", "run/ab.json", "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((folder / "run" / "ab.json").read_text(encoding="utf-8"))
    receipt = json.loads((folder / "run" / "ab.receipt.json").read_text(encoding="utf-8"))
    utterances = written.pop("utterances")
    assert printed == written == receipt["result"]
    assert (written["a"]["errors"], written["b"]["errors"]) == (3, 1)
    assert written["difference"] == pytest.approx(-1 / 3)
    assert written["mcnemar"] == {"only_a_right": 1, "only_b_right": 2, "p_value": 1.0}
    assert utterances[2] == {"id": "u3", "a": 1, "b": 0, "columns": [["go"] * 3, ["on"] * 3, [None, "oh", None]]}
    assert receipt["command"] == ["asr", *command]
    assert receipt["inputs"] == {name: file_hash(name) for name in ("ref.jsonl", "a.jsonl", "b.jsonl")}
    assert (receipt["utterances"], receipt["words"], receipt["seed"]) == (3, 6, 0)


def test_equal_systems_and_no_words(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "ref.jsonl", "a.jsonl", "a.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "B - A: +0.00 points of WER" in out
    assert "0 of 3 utterances differ" in out
    for name, text in (("ref", ""), ("a", "uh"), ("b", "")):
        _write(folder / f"{name}.jsonl", [{"id": "u", "text": text}])
    assert main(["compare", "ref.jsonl", "a.jsonl", "b.jsonl", "--out", "s.json"]) == 0
    assert "matched pairs (MAPSSWE): p = cannot be computed" in capsys.readouterr().out
    written = json.loads((folder / "s.json").read_text(encoding="utf-8"))
    assert (written["difference"], written["bootstrap"]) == (None, None)


@pytest.mark.parametrize(
    ("files", "code", "message"),
    [
        ({"b": B[:2]}, 3, "b.jsonl: 1 of 3 references have no hypothesis (u2); decode exactly"),
        ({"a": [*A, {"id": "u4", "text": ""}]}, 3, "a.jsonl: 1 of 4 hypotheses have no reference (u4); decode"),
        ({"a": [], "ref": [], "b": []}, 3, "a.jsonl: nothing to score: there is no utterance"),
        ({"b": [{"id": "u1"}]}, 3, "b.jsonl:1: utterance 'u1': 'text' must be a text, got null"),
    ],
)
def test_files_that_do_not_match(
    folder: Path,
    files: dict[str, list[dict[str, str]]],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, rows in files.items():
        _write(folder / f"{name}.jsonl", rows)
    assert main(["compare", "ref.jsonl", "a.jsonl", "b.jsonl", "--out", "s.json"]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith(f"asr compare: {message}")
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert not (folder / "s.json").exists()


def test_out_may_not_be_an_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "ref.jsonl", "a.jsonl", "b.jsonl", "--out", "b.jsonl"]) == 2
    assert "one of the files to read" in capsys.readouterr().err
