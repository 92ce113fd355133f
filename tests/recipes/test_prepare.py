"""prepare.py of the recipes, on miniature corpora in the true layouts and on the real ones."""

from pathlib import Path

import numpy as np
import pytest

from asr.audio.files import read_audio, write_audio
from asr.data.manifest import Utterance, read_manifest
from asr.errors import DataError, UsageError
from recipes.an4.prepare import prepare as prepare_an4
from recipes.fsdd.prepare import Choice
from recipes.fsdd.prepare import main as fsdd_main
from recipes.fsdd.prepare import prepare as prepare_fsdd
from recipes.yesno.prepare import NUM_RECOMBINED, loud_spans, recombined
from recipes.yesno.prepare import prepare as prepare_yesno
from tests.recipes.miniature import FSDD_SPEAKERS, an4_samples, make_an4, make_fsdd, make_yesno


def manifests(folder: Path) -> dict[str, list[Utterance]]:
    return {file.stem: read_manifest(file) for file in folder.glob("*.jsonl")}


def ids(utterances: list[Utterance]) -> set[str]:
    return {utterance.id for utterance in utterances}


@pytest.mark.parametrize("suffix", [".flac", ".sph", ".wav", ".raw"])
def test_an4_of_any_distribution(tmp_path: Path, suffix: str) -> None:
    prepare_an4(make_an4(tmp_path / "an4", suffix), tmp_path / "out", accept=False)
    parts = manifests(tmp_path / "out")
    assert parts.keys() == {"train", "train_all", "valid", "test"}
    assert [(row.id, row.text, row.speaker) for row in parts["test"]] == [
        ("an1-ftst-b", "YES", "ftst"),
        ("cen2-ftst-b", "O'HARE NINE", "ftst"),
    ]
    for row in parts["train_all"]:
        waveform, rate = read_audio(row.audio)
        assert rate == 16000
        np.testing.assert_array_equal(waveform * 32768, an4_samples(row.id))
        assert row.duration == pytest.approx(len(waveform) / rate)
    assert {row.text for row in parts["train_all"]} == {"YES", "O'HARE NINE"}


def test_an4_little_endian_raw(tmp_path: Path) -> None:
    corpus = make_an4(tmp_path / "an4", ".raw")
    for file in corpus.rglob("*.raw"):
        np.fromfile(file, ">i2").astype("<i2").tofile(file)
    prepare_an4(corpus, tmp_path / "out", accept=False)
    for row in manifests(tmp_path / "out")["test"]:
        np.testing.assert_array_equal(read_audio(row.audio)[0] * 32768, an4_samples(row.id))


def test_an4_holds_out_whole_speakers_always_the_same(tmp_path: Path) -> None:
    corpus = make_an4(tmp_path / "an4")
    prepare_an4(corpus, tmp_path / "one", accept=False)
    prepare_an4(corpus, tmp_path / "two", accept=False)
    parts, again = manifests(tmp_path / "one"), manifests(tmp_path / "two")
    assert ids(parts["valid"]) == ids(again["valid"])
    assert len({row.speaker for row in parts["valid"]}) == 8
    assert not {row.speaker for row in parts["valid"]} & {row.speaker for row in parts["train"]}
    assert ids(parts["train"]) | ids(parts["valid"]) == ids(parts["train_all"])


def test_an4_inside_the_folder_of_its_archive(tmp_path: Path) -> None:
    make_an4(tmp_path / "downloads" / "an4")
    prepare_an4(tmp_path / "downloads", tmp_path / "out", accept=False)
    assert len(manifests(tmp_path / "out")["test"]) == 2


def test_an4_that_is_not_as_published_is_refused_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"AN4 train: 20 audio files, expected 948.*--accept any"):
        prepare_an4(make_an4(tmp_path / "an4"), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_an4_with_missing_pieces(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not the corpus AN4, as it has no etc/an4_train\.fileids"):
        prepare_an4(tmp_path, tmp_path / "out")
    corpus = make_an4(tmp_path / "an4")
    (lost := next(corpus.rglob("cen2-ftst-b.flac"))).unlink()
    with pytest.raises(DataError, match="cen2-ftst-b: no such audio file"):
        prepare_an4(corpus, tmp_path / "out", accept=False)
    lost.with_suffix(".wav").write_text("no audio")
    with pytest.raises(DataError, match=r"cen2-ftst-b\.wav"):
        prepare_an4(corpus, tmp_path / "out", accept=False)
    transcripts = corpus / "etc" / "an4_test.transcription"
    transcripts.write_text(transcripts.read_text().replace("(cen2-ftst-b)", "(cen3-ftst-b)"))
    with pytest.raises(DataError, match=r"an4_test\.transcription:2: .* is not 'TEXT \(cen2-ftst-b\)'"):
        prepare_an4(corpus, tmp_path / "out", accept=False)
    transcripts.write_text("YES (an1-ftst-b)\n")
    with pytest.raises(DataError, match="1 lines for 2 files"):
        prepare_an4(corpus, tmp_path / "out", accept=False)


def test_yesno_splits(tmp_path: Path) -> None:
    corpus = make_yesno(tmp_path / "waves_yesno", 20)
    names = sorted(file.stem for file in corpus.glob("*.wav"))
    for split, test in (("kaldi", names[10:]), ("lhotse", names[1::2])):
        prepare_yesno(corpus, tmp_path / split, split=split, accept=False)
        parts = manifests(tmp_path / split)
        assert [row.id for row in parts["test"]] == test
        whole = [row for row in parts["train"] if "recombined" not in row.id]
        assert (len(whole), len(parts["valid"])) == (5, 5)
        assert ids(whole) | ids(parts["valid"]) | set(test) == set(names)
    for row in parts["test"]:
        assert row.text == " ".join("yes" if bit == "1" else "no" for bit in row.id.split("_"))
        assert row.language == "he"


def test_yesno_also_trains_on_its_words_in_other_orders(tmp_path: Path) -> None:
    """Otherwise all training files of Kaldi's split start with "no", and the network learns that."""
    prepare_yesno(make_yesno(tmp_path / "waves_yesno", 20), tmp_path / "out", accept=False)
    parts = manifests(tmp_path / "out")
    made = [row for row in parts["train"] if "recombined" in row.id]
    assert len(made) == NUM_RECOMBINED
    assert {(row.text or "").split()[0] for row in made} == {"yes", "no"}
    assert len({row.text for row in made}) > NUM_RECOMBINED / 3
    for row in made[:20]:
        waveform, rate = read_audio(row.audio)
        assert len(waveform) == round(row.duration * rate)
        assert len(loud_spans(waveform, rate)) == len((row.text or "").split()), "as many words to hear as to read"
    assert not any("recombined" in row.id for row in [*parts["valid"], *parts["test"]])


def test_yesno_recombines_the_very_sounds_of_the_words(tmp_path: Path) -> None:
    """Two recordings, of a low yes and a high no: each new one is low and high where its text says so."""
    rate, word = 8000, 2000
    tones = {"yes": 200.0, "no": 1500.0}
    rows = []
    for name, words in (("a", ["yes", "no", "no"]), ("b", ["no", "yes", "no"])):
        spoken = [0.3 * np.sin(2 * np.pi * tones[text] / rate * np.arange(word)) for text in words]
        pause = np.random.default_rng(1).normal(0, 1e-3, word)
        waveform = np.concatenate([pause, *(part for tone in spoken for part in (tone, pause))])
        write_audio(tmp_path / f"{name}.wav", waveform.astype(np.float32), rate)
        rows.append(Utterance(name, tmp_path / f"{name}.wav", 0.0, len(waveform) / rate, text=" ".join(words)))
    fast = np.random.default_rng(2).normal(0, 0.1, 100).astype(np.float32)
    write_audio(tmp_path / "fast.wav", np.tile(np.concatenate([fast, np.zeros(4000, np.float32)]), 3), 2 * rate)
    rows.append(Utterance("fast", tmp_path / "fast.wav", 0.0, 0.75, text="no no no"))
    (tmp_path / "new").mkdir()
    made = recombined(rows, 12, tmp_path / "new")
    assert len(made) == 12
    for row in made:
        waveform, _ = read_audio(row.audio)
        heard = [waveform[first:last] for first, last in loud_spans(waveform, rate)]
        crossings = [float(np.abs(np.diff(np.sign(part))).mean()) for part in heard]
        assert ["yes" if count < 0.4 else "no" for count in crossings] == (row.text or "").split()


def test_yesno_recombines_nothing_of_recordings_whose_words_it_cannot_tell_apart(tmp_path: Path) -> None:
    write_audio(tmp_path / "noise.wav", np.random.default_rng(1).normal(0, 0.1, 8000), 8000)
    write_audio(tmp_path / "short.wav", np.zeros(40, np.float32), 8000)
    rows = [Utterance(name, tmp_path / f"{name}.wav", 0.0, 1.0, text="yes no") for name in ("noise", "short")]
    assert recombined(rows, 3, tmp_path / "new") == []
    assert not (tmp_path / "new").exists()


def test_yesno_with_a_file_of_another_name(tmp_path: Path) -> None:
    corpus = make_yesno(tmp_path / "waves_yesno", 4)
    next(corpus.glob("*.wav")).rename(corpus / "1_maybe.wav")
    with pytest.raises(DataError, match="1_maybe: not a name made of 0 and 1"):
        prepare_yesno(corpus, tmp_path / "out", accept=False)


@pytest.mark.corpora
def test_an4_as_published(corpora: Path, tmp_path: Path) -> None:
    prepare_an4(corpora / "an4", tmp_path)
    parts = manifests(tmp_path)
    assert {part: len(rows) for part, rows in parts.items()} == {
        "train": 846,
        "train_all": 948,
        "valid": 102,
        "test": 130,
    }
    speakers = {row.speaker for row in parts["valid"]}
    assert speakers == {"fbbh", "fjam", "fkdo", "fmjc", "mcel", "mmaf", "mnjl", "mtje"}, "as the recipe's pages say"
    assert sum(len((row.text or "").split()) for row in parts["train_all"]) == 5442
    assert sum(len((row.text or "").split()) for row in parts["test"]) == 773


@pytest.mark.corpora
def test_yesno_as_published(corpora: Path, tmp_path: Path) -> None:
    prepare_yesno(corpora / "waves_yesno", tmp_path)
    parts = manifests(tmp_path)
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 425, "valid": 5, "test": 30}


def fsdd(tmp_path: Path, choice: Choice | None = None) -> dict[str, list[Utterance]]:
    folder = tmp_path / "fsdd"
    prepare_fsdd(folder if folder.exists() else make_fsdd(folder), tmp_path / "out", choice=choice, accept=False)
    return manifests(tmp_path / "out")


def test_fsdd_is_split_by_index(tmp_path: Path) -> None:
    parts = fsdd(tmp_path)
    indices = {part: {int(row.id.split("_")[2]) for row in rows} for part, rows in parts.items()}
    assert indices == {"train": {7}, "train_all": {5, 6, 7}, "valid": {5, 6}, "test": {0, 1, 2, 3, 4}}
    assert {(row.text, row.id[0]) for row in parts["test"]} == {("zero", "0"), ("one", "1")}
    assert {row.speaker for row in parts["train"]} == set(FSDD_SPEAKERS)


def test_fsdd_for_a_new_speaker(tmp_path: Path) -> None:
    none = fsdd(tmp_path, Choice(speaker="theo"))
    assert {row.speaker for row in none["test"]} == {"theo"}
    assert {row.speaker for row in none["train_all"]} == {"george", "jackson"}
    some = fsdd(tmp_path, Choice(speaker="theo", own_seconds=1.2))
    own = [row for row in some["train_all"] if row.speaker == "theo"]
    assert 0.5 < sum(row.duration for row in own) <= 1.2
    assert len(some["train_all"]) == len(none["train_all"]) + len(own)


def test_fsdd_of_the_new_speaker_alone(tmp_path: Path) -> None:
    alone = fsdd(tmp_path, Choice(speaker="theo", own_seconds=1.2, others=False))
    assert {row.speaker for row in alone["train_all"]} == {"theo"}
    assert alone["test"] == fsdd(tmp_path, Choice(speaker="theo"))["test"]
    with pytest.raises(UsageError, match="--others no --own-seconds 0: leaves nothing to train on; give more"):
        fsdd(tmp_path, Choice(speaker="theo", others=False))


def test_fsdd_of_some_minutes(tmp_path: Path) -> None:
    few = fsdd(tmp_path, Choice(minutes=0.05))["train_all"]
    assert 2 < sum(row.duration for row in few) <= 3
    more = fsdd(tmp_path, Choice(minutes=0.1))["train_all"]
    assert len(more) > len(few)


def test_fsdd_without_such_a_speaker(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--speaker bob: not in the corpus; there are: george, jackson, theo"):
        fsdd(tmp_path, Choice(speaker="bob"))


def test_fsdd_with_a_file_of_another_name(tmp_path: Path) -> None:
    folder = make_fsdd(tmp_path / "fsdd")
    (folder / "recordings" / "ten_theo.wav").touch()
    with pytest.raises(DataError, match="ten_theo: not a name such as 7_jackson_32"):
        fsdd(tmp_path)


def test_fsdd_with_words_for_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_fsdd(tmp_path / "fsdd")
    given = ["--corpus", str(folder), "--out", str(tmp_path / "out"), "--minutes", "one"]
    monkeypatch.setattr("sys.argv", ["prepare.py", *given])
    assert fsdd_main() == 2
    assert "--minutes one: expected a number" in capsys.readouterr().err


@pytest.mark.corpora
def test_fsdd_as_published(corpora: Path, tmp_path: Path) -> None:
    prepare_fsdd(corpora / "fsdd", tmp_path)
    sizes = {part: len(rows) for part, rows in manifests(tmp_path).items()}
    assert sizes == {"train": 780, "train_all": 900, "valid": 120, "test": 300}
