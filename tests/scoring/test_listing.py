"""The report as text, exactly."""

from asr.scoring.error_rate import Pair, score
from asr.scoring.listing import listing, slice_table
from asr.scoring.slices import slices


def test_listing() -> None:
    result = score([Pair("u1", "rubout e three", "rubout free nine"), Pair("u2", "yes", ""), Pair("u3", "", "oh")])
    parts = slices(result, {"u1": "ann", "u2": "bob", "u3": "none"}, seed=0)
    assert listing("hyp against ref", result, None, {"speaker": parts}).splitlines() == [
        "hyp against ref",
        "",
        "%WER 100.00 [ 4 / 4, 1 ins, 1 del, 2 sub ]",
        "%CER 70.59 [ 12 / 17, 5 ins, 4 del, 3 sub ]",
        "%SER 100.00 [ 3 / 3 ]",
        "",
        "speaker  utterances  words  Corr   Sub    Del   Ins    Err  S.Err  95 % interval of Err",
        "ann               1      3  33.3  66.7    0.0   0.0   66.7  100.0                     -",
        "bob               1      1   0.0   0.0  100.0   0.0  100.0  100.0                     -",
        "none              1      0     -     -      -     -      -  100.0                     -",
        "all               3      4  25.0  50.0   25.0  25.0  100.0  100.0",
        "",
        "CONFUSION PAIRS: 2, different ones 2",
        "      1  e -> free",
        "      1  three -> nine",
        "",
        "INSERTIONS: 1, different ones 1",
        "      1  oh",
        "",
        "DELETIONS: 1, different ones 1",
        "      1  yes",
        "",
        "SUBSTITUTIONS (the word that was said): 2, different ones 2",
        "      1  e",
        "      1  three",
        "",
        "FALSELY RECOGNISED (the word that was put for another): 2, different ones 2",
        "      1  free",
        "      1  nine",
        "",
        "ALIGNMENTS (* stands for no word; S substituted, D deleted, I inserted)",
        "",
        "u1: %WER 66.67 [ 2 / 3, 0 ins, 0 del, 2 sub ]",
        "ref: rubout e    three",
        "hyp: rubout free nine",
        "            S    S",
        "",
        "u2: %WER 100.00 [ 1 / 1, 0 ins, 1 del, 0 sub ]",
        "ref: yes",
        "hyp: ***",
        "     D",
        "",
        "u3: %WER inf [ 1 / 0, 1 ins, 0 del, 0 sub ]",
        "ref: **",
        "hyp: oh",
        "     I",
    ]


def test_tables_line_up_with_wide_characters() -> None:
    result = score([Pair("1", "x", "x"), Pair("2", "x", "y")])
    lines = slice_table("who", slices(result, {"1": "東京", "2": "a"}, seed=0), result).splitlines()
    assert lines[1].index(" 1") - lines[2].index(" 1") == -2  # two characters fewer, each two columns wide
