"""asr lm tune: weights found on held-out speech are kept in the file and used; what does not help is not written."""

import json
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.lm.binding import tuned_of
from asr.lm.files import load_ngram
from asr.recognizer import Recognizer
from asr.tuning.fusion import Setting, Tuned
from tests.tiny_model import babble, tiny_model, write_wav


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser, a manifest of what it hears, a language model of that, and what is wrong."""
    folder = tmp_path_factory.mktemp("tune")
    tiny_model().save(folder / "model.safetensors")
    recognizer = Recognizer.load(folder / "model.safetensors")
    rows = []
    for name, seed in (("a", 4), ("b", 5)):
        write_wav(folder / f"{name}.wav", babble(2, seed=seed))
        text = recognizer.transcribe(folder / f"{name}.wav").text
        rows.append({"id": name, "audio": f"{name}.wav", "duration": 2.0, "text": text})
    texts = {
        "m.jsonl": rows,
        "none.jsonl": [],
        "one.jsonl": [rows[0], {**rows[1], "text": None}],
        "empty.jsonl": [{**row, "text": ""} for row in rows],
        "lost.jsonl": [rows[0], {**rows[1], "audio": "lost.wav"}],
    }
    for name, some in texts.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in some))
    (folder / "text").write_text("".join(f"{row['text']}\n" for row in rows))
    (folder / "upper").write_text((folder / "text").read_text().upper())
    assert (
        main(
            [
                "lm",
                "train",
                str(folder / "text"),
                "--model",
                str(folder / "model.safetensors"),
                "--out",
                str(folder / "lm"),
            ]
        )
        == 0
    )
    assert main(["lm", "train", str(folder / "upper"), "--out", str(folder / "upper.lm")]) == 0
    return folder


def tune(lm: str = "lm", manifest: str = "m.jsonl", *options: str, out: str = "out") -> list[str]:
    return ["lm", "tune", lm, manifest, "--model", "model.safetensors", "--out", out, "--beam", "4", *options]


def tried(*errors: int, greedy: int = 2, words: int = 9) -> Tuned:
    """Return settings with so many errors each."""
    return Tuned(tuple(Setting(0.2 * n, 1.0, 0.0, some, some) for n, some in enumerate(errors)), -8.0, words, greedy)


def test_the_best_weights_are_told_kept_and_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    out = str(tmp_path / "tuned.lm")
    assert main(tune(out=out)) == 0
    shown = capsys.readouterr()
    tuned = tuned_of(load_ngram(out))
    assert tuned is not None
    assert tuned.errors <= tuned.greedy_errors == 0
    assert tuned.manifest == "m.jsonl"
    best = f"weight {tuned.weight:g}, bonus {tuned.bonus:g}, blank penalty {tuned.blank_penalty:g}"
    assert shown.out.splitlines()[-2:] == [
        f"best path: 0 errors in {tuned.words} words (0.00 %)",
        f"best setting: {tuned.errors} errors ({100 * tuned.errors / tuned.words:.2f} %): {best}",
    ]
    assert f"wrote {out}: {tuned.described}" in shown.err
    assert main(["lm", "info", out]) == 0
    assert f"weights: {tuned.described}\ntuned on m.jsonl: {tuned.errors} errors in" in capsys.readouterr().out


def test_what_the_file_says_is_what_the_search_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight of 0 in the file gives the score of the acoustic model alone, on the command line and in Python."""
    monkeypatch.chdir(folder)
    silent = Tuned((Setting(0.0, 0.0, 0.0, 0, 0),), -0.0, 9, 2)
    monkeypatch.setattr("asr.tuning.fusion.tune_fusion", lambda *_, **__: silent)
    assert main(tune(out=str(tmp_path / "lm"))) == 0
    rows = []
    for options in ([], ["--lm", str(tmp_path / "lm")], ["--lm", "lm"]):
        decode = ["decode", "m.jsonl", "--model", "model.safetensors", "--out", str(tmp_path / "hyp"), "--beam", "20"]
        assert main([*decode, *options]) == 0
        rows.append([json.loads(line) for line in (tmp_path / "hyp").read_text().splitlines()])
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            tried(5, 3, 4),
            "m.jsonl: the best setting makes 3 errors, the best path 2; nothing is written: this language",
        ),
        (tried(9, greedy=12), "the best setting makes 9 errors in 9 words, as many as silence; nothing is written"),
    ],
)
def test_what_does_not_help_is_not_written(
    folder: Path, found: Tuned, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("asr.tuning.fusion.tune_fusion", lambda *_, **__: found)
    assert main(tune()) == 3
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path("out").exists()


def test_what_is_no_worse_than_the_best_path_is_written_and_drawn(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("asr.tuning.fusion.tune_fusion", lambda *_, **__: tried(5, 2, 4))
    plot = tmp_path / "a.png"
    assert main(tune("lm", "m.jsonl", "--plot", str(plot), out=str(tmp_path / "lm"))) == 0
    tuned = tuned_of(load_ngram(tmp_path / "lm"))
    assert tuned is not None
    assert (tuned.weight, tuned.errors, tuned.greedy_errors, tuned.words) == (0.2, 2, 2, 9)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines()[:2] == ["errors    bonus       1", "weight        0        5"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (tune(manifest="none.jsonl"), 3, "none.jsonl: holds no utterances"),
        (tune(manifest="one.jsonl"), 3, "one.jsonl: 1 utterances have no text; give them one"),
        (tune(manifest="empty.jsonl"), 3, "empty.jsonl: its texts hold no words; write what is said"),
        (tune(manifest="lost.jsonl"), 3, "lost.jsonl: utterance 'b': "),
        (tune(manifest="."), 3, ".: cannot read the manifest: Is a directory"),
        (tune("upper.lm"), 3, "upper.lm: 100 % of the words hold what the model cannot write: 'B', "),
        (tune("model.safetensors"), 3, "model.safetensors: no n-gram model but a file of tensors"),
        (tune("."), 3, ".: cannot read the language model: Is a directory"),
        (tune(out="."), 2, "--out .: is a folder; name the file to write"),
        (tune(out="lm"), 2, "--out lm: is one of the files to read (lm)"),
        (tune(out="x.arpa"), 2, "--out x.arpa: ARPA cannot keep weights; give another name, such as x.lm"),
        (tune("lm", "m.jsonl", "--plot", "x.foo"), 2, "x.foo: cannot draw a picture of that name"),
        (tune("lm", "m.jsonl", "--beam", "0"), 2, "--beam 0: give a number of prefixes from 1 to 65536"),
        (tune("lm", "m.jsonl", "--device", "tpu"), 2, "device 'tpu': not one that torch knows"),
    ],
)
def test_what_is_wrong_ends_in_one_line(
    folder: Path,
    arguments: list[str],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    capsys.readouterr()
    assert main(arguments) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("hear: ")]
    assert line.startswith("asr lm: ")
    assert message in line
    assert sorted(folder.iterdir()) == before
