"""prepare.py of the large corpora, on miniatures in the true layouts: good ones, and with what goes wrong in them."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torchaudio

from asr.audio.files import audio_info, read_audio
from asr.data.manifest import Utterance, read_manifest
from asr.errors import DataError, UsageError
from recipes.aishell1.prepare import prepare as prepare_aishell1
from recipes.common_voice.prepare import prepare as prepare_common_voice
from recipes.librispeech.prepare import DEV, LIBRISPEECH, TEST, TRAIN
from recipes.librispeech.prepare import prepare as prepare_librispeech
from recipes.ljspeech import prepare as ljspeech
from recipes.mini_librispeech.prepare import prepare as prepare_mini_librispeech
from recipes.tedlium3.prepare import TEDLIUM3, spoken
from recipes.tedlium3.prepare import prepare as prepare_tedlium3
from recipes.voxforge.prepare import part_of
from recipes.voxforge.prepare import prepare as prepare_voxforge
from tests.recipes import corpora as make
from tests.recipes.test_prepare import ids, manifests

ALL = dict.fromkeys([*TRAIN["960"], *DEV, *TEST], 1)


def texts(utterances: list[Utterance]) -> dict[str, str | None]:
    return {utterance.id: utterance.text for utterance in utterances}


def dropped(path: Path) -> list[tuple[str, str]]:
    """Return (id, kind) of what was left out."""
    header, *lines = path.read_text("utf-8").splitlines()
    assert header == "id\tkind\tmessage"
    return [(line.split("\t")[0], line.split("\t")[1]) for line in lines]


# LibriSpeech


@pytest.mark.parametrize(("hours", "utterances"), [("100", 8), ("960", 24)])
def test_librispeech(tmp_path: Path, hours: str, utterances: int) -> None:
    root = make.make_librispeech(tmp_path, ALL)
    prepare_librispeech(root, tmp_path / "out", hours=hours, accept=False)
    parts = manifests(tmp_path / "out")
    assert {part: len(rows) for part, rows in parts.items()} == {
        "train": utterances,
        "valid": 16,
        **dict.fromkeys([*DEV, *TEST], 8),
    }
    assert ids(parts["valid"]) == ids(parts["dev-clean"]) | ids(parts["dev-other"])
    first = parts["train"][0]
    assert (first.id, first.text, first.speaker) == ("101-900-0000", "YES NO", "101")
    waveform, rate = read_audio(first.audio)
    assert first.duration == len(waveform) / rate


def test_librispeech_validates_on_a_sample_that_is_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make.make_librispeech(tmp_path, ALL)
    monkeypatch.setattr("recipes.librispeech.prepare.NUM_VALID", 5)
    chosen = []
    for out in (tmp_path / "one", tmp_path / "two"):
        prepare_librispeech(root, out, hours="100", accept=False)
        chosen.append([row.id for row in read_manifest(out / "valid.jsonl")])
    assert len(chosen[0]) == 5
    assert chosen[0] == chosen[1]


def test_librispeech_as_its_archives_unpack_side_by_side(tmp_path: Path) -> None:
    """Each archive holds LibriSpeech/PART; the recipe unpacks it to PART, a person perhaps all to one folder."""
    root = make.make_librispeech(tmp_path, ALL, chapters=1)
    for part in ALL:
        (tmp_path / "corpus" / part / "LibriSpeech").mkdir(parents=True)
        (root / part).rename(tmp_path / "corpus" / part / "LibriSpeech" / part)
    prepare_librispeech(tmp_path / "corpus", tmp_path / "out", accept=False)
    assert len(manifests(tmp_path / "out")["train"]) == 12


def test_librispeech_that_is_not_as_published_is_refused(tmp_path: Path) -> None:
    root = make.make_librispeech(tmp_path, ALL)
    with pytest.raises(
        DataError, match=r"LibriSpeech train-clean-100: 8 audio files, expected 28539; get it again from"
    ):
        prepare_librispeech(root, tmp_path / "out")
    shutil.rmtree(root / "test-other")
    with pytest.raises(DataError, match=r"not the corpus LibriSpeech, as it has no test-other/\*"):
        prepare_librispeech(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_librispeech_with_some_parts_names_those_it_lacks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make.make_librispeech(tmp_path, {"train-clean-100": 1, "test-clean": 1})
    with caplog.at_level(logging.INFO, "asr"):
        prepare_librispeech(root, tmp_path / "out", hours="100", accept=False)
    assert caplog.messages == [f"{root}: without dev-clean, dev-other, test-other"]
    assert manifests(tmp_path / "out").keys() == {"train", "test-clean"}
    with pytest.raises(DataError, match="not the corpus LibriSpeech, as it has no train-clean-100"):
        prepare_librispeech(tmp_path / "out", tmp_path / "out", hours="100", accept=False)


def _unlink(chapter: Path) -> None:
    (chapter / "101-900-0001.flac").unlink()


def _untold(chapter: Path) -> None:
    shutil.copy(chapter / "101-900-0001.flac", chapter / "101-900-0009.flac")


def _malformed(chapter: Path) -> None:
    transcripts = chapter / "101-900.trans.txt"
    transcripts.write_text(transcripts.read_text().replace("101-900-0002 NO", "101-900-0002"))


def _of_another(chapter: Path) -> None:
    transcripts = chapter / "101-900.trans.txt"
    transcripts.write_text(transcripts.read_text().replace("101-900-0002", "101-901-0002"))


def _without_transcripts(chapter: Path) -> None:
    (chapter / "101-900.trans.txt").unlink()


def _not_audio(chapter: Path) -> None:
    (chapter / "101-900-0001.flac").write_text("no audio")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_unlink, r"101-900\.trans\.txt:2: '101-900-0001' has no audio file, or a second transcript; get"),
        (_untold, r"101-900-0009\.flac: has no line in .*101-900\.trans\.txt; get the corpus again"),
        (_malformed, r"101-900\.trans\.txt:3: '101-900-0002' is not '101-900-NNNN TEXT'; get the corpus again"),
        (_of_another, r"101-900\.trans\.txt:3: '101-901-0002 NO' is not '101-900-NNNN TEXT'"),
        (_without_transcripts, r"101-900\.trans\.txt: cannot read: No such file"),
        (_not_audio, r"101-900-0001\.flac: not audio that can be read"),
    ],
)
def test_librispeech_with_missing_pieces(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    root = make.make_librispeech(tmp_path, {"train-clean-100": 1})
    spoil(root / "train-clean-100" / "101" / "900")
    with pytest.raises(DataError, match=message) as caught:
        prepare_librispeech(root, tmp_path / "out", hours="100", accept=False)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*.jsonl"))


@pytest.mark.corpora
def test_librispeech_prepares_its_real_chapters(corpora: Path, tmp_path: Path) -> None:
    prepare_librispeech(corpora / "LibriSpeech", tmp_path, hours="100", accept=False)
    rows = read_manifest(tmp_path / "train.jsonl")
    assert len(rows) == 41
    assert {row.speaker for row in rows} == {"19", "26"}
    assert sum(row.duration for row in rows) / 60 == pytest.approx(8, abs=0.5)
    assert rows[0].text == "NORTHANGER ABBEY"


def test_mini_librispeech(tmp_path: Path) -> None:
    root = make.make_librispeech(tmp_path, {"train-clean-5": 5, "dev-clean-2": 2}, chapters=1)
    prepare_mini_librispeech(root, tmp_path / "out", accept=False)
    parts = manifests(tmp_path / "out")
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 8, "valid": 12, "train_all": 20, "test": 8}
    assert not {row.speaker for row in parts["valid"]} & {row.speaker for row in parts["train"]}
    assert ids(parts["train"]) | ids(parts["valid"]) == ids(parts["train_all"])
    with pytest.raises(DataError, match=r"LibriSpeech train-clean-5: 20 audio files, expected 1519"):
        prepare_mini_librispeech(root, tmp_path / "out")


def test_checksums_are_those_that_torchaudio_publishes() -> None:
    for part in LIBRISPEECH.parts.values():
        url = part.urls[0].replace("https", "http")
        assert part.archive_sha256 == torchaudio.datasets.librispeech._CHECKSUMS[url]
    assert TEDLIUM3.archive_sha256 == torchaudio.datasets.tedlium._RELEASE_CONFIGS["release3"]["checksum"]
    assert ljspeech.LJSPEECH.archive_sha256 == torchaudio.datasets.ljspeech._RELEASE_CONFIGS["release1"]["checksum"]


# TED-LIUM 3


@pytest.mark.parametrize("links", [True, False])
def test_tedlium3(tmp_path: Path, links: bool, caplog: pytest.LogCaptureFixture) -> None:
    root = make.make_tedlium3(tmp_path, links=links)
    with caplog.at_level(logging.INFO, "asr"):
        prepare_tedlium3(root, tmp_path / "out", accept=False)
    parts = manifests(tmp_path / "out")
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 24, "valid": 5, "test": 5}
    assert [row.text for row in parts["train"][:4]] == ["yes no", "no yes yes", "no", "yes no no's yes"]
    assert [row.text for row in parts["test"]][-1] == "no", "of the scored ones only the mark <unk> goes"
    assert {row.speaker for row in parts["train"]} == {f"AnnaB{number}" for number in range(6)}
    out = dropped(tmp_path / "out" / "train.dropped.tsv")
    assert [kind for _, kind in out[:3]] == ["unknown-word", "no-text", "not-scored"]
    assert len(out) == 18
    assert "train: 18 of 42 left out: unknown-word 6 (AnnaB0_2009X-" in caplog.text
    for row in parts["test"]:
        assert row.start + row.duration <= audio_info(row.audio).duration
        assert read_audio(row.audio, start=row.start, duration=row.duration)[0].size > 0


def test_tedlium3_segments_end_where_the_recording_does(tmp_path: Path) -> None:
    root = make.make_tedlium3(tmp_path)
    stm = root / "legacy" / "test" / "stm" / "EveF_2011.stm"
    stm.write_text(stm.read_text() + "EveF_2011 1 EveF_2011 0 9999 <o> yes\nEveF_2011 1 EveF_2011 9998 9999 <o> yes\n")
    prepare_tedlium3(root, tmp_path / "out", accept=False)
    last = read_manifest(tmp_path / "out" / "test.jsonl")[-1]
    assert (last.id, last.duration) == ("EveF_2011-0000000-9999000", audio_info(last.audio).duration)
    assert ("EveF_2011-9998000-9999000", "no-audio") in dropped(tmp_path / "out" / "test.dropped.tsv")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("it 's what we 're and i 'd don 't", "it's what we're and i'd don't"),
        ("<sil> for(2) the(3) {COUGH} people <sil>", "for the people"),
        ("'cause 'em", "'cause'em"),
        ("well [laughter] (PaulaScher_2008P-1003.35-F0_F) <unk>", "well"),
        ("{NOISE} <sil>", ""),
    ],
)
def test_tedlium3_texts(written: str, said: str) -> None:
    assert spoken(written) == said


def test_tedlium3_with_missing_pieces(tmp_path: Path) -> None:
    root = make.make_tedlium3(tmp_path)
    with pytest.raises(DataError, match="TED-LIUM 3 train: 6 audio files, expected 2351"):
        prepare_tedlium3(root, tmp_path / "out")
    stm = root / "legacy" / "dev" / "stm" / "CarlD_2010.stm"
    text = stm.read_text()
    stm.write_text(text + "CarlD_2010 1 CarlD_2010 12.0 x <o> yes\n")
    with pytest.raises(DataError, match=r"CarlD_2010\.stm:9: 'CarlD_2010 1 .*' is not 'TALK 1 SPEAKER START END"):
        prepare_tedlium3(root, tmp_path / "out", accept=False)
    stm.write_text(text)
    sound = root / "legacy" / "test" / "sph" / "EveF_2011.sph"
    sound.write_bytes(sound.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"EveF_2011\.sph: truncated"):
        prepare_tedlium3(root, tmp_path / "out", accept=False)
    sound.unlink()
    with pytest.raises(DataError, match="talk 'EveF_2011' is in stm but not in sph; get the corpus again"):
        prepare_tedlium3(root, tmp_path / "out", accept=False)
    assert not list(tmp_path.glob("out/*.jsonl"))


def test_tedlium3_unpacks_what_it_reads_and_no_links() -> None:
    assert TEDLIUM3.wanted is not None
    for path in ("data/sph/A_2009.sph", "data/stm/A_2009.stm", "legacy/dev/stm/C_2010.stm", "legacy/test/sph/E.sph"):
        assert TEDLIUM3.wanted(f"TEDLIUM_release-3/{path}")
    for path in ("legacy/train/sph", "speaker-adaptation/train/sph/A_2009.sph", "LM/a.en.gz", "TEDLIUM.152k.dic"):
        assert not TEDLIUM3.wanted(f"TEDLIUM_release-3/{path}")


# Common Voice


def release(corpus: Path) -> Path:
    """Return the folder of the language in a miniature."""
    return corpus / "cv-corpus-17.0-2024-03-15" / "cs"


@pytest.mark.parametrize("below", ["", "cv-corpus-17.0-2024-03-15", "cv-corpus-17.0-2024-03-15/cs"])
def test_common_voice(tmp_path: Path, below: str) -> None:
    corpus = make.make_common_voice(tmp_path / "corpus")
    prepare_common_voice(corpus / below, tmp_path / "out", language="cs")
    parts = manifests(tmp_path / "out")
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 12, "dev": 4, "test": 4, "valid": 4}
    assert [row.text for row in parts["train"][:3]] == ["No no", "Yes yes", "No yes no"], "without quotation marks"
    assert len({row.speaker for row in parts["train"]}) == 6
    assert {row.language for rows in parts.values() for row in rows} == {"cs"}
    for row in parts["test"]:
        assert row.duration == audio_info(row.audio).duration
    assert dropped(tmp_path / "out" / "train.dropped.tsv") == []


def test_common_voice_leaves_out_what_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = make.make_common_voice(tmp_path / "corpus")
    root = release(corpus)
    names = [f"common_voice_cs_{number:06d}" for number in range(3)]
    (root / "clips" / f"{names[0]}.mp3").unlink()
    (root / "clips" / f"{names[1]}.mp3").write_bytes(b"")
    train = (root / "train.tsv").read_text("utf-8").splitlines(keepends=True)
    fields = train[3].split("\t")
    fields[3] = "„…“!"
    train[3] = "\t".join(fields)
    make.write_tsv(root / "train.tsv", [*train[1:], *(root / "dev.tsv").read_text("utf-8").splitlines(True)[1:3]])
    with caplog.at_level(logging.INFO, "asr"):
        prepare_common_voice(corpus, tmp_path / "out", language="cs")
    assert len(manifests(tmp_path / "out")["train"]) == 9
    assert dropped(tmp_path / "out" / "train.dropped.tsv") == [
        (names[0], "missing-audio"),
        (names[2], "no-text"),
        ("common_voice_cs_000012", "speaker-held-out"),
        ("common_voice_cs_000013", "speaker-held-out"),
        (names[1], "unreadable-audio"),
    ]
    assert "train: 5 of 14 left out: speaker-held-out 2 (common_voice_cs_000012, common_voice_cs_000013)" in caplog.text


def test_common_voice_trained_on_another_tsv_keeps_dev_and_test_apart(tmp_path: Path) -> None:
    corpus = make.make_common_voice(tmp_path / "corpus")
    validated = release(corpus) / "validated.tsv"
    header, first, *rest = validated.read_text("utf-8").splitlines(keepends=True)
    test = (release(corpus) / "test.tsv").read_text("utf-8").splitlines()[1].split("\t")[3]
    fields = first.split("\t")
    fields[3] = f"  {test.upper()}"  # a sentence of the test set, read by somebody else
    validated.write_text("".join([header, "\t".join(fields), *rest]), "utf-8")
    prepare_common_voice(corpus, tmp_path / "out", language="cs", tsv="validated.tsv")
    parts = manifests(tmp_path / "out")
    assert len(parts["train"]) == 11
    kinds = [kind for _, kind in dropped(tmp_path / "out" / "train.dropped.tsv")]
    assert kinds == ["sentence-held-out", *["speaker-held-out"] * 8]
    with pytest.raises(UsageError, match=r"--tsv \.\./x\.tsv: name a file that lies beside dev\.tsv"):
        prepare_common_voice(corpus, tmp_path / "out", language="cs", tsv="../x.tsv")


def test_common_voice_with_missing_pieces(tmp_path: Path) -> None:
    corpus = make.make_common_voice(tmp_path / "corpus")
    root, out = release(corpus), tmp_path / "out"
    with pytest.raises(
        DataError, match=r"no Common Voice in 'de', as it has no test\.tsv; get it by hand here: https://"
    ):
        prepare_common_voice(corpus, out, language="de")
    with pytest.raises(DataError, match=r"train\.tsv:2: locale 'cs', not 'de'; correct --language"):
        prepare_common_voice(root, out, language="de")
    header, *lines = (root / "train.tsv").read_text("utf-8").splitlines(keepends=True)
    (root / "train.tsv").write_text("".join([header, lines[0], lines[1].replace("\tcs", "")]), "utf-8")
    with pytest.raises(DataError, match=r"train\.tsv:3: 12 fields, the first line has 13; get it again"):
        prepare_common_voice(corpus, out, language="cs")
    (root / "train.tsv").write_text(header.replace("sentence\t", "") + lines[0], "utf-8")
    with pytest.raises(DataError, match=r"train\.tsv:1: no column 'sentence' among client_id, path"):
        prepare_common_voice(corpus, out, language="cs")
    (root / "train.tsv").write_text(header, "utf-8")
    with pytest.raises(DataError, match=r"train\.jsonl: no utterances are left for it \(the corpus has none"):
        prepare_common_voice(corpus, out, language="cs")
    (root / "train.tsv").write_bytes(header.encode() + b"\xff\n")
    with pytest.raises(DataError, match=r"train\.tsv:2: not UTF-8"):
        prepare_common_voice(corpus, out, language="cs")
    shutil.copytree(root, corpus / "cv-corpus-18.0-2024-06-14" / "cs")
    with pytest.raises(DataError, match=r"holds .* and .*; give the folder of one language and release"):
        prepare_common_voice(corpus, out, language="cs")
    assert not list(tmp_path.glob("out/*.jsonl"))


# LJ Speech


def test_ljspeech(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ljspeech, "NUM_TEST", 6)
    monkeypatch.setattr(ljspeech, "NUM_VALID", 4)
    root = make.make_ljspeech(tmp_path)
    metadata = (root / "metadata.csv").read_text()
    twice = metadata.splitlines()[5].partition("|")[2]
    (root / "metadata.csv").write_text(metadata + f"LJ050-0001|{twice}\n")
    shutil.copy(root / "wavs" / "LJ001-0001.wav", root / "wavs" / "LJ050-0001.wav")
    ljspeech.prepare(tmp_path, tmp_path / "out", accept=False)
    parts = manifests(tmp_path / "out")
    assert sum(map(len, parts.values())) == 31
    assert (len({row.text for row in parts["test"]}), len({row.text for row in parts["valid"]})) == (6, 4)
    split = {part: {str(row.text).lower() for row in rows} for part, rows in parts.items()}
    assert not split["train"] & (split["test"] | split["valid"])
    assert not split["valid"] & split["test"]
    everything = texts([row for rows in parts.values() for row in rows])
    assert everything["LJ001-0003"] == "Number zero zero two", "the third field, without punctuation"
    assert everything["LJ050-0001"] == everything["LJ001-0006"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "LJ001-0002|no yes yes|no yes yes\n",
            "metadata.csv:31: 'LJ001-0002' has no audio file, or a second transcript",
        ),
        ("LJ099-0001|no\n", r"metadata.csv:31: 'LJ099-0001\|no' is not 'NAME\|TEXT\|TEXT'; get the corpus again"),
        ("../x|no|no\n", r"metadata.csv:31: '../x\|no\|no' is not 'NAME\|TEXT\|TEXT'"),
        ("LJ099-0001|no|…\n", "is not 'NAME"),
        ("LJ099-0001|no|no\n", "metadata.csv:31: 'LJ099-0001' has no audio file"),
    ],
)
def test_ljspeech_with_a_wrong_line(tmp_path: Path, line: str, message: str) -> None:
    root = make.make_ljspeech(tmp_path)
    with (root / "metadata.csv").open("a") as file:
        file.write(line)
    with pytest.raises(DataError, match=message):
        ljspeech.prepare(tmp_path, tmp_path / "out", accept=False)


def test_ljspeech_with_missing_pieces(tmp_path: Path) -> None:
    root = make.make_ljspeech(tmp_path)
    with pytest.raises(DataError, match="LJ Speech all: 30 audio files, expected 13100"):
        ljspeech.prepare(tmp_path, tmp_path / "out")
    shutil.copy(root / "wavs" / "LJ001-0001.wav", root / "wavs" / "LJ050-0001.wav")
    with pytest.raises(DataError, match=r"LJ050-0001\.wav: has no line in .*metadata\.csv"):
        ljspeech.prepare(tmp_path, tmp_path / "out", accept=False)
    shutil.rmtree(root / "wavs")
    with pytest.raises(DataError, match="wavs: cannot read: No such file or directory; get the corpus again"):
        ljspeech.prepare(tmp_path, tmp_path / "out", accept=False)
    assert not (tmp_path / "out").exists()


# AISHELL-1


@pytest.mark.parametrize("packed", [False, True])
def test_aishell1(tmp_path: Path, packed: bool, caplog: pytest.LogCaptureFixture) -> None:
    make.make_aishell1(tmp_path / "corpus", packed=packed)
    with caplog.at_level(logging.INFO, "asr"):
        prepare_aishell1(tmp_path / "corpus", tmp_path / "out", accept=False)
    parts = manifests(tmp_path / "out")
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 6, "dev": 3, "test": 3, "valid": 3}
    assert [row.text for row in parts["train"][:3]] == ["而对楼市", "t恤的限购", "的对"]
    assert {row.speaker for row in parts["train"]} == {"S0002", "S0003"}
    assert dropped(tmp_path / "out" / "dev.dropped.tsv") == [("BAC009S0724W0125", "no-transcript")]
    assert "dev: 1 of 4 left out: no-transcript 1 (BAC009S0724W0125)" in caplog.text
    again = [row.audio.stat().st_mtime_ns for row in parts["train"]]
    prepare_aishell1(tmp_path / "corpus", tmp_path / "out", accept=False)
    assert [row.audio.stat().st_mtime_ns for row in parts["train"]] == again, "unpacked once"


def test_aishell1_with_missing_pieces(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make.make_aishell1(tmp_path)
    (root / "wav" / "train" / "S0003" / "BAC009S0003W0122.wav").unlink()
    with pytest.raises(DataError, match="AISHELL-1 train: 5 audio files, expected 120098"):
        prepare_aishell1(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with caplog.at_level(logging.INFO, "asr"):
        prepare_aishell1(root, tmp_path / "out", accept=False)
    assert "1 transcripts have no audio (BAC009S0003W0122" in caplog.text
    transcripts = root / "transcript" / "aishell_transcript_v0.8.txt"
    good = transcripts.read_text("utf-8")
    for line in ("BAC009S0002W0999\n", "BAC009S0002W0122 而\n", "没有\n"):
        transcripts.write_text(good + line, "utf-8")
        with pytest.raises(DataError, match=r"v0\.8\.txt:13: '.*' is not 'BAC…S…W… TEXT', or stands there twice; get"):
            prepare_aishell1(root, tmp_path / "out", accept=False)
    (root / "wav" / "S0900.tar.gz").write_bytes(b"no archive")
    transcripts.write_text(good, "utf-8")
    with pytest.raises(DataError, match=r"S0900\.tar\.gz: not a whole tar archive"):
        prepare_aishell1(root, tmp_path / "out", accept=False)


# VoxForge


def test_voxforge(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = make.make_voxforge(tmp_path / "corpus")
    with caplog.at_level(logging.INFO, "asr"):
        prepare_voxforge(corpus, tmp_path / "out")
    parts = manifests(tmp_path / "out")
    assert sum(map(len, parts.values())) == 2 * 62
    speakers = {part: {str(row.speaker) for row in rows} for part, rows in parts.items()}
    for part, names in speakers.items():
        assert {part_of(name) for name in names} == {part}
    everybody = set().union(*speakers.values())
    assert {"user0", "user59", "anonymous-20080425-tgm", "anonymous-20090101-xyz"} <= everybody
    everything = texts([row for rows in parts.values() for row in rows])
    assert everything["user0-20080425-abc-a0001"] == everything["anonymous-20090101-xyz-a0001"] == "YES NO"
    lonely = [
        path
        for path in (tmp_path / "out").glob("*.dropped.tsv")
        if ("lonely-20100101-aaa", "incomplete") in dropped(path)
    ]
    assert len(lonely) == 1
    assert "left out: incomplete 1 (lonely-20100101-aaa); all named in" in caplog.text


def test_voxforge_shares_are_small() -> None:
    drawn = [part_of(f"speaker {number}") for number in range(2000)]
    assert 70 < drawn.count("test") < 130
    assert 70 < drawn.count("valid") < 130


def test_voxforge_leaves_out_what_lacks_its_other_half(tmp_path: Path) -> None:
    corpus = make.make_voxforge(tmp_path / "corpus")
    (corpus / "user1-20080425-abc" / "wav" / "a0001.wav").unlink()
    (corpus / "user2-20080425-abc" / "etc" / "PROMPTS").write_text("*/b0042 NO YES\n\nx/a0001\n")
    (corpus / "user3-20080425-abc" / "etc" / "PROMPTS").write_bytes(b"x/a0001 M\xfcller\n")
    (corpus / "user4-20080425-abc" / "wav" / "b0042.wav").write_bytes(b"RIFF")
    shutil.rmtree(corpus / "user5-20080425-abc" / "wav")
    (corpus / "user6-20080425-abc" / "etc" / "README").unlink()
    prepare_voxforge(corpus, tmp_path / "out")
    found = dict(row for path in (tmp_path / "out").glob("*.dropped.tsv") for row in dropped(path))
    assert found == {
        "user1-20080425-abc-a0001": "missing-audio",
        "user2-20080425-abc-a0001": "no-text",
        "user3-20080425-abc": "bad-prompts",
        "user4-20080425-abc-b0042": "unreadable-audio",
        "user5-20080425-abc": "incomplete",
        "lonely-20100101-aaa": "incomplete",
    }
    rows = [row for rows in manifests(tmp_path / "out").values() for row in rows]
    assert {row.speaker for row in rows if row.id.startswith("user6-")} == {"user6"}


def test_voxforge_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folders with etc/PROMPTS; get it by hand here: http"):
        prepare_voxforge(tmp_path, tmp_path / "out")
    (tmp_path / "user-20080101-abc.tgz").write_bytes(b"")
    with pytest.raises(DataError, match=r"no folders with etc/PROMPTS but archives; unpack them: for f in \*\.tgz"):
        prepare_voxforge(tmp_path, tmp_path / "out")
