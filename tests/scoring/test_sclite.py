"""Totals and matched pairs are those of NIST's sclite and sc_stats, where `sctk` is installed."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from asr.cli.main import main
from asr.scoring.error_rate import Alignment, Pair, Score, score
from asr.scoring.paired import matched_pairs, merged, segment_errors
from asr.scoring.texts import pair_up, read_texts
from recipes.an4.prepare import prepare

pytestmark = pytest.mark.skipif(shutil.which("sctk") is None, reason="no sctk on PATH (Debian: apt install sctk)")

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", *"abcde"]


def _pairs(seed: int, error_rate: float, count: int = 60) -> list[Pair]:
    """Return utterances with random errors of each kind; the references depend on nothing."""
    spoken, draw = random.Random(0), random.Random(seed)
    pairs = []
    for number in range(count):
        reference = [spoken.choice(WORDS) for _ in range(spoken.randint(1, 12))]
        heard: list[str] = []
        for word in reference:
            kind = draw.choice("sdi") if draw.random() < error_rate else " "
            heard += {"s": [draw.choice(WORDS)], "d": [], "i": [word, draw.choice(WORDS)], " ": [word]}[kind]
        pairs.append(Pair(f"u{number:03d}", " ".join(reference), " ".join(heard)))
    return pairs


def _sclite(folder: Path, pairs: list[Pair], name: str, *options: str) -> str:
    """Return what sclite prints of the pairs."""
    for part, texts in (("ref", [p.reference for p in pairs]), (name, [p.hypothesis for p in pairs])):
        lines = [f"{text} (s_{pair.id})\n" for text, pair in zip(texts, pairs, strict=True)]
        (folder / f"{part}.trn").write_text("".join(lines))
    command = ["sctk", "sclite", "-r", "ref.trn", "trn", "-h", f"{name}.trn", "trn", name, "-i", "rm", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def _sclite_totals(folder: Path, pairs: list[Pair]) -> tuple[int, int]:
    """Return (reference words, errors) of sclite's summary."""
    (row,) = re.findall(r"\| Sum .*", _sclite(folder, pairs, "hyp", "-o", "rsum", "stdout"))
    numbers = [int(number) for number in re.findall(r"\d+", row)]
    return numbers[1], numbers[6]


@pytest.mark.parametrize("error_rate", [0.05, 0.2, 0.4])
def test_totals_are_sclites(tmp_path: Path, error_rate: float) -> None:
    pairs = _pairs(1, error_rate)
    ours = score(pairs).words
    assert _sclite_totals(tmp_path, pairs) == (ours.reference, ours.errors)


def test_sclite_counts_more_where_its_weights_prefer_more_errors(tmp_path: Path) -> None:
    """A substitution costs it 4, an insertion or deletion 3: six of these (18) are cheaper than five of those (20)."""
    pairs = [Pair("u", "x y a b", "a b p q")]
    assert score(pairs).words.errors == 4
    assert _sclite_totals(tmp_path, pairs) == (4, 4)  # 2 insertions and 2 deletions cost 12, 4 substitutions 16
    pairs = [Pair("u", "x y z a b", "a b p q r")]
    assert score(pairs).words.errors == 5
    assert _sclite_totals(tmp_path, pairs) == (5, 6)


@pytest.mark.corpora
@pytest.mark.slow
def test_totals_of_what_a_model_makes_of_an4_are_sclites(tmp_path: Path, corpora: Path) -> None:
    prepare(corpora / "an4", tmp_path)
    for part in ("valid", "test"):
        manifest, hypotheses = tmp_path / f"{part}.jsonl", tmp_path / f"{part}.hyp.jsonl"
        assert main(["decode", str(manifest), "--model", "an4", "--out", str(hypotheses)]) == 0
        texts = pair_up(read_texts(manifest), read_texts(hypotheses))
        pairs = [Pair(f"u{number}", pair.reference.lower(), pair.hypothesis) for number, pair in enumerate(texts)]
        ours = score(pairs).words
        assert _sclite_totals(tmp_path, pairs) == (ours.reference, ours.errors)


def test_matched_pairs_are_those_of_sc_stats(tmp_path: Path) -> None:
    first, second = _pairs(2, 0.3), _pairs(3, 0.2)
    sgml = "".join(
        _sclite(tmp_path, pairs, name, "-o", "sgml", "stdout") for name, pairs in (("a", first), ("b", second))
    )
    command = ["sctk", "sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "out"]
    subprocess.run(command, cwd=tmp_path, input=sgml, capture_output=True, text=True, check=True)
    told = (tmp_path / "out.stats.mapsswe").read_text()
    (found,) = re.findall(r"segs: (\d+)\).*mean: ([-\d.]+)\).*Z Stat: ([-\d.]+)\)", told)
    a, b = _alignments(sgml, score(first)), _alignments(sgml, score(second), last=True)
    ours = matched_pairs([part for name in a for part in segment_errors(merged(a[name], b[name]))])
    assert ours.statistic is not None
    assert int(found[0]) == ours.segments
    assert (-float(found[1]), -float(found[2])) == pytest.approx((ours.mean, ours.statistic), abs=6e-4)  # A minus B


def _alignments(sgml: str, ours: Score, *, last: bool = False) -> dict[str, Alignment]:
    """Return sclite's alignments: where several have the fewest errors, it may choose another than ours."""
    system = sgml.split("<SYSTEM")[-1 if last else 1]
    found = {}
    for name, path in re.findall(r'<PATH id="\(s_(\w+)\)".*?>\n(.*?)\n</PATH>', system):
        cells = re.findall(r'[CSDI],(?:"([^"]*)")?,(?:"([^"]*)")?', path)
        found[name] = tuple((left or None, right or None) for left, right in cells)
    assert {item.id: item.words.errors for item in ours.utterances} == {
        name: sum(left != right for left, right in alignment) for name, alignment in found.items()
    }
    return found
