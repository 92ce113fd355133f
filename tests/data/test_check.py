"""The data check: each fault that it promises to find is planted once, and found once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.data.check import check_manifests
from asr.data.check_audio import clipped_share, loudest_level
from asr.data.check_report import KINDS, MAX_EXAMPLES, MAX_GROUPS, Remark, Report, group_remarks, write_cleaned
from asr.data.manifest import read_manifest
from asr.errors import DataError, MachineError, UsageError
from asr.text.normalize import Normalizer
from asr.text.tokenizer import Tokenizer, train_char
from asr.units import FrameGeometry

RATE = 16000
Samples = NDArray[np.float32]
Write = Callable[..., Path]


def noise(seed: int, seconds: float = 1.0, rate: int = RATE) -> Samples:
    """Return samples that no other seed gives, as 16-bit files hold them."""
    values = np.random.default_rng(seed).integers(-8000, 8000, round(seconds * rate))
    return (values / 32768).astype(np.float32)


def with_sample(value: float) -> Samples:
    samples = noise(1)
    samples[7] = value
    return samples


@pytest.fixture
def tokens() -> Tokenizer:
    return train_char(["YES NO", "A"], Normalizer())


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a manifest of good rows a, b, c, ... changed as told, and their audio."""

    def write_rows(*changes: dict[str, Any], name: str = "train.jsonl", seed: int = 0) -> Path:
        rows = []
        for index, change in enumerate(changes):
            key = f"{'abcdefghij'[index]}{seed or ''}"
            row = {"id": key, "audio": f"wav/{key}.wav", "duration": 1.0, "text": "YES NO"[: 6 - index % 3], **change}
            samples, rate = row.pop("samples", noise(100 * seed + index)), row.pop("rate", RATE)
            subtype = row.pop("subtype", "PCM_16")
            path = tmp_path / row["audio"]
            path.parent.mkdir(exist_ok=True)
            if samples is not None:
                soundfile.write(path, samples, rate, subtype=subtype)
            rows.append(row)
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write_rows


def check(*paths: Path, **options: Any) -> Report:
    return check_manifests({path.name: path for path in paths}, **options)


def found(report: Report) -> dict[str, list[str]]:
    """Return kind -> messages of everything in the report."""
    kinds: dict[str, list[str]] = {}
    for finding in (*report.errors, *report.warnings):
        kinds.setdefault(finding.kind, []).append(finding.message)
    return kinds


def test_good_data_has_no_findings(write: Write, tokens: Tokenizer) -> None:
    geometry = FrameGeometry(RATE, 1600, 400, 160, ((3, 2), (3, 2)))
    report = check(
        write({"speaker": "s"}, {}), tokenizer=tokens, encoder_frames=geometry.encoder_frames, sample_rate=RATE
    )
    assert found(report) == {}
    assert report.verdict() == "nothing wrong"
    assert report.json()["manifests"] == {"train.jsonl": {"utterances": 2, "hours": 0.0006, "speakers": 1}}


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"samples": None}, "missing-audio", "wav/b.wav: no such file"),
        ({"samples": noise(1)[:0]}, "empty-audio", "wav/b.wav: "),
        (
            {"samples": np.where(np.arange(RATE) == 7, np.nan, noise(1)), "subtype": "FLOAT"},
            "nan-samples",
            "wav/b.wav: samples are not",
        ),
        (
            {"samples": np.where(np.arange(RATE) == 7, np.inf, noise(1)), "subtype": "FLOAT"},
            "nan-samples",
            "wav/b.wav: samples are not",
        ),
        ({"duration": 3.5}, "wrong-duration", "wav/b.wav: spans [0.00, 3.50) s but the recording lasts 1.00 s"),
        ({"duration": 1e-9}, "wrong-duration", "wav/b.wav: segment [0.00, 0.00) s is empty"),
        ({"start": 2.0}, "wrong-duration", "wav/b.wav: spans [2.00, 3.00) s but the recording lasts 1.00 s"),
        ({"channel": 1}, "wrong-channel", "wav/b.wav: channel 1 of a file with 1 (they count from 0)"),
        ({"text": " \t"}, "empty-text", "'b' has no text"),
        ({"text": None}, "empty-text", "'b' has no text"),
        ({"text": "\u200b"}, "empty-text", "'b': nothing is left of '\\u200b' after normalisation"),
        ({"text": "YÉS"}, "outside-alphabet", "'É' (U+00C9) is not in the alphabet"),
        ({"text": "YE\u0323\u0301S"}, "outside-alphabet", "'Ẹ' (U+1EB8) is not in the alphabet"),
        ({"text": "\ufeffYES"}, "byte-order-mark", "'b': U+FEFF within the text"),
        ({"text": "A\u030a"}, "not-nfc", "'b': the text holds decomposed characters"),
        (
            {"rate": 8000, "samples": noise(1, rate=8000)},
            "other-sample-rate",
            "wav/b.wav: 8000 Hz; the model takes",
        ),
        ({"samples": np.stack([noise(1), noise(2)], 1)}, "stereo", "wav/b.wav: 2 channels, mixed into one"),
        ({"samples": np.clip(9 * noise(1), -1, 1)}, "clipping", "wav/b.wav: "),
        ({"samples": np.zeros(RATE)}, "silence", "wav/b.wav: all samples are equal"),
        ({"samples": 0.001 * noise(1)}, "silence", "wav/b.wav: the loudest 25 ms are at -7"),
        ({"samples": noise(0)}, "duplicate-audio", "'b' has the samples of 'a' (train.jsonl:1)"),
    ],
)
def test_a_planted_fault_is_found(
    write: Write, tokens: Tokenizer, change: dict[str, Any], kind: str, message: str
) -> None:
    report = check(write({}, change, {}), tokenizer=tokens, sample_rate=RATE)
    kinds = found(report)
    assert kind in kinds
    assert kinds[kind][0].startswith(f"train.jsonl:2: {message}")
    assert set(kinds) - {kind} <= {"outside-alphabet", "not-nfc"}
    severity = report.errors if KINDS[kind].severity == "error" else report.warnings
    assert next(finding for finding in severity if finding.kind == kind).ids == ("b",)


def test_a_stereo_file_of_which_a_channel_is_named_is_no_finding(write: Write) -> None:
    assert found(check(write({"samples": np.stack([noise(1), noise(2)], 1), "channel": 1}))) == {}


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_truncated_audio_is_an_error(write: Write, tmp_path: Path, suffix: str) -> None:
    path = write({}, {"audio": f"wav/b.{suffix}"})
    audio = tmp_path / "wav" / f"b.{suffix}"
    audio.write_bytes(audio.read_bytes()[: audio.stat().st_size * 2 // 3])
    (finding,) = check(path).errors
    assert finding.kind in ("truncated-audio", "wrong-duration", "unreadable-audio")
    assert finding.kind == "truncated-audio" or suffix == "flac"
    assert finding.ids == ("b",)


@pytest.mark.parametrize(("data", "kind"), [(b"", "empty-audio"), (b"this is a text\n" * 40, "unreadable-audio")])
def test_files_that_are_no_audio_are_errors(write: Write, tmp_path: Path, data: bytes, kind: str) -> None:
    path = write({}, {})
    (tmp_path / "wav" / "b.wav").write_bytes(data)
    assert list(found(check(path))) == [kind]


def test_a_folder_in_the_place_of_audio_is_an_error(write: Write) -> None:
    assert list(found(check(write({}, {"audio": "wav", "samples": None})))) == ["unreadable-audio"]


def test_bad_rows_keep_their_lines_and_kinds(write: Write) -> None:
    path = write({}, {"id": "a"}, {"txt": "x"}, {"duration": -1}, {})
    path.write_text(path.read_text() + "{not json\n")
    kinds = found(check(path))
    assert list(kinds) == ["bad-json", "bad-row", "duplicate-id", "wrong-duration"]
    assert kinds["bad-json"][0].startswith("train.jsonl:6: not JSON at column 2")
    assert kinds["bad-row"] == ["train.jsonl:3: unknown key 'txt'; did you mean 'text'?"]
    assert kinds["duplicate-id"] == ["train.jsonl:2: id 'a' is already used on line 1; make it unique"]


def test_bom_and_crlf_are_counted_warnings(write: Write) -> None:
    path = write({}, {}, {})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    report = check(path)
    assert not report.errors
    assert found(report) == {
        "byte-order-mark": ["train.jsonl: 1 line with a byte-order mark"],
        "crlf": ["train.jsonl: CRLF ends 3 lines"],
    }


def test_an_empty_manifest_is_an_error(write: Write) -> None:
    assert found(check(write())) == {"empty-manifest": ["train.jsonl: no utterances in it"]}


def test_a_manifest_without_any_text_is_for_decoding(write: Write) -> None:
    report = check(write({"text": None}, {"text": None}))
    assert not report.errors
    assert found(report) == {"no-text": ["train.jsonl: no utterance has a text"]}


def test_alphabet_findings_count_utterances_a_character(write: Write, tokens: Tokenizer) -> None:
    report = check(write({"text": "ÉÉÉ"}, {"text": "É\t\u0301"}, {"text": "ß"}), tokenizer=tokens)
    assert found(report) == {
        "outside-alphabet": [
            "train.jsonl:1: 'É' (U+00C9) is not in the alphabet (2 utterances)",
            "train.jsonl:2: '\u25cc\u0301' (U+0301) is not in the alphabet",
            "train.jsonl:3: 'ß' (U+00DF) is not in the alphabet",
        ]
    }
    assert report.errors[0].remedy.startswith("take it away by text.remove, map it in text.map, or train with tokens")


def test_many_characters_outside_end_in_one_finding() -> None:
    remarks = [Remark("outside-alphabet", "m:1", f"{n}", "a", f"'{n}'") for n in range(MAX_GROUPS + 3)]
    findings = group_remarks(remarks)
    assert len(findings) == MAX_GROUPS + 1
    assert findings[-1].message == "3 others: '20', '21', '22' (3 utterances)"


@pytest.mark.parametrize(
    ("frames", "text", "message"),
    [
        (36, "YES" * 11 + "SS", "36 encoder frames < 37 needed (35 labels + 2 repeats)"),
        (37, "YES" * 11 + "SS", None),
        (34, "A" * 18, "34 encoder frames < 35 needed (18 labels + 17 repeats)"),
        (35, "A" * 18, None),
        (0, "A", "0 encoder frames < 1 needed (1 label + 0 repeats)"),
        (1, "A", None),
    ],
)
def test_ctc_needs_a_frame_a_label_and_a_repeat(
    write: Write, tokens: Tokenizer, frames: int, text: str, message: str | None
) -> None:
    report = check(write({"text": text}), tokenizer=tokens, encoder_frames=lambda count: frames, sample_rate=RATE)
    expected = {} if message is None else {"too-short-for-ctc": [f"train.jsonl:1: wav/a.wav: {message}"]}
    assert found(report) == expected


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_frames_are_those_of_the_resampled_audio(write: Write, tokens: Tokenizer, rate: int) -> None:
    asked: list[int] = []

    def encoder_frames(num_samples: int) -> int:
        asked.append(num_samples)
        return 99

    path = write({"rate": rate, "samples": noise(1, 1.0, rate)})
    check(path, tokenizer=tokens, encoder_frames=encoder_frames, sample_rate=RATE)
    assert asked == [RATE]


def test_frames_without_tokens_are_wrong_usage(write: Write) -> None:
    with pytest.raises(UsageError, match="the tokens and the model's sample rate are needed"):
        check(write({}), encoder_frames=lambda count: count)


def test_without_a_model_mixed_rates_are_told(write: Write) -> None:
    report = check(write({}, {}, {"rate": 8000, "samples": noise(9, 1.0, 8000)}))
    assert found(report) == {"mixed-sample-rates": ["train.jsonl:3: wav/c.wav: 8000 Hz; most files have 16000 Hz"]}


def test_what_train_and_test_share_is_told_of_the_later_one(write: Write) -> None:
    train = write({"speaker": "x", "text": "ONE"}, {"speaker": "y", "text": "TWO"})
    test = write(
        {"id": "a", "speaker": "y", "text": " one "},
        {"speaker": "z", "text": "THREE"},
        {"speaker": "y", "text": "FOUR", "audio": "wav/a.wav", "samples": None},
        name="test.jsonl",
        seed=1,
    )
    report = check(train, test)
    assert not report.errors
    assert found(report) == {
        "shared-audio": ["test.jsonl:3: 'c1' has the samples of 'a' (train.jsonl:1)"],
        "shared-ids": ["1 of 3 utterances (33 %) of test.jsonl have ids of train.jsonl"],
        "shared-speakers": ["1 of 2 speakers of test.jsonl also speak in train.jsonl: y (2 utterances)"],
        "shared-prompts": ["1 of 3 utterances (33 %) of test.jsonl have a text of train.jsonl"],
    }


def test_silence_is_no_recording_that_could_be_there_twice(write: Write) -> None:
    silent = {"samples": np.zeros(RATE)}
    assert list(found(check(write(silent, silent)))) == ["silence"]


def test_segments_of_one_file_are_judged_each(write: Write, tmp_path: Path) -> None:
    samples = np.concatenate([noise(1), np.zeros(RATE, np.float32), noise(1)])
    path = write(
        {"audio": "wav/long.wav", "samples": samples},
        {"audio": "wav/long.wav", "samples": None, "start": 1.0},
        {"audio": "wav/long.wav", "samples": None, "start": 2.0},
        {"audio": "wav/long.wav", "samples": None, "start": 2.5},
    )
    report = check(path)
    assert found(report) == {
        "wrong-duration": ["train.jsonl:4: wav/long.wav: spans [2.50, 3.50) s but the recording lasts 3.00 s"],
        "silence": ["train.jsonl:2: wav/long.wav: all samples are equal"],
        "duplicate-audio": ["train.jsonl:3: 'c' has the samples of 'a' (train.jsonl:1)"],
    }


def test_durations_within_the_tolerance_are_right(write: Write) -> None:
    assert found(check(write({"duration": 1.009}, {"duration": 0.5}))) == {}
    assert list(found(check(write({"duration": 1.011})))) == ["wrong-duration"]


def test_worker_processes_find_the_same(write: Write) -> None:
    path = write({}, {"samples": None}, {"duration": 3.0}, {"samples": np.zeros(RATE)})
    alone, together = check(path), check(path, jobs=2)
    assert alone.json() == together.json()
    assert len(alone.errors) == 2


def test_progress_counts_files_and_audio(write: Write) -> None:
    seen: list[tuple[int, int | None, float]] = []
    check(write({}, {}), progress=lambda done, total, audio_seconds=0.0: seen.append((done, total, audio_seconds)))
    assert seen == [(1, 2, 1.0), (2, 2, 2.0)]


def test_the_cleaned_manifest_has_no_errors_left_and_tells_what_went(
    write: Write, tmp_path: Path, tokens: Tokenizer
) -> None:
    path = write(
        {"text": "\ufeffNO\u00a0 YES"},
        {"samples": None, "text": "É\t?"},
        {"duration": 9.0},
        {"start": 9.0},
        {"id": "a"},
    )
    path.write_text("{\n" + path.read_text())
    report = check(path, tokenizer=tokens, sample_rate=RATE)
    assert write_cleaned(report, "train.jsonl", tmp_path / "out" / "clean.jsonl") == tmp_path / "out/clean.dropped.tsv"
    clean = read_manifest(tmp_path / "out" / "clean.jsonl")
    assert [(row.id, row.text, row.duration) for row in clean] == [("a", "NO YES", 1.0), ("c", "YES", 1.0)]
    assert not check(tmp_path / "out" / "clean.jsonl", tokenizer=tokens, sample_rate=RATE).errors
    dropped = (tmp_path / "out" / "clean.dropped.tsv").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[:2] for line in dropped] == [
        ["id", "kind"],
        ["(line 1)", "bad-json"],
        ["a", "duplicate-id"],
        ["b", "missing-audio"],
        ["b", "outside-alphabet"],
        ["b", "outside-alphabet"],
        ["d", "wrong-duration"],
    ]


def test_without_the_cleaned_manifest_there_is_no_list(write: Write, tmp_path: Path) -> None:
    report = check(write({}, {"samples": None}))
    folder = tmp_path / "out" / "folder"
    folder.mkdir(parents=True)
    with pytest.raises(MachineError, match="cannot write: Is a directory"):
        write_cleaned(report, "train.jsonl", folder)
    assert list(folder.parent.iterdir()) == [folder]


def test_the_json_is_as_documented(write: Write) -> None:
    report = check(write({"samples": None}, {"samples": np.zeros(RATE)})).json()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert set(report) == {"manifests", "errors", "warnings"}
    for finding in (*report["errors"], *report["warnings"]):
        assert set(finding) == {"kind", "count", "message", "remedy", "ids"}


def test_the_text_names_examples_counts_and_cures(write: Write) -> None:
    text = check(write(*[{"samples": None, "text": "A" * n} for n in range(1, 9)])).text()
    assert "train.jsonl: 8 utterances, 0.00 hours, speakers not given" in text
    assert "  missing-audio: 8 utterances\n      train.jsonl:1: wav/a.wav: no such file\n" in text
    assert f"      ... and {8 - MAX_EXAMPLES} more\n    -> put the files there or correct the paths" in text
    assert text.endswith("\n\n1 kind of error\n")


def test_a_missing_manifest_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the manifest"):
        check(tmp_path / "none.jsonl")


def test_clipping_counts_runs_only() -> None:
    samples = np.zeros(1000, np.float32)
    samples[[10, 20, 30, 31]] = 1.0
    assert clipped_share(samples) == 0.0
    samples[40:45] = -1.0
    samples[-3:] = 1.0
    assert clipped_share(samples) == pytest.approx(0.008)


@pytest.mark.parametrize("num_samples", [1, 100, 400, 401, 16000])
def test_level_is_that_of_the_loudest_window_without_offset(num_samples: int) -> None:
    assert loudest_level(np.full(num_samples, 0.5, np.float32), RATE) == float("-inf")
    if num_samples == 16000:
        tone = np.zeros(num_samples, np.float32)
        tone[4000:4400] = 0.1 * np.sqrt(2) * np.sin(2 * np.pi * np.arange(400) / 40)
        assert loudest_level(tone, RATE) == pytest.approx(-20, abs=0.1)


@pytest.mark.corpora
def test_an4_is_clean(corpora: Path, tmp_path: Path) -> None:
    rows = []
    for line in (corpora / "an4" / "etc" / "an4_test.transcription").read_text().splitlines():
        text, _, name = line.strip().removesuffix(")").rpartition(" (")
        speaker = name.split("-")[1]
        audio = corpora / "an4" / "wav" / "an4test_clstk" / speaker / f"{name}.flac"
        duration = soundfile.info(audio).duration
        rows.append({"id": name, "audio": str(audio), "duration": duration, "text": text, "speaker": speaker})
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    geometry = FrameGeometry(RATE, 1600, 400, 160, ((3, 2), (3, 2)))
    tokens = train_char([row["text"] for row in rows], Normalizer())
    report = check(path, tokenizer=tokens, encoder_frames=geometry.encoder_frames, sample_rate=RATE)
    assert not report.errors
    assert report.manifests["test.jsonl"].utterances == 130
