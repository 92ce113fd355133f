"""Acceptance of a corpus: the same in any lossless form, refused when a sample or a word differs."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.corpus import CorpusSignature, corpus_signature, verify
from asr.data.manifest import Utterance
from asr.errors import DataError

# Made once with soundfile (int16) and hashlib alone, from the corpora's own lists.
AN4_TRAIN = CorpusSignature(
    num_files=948,
    samples_sha256="0ef7be55282d0363a7b2939b35c0eb43dddc895b3f5900e2c27fc123900c6b57",
    transcripts_sha256="8c698dbd8bfaf67733c2a4fdcfc97f031e170da4a45fb5dd6645a311a628a248",
)
AN4_TEST = CorpusSignature(
    num_files=130,
    samples_sha256="8b2d238016b8ec597f410ab07741c6d5779c210b622c60923ec88e44e5223d8f",
    transcripts_sha256="c33b5cd7321b174b8cf253f2b8fb1b643f6eaa1c8931ea0fb1ce0daff8e3b2f1",
)
YESNO = CorpusSignature(
    num_files=60,
    samples_sha256="a46240d0154aef71175944259bf1eb18f91d9242809ce28f0b8ccf0330dc43c7",
    transcripts_sha256="9646febb0d2da6c4553053dde5df64615064ac3f85457c0cc1c4f6c277ce6539",
)


def corpus(folder: Path, suffix: str, *, changed: bool = False) -> list[Utterance]:
    """Return two utterances whose int16 samples are full range, written as `suffix`."""
    folder.mkdir()
    utterances = []
    for index, name in enumerate(("one", "two")):
        samples = np.random.default_rng(index).integers(-32768, 32768, 4000).astype(np.int16)
        samples[:2] = -32768, 32767
        samples[3000] += 1 if changed and index else 0
        path = folder / f"{name}{suffix}"
        soundfile.write(path, samples, 8000)
        utterances.append(Utterance(f"id-{name}", path, 0.0, 0.5, f"Word  {name.upper()}"))
    return utterances


@pytest.fixture
def expected(tmp_path: Path) -> CorpusSignature:
    return corpus_signature(corpus(tmp_path / "original", ".wav"))


def test_any_lossless_form_order_case_and_ids_pass(tmp_path: Path, expected: CorpusSignature) -> None:
    for suffix in (".flac", ".wav"):
        utterances = corpus(tmp_path / suffix[1:], suffix)
        renamed = [
            Utterance(f"x{row.id}", row.audio, 0.0, 0.5, (row.text or "").lower()) for row in reversed(utterances)
        ]
        verify("tiny", renamed, expected)


def test_the_hash_is_that_of_the_int16_samples(tmp_path: Path) -> None:
    import hashlib

    rows = corpus(tmp_path / "x", ".flac")
    digest = hashlib.sha256()
    for row in rows:
        digest.update(soundfile.read(row.audio, dtype="int16")[0].astype("<i2").tobytes())
    assert corpus_signature(rows).samples_sha256 == digest.hexdigest()


def test_one_sample_off_by_one_is_refused(tmp_path: Path, expected: CorpusSignature) -> None:
    message = r"^tiny: the decoded samples differ \(SHA-256 \w{12}…, expected \w{12}…\); fetch it again$"
    with pytest.raises(DataError, match=message):
        verify("tiny", corpus(tmp_path / "x", ".wav", changed=True), expected, cure="fetch it again")


def test_another_word_is_refused(tmp_path: Path, expected: CorpusSignature) -> None:
    first, second = corpus(tmp_path / "x", ".wav")
    other = Utterance(second.id, second.audio, 0.0, 0.5, "Word THREE")
    with pytest.raises(DataError, match=r"^tiny: the transcripts differ \("):
        verify("tiny", [first, other], expected)


def test_swapped_transcripts_are_refused(tmp_path: Path, expected: CorpusSignature) -> None:
    first, second = corpus(tmp_path / "x", ".wav")
    swapped = [
        Utterance(first.id, first.audio, 0.0, 0.5, second.text),
        Utterance(second.id, second.audio, 0.0, 0.5, first.text),
    ]
    with pytest.raises(DataError, match="the transcripts differ"):
        verify("tiny", swapped, expected)


def test_a_missing_file_is_told_before_any_is_read(tmp_path: Path, expected: CorpusSignature) -> None:
    unread = Utterance("x", tmp_path / "none.wav", 0.0, 0.5, "x")
    with pytest.raises(DataError, match=re.escape("tiny: 1 audio files, expected 2; get the corpus again")):
        verify("tiny", [unread], expected)


def test_what_is_not_known_is_not_compared(tmp_path: Path, expected: CorpusSignature) -> None:
    utterances = corpus(tmp_path / "x", ".wav", changed=True)
    verify("tiny", utterances, replace(expected, samples_sha256=None))
    with pytest.raises(DataError, match="the decoded samples differ"):
        verify("tiny", utterances, replace(expected, transcripts_sha256=None))
    (tmp_path / "x" / "one.wav").unlink()
    verify("tiny", utterances, CorpusSignature(2))  # no file was read
    with pytest.raises(DataError, match="2 audio files, expected 3"):
        verify("tiny", utterances, CorpusSignature(3))


def test_segments_of_one_file_count_it_once(tmp_path: Path) -> None:
    row = corpus(tmp_path / "x", ".wav")[0]
    halves = [Utterance(f"h{n}", row.audio, 0.25 * n, 0.25, f"half {n}") for n in (0, 1)]
    assert corpus_signature(halves).num_files == 1
    assert corpus_signature(halves).samples_sha256 == corpus_signature([row]).samples_sha256


def test_progress_counts_files(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    corpus_signature(corpus(tmp_path / "x", ".wav"), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def an4(folder: Path, part: str) -> list[Utterance]:
    rows = []
    texts = {}
    for line in (folder / "etc" / f"an4_{part}.transcription").read_text(encoding="utf-8").splitlines():
        text, _, name = line.strip().removesuffix(")").rpartition("(")
        texts[name] = text.replace("<s>", "").replace("</s>", "").strip()
    for fileid in (folder / "etc" / f"an4_{part}.fileids").read_text(encoding="utf-8").split():
        name = fileid.rpartition("/")[2]
        rows.append(Utterance(name, folder / "wav" / f"{fileid}.flac", 0.0, 1.0, texts[name]))
    return rows


@pytest.mark.corpora
@pytest.mark.parametrize(("part", "signature"), [("train", AN4_TRAIN), ("test", AN4_TEST)])
def test_the_signature_of_an4(corpora: Path, part: str, signature: CorpusSignature) -> None:
    assert corpus_signature(an4(corpora / "an4", part)) == signature


@pytest.mark.corpora
def test_the_signature_of_yesno(corpora: Path) -> None:
    words = {"0": "NO", "1": "YES"}
    rows = [
        Utterance(path.stem, path, 0.0, 1.0, " ".join(words[digit] for digit in path.stem.split("_")))
        for path in (corpora / "waves_yesno").glob("*.wav")
    ]
    assert corpus_signature(rows) == YESNO


def test_a_lossy_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    """Decoders of Vorbis need not round alike, so the samples of one machine are not those of another."""
    utterances = corpus(tmp_path / "ogg", ".ogg")
    content = b"".join(row.audio.read_bytes() for row in sorted(utterances, key=lambda row: row.audio.stem))
    assert corpus_signature(utterances).samples_sha256 == hashlib.sha256(content).hexdigest()
    utterances[0].audio.unlink()
    with pytest.raises(DataError, match=r"one\.ogg: cannot read"):
        corpus_signature(utterances)
