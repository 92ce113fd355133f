"""`asr export`: exit codes and what is said."""

from pathlib import Path

import pytest

from asr.cli.main import main
from asr.data.exporters import FORMATS
from asr.data.manifest import Utterance, write_manifest
from tests.data.importers.sources import left, record

ROOT = Path(__file__).parents[2]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "in.jsonl", [Utterance("a", record(tmp_path / "a.wav"), 0.0, 1.0, "yes", "s")])
    return tmp_path / "in.jsonl"


def test_formats(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = manifest.parent / "kaldi"
    assert main(["export", "kaldi", str(manifest), "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"wrote {out}: 1 utterance\n"
    assert "asr export: 1 id with the speaker put in front: s-a\n" in captured.err
    assert main(["export", "nemo", str(manifest), "--out", str(out.with_suffix(".json"))]) == 0
    assert '"text": "yes"' in out.with_suffix(".json").read_text("utf-8")


def test_every_format_is_a_file() -> None:
    assert {path.stem for path in (ROOT / "asr" / "data" / "exporters").glob("*.py")} - {"__init__"} == set(FORMATS)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["kaldy", "{in}", "--out", "x"], 2, "'kaldy': no format that is written; did you mean 'kaldi'?"),
        (["nemo", "{in}", "--out", "{in}"], 2, "--out {in}: is one of the files to read"),
        (["kaldi", "{in}", "--out", "{folder}"], 2, "--out {folder}: is there already; choose a new folder"),
        (["nemo", "{folder}/no.jsonl", "--out", "x"], 3, "{folder}/no.jsonl: cannot read the manifest"),
        (["nemo", "{in}", "--out", "{folder}"], 4, "{folder}: cannot write"),
    ],
)
def test_faults(
    manifest: Path, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"in": str(manifest), "folder": str(manifest.parent)}
    before = left(manifest.parent)
    assert main(["export", *(argument.format(**names) for argument in arguments)]) == code
    error = capsys.readouterr().err
    assert error.startswith(f"asr export: {message.format(**names)}")
    assert error.count("\n") == 1
    assert left(manifest.parent) == before
