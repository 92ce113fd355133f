"""`asr score` as a user types it."""

import json
from pathlib import Path

import numpy as np
import pytest

from asr.audio.files import write_audio
from asr.cli.main import main
from asr.receipts import file_hash
from asr.text.normalize import Normalizer, NormalizerConfig
from asr.text.tokenizer import train_char

REFERENCES = [
    {"id": "a", "audio": "a.wav", "duration": 2.0, "text": "rubout g m e f three"},
    {"id": "b", "audio": "b.wav", "duration": 1.5, "text": "yes"},
]
HYPOTHESES = [{"id": "b", "text": "yes"}, {"id": "a", "text": "rubout g m f free nine"}]
LINES = [
    "%WER 42.86 [ 3 / 7, 1 ins, 1 del, 1 sub ]",
    "%CER 34.78 [ 8 / 23, 3 ins, 1 del, 4 sub ]",
    "%SER 50.00 [ 1 / 2 ]",
    "95 % interval of the WER: 0.00 to 50.00 (bootstrap over 2 utterances, 10000 replications, seed 0)",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with both files."""
    _write(tmp_path / "ref.jsonl", REFERENCES)
    _write(tmp_path / "hyp.jsonl", HYPOTHESES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_prints_the_rates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "ref.jsonl", "hyp.jsonl"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == LINES
    assert captured.err == ""
    assert {path.name for path in folder.iterdir()} == {"ref.jsonl", "hyp.jsonl"}


def test_alignments(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "ref.jsonl", "hyp.jsonl", "--alignments"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a: %WER 50.00 [ 3 / 6, 1 ins, 1 del, 1 sub ]",
        "ref: rubout g m e f three ****",
        "hyp: rubout g m * f free  nine",
        "                D   S     I",
        "",
        "b: %WER 0.00 [ 0 / 1, 0 ins, 0 del, 0 sub ]",
        "ref: yes",
        "hyp: yes",
        "",
        "",
        *LINES,
    ]


def test_out_writes_score_and_receipt(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["score", "ref.jsonl", "hyp.jsonl", "--out", "run/test.score.json", "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((folder / "run" / "test.score.json").read_text(encoding="utf-8"))
    receipt = json.loads((folder / "run" / "test.score.receipt.json").read_text(encoding="utf-8"))
    assert [row["id"] for row in written.pop("utterances")] == ["a", "b"]
    assert printed == written == receipt["result"]
    assert written["words"]["errors"] == 3
    assert receipt["command"] == ["asr", *command]
    assert receipt["inputs"] == {name: file_hash(name) for name in ("ref.jsonl", "hyp.jsonl")}
    assert (receipt["utterances"], receipt["words"], receipt["audio_seconds"]) == (2, 7, 3.5)
    assert receipt["config"] == {"case": "keep"}
    assert str(folder) not in json.dumps(receipt)


def test_audio_seconds_are_unknown_unless_all_are_known(folder: Path) -> None:
    _write(folder / "ref.jsonl", [REFERENCES[0], {"id": "b", "text": "yes"}])
    assert main(["score", "ref.jsonl", "hyp.jsonl", "--out", "s.json"]) == 0
    assert json.loads((folder / "s.receipt.json").read_text(encoding="utf-8"))["audio_seconds"] is None


def test_json_with_alignments(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "ref.jsonl", "hyp.jsonl", "--json", "--alignments"]) == 0
    assert json.loads(capsys.readouterr().out)["utterances"][0]["alignment"][-1] == [None, "nine"]


def test_case(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(folder / "hyp.jsonl", [{"id": "a", "text": "RUBOUT G M E F THREE"}, {"id": "b", "text": "no"}])
    assert main(["score", "ref.jsonl", "hyp.jsonl"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("%WER 100.00 [ 7 / 7, 0 ins, 0 del, 7 sub ]")
    assert captured.err == (
        "asr score: substituted words that differ in upper and lower case only: 6; --case lower counts them as right\n"
    )
    assert main(["score", "ref.jsonl", "hyp.jsonl", "--case", "lower"]) == 0
    assert capsys.readouterr().out.startswith("%WER 14.29 [ 1 / 7, 0 ins, 0 del, 1 sub ]")


def test_both_are_spelled_as_the_tokens_texts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that was trained without punctuation is not asked for it."""
    normalizer = Normalizer(NormalizerConfig(map={"-": " "}, remove=".,"))
    train_char(["rubout g m e f three"], normalizer).save("tokens.json")
    _write(folder / "ref.jsonl", [{"id": "a", "text": "rubout-g, m e. f three."}])
    _write(folder / "hyp.jsonl", [{"id": "a", "text": "rubout g m e f three"}])
    command = ["score", "ref.jsonl", "hyp.jsonl", "--tokens", "tokens.json", "--out", "s.json"]
    assert main(["score", "ref.jsonl", "hyp.jsonl"]) == 0
    assert "%WER 0.00" not in capsys.readouterr().out
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("%WER 0.00 [ 0 / 6, 0 ins, 0 del, 0 sub ]")
    receipt = json.loads((folder / "s.receipt.json").read_text(encoding="utf-8"))
    assert receipt["config"]["text"] == {"case": "keep", "map": {"-": " "}, "remove": ".,"}
    assert "tokens.json" in receipt["inputs"]
    assert main([*command[:-1], "tokens.json"]) == 2
    assert main([*command[:4], "nothing.json"]) == 3
    assert capsys.readouterr().err.count("\n") == 2


def test_silence_only_has_no_interval(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(folder / "ref.jsonl", [{"id": "a", "text": ""}])
    _write(folder / "hyp.jsonl", [{"id": "a", "text": "uh"}])
    assert main(["score", "ref.jsonl", "hyp.jsonl", "--out", "s.json"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "%WER inf [ 1 / 0, 1 ins, 0 del, 0 sub ]"
    written = json.loads((folder / "s.json").read_text(encoding="utf-8"))
    assert (written["interval"], written["words"]["rate"]) == (None, None)


@pytest.mark.parametrize(
    ("rows", "code", "message"),
    [
        (HYPOTHESES[:1], 3, "asr score: 1 of 2 references have no hypothesis (a); decode exactly"),
        ([], 3, "asr score: 2 of 2 references have no hypothesis (a, b); decode exactly"),
        ([*HYPOTHESES, {"id": "c", "text": ""}], 3, "asr score: 1 of 3 hypotheses have no reference (c); decode"),
    ],
)
def test_ids_that_do_not_match(
    folder: Path, rows: list[dict[str, object]], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(folder / "hyp.jsonl", rows)
    assert main(["score", "ref.jsonl", "hyp.jsonl", "--out", "s.json"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(message)
    assert not (folder / "s.json").exists()


def test_empty_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(folder / "ref.jsonl", [])
    _write(folder / "hyp.jsonl", [])
    assert main(["score", "ref.jsonl", "hyp.jsonl"]) == 3
    assert capsys.readouterr().err.startswith("asr score: nothing to score")


def test_out_may_not_be_an_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "ref.jsonl", "hyp.jsonl", "--out", "./ref.jsonl"]) == 2
    assert "one of the files to read" in capsys.readouterr().err
    assert json.loads((folder / "ref.jsonl").read_text(encoding="utf-8").splitlines()[0]) == REFERENCES[0]


def _speech(folder: Path) -> None:
    """Write recordings for the references, with speakers."""
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 2.0), ("b", 1.5)):
        write_audio(folder / f"{name}.wav", rng.normal(0, 0.1, int(seconds * 8000)).astype(np.float32), 8000)
    _write(folder / "ref.jsonl", [{**row, "speaker": f"s{number}"} for number, row in enumerate(REFERENCES)])


def test_slices_are_printed_and_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _speech(folder)
    by = [word for way in ("speaker", "length", "words", "snr") for word in ("--by", way)]
    assert main(["score", "ref.jsonl", "hyp.jsonl", *by, "--out", "s.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == LINES
    assert lines[5:10] == [
        "speaker  utterances  words   Corr   Sub   Del   Ins   Err  S.Err  95 % interval of Err",
        "s0                1      6   66.7  16.7  16.7  16.7  50.0  100.0                     -",
        "s1                1      1  100.0   0.0   0.0   0.0   0.0    0.0                     -",
        "all               2      7   71.4  14.3  14.3  14.3  42.9   50.0",
        "95 % interval of the WER: 0.00 to 50.00 (bootstrap over 2 speakers, 10000 replications, seed 0)",
    ]
    written = json.loads((folder / "s.json").read_text(encoding="utf-8"))["slices"]
    assert json.loads((folder / "s.receipt.json").read_text(encoding="utf-8"))["result"]["slices"] == written
    assert {way: [part["name"] for part in parts] for way, parts in written.items()} == {
        "speaker": ["s0", "s1"],
        "length": ["1 to 2 s", "2 to 4 s"],
        "words": ["1 words", "5 to 9 words"],
        "snr": ["below 0 dB"],
    }
    for parts in written.values():
        assert sum(part["words"]["errors"] for part in parts) == 3


def test_report_and_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _speech(folder)
    assert main(["score", "ref.jsonl", "hyp.jsonl", "--report", "r.txt", "--html", "out/r.html"]) == 0
    report = (folder / "r.txt").read_text(encoding="utf-8")
    assert report.startswith("hyp.jsonl against ref.jsonl\n\n" + "\n".join(LINES) + "\n\nspeaker  utterances")
    assert "      1  three -> free\n" in report
    page = (folder / "out" / "r.html").read_text(encoding="utf-8")
    assert (page.count("<article"), page.count("data:audio/flac"), page.count("data:image/png")) == (2, 2, 2)
    assert "without sound" not in capsys.readouterr().err


def test_a_page_without_sound_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "ref.jsonl", "hyp.jsonl", "--html", "r.html"]) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("asr score:")]
    assert note.startswith("asr score: 2 of 2 utterances are without sound, the first: ")
    assert note.endswith("a.wav: there is no such audio file; check the path")
    assert "2 of 2 utterances are without sound" in (folder / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--by", "speaker"], 3, "ref.jsonl: 2 of 2 utterances have no 'speaker', the first is 'a'; name them"),
        (["--by", "snr"], 3, "ref.jsonl:1: utterance 'a': "),
        (["--by", "age"], 2, "argument --by: invalid choice: 'age'"),
        (["--report", "hyp.jsonl"], 2, "--report hyp.jsonl: is one of the files to read"),
        (["--html", "ref.jsonl"], 2, "--html ref.jsonl: is one of the files to read"),
        (["--html", "x", "--report", "./x"], 2, "--out, --report, --html: two of them name one file"),
    ],
)
def test_reports_that_cannot_be_made(
    folder: Path, flags: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "ref.jsonl", "hyp.jsonl", *flags, "--out", "s.json"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"asr score: {message}")
    assert captured.err.count("\n") == 1
    assert {path.name for path in folder.iterdir()} == {"ref.jsonl", "hyp.jsonl"}


def test_reports_of_a_file_whose_name_is_not_utf8(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    name = "caf\udce9"
    try:
        (folder / name).mkdir()
    except OSError:
        pytest.skip("this file system takes no such names")
    (folder / "ref.jsonl").rename(folder / name / "ref.jsonl")
    assert main(["score", f"{name}/ref.jsonl", "hyp.jsonl", "--report", "r.txt", "--html", "r.html"]) == 0
    assert b"caf\xe9/a.wav: there is no such audio file" in capfdbinary.readouterr().err
    assert "caf?/ref.jsonl" in (folder / "r.txt").read_text(encoding="utf-8")
    assert "caf?/a.wav: there is no such audio file" in (folder / "r.html").read_text(encoding="utf-8")
