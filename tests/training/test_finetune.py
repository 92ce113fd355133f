"""Fine-tuning: what is trained how fast, what is held back, and what is refused."""

import csv
import json
import re
from pathlib import Path

import pytest
import torch

from asr.cli.main import main
from asr.data.manifest import read_manifest, write_manifest
from asr.errors import UsageError
from asr.model import AcousticModel
from asr.nn.encoder import EncoderConfig
from asr.store import load
from asr.training.finetune import check_freezing, depth_below_output, frozen_patterns, matched, pull_towards
from tests.tiny_model import tiny_model
from tests.training.miniature import Corpus, Processes, experiment, make_corpus, train
from tests.training.test_resume import assert_equal_runs

LAST = Path("checkpoints", "last.safetensors")
OTHER_PITCHES = {"c": 600.0, "d": 1100.0, "e": 2000.0, "f": 3100.0}  # Hz; the old c and d sound otherwise


@pytest.fixture(scope="module")
def base(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows the miniature corpus."""
    out = tmp_path_factory.mktemp("base")
    assert train(corpus, out, "train.epochs=40", "train.validate_every=20", "train.keep_best=0") == 0
    return out / LAST


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Other words of other sounds, and a configuration that says nothing of the model."""
    made = make_corpus(tmp_path_factory.mktemp("new"), pitches=OTHER_PITCHES, seed=9)
    values = json.loads(made.config.read_text("utf-8"))
    del values["model"]
    made.config.write_text(json.dumps(values), "utf-8")
    return made


def weights(path: Path) -> dict[str, torch.Tensor]:
    return AcousticModel.load(path).state_dict()


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / "logs" / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def refused(capsys: pytest.CaptureFixture[str], code: int, arguments: list[str]) -> str:
    """Return the one line that `asr` ends with."""
    capsys.readouterr()
    assert main(arguments) == code
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1, message
    return message


# --- which weights, how fast


def test_depth_is_counted_from_the_output() -> None:
    config = EncoderConfig(layers=3)
    depths = {
        "encoder.output.weight": 0,
        "encoder.intermediate_output.bias": 0,
        "encoder.layers.2.forwards.weight_ih_l0": 1,
        "encoder.norms.2.weight": 1,
        "encoder.layers.0.backwards.bias_hh_l0": 3,
        "encoder.subsampling.convolutions.0.weight": 4,
    }
    assert {name: depth_below_output(name, config) for name in depths} == depths


def test_the_last_pattern_is_let_go_first() -> None:
    config = experiment(finetune__freeze=["a", "b", "c"], finetune__unfreeze_epochs=2).finetune
    held = [frozen_patterns(config, epoch) for epoch in range(7)]
    assert held == [("a", "b", "c"), ("a", "b", "c"), ("a", "b"), ("a", "b"), ("a",), ("a",), ()]
    assert frozen_patterns(experiment(finetune__freeze=["a"]).finetune, 1000) == ("a",)


def test_patterns_name_weights_of_the_encoder() -> None:
    names = [name for name, _ in tiny_model().named_parameters()]
    found = matched(names, ["layers.1.*", "output.bias"])
    assert {name.rpartition(".")[0] for name in found} == {
        "encoder.layers.1.forwards",
        "encoder.layers.1.backwards",
        "encoder.output",
    }


def test_patterns_that_freeze_nothing_or_everything_are_refused() -> None:
    names = [name for name, _ in tiny_model().named_parameters()]
    with pytest.raises(UsageError, match=r"'layer\.1\.\*' names no weights; there are: layers\.0\.backwards\.\*, "):
        check_freezing(experiment(finetune__freeze=["layer.1.*"]).finetune, names)
    with pytest.raises(UsageError, match="leaves nothing to train"):
        check_freezing(experiment(finetune__freeze=["*"]).finetune, names)
    check_freezing(experiment(finetune__freeze=["*"], finetune__unfreeze_epochs=1).finetune, names)


def test_a_pull_goes_a_share_of_the_way() -> None:
    weights = {"a": torch.nn.Parameter(torch.tensor([4.0, 0.0]))}
    pull_towards({"a": torch.tensor([0.0, 8.0])}, weights, 0.25)
    assert weights["a"].tolist() == [3.0, 2.0]


# --- whole fine-tunings


def test_the_alphabet_is_told_and_the_model_starts_from_what_it_knew(
    base: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One step at no rate worth the name leaves the old model: it reads its own corpus as before."""
    arguments = ["train", str(corpus.config), "--from", str(base), "--train", str(corpus.train)]
    arguments += ["--valid", str(corpus.valid), "--out", str(tmp_path / "run")]
    assert main([*arguments, "train.epochs=1", "train.optimizer.learning_rate=1e-9"]) == 0
    said = capsys.readouterr().err
    assert "alphabet: kept 4, new 0, dropped 0, blank kept" in said
    for name, tensor in weights(tmp_path / "run" / LAST).items():
        torch.testing.assert_close(tensor, weights(base)[name], atol=1e-6, rtol=0)


def test_other_words_are_learnt_with_another_alphabet(
    base: Path, new: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train(new, out, "--from", str(base), "train.epochs=30", "train.validate_every=30") == 0
    assert "alphabet: kept 2, new 2, dropped 2, blank kept" in capsys.readouterr().err
    assert AcousticModel.load(out / LAST).tokenizer.symbols == new.tokenizer.symbols
    assert float(rows(out)[-1]["cer"]) < 0.35 * 100


def test_another_script_that_runs_from_right_to_left(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tokens come from the new texts alone; what is heard first is written first, as text is stored."""
    pitches = {"א": 500.0, "ב": 1000.0, "ג": 1800.0, "ד": 2900.0}
    hebrew = make_corpus(tmp_path / "hebrew", pitches=pitches, seed=4)
    out = tmp_path / "run"
    more = ["--from", str(base), "train.epochs=30", "train.validate_every=30"]
    assert main(hebrew.arguments(out, *more)) == 2
    assert "finetune.new_script=true if the script is another" in capsys.readouterr().err
    assert main(hebrew.arguments(out, *more, "finetune.new_script=true")) == 0
    said = capsys.readouterr().err
    assert "alphabet: kept 0, new 4, dropped 4, blank kept" in said
    assert float(rows(out)[-1]["cer"]) < 35


def test_replay_and_guard_hold_what_the_model_knew(
    base: Path, corpus: Corpus, new: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without replay the guard falls and that is said; with it the guard stays within a point or gets better."""
    both = tmp_path / "both.json"
    write_manifest(tmp_path / "both.jsonl", corpus.utterances + _renamed(new))
    assert main(["tokens", str(tmp_path / "both.jsonl"), "--kind", "char", "--out", str(both)]) == 0
    given = ["--from", str(base), "--tokens", str(both), "train.epochs=24", "train.validate_every=8"]
    guard = f"finetune.guard={corpus.train}"
    capsys.readouterr()
    assert train(new, tmp_path / "alone", *given, guard) == 0
    alone = capsys.readouterr().err
    replay = [f"finetune.replay.manifest={corpus.train}", "finetune.replay.ratio=0.5"]
    assert train(new, tmp_path / "replayed", *given, guard, *replay) == 0
    replayed = capsys.readouterr().err
    rates = {name: _column(tmp_path / name, "guard_cer") for name in ("alone", "replayed")}
    assert rates["alone"][0] == rates["replayed"][0]
    assert rates["alone"][-1] > rates["alone"][0] + 10
    assert rates["replayed"][-1] <= rates["replayed"][0] + 1
    assert len(re.findall("what the model knew is being forgotten", alone)) == 1
    assert "replay old utterances (finetune.replay.manifest)" in alone
    assert "being forgotten" not in replayed
    assert re.search("new run, (4[5-9]|5[0-5]) % of an epoch replayed", replayed)


def _renamed(corpus: Corpus) -> list:
    import dataclasses

    return [dataclasses.replace(item, id=f"new-{item.id}") for item in corpus.utterances]


def _column(run: Path, name: str) -> list[float]:
    return [float(row[name]) for row in rows(run) if row[name]]


def test_the_best_of_both_is_kept(base: Path, corpus: Corpus, new: Corpus, tmp_path: Path) -> None:
    """The kept checkpoint has the smallest mean of both error rates, not the smallest of the new words alone."""
    out = tmp_path / "run"
    more = ["train.epochs=8", "train.keep_best=1", f"finetune.guard={corpus.train}"]
    assert train(new, out, "--from", str(base), *more) == 0
    new_rates = {int(row["step"]): float(row["wer"]) for row in rows(out) if row["wer"]}
    old_rates = {int(row["step"]): float(row["guard_wer"]) for row in rows(out) if row["guard_wer"]}
    means = {step: (rate + old_rates[step]) / 2 for step, rate in new_rates.items()}
    kept = [int(path.stem.removeprefix("step-")) for path in (out / "checkpoints").glob("step-*.safetensors")]
    assert kept == [min(means, key=lambda step: (means[step], step))]


def test_frozen_weights_stay_and_the_others_move(base: Path, corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(corpus, out, "--from", str(base), "finetune.freeze=['subsampling.*', 'layers.*']") == 0
    before, after = weights(base), weights(out / LAST)
    for name, tensor in after.items():
        if name.startswith("encoder."):
            frozen = name.startswith(("encoder.subsampling.", "encoder.layers."))
            assert torch.equal(tensor, before[name]) == frozen, name


def test_what_is_let_go_moves_from_then_on(base: Path, corpus: Corpus, tmp_path: Path) -> None:
    more = ["finetune.freeze=['subsampling.*', 'layers.*']", "finetune.unfreeze_epochs=1", "train.keep_last=9"]
    assert train(corpus, tmp_path / "run", "--from", str(base), *more, "train.epochs=3", "train.keep_best=0") == 0
    kept = sorted((tmp_path / "run" / "checkpoints").glob("step-*.safetensors"))
    start, states = weights(base), [weights(path) for path in kept]
    names = ["encoder.output.weight", "encoder.layers.0.forwards.weight_hh_l0", "encoder.subsampling.norms.0.weight"]
    moved = [[not torch.equal(state[name], start[name]) for name in names] for state in states]
    assert moved == [[True, False, False], [True, True, False], [True, True, True]]


def test_adapters_are_merged_and_of_low_rank(base: Path, corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert train(corpus, out, "--from", str(base), "finetune.adapter_rank=2", "train.ema_decay=0.9") == 0
    before, after = weights(base), weights(out / LAST)
    for name, tensor in after.items():
        matrix = name.startswith("encoder.layers.") and tensor.ndim == 2
        if matrix:
            singular = torch.linalg.svdvals((tensor - before[name]).double())
            # the average of a few steps: one step's change has rank 2, and their sum is of a few directions more
            assert singular[0] > 1e-4
        elif name.startswith("encoder.") and not name.startswith("encoder.output."):
            assert torch.equal(tensor, before[name]), name
    assert train(corpus, tmp_path / "plain", "--from", str(base), "finetune.adapter_rank=2") == 0
    for name, tensor in weights(tmp_path / "plain" / LAST).items():
        if name.startswith("encoder.layers.") and tensor.ndim == 2:
            assert torch.linalg.matrix_rank((tensor - before[name]).double(), rtol=1e-3) == 2


def test_a_pull_keeps_the_weights_near_their_start(base: Path, corpus: Corpus, tmp_path: Path) -> None:
    way = {}
    for pull in (0, 20):
        out = tmp_path / str(pull)
        assert train(corpus, out, "--from", str(base), f"finetune.pull={pull}", "train.epochs=6") == 0
        before, after = weights(base), weights(out / LAST)
        way[pull] = sum(float((after[name] - before[name]).square().sum()) for name in before) ** 0.5
    assert way[20] < 0.7 * way[0]


def test_lower_layers_move_less_with_a_rate_per_depth(base: Path, corpus: Corpus, tmp_path: Path) -> None:
    ways = []
    for decay in (1.0, 0.1):
        out = tmp_path / str(decay)
        assert train(corpus, out, "--from", str(base), f"finetune.depth_decay={decay}") == 0
        before, after = weights(base), weights(out / LAST)
        names = ["encoder.output.weight", "encoder.subsampling.convolutions.0.weight"]
        ways.append([float((after[name] - before[name]).abs().mean()) for name in names])
    (output, lowest), (slow_output, slow_lowest) = ways
    assert slow_lowest / slow_output < 0.03 * lowest / output * 2
    assert slow_output > 0.3 * output


def test_other_statistics_are_those_of_the_new_data(base: Path, corpus: Corpus, new: Corpus, tmp_path: Path) -> None:
    """A model that took each utterance's own may learn to take the training's; one that does so keeps its own."""
    given = ["--from", str(base), "train.epochs=1", "model.features.normalization=global"]
    assert train(new, tmp_path / "global", *given) == 0
    made = weights(tmp_path / "global" / LAST)
    assert not torch.equal(made["frontend.normalizer.mean"], weights(base)["frontend.normalizer.mean"])
    assert train(corpus, tmp_path / "again", "--from", str(tmp_path / "global" / LAST), "train.epochs=1") == 0
    kept = weights(tmp_path / "again" / LAST)
    assert torch.equal(kept["frontend.normalizer.mean"], made["frontend.normalizer.mean"])


def test_an_offline_model_learns_to_be_live(base: Path, corpus: Corpus, tmp_path: Path) -> None:
    """The weights of one that reads whole utterances are a start for one that reads chunks."""
    assert not AcousticModel.load(base).config.streams
    chunks = ["model.encoder.chunk_ms=200", "model.encoder.right_context_ms=100", "train.contexts_ms=[[0,0],[200,100]]"]
    given = ["--from", str(base), "train.epochs=1", "model.features.normalization=running", *chunks]
    assert train(corpus, tmp_path / "live", *given) == 0
    assert AcousticModel.load(tmp_path / "live" / LAST).config.streams


HELD = [
    "finetune.adapter_rank=2",
    "finetune.pull=5",
    "finetune.freeze=['subsampling.*', 'layers.*'] finetune.unfreeze_epochs=1",
]


@pytest.mark.slow
@pytest.mark.parametrize("held", HELD, ids=["adapters", "pull", "gradual"])
def test_a_fine_tuning_that_was_killed_resumes_bit_equal(
    held: str, base: Path, corpus: Corpus, new: Corpus, processes: Processes, tmp_path: Path
) -> None:
    """With replay, guard and average; what is resumed starts from where it was, not from the model."""
    more = ["--from", str(base), *re.split(" (?=finetune)", held), "train.ema_decay=0.9", "train.epochs=3"]
    more += ["train.checkpoint_steps=1", "finetune.depth_decay=0.8", "finetune.new_script=true"]
    more += [f"finetune.replay.manifest={_spelled(corpus, new, tmp_path)}", f"finetune.guard={corpus.valid}"]
    straight = processes(new.arguments(tmp_path / "straight", *more), tmp_path / "log")
    assert straight.code == 0, straight.stderr
    killed = processes(new.arguments(tmp_path / "killed", *more), tmp_path / "log", kill_after_step=5)
    assert killed.code != 0
    resumed = processes([*new.arguments(tmp_path / "killed", *more), "--resume"], tmp_path / "log")
    assert resumed.code == 0, resumed.stderr
    assert "resumed at step" in resumed.stderr
    assert_equal_runs(tmp_path / "killed", tmp_path / "straight")


def _spelled(corpus: Corpus, new: Corpus, folder: Path) -> Path:
    """Return a manifest of the old utterances that the new alphabet can spell."""
    known = set(new.tokenizer.symbols)
    path = folder / "replay.jsonl"
    write_manifest(path, [item for item in corpus.utterances if set(item.text or "") <= known] or new.utterances[:3])
    return path


def test_resuming_with_another_model_or_none_is_refused(
    base: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train(corpus, out, "--from", str(base)) == 0
    for other in (["--from", str(out / LAST)], []):
        message = refused(capsys, 2, corpus.arguments(out, "--resume", *other))
        assert "--resume continues the same run, but what differs is model of --from" in message


# --- bad input


def test_keys_of_a_fine_tuning_need_a_model(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, 2, corpus.arguments(tmp_path / "run", "finetune.pull=1"))
    assert message.endswith("finetune.pull is for a training that starts from a model; add --from MODEL")


def test_tokens_are_needed_without_a_model(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", str(corpus.config), "--train", str(corpus.train), "--out", str(tmp_path / "run")]
    assert "--tokens is missing; make them with asr tokens, or fine-tune a model with --from" in refused(
        capsys, 2, arguments
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.features.sample_rate=16000",
            "features.sample_rate is 16000, in the model that --from names 8000",
        ),
        ("model.encoder.hidden=24", "model.encoder.hidden is 24, in the model that --from names 16"),
        ("finetune.freeze=[layer.0]", "finetune.freeze: 'layer.0' names no weights"),
        ("finetune.unfreeze_epochs=2", "unfreeze_epochs (2) needs patterns in freeze"),
        ("finetune.replay.manifest=none.jsonl", "finetune.replay.manifest: none.jsonl: cannot read the manifest"),
        ("finetune.guard=none.jsonl", "finetune.guard: none.jsonl: cannot read the manifest"),
    ],
)
def test_one_line_for_what_cannot_be(
    base: Path, new: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    code = 3 if "none.jsonl" in override else 2
    said = refused_lines(capsys, code, new.arguments(tmp_path / "run", "--from", str(base), override))
    assert message in said
    assert not (tmp_path / "run").exists()


def refused_lines(capsys: pytest.CaptureFixture[str], code: int, arguments: list[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    message = capsys.readouterr().err.strip()
    assert "Traceback" not in message
    return message.splitlines()[-1]


def test_a_model_that_is_not_there(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = corpus.arguments(tmp_path / "run", "--from", str(tmp_path / "none.safetensors"))
    assert "no such model file or run folder" in refused(capsys, 3, arguments)


def test_an_alphabet_that_shares_nothing(
    base: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upper = tmp_path / "upper.json"
    assert main(["tokens", str(corpus.train), "--kind", "char", "--case", "upper", "--out", str(upper)]) == 0
    config = tmp_path / "no-model.yaml"
    config.write_text('{"train": {"epochs": 1, "loader": {"workers": 0}}}', "utf-8")
    arguments = ["train", str(config), "--train", str(corpus.train), "--tokens", str(upper)]
    arguments += ["--from", str(base), "--out", str(tmp_path / "run")]
    message = refused(capsys, 2, arguments)
    assert "the tokens (A B C D ...) share no symbol with the model's (a b c d ...); set text.case" in message
    assert main([*arguments, "finetune.new_script=true"]) == 0


def test_a_guard_without_references(
    base: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses

    silent = tmp_path / "guard.jsonl"
    write_manifest(silent, [dataclasses.replace(item, text=None) for item in read_manifest(corpus.valid)])
    said = refused_lines(capsys, 3, corpus.arguments(tmp_path / "run", "--from", str(base), f"finetune.guard={silent}"))
    assert said.endswith("no utterance of finetune.guard has a text; give references to compare with")


def test_a_guard_without_validation(
    base: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = corpus.arguments(tmp_path / "run", "--from", str(base), f"finetune.guard={corpus.valid}", valid=False)
    assert "finetune.guard needs --valid as well" in refused(capsys, 2, arguments)


def test_old_words_that_the_new_tokens_cannot_spell(
    base: Path, corpus: Corpus, new: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replay = f"finetune.replay.manifest={corpus.train}"
    said = refused_lines(capsys, 3, new.arguments(tmp_path / "run", "--from", str(base), replay))
    assert re.search(r"utterance 'u\d\d': .*not in the alphabet", said)


def test_a_checkpoint_of_a_fine_tuning_holds_plain_weights(base: Path, corpus: Corpus, tmp_path: Path) -> None:
    """Adapters are the training's affair: a reader of models finds none among the weights."""
    assert train(corpus, tmp_path / "run", "--from", str(base), "finetune.adapter_rank=2") == 0
    tensors, _ = load(tmp_path / "run" / LAST)
    plain = {name for name in tensors if not name.startswith("state/")}
    assert plain == {name for name in load(base)[0] if not name.startswith("state/")}
    assert any(name.startswith("state/raw/adapters.") for name in tensors)
