"""asr align: what is written where, in which format, and what is said of texts that cannot be aligned."""

import json
from pathlib import Path

import numpy as np
import pytest

from asr.audio.source import AudioSource
from asr.cli.main import main
from asr.data.importers import import_manifest
from asr.data.importers.task import ImportOptions
from asr.data.importers.textgrid import parse_textgrid
from asr.data.manifest import Utterance, read_manifest, write_manifest
from asr.recognizer import Recognizer
from tests.tiny_model import babble, tiny_model, write_wav


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    tiny_model().save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a recording, another of two channels, and a manifest of both."""
    first = write_wav(tmp_path / "first.wav", babble(4.0, seed=1))
    second = write_wav(tmp_path / "second one.wav", np.stack([babble(2.0, seed=2), babble(2.0, seed=3)], 1))
    utterances = [
        Utterance("late", first, 2.0, 1.5, "ab  cd"),
        Utterance("right", second, 0.0, 2.0, "ef gh ij", channel=1),
        Utterance("early", first, 0.0, 0.7, "c"),
    ]
    write_manifest(tmp_path / "m.jsonl", utterances)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def align(model: Path, *arguments: object) -> int:
    return main(["align", *map(str, arguments), "--model", str(model)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_rows_follow_the_manifest(model: Path, folder: Path) -> None:
    assert align(model, "m.jsonl", "--out", "a.jsonl") == 0
    rows = [json.loads(line) for line in (folder / "a.jsonl").read_text("utf-8").splitlines()]
    assert [(row["id"], row["text"]) for row in rows] == [("late", "ab cd"), ("right", "ef gh ij"), ("early", "c")]
    assert [row["duration"] for row in rows] == [1.5, 2.0, 0.7]
    recognizer = Recognizer.load(model)
    alone = recognizer.align(AudioSource(folder / "second one.wav", channel=1), "ef gh ij")
    assert rows[1] == {"id": "right", **alone.row(tokens=True)}
    assert [token["token"] for token in rows[0]["tokens"]] == [*"ab▁cd"]
    for row in rows:
        for items in (row["words"], row["tokens"]):
            times = [time for item in items for time in (item["start"], item["end"])]
            assert times == sorted(times)
            assert all(0 <= time <= row["duration"] for time in times)


def test_ctm_of_a_manifest(model: Path, folder: Path) -> None:
    assert align(model, "m.jsonl", "--out", "a.ctm") == 0
    lines = [line.split() for line in (folder / "a.ctm").read_text("utf-8").splitlines()]
    expected = [("late", "1", "ab"), ("late", "1", "cd"), *(("right", "2", word) for word in ("ef", "gh", "ij"))]
    assert [(line[0], line[1], line[4]) for line in lines] == [*expected, ("early", "1", "c")]


def test_our_own_importer_reads_the_ctm(model: Path, folder: Path) -> None:
    assert align(model, "first.wav", "--text", "ab cd j", "--out", "first.ctm") == 0
    import_manifest("ctm", folder / "first.ctm", folder / "back.jsonl", ImportOptions(max_gap=10.0))
    (utterance,) = read_manifest(folder / "back.jsonl")
    words = Recognizer.load(model).align("first.wav", "ab cd j").words
    assert (utterance.audio, utterance.text) == (folder / "first.wav", "ab cd j")
    assert utterance.start == pytest.approx(words[0].start, abs=6e-4)
    assert utterance.duration == pytest.approx(words[-1].end - words[0].start, abs=2e-3)


@pytest.mark.parametrize("tier", ["words", "tokens"])
def test_our_own_importer_reads_the_textgrids(model: Path, folder: Path, tier: str) -> None:
    assert align(model, "first.wav", "--text", "ab cd j", "--out", "first.TextGrid") == 0
    import_manifest("textgrid", folder / "first.TextGrid", folder / "back.jsonl", ImportOptions(tier=tier))
    utterances = read_manifest(folder / "back.jsonl")
    transcript = Recognizer.load(model).align("first.wav", "ab cd j")
    pairs = [(item.word, item) for item in transcript.words]
    if tier == "tokens":
        pairs = [(item.token, item) for item in transcript.tokens]
    assert [utterance.text for utterance in utterances] == [text for text, _ in pairs]
    for utterance, (_, item) in zip(utterances, pairs, strict=True):
        assert utterance.start == pytest.approx(item.start, abs=2e-3)
        assert utterance.start + utterance.duration == pytest.approx(item.end, abs=2e-3)


@pytest.mark.parametrize(("style", "suffix", "start"), [("textgrid", "TextGrid", "File type"), ("srt", "srt", "1\n00")])
def test_a_file_an_utterance(model: Path, folder: Path, style: str, suffix: str, start: str) -> None:
    for _ in range(2):  # a second time over the first
        assert align(model, "m.jsonl", "--out", "new/out", "--format", style) == 0
        assert names(folder / "new" / "out") == [f"{name}.{suffix}" for name in ("early", "late", "right")]
    text = (folder / "new" / "out" / f"right.{suffix}").read_text("utf-8")
    assert text.startswith(start)
    if style == "textgrid":
        assert [interval.text for interval in parse_textgrid(text)["words"] if interval.text] == ["ef", "gh", "ij"]
    else:
        assert text.endswith("\nef gh ij\n")


def test_a_recording_and_its_text(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "text").write_bytes("\ufeffab\r\n cd\n".encode())
    assert align(model, "second one.wav", "--text-file", "text") == 0
    printed = capsys.readouterr().out
    row = json.loads(printed)
    assert (row["file"], row["text"]) == ("second one.wav", "ab cd")
    assert row["words"] == Recognizer.load(model).align("second one.wav", "ab cd").row()["words"]
    assert align(model, "second one.wav", "--text", "ab cd", "--out", "row.json") == 0
    assert (folder / "row.json").read_text("utf-8") == printed
    capsys.readouterr()
    assert align(model, "second one.wav", "--text", "ab cd", "--format", "ctm") == 0
    assert capsys.readouterr().out.startswith("second_one 1 0.")
    (folder / "grids").mkdir()
    assert align(model, "second one.wav", "--text", "ab cd", "--format", "textgrid", "--out", "grids") == 0
    assert names(folder / "grids") == ["second_one.TextGrid"]


def test_the_bundled_model_is_taken_unless_another_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    sample = Path(__file__).parents[2] / "asr" / "models" / "sample.flac"
    assert main(["align", str(sample), "--text", "Four one two six eight three nine", "--format", "srt"]) == 0
    assert "four one two six eight three nine" in capsys.readouterr().out


BAD = [
    Utterance("empty", Path("first.wav"), 0.0, 1.0, " "),
    Utterance("fine", Path("first.wav"), 0.0, 1.0, "ab"),
    Utterance("null", Path("first.wav"), 0.0, 1.0, None),
    Utterance("strange", Path("first.wav"), 0.0, 1.0, "ab é 4"),
    Utterance("long", Path("first.wav"), 0.0, 0.2, "abcd" * 9),
    Utterance("lost", Path("lost.wav"), 0.0, 1.0, "ab"),
]


@pytest.mark.parametrize("out", [[], ["--out", "a.jsonl"], ["--out", "dir", "--format", "textgrid"]])
def test_what_cannot_be_aligned_is_named_and_nothing_is_written(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], out: list[str]
) -> None:
    write_manifest("bad.jsonl", [Utterance(**{**_fields(item), "audio": folder / item.audio}) for item in BAD])
    text = (folder / "bad.jsonl").read_text("utf-8")
    (folder / "bad.jsonl").write_text("\n" + text, "utf-8")  # lines are counted with blank ones
    before = names(folder)
    if out:
        assert align(model, "bad.jsonl", *out) == 3
    else:
        assert align(model, "bad.jsonl", "--format", "ctm") == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if line.startswith("asr align: bad.jsonl")]
    spelled = "spell it as the model's texts are spelled (asr info lists the tokens)"
    assert lines == [
        "asr align: bad.jsonl:2: utterance 'empty': the text is empty: there is nothing to align; write what is said",
        "asr align: bad.jsonl:4: utterance 'null': the text is empty: there is nothing to align; write what is said",
        "asr align: bad.jsonl:5: utterance 'strange': the text holds 'é' (U+00E9), '4' (U+0034), which the model cannot"
        f" write; {spelled}",
        "asr align: bad.jsonl:6: utterance 'long': 10 encoder frames cannot spell 36 tokens, which need 36; check the"
        " text",
        f"asr align: bad.jsonl:7: utterance 'lost': {folder / 'lost.wav'}: there is no such audio file; check the path",
        "asr align: bad.jsonl: 5 of 6 utterances cannot be aligned, nothing is written; mend their texts and audio, or"
        " take them out of the manifest",
    ]
    assert names(folder) == before


def _fields(item: Utterance) -> dict[str, object]:
    return {name: getattr(item, name) for name in ("id", "audio", "start", "duration", "text")}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["first.wav", "--text", ""], 3, "first.wav: the text is empty: there is nothing to align; write what is said"),
        (["first.wav", "--text", "ab 4"], 3, "first.wav: the text holds '4' (U+0034), which the model cannot write"),
        (["first.wav", "--text", "\udcff"], 3, "(U+DCFF), which the model cannot write"),
        (
            ["first.wav", "--text", "ab" * 99],
            3,
            "first.wav: 105 encoder frames cannot spell 198 tokens, which need 198",
        ),
        (["no.wav", "--text", "ab"], 3, "asr align: no.wav: there is no such audio file; check the path"),
        (["m.txt", "--text", "ab"], 3, "m.txt: "),
        (["first.wav", "--text-file", "no"], 3, "no: cannot read: No such file or directory; check the path"),
        (["first.wav", "--text-file", "latin"], 3, "latin:2: not UTF-8; save the file as UTF-8"),
        (["first.wav", "--text-file", "."], 3, ".: cannot read: Is a directory; check the path"),
        (["first.wav"], 2, "first.wav: a recording; give what is said in it: --text or --text-file"),
        (
            ["m.jsonl", "--text", "ab"],
            2,
            "m.jsonl: a manifest holds its texts; --text and --text-file go with a recording",
        ),
        (["first.wav", "--text", "a", "--text-file", "b"], 2, "--text-file: not allowed with argument --text"),
        (["m.jsonl", "--out", "out"], 2, "--out out: its name says no format; give --format json, ctm, textgrid, srt"),
        (["m.jsonl", "--out", "a.TextGrid"], 2, "--out a.TextGrid: textgrid is one file an utterance; give a folder"),
        (
            ["m.jsonl", "--out", "m.txt", "--format", "srt"],
            2,
            "--out m.txt: srt is one file an utterance; give a folder",
        ),
        (["m.jsonl", "--format", "srt"], 2, "--format srt of 3 utterances needs --out DIR: one file each"),
        (["m.jsonl", "--out", ".", "--format", "ctm"], 2, "--out .: a folder; ctm is one file: give its name"),
        (
            ["m.jsonl", "--out", "m.jsonl"],
            2,
            "--out m.jsonl: is one of the files to read (m.jsonl); choose another name",
        ),
        (["m.jsonl", "--out", "first.wav", "--format", "json"], 2, "--out first.wav: is one of the files to read"),
        (
            ["first.wav", "--text", "ab", "--out", "link.srt"],
            2,
            "--out link.srt: is one of the files to read (first.wav)",
        ),
        (["no.jsonl"], 3, "no.jsonl: cannot read the manifest: No such file or directory; check the path"),
        (["empty"], 3, "empty: holds no utterances; give a manifest with at least one"),
        (["m.txt"], 3, "m.txt:1: not JSON at column 1"),
        (["m.jsonl", "--device", "gpu"], 2, "device 'gpu': not one that torch knows; use cpu, cuda or cuda:N"),
        (["m.jsonl", "--format", "txt"], 2, "argument --format: invalid choice: 'txt'"),
    ],
)
def test_what_is_wrong_is_one_line(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    (folder / "empty").touch()
    (folder / "m.txt").write_text("a text\n")
    (folder / "latin").write_bytes(b"ab\nc\xe9\n")
    (folder / "link.srt").symlink_to("first.wav")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert align(model, *arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("asr align: ")
    assert message in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folders_files_are_not_written_over_what_is_read(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "early.srt").hardlink_to(folder / "first.wav")
    assert align(model, "m.jsonl", "--out", "out", "--format", "srt") == 2
    assert "--out out/early.srt: is one of the files to read" in capsys.readouterr().err
    assert names(folder / "out") == ["early.srt"]


def test_texts_that_the_audio_does_not_say_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    sure = tmp_path_factory.mktemp("sure") / "model.safetensors"
    tiny_model(domain={"min_confidence": 0.999}).save(sure)
    assert align(sure, "m.jsonl", "--out", "a.ctm") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "looks unlike" in line]
    assert [line.split(": looks")[0] for line in lines] == [
        f"asr align: m.jsonl:{number}: utterance '{name}'" for number, name in enumerate(["late", "right", "early"], 1)
    ]
