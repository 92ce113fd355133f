"""Stamps: what makes a stage run again, what lets it rest, and what it resumes from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from asr.errors import DataError, UsageError
from asr.stamps import Stage, begin, code_files, end, hash_path, judge, main


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    run = tmp_path / "run"
    run.mkdir()
    source, code = tmp_path / "source.txt", tmp_path / "code.py"
    source.write_text("one")
    code.write_text("import json\n")
    command = ("make", "--out", str(run / "made"), "--seed", "1")
    return Stage(run, "train", command, inputs=(source,), outputs=(run / "made",), code=code)


def finish(stage: Stage) -> None:
    assert begin(stage)[0] == "run"
    stage.outputs[0].write_text("made")
    end(stage.run, stage.name)


def resumable(stage: Stage) -> Stage:
    state = stage.run / "checkpoints"
    state.mkdir()
    (state / "last").write_text("state")
    return replace(stage, state=state)


def test_done_and_unchanged_is_skipped(stage: Stage) -> None:
    assert judge(stage) == ("run", "not done yet")
    finish(stage)
    assert begin(stage) == ("skip", "done and unchanged: RUN/made")
    values = json.loads((stage.run / "stages" / "train.json").read_text())
    assert values["done"] is True
    assert values["wall_seconds"] >= 0


def test_changed_input_code_or_command_runs_again_and_says_why(stage: Stage) -> None:
    finish(stage)
    other_seed = replace(stage, command=(*stage.command[:-1], "2"))
    assert judge(other_seed) == ("run", "its command changed: '1' is now '2'")
    longer = replace(stage, command=(*stage.command, "train.epochs=3"))
    assert judge(longer) == ("run", "its command changed: with 'train.epochs=3'")
    more = replace(stage, inputs=(*stage.inputs, stage.run / "made"))
    assert judge(more) == ("run", "RUN/made is new")
    assert stage.code is not None
    stage.code.write_text("import sys\n")
    assert judge(stage) == ("run", f"the code {stage.code} changed")
    stage.inputs[0].write_text("two")
    assert judge(stage) == ("run", f"{stage.inputs[0]} changed and 1 more")


def test_missing_or_changed_output_runs_again(stage: Stage) -> None:
    finish(stage)
    stage.outputs[0].write_text("tampered")
    assert judge(stage) == ("run", "its output RUN/made changed")
    stage.outputs[0].unlink()
    assert judge(stage) == ("run", "its output RUN/made is missing")


def test_a_touched_but_equal_file_changes_nothing(stage: Stage) -> None:
    finish(stage)
    stage.inputs[0].write_text("one")
    assert judge(stage)[0] == "skip"


def test_a_run_folder_can_be_moved(stage: Stage, tmp_path: Path) -> None:
    finish(stage)
    moved = stage.run.rename(tmp_path / "moved")
    command = tuple(argument.replace(str(stage.run), str(moved)) for argument in stage.command)
    assert judge(replace(stage, run=moved, command=command, outputs=(moved / "made",)))[0] == "skip"


def test_an_interrupted_stage_resumes_only_if_nothing_changed(stage: Stage) -> None:
    stage = resumable(stage)
    assert stage.state is not None
    verdict, reason = begin(stage)
    assert verdict == "run", "what lies there without a stamp is not known to be of this configuration"
    assert "checkpoints.before-1" in reason
    assert not stage.state.exists()
    stage.state.mkdir()
    (stage.state / "last").write_text("state")
    assert begin(stage)[0] == "resume"
    assert begin(stage)[0] == "resume", "killed again, during the resumed run"
    verdict, reason = begin(replace(stage, command=(*stage.command, "train.epochs=9")))
    assert verdict == "run"
    assert "checkpoints.before-2" in reason


def test_an_interrupted_stage_without_state_starts_over(stage: Stage) -> None:
    begin(stage)
    assert judge(stage) == ("run", "was interrupted")
    stage = replace(stage, state=stage.run / "checkpoints")
    assert judge(stage) == ("run", "was interrupted"), "killed before its first checkpoint"


def test_a_stage_that_lost_an_output_resumes_from_its_checkpoints(stage: Stage) -> None:
    stage = replace(stage, state=stage.run / "checkpoints")
    finish(stage)
    resumable(stage)
    stage.outputs[0].unlink()
    assert begin(stage) == ("resume", "its output RUN/made is missing")


def test_what_a_stage_fetches_itself_counts_from_its_end(stage: Stage, tmp_path: Path) -> None:
    fetched = tmp_path / "corpus"
    stage = replace(stage, inputs=(fetched,))
    begin(stage)
    fetched.mkdir()
    (fetched / "a.wav").write_bytes(b"1")
    stage.outputs[0].write_text("made")
    end(stage.run, stage.name)
    assert judge(stage)[0] == "skip"
    (fetched / "b.wav").write_bytes(b"2")
    assert judge(stage) == ("run", f"{fetched} changed")


def test_an_output_that_was_not_made_is_an_error(stage: Stage) -> None:
    begin(stage)
    with pytest.raises(DataError, match="stage train ended without making RUN/made"):
        end(stage.run, stage.name)
    with pytest.raises(DataError, match="was not begun"):
        end(stage.run, "tokens")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"command": 3}', "\xff"])
def test_a_damaged_stamp_counts_as_none(stage: Stage, text: str) -> None:
    finish(stage)
    (stage.run / "stages" / "train.json").write_text(text, encoding="latin-1")
    assert judge(stage) == ("run", "not done yet")


def test_folders_are_known_by_names_sizes_and_times(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    assert hash_path(folder) is None
    (folder / "deep").mkdir(parents=True)
    empty = hash_path(folder)
    (folder / "deep" / "file").write_text("a")
    assert len({empty, before := hash_path(folder)}) == 2
    assert hash_path(folder) == before
    (folder / "deep" / "file").rename(folder / "file")
    assert hash_path(folder) != before


def test_code_is_followed_through_imports(tmp_path: Path) -> None:
    package = tmp_path / "toolkit"
    files = {
        "__init__.py": "def load():\n    from toolkit import far\n",
        "far.py": "",
        "cli/__init__.py": "",
        "cli/train.py": "import json, toolkit.base\ndef run():\n    from toolkit.net import cell\n",
        "cli/score.py": "",
        "base.py": "import toolkit\n",
        "net/__init__.py": "",
        "net/cell.py": "from toolkit.net.gate import Gate\n",
        "net/gate.py": "from toolkit.cli import train\nclass Gate: ...\n",
    }
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    found = {str(file.relative_to(package)) for file in code_files(package / "cli" / "train.py", package)}
    assert found == files.keys() - {"far.py", "cli/score.py"}


def test_scoring_does_not_depend_on_training_but_training_on_the_network() -> None:
    cli = Path(__file__).resolve().parents[1] / "asr" / "cli"
    names = {"/".join(file.parts[-2:]) for file in code_files(cli / "score.py")}
    assert "scoring/error_rate.py" in names
    assert not any(name.startswith(("training/", "nn/", "recognizer.py")) for name in names)
    names = {"/".join(file.parts[-2:]) for file in code_files(cli / "train.py")}
    assert {"nn/recurrent.py", "data/loader.py", "asr/config.py"} <= names


def test_unknown_commands_are_usage_errors(stage: Stage) -> None:
    with pytest.raises(UsageError, match="'make' is neither asr nor python"):
        begin(replace(stage, code=None))
    with pytest.raises(UsageError, match=r"cli/trian\.py: no such file"):
        begin(replace(stage, code=None, command=("asr", "trian")))


def test_command_line(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--run", str(stage.run), "--stage", "tokens"]
    asked = ["begin", *named, "--output", str(stage.outputs[0]), "--code", str(stage.code), "--", "make", "--seed", "1"]
    assert main(asked) == 0
    assert capsys.readouterr() == ("run\n", "tokens: starting; not done yet\n")
    assert main(["end", *named]) == 3
    assert "without making" in capsys.readouterr().err
    stage.outputs[0].write_text("made")
    assert main(["end", *named]) == 0
    assert capsys.readouterr().err.startswith("tokens: done in 0 s")
    assert main(asked) == 0
    assert capsys.readouterr() == ("skip\n", "tokens: done and unchanged: RUN/made\n")
