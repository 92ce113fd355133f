"""The command line that all prepare.py share."""

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from asr.cli.preparing import Fetchable, prepare_command


@dataclass
class Fetched:
    """Stands for a corpus, and notes where it was fetched to."""

    name: str
    folders: list[Path] = field(default_factory=list)

    def fetch(self, folder: Path, progress: object = None) -> Path:
        self.folders.append(folder)
        return folder


def run(
    monkeypatch: pytest.MonkeyPatch,
    corpus: Fetchable | Callable[[argparse.Namespace], Fetchable] | None,
    *arguments: str,
) -> tuple[int, list[argparse.Namespace]]:
    """Return (exit code, the arguments that `prepare` was given)."""
    seen: list[argparse.Namespace] = []

    def prepare(args: argparse.Namespace) -> None:
        args.progress(2, 2)
        logging.getLogger("asr").info("train: 1 of 2 left out")
        seen.append(args)

    def add_hours(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--hours", default="960")

    monkeypatch.setattr(sys, "argv", ["prepare.py", "--corpus", "c", "--out", "o", *arguments])
    return prepare_command("tiny", corpus, prepare, add_hours), seen


def test_what_is_downloaded_may_depend_on_the_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpora = {"100": Fetched("small"), "960": Fetched("large")}
    code, seen = run(monkeypatch, lambda args: corpora[args.hours], "--hours", "100", "--download", "--accept", "any")
    assert code == 0
    assert (corpora["100"].folders, corpora["960"].folders) == ([Path("c")], [])
    assert (seen[0].corpus, seen[0].out, seen[0].accept, seen[0].hours) == (Path("c"), Path("o"), "any", "100")
    assert capsys.readouterr().err == "recipes/tiny/prepare.py: train: 1 of 2 left out\nprepare: 2/2 files\n"
    assert run(monkeypatch, corpora["960"])[0] == 0
    assert corpora["960"].folders == [], "only where --download asks for it"


def test_a_corpus_that_only_people_fetch_has_neither_download_nor_acceptance(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, None)[0] == 0
    for option in (["--download"], ["--accept", "any"]):
        assert run(monkeypatch, None, *option) == (2, [])
        assert f"unrecognized arguments: {option[0]}" in capsys.readouterr().err
