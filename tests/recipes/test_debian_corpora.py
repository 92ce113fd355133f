"""fillets and stamps: from packages, or a tree, in the true layout to manifests; bad scripts and texts."""

from pathlib import Path

import pytest

from asr.audio.files import read_audio
from asr.config import load_config
from asr.data.debian import Selection
from asr.data.manifest import Utterance, read_manifest
from asr.data.sifting import PUNCTUATION
from asr.data.splits import sentence_key
from asr.errors import DataError
from asr.text.normalize import Normalizer
from asr.training.config import ExperimentConfig
from recipes.fillets.prepare import FILLETS, Dialog, read_dialogs
from recipes.fillets.prepare import LETTERS as FILLETS_LETTERS
from recipes.fillets.prepare import prepare as prepare_fillets
from recipes.stamps.prepare import LETTERS as STAMPS_LETTERS
from recipes.stamps.prepare import STAMPS, read_descriptions
from recipes.stamps.prepare import prepare as prepare_stamps
from tests.recipes.miniature import czech, make_fillets, make_stamps, write_deb, write_dialogs

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("train", "valid", "test")
CZECH, ROMANIAN = Selection("cs", accept=False), Selection("ro", accept=False)


def rows_of(out: Path) -> dict[str, list[Utterance]]:
    return {part: read_manifest(out / f"{part}.jsonl") for part in PARTS}


def everything(out: Path) -> list[Utterance]:
    return [row for rows in rows_of(out).values() for row in rows]


def left_out(out: Path) -> dict[str, str]:
    return dict(line.split("\t")[:2] for line in (out / "left_out.tsv").read_text().splitlines())


def scripts(corpus: Path) -> Path:
    return corpus / FILLETS.tree / "script"


def test_fillets_has_what_is_said_by_whom(tmp_path: Path) -> None:
    said = prepare_fillets(make_fillets(tmp_path / "x"), tmp_path / "out", CZECH)
    rows = {row.id: row for row in everything(tmp_path / "out")}
    assert len(rows) == 62
    assert rows["cellar-pra-v-37"].text == "Tři sedm..."
    assert rows["cellar-pra-v-37"].speaker == "cs-big"
    assert rows["cellar-pra-m-36"].speaker == "cs-small"
    assert rows["borejokes-ob-v-nic"].text == 'Nic, "nula"!', "script/share says, sound/share/borejokes sounds"
    assert left_out(tmp_path / "out") == {"cellar-forgotten": "no-text", "cellar-pra-m-mute": "no-recording"}
    assert said == f"62 recordings used, 2 left out (no-text 1, no-recording 1); named in {tmp_path}/out/left_out.tsv"
    for row in rows.values():
        waveform, rate = read_audio(row.audio)
        assert row.duration == pytest.approx(len(waveform) / rate)
        assert row.language == "cs"


@pytest.mark.parametrize(("prepare", "selection"), [(prepare_fillets, CZECH), (prepare_stamps, ROMANIAN)])
def test_no_sentence_is_in_two_parts(tmp_path: Path, prepare, selection: Selection) -> None:  # type: ignore[no-untyped-def]
    make = make_fillets if prepare is prepare_fillets else make_stamps
    prepare(make(tmp_path / "x"), tmp_path / "out", selection)
    keys = {part: {sentence_key(row.text or "") for row in rows} for part, rows in rows_of(tmp_path / "out").items()}
    assert all(keys.values()), "each part has some"
    assert not keys["train"] & keys["valid"] | keys["train"] & keys["test"] | keys["valid"] & keys["test"]


def test_fillets_said_twice_is_in_one_part(tmp_path: Path) -> None:
    corpus = make_fillets(tmp_path / "x")
    again = {f"pra-{'mv'[n % 2]}-{n}": f"{czech(n % 30).upper()}?" for n in range(60)}
    write_dialogs(scripts(corpus) / "cellar" / "dialogs_cs.lua", again)
    prepare_fillets(corpus, tmp_path / "out", CZECH)
    part_of = {row.id: part for part, rows in rows_of(tmp_path / "out").items() for row in rows}
    for n in range(30):
        assert part_of[f"cellar-pra-{'mv'[n % 2]}-{n}"] == part_of[f"cellar-pra-{'mv'[n % 2]}-{n + 30}"]


def test_fillets_from_packages_equals_fillets_from_the_tree(tmp_path: Path) -> None:
    corpus = make_fillets(tmp_path / "x")
    prepare_fillets(corpus, tmp_path / "tree", CZECH)
    texts, sounds = tmp_path / "texts", tmp_path / "sounds"
    for part, folder in (("script", texts), ("sound", sounds)):
        (folder / FILLETS.tree).mkdir(parents=True)
        (corpus / FILLETS.tree / part).rename(folder / FILLETS.tree / part)
    write_deb(tmp_path / "debs" / "fillets-ng-data_1.0.1-1.1_all.deb", texts)
    with pytest.raises(DataError, match=r"no recordings \(sound/\*/cs/\*\.ogg\); add what .* fillets-ng-data-cs holds"):
        prepare_fillets(tmp_path / "debs", tmp_path / "packages", CZECH)
    write_deb(tmp_path / "debs" / "fillets-ng-data-cs_1.0.1-1.1_all.deb", sounds)
    prepare_fillets(tmp_path / "debs", tmp_path / "packages", CZECH)
    tree, packages = rows_of(tmp_path / "tree"), rows_of(tmp_path / "packages")
    for part in PARTS:
        assert [(row.id, row.text, row.duration) for row in tree[part]] == [
            (row.id, row.text, row.duration) for row in packages[part]
        ]
        assert all(row.audio.is_relative_to(tmp_path / "packages" / "unpacked") for row in packages[part])


def test_fillets_without_texts(tmp_path: Path) -> None:
    corpus = make_fillets(tmp_path / "x")
    for script in scripts(corpus).rglob("*.lua"):
        script.unlink()
    with pytest.raises(DataError, match=r"no texts \(script/\*/dialogs_cs\.lua\)"):
        prepare_fillets(corpus, tmp_path / "out", CZECH)
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_fillets_trains_on_as_much_as_asked_for(tmp_path: Path) -> None:
    corpus = make_fillets(tmp_path / "x")
    prepare_fillets(corpus, tmp_path / "all", CZECH)
    prepare_fillets(corpus, tmp_path / "some", Selection("cs", train_minutes=0.2, accept=False))
    every, some = rows_of(tmp_path / "all"), rows_of(tmp_path / "some")
    assert 10 < sum(row.duration for row in some["train"]) <= 12 < sum(row.duration for row in every["train"])
    assert [row.id for row in some["test"]] == [row.id for row in every["test"]]


def test_another_version_is_refused_unless_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Fish Fillets NG cs: 62 audio files, expected 1784; .*--accept any"):
        prepare_fillets(make_fillets(tmp_path / "x"), tmp_path / "out", Selection("cs"))
    with pytest.raises(DataError, match=r"Tux Paint stamps ro: 60 audio files, expected 733; .*--accept any"):
        prepare_stamps(make_stamps(tmp_path / "y"), tmp_path / "out", Selection("ro"))
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_dialogs_with_comments_line_breaks_and_escapes(tmp_path: Path) -> None:
    script = tmp_path / "dialogs_cs.lua"
    script.write_text(
        '-- "Init" -- dialogId(\ndialogId("a-m-x", -- "no"\n "font_small",\r\n"Not (this).")  \ndialogStr( -- "here"\n'
        '  "C:\\\\DOS, \\"ano\\"\\nne" )\ndialogId("untranslated", "", "x")\n'
        'dialogId("b", "font_big", "x")dialogStr("é")\n--end'
    )
    assert read_dialogs(script) == [
        Dialog("a-m-x", "font_small", 'C:\\DOS, "ano"\nne'),
        Dialog("untranslated", "", ""),
        Dialog("b", "font_big", "é"),
    ]
    script.write_text("-- nothing yet\n\n")
    assert read_dialogs(script) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('dialogId("a", "f", "x")\ndialogStr("y"', r":2: 'dialogStr\(\"y\"' is no dialogId"),
        ('dialogId("a", "f", "x")\ndialogStr("y\n")', r":2: 'dialogStr"),
        ('\n\nos.execute("rm")', r":3: 'os\.execute\(\"rm\"\)' is no"),
        ('dialogId("a", "f", "x"..y)', ":1: 'dialogId"),
        ("for i = 0, 3 do end", ":1: 'for i"),
        ("--[[ dialogId\n]]", r":1: '--\[\[ dialogId \]\]' is no"),
        ('dialogStr("y")', r":1: 'dialogStr\(y\)' where dialogId\(NAME, FONT, ENGLISH\) or its"),
        ('dialogId("a", "f")', r":1: 'dialogId\(a, f\)' where"),
        ('dialogId("a", "f", "x")\nprint("y")', r":2: 'print\(y\)' where"),
        ('dialogId("a", "f", "x")dialogStr("y")\ndialogStr("z")', ":2: 'dialogStr"),
        ('dialogId("a\\nb", "f", "x")', r':1: dialog "a\\nb" is no name'),
        ('dialogStr("a\\nb")', r":1: 'dialogStr\(a b\)' where"),
        ('dialogId("../a", "f", "x")', r':1: dialog "\.\./a" is no name'),
        ('dialogId("a", "f", "x")\n\ndialogId("a", "f", "x")', ':3: dialog "a" is no name, or comes twice'),
    ],
)
def test_a_script_that_is_not_dialogs_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    script = tmp_path / "dialogs_cs.lua"
    script.write_text(text)
    with pytest.raises(DataError, match=message):
        read_dialogs(script)


def test_a_script_that_is_no_text_or_too_large_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "dialogs_cs.lua"
    script.write_bytes(b'dialogId("\xff", "f", "x")')
    with pytest.raises(DataError, match="not UTF-8 at byte 10"):
        read_dialogs(script)
    script.write_text("-" * 1_000_001)
    with pytest.raises(DataError, match="more than 1000000 bytes"):
        read_dialogs(script)


@pytest.mark.parametrize("text", ["--" * 400_000, 'f("a",' * 150_000, '"' + "\\" * 900_000, "f(" + " " * 900_000])
def test_no_script_takes_long_to_refuse(tmp_path: Path, text: str) -> None:
    """With a regular expression that tries again, each would take hours."""
    script = tmp_path / "dialogs_cs.lua"
    script.write_text(text + "x\nx")
    with pytest.raises(DataError, match="is no dialogId"):
        read_dialogs(script)


def test_the_same_dialog_in_two_scripts_of_a_level(tmp_path: Path) -> None:
    corpus = make_fillets(tmp_path / "x")
    write_dialogs(scripts(corpus) / "cellar" / "demo_dialogs_cs.lua", {"pra-m-0": "Ne."})
    with pytest.raises(DataError, match=r"dialogs_cs\.lua: dialog 'pra-m-0' is in another script too"):
        prepare_fillets(corpus, tmp_path / "out", CZECH)
    (scripts(corpus) / "cellar" / "demo_dialogs_cs.lua").rename(scripts(corpus) / "share" / "new_dialogs_cs.lua")
    with pytest.raises(DataError, match=r"new_dialogs_cs\.lua: known are black_, bore_"):
        prepare_fillets(corpus, tmp_path / "out", CZECH)


def test_stamps_has_what_is_read(tmp_path: Path) -> None:
    corpus = make_stamps(tmp_path / "x")
    animals = corpus / STAMPS.tree / "animals"
    (animals / "thing1.txt").unlink()
    (animals / "thing3_desc_ro.ogg").unlink()
    prepare_stamps(corpus, tmp_path / "out", ROMANIAN)
    rows = {row.id: row for row in everything(tmp_path / "out")}
    assert rows["animals-thing27"].text == "O dva sedm."
    assert rows["animals-thing27"].speaker is None
    assert rows["food-thing0"].audio.name == "thing0_desc_ro.ogg"
    assert left_out(tmp_path / "out") == {"animals-thing1": "no-text", "animals-thing3": "no-recording"}
    with pytest.raises(DataError, match=r"no recordings \(\*_desc_ru\.ogg\)"):
        prepare_stamps(corpus, tmp_path / "out", Selection("ru", accept=False))


def test_stamps_from_the_package(tmp_path: Path) -> None:
    write_deb(tmp_path / "debs" / "tuxpaint-stamps-default_2022_all.deb", make_stamps(tmp_path / "x"))
    prepare_stamps(tmp_path / "debs", tmp_path / "out", ROMANIAN)
    assert len(everything(tmp_path / "out")) == 60
    assert not list((tmp_path / "out" / "unpacked").rglob("*.png")), "only what is needed is unpacked"


def test_descriptions(tmp_path: Path) -> None:
    text = tmp_path / "frog.txt"
    text.write_text("A frog.\r\nfr.utf8=Une grenouille.\n\nsr@latin.utf8=Žaba = žaba\nro.utf8=\n")
    assert read_descriptions(text) == {"fr": "Une grenouille.", "sr@latin": "Žaba = žaba", "ro": ""}
    text.write_text("A frog.\nfr.utf8=Une grenouille.\nfr.utf8=Un crapaud.\n")
    with pytest.raises(DataError, match=r"frog\.txt:3: 'fr\.utf8=Un crapaud\.' is no LANGUAGE\.utf8=TEXT, or comes"):
        read_descriptions(text)
    text.write_text("A frog.\nfr=Une grenouille.\n")
    with pytest.raises(DataError, match=r"frog\.txt:2: 'fr=Une"):
        read_descriptions(text)
    text.write_bytes(b"A frog.\nfr.utf8=Un \xe9.\n")
    with pytest.raises(DataError, match="not UTF-8 at byte 19"):
        read_descriptions(text)


@pytest.mark.parametrize(("recipe", "languages"), [("fillets", FILLETS_LETTERS), ("stamps", STAMPS_LETTERS)])
def test_what_counts_as_seen_and_not_heard_is_not_spelled(recipe: str, languages: dict[str, str]) -> None:
    normalizer = Normalizer(load_config(ExperimentConfig, ROOT / "conf" / f"{recipe}.yaml", []).text)
    for letters in languages.values():
        text = " ".join(f"a{mark}{letter.upper()}" for mark in sorted(PUNCTUATION) for letter in letters)
        strange = set(normalizer(text)) - set(letters) - {"a", " "}
        assert not strange
        assert set(normalizer(letters)) | set("şţ") >= set(letters), "every letter stays"


def test_a_dash_separates_words_and_a_full_stop_does_not() -> None:
    normalizer = Normalizer(load_config(ExperimentConfig, ROOT / "conf" / "fillets.yaml", []).text)
    assert normalizer("Bude-li... někdo – «tam»?") == "bude li někdo tam"
