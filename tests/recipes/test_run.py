"""run.sh of the recipes and their stages, with false commands on miniature corpora in the true layouts."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipes.miniature import make_an4, make_fillets, make_fsdd, make_yesno

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["tokens", "check", "train", "average", "decode", "decode", "score", "score"]

# Stands for `asr`: writes down how it was called and makes what the real one makes.
ASR = """#!/usr/bin/env bash
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
printf '%s\\n' "$*" >>"$root/calls"
name=$1
previous=
while (($#)); do
    case $1 in
        --out) out=$2 ;;
        --fix) out=$2 given=$previous ;;
    esac
    previous=$1
    shift
done
case $name in
    check)
        printf '{}\\n'
        if [[ -n ${given-} ]]; then
            if [[ -e $root/bad-data ]]; then head -n 1 "$given" >"$out" && exit 3; fi
            cp "$given" "$out"
        fi
        ;;
    train)
        mkdir -p "$out/checkpoints"
        printf 'weights\\n' >"$out/checkpoints/step-0000001.safetensors"
        if [[ -e $root/kill-train ]]; then rm "$root/kill-train" && kill -9 $PPID $$; fi
        printf '{}\\n' >"$out/train.receipt.json"
        ;;
    score) printf '%%WER 0.00\\n' && printf '{}\\n' >"$out" ;;
    *) [[ ! -e $root/fail-$name ]] || exit 3; printf '%s\\n' "$name" >"$out" ;;
esac
"""


class Checkout:
    """A copy of the recipes and the package whose `asr` is false; `run` gives the calls that one start made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "recipes", root / "recipes", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "asr", root / "asr", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "conf", root / "conf")
        for name in ("yesno", "an4", "fsdd", "fillets"):
            self.write(f"conf/{name}.yaml", "model: {}\n")
        self.write("tools/setup", "#!/usr/bin/env bash\n", executable=True)
        python = f'#!/usr/bin/env bash\nPYTHONPATH="{root}" exec "{sys.executable}" "$@"\n'
        self.write(".venv/bin/python", python, executable=True)
        self.write(".venv/bin/asr", ASR, executable=True)
        make_yesno(root / "corpora" / "yesno", 14)
        make_an4(root / "corpora" / "an4")
        make_fsdd(root / "corpora" / "fsdd")

    def write(self, name: str, text: str, *, executable: bool = False) -> None:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if executable else 0o644)

    def start(self, *arguments: str, recipe: str = "yesno") -> subprocess.CompletedProcess[str]:
        (self.root / "calls").write_text("")
        command = [self.root / "recipes" / recipe / "run.sh", *arguments]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False, timeout=120)

    def run(self, *arguments: str, recipe: str = "yesno") -> list[str]:
        done = self.start("--corpus", f"corpora/{recipe}", "--accept", "any", *arguments, recipe=recipe)
        assert done.returncode == 0, done.stderr
        return self.calls()

    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()

    def ran(self, *arguments: str) -> list[str]:
        """Return the names of the commands of one start."""
        return [call.split()[0] for call in self.run(*arguments)]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "a checkout")


def test_all_stages_then_none(checkout: Checkout) -> None:
    overrides = ("train.epochs=3", "text.case=lower")
    calls = checkout.run("--seed", "7", *overrides)
    assert [call.split()[0] for call in calls] == STAGES
    run = checkout.root / "runs" / "yesno"
    assert calls[2] == (
        f"train conf/yesno.yaml {' '.join(overrides)} --train {run}/data/train.jsonl --valid {run}/data/valid.jsonl "
        f"--out {run} --seed 7 --tokens {run}/tokens.json"
    )
    assert calls[0].startswith(f"tokens --config conf/yesno.yaml {run}/data/train.jsonl text.case=lower --kind char")
    assert calls[1].startswith(f"check --config conf/yesno.yaml {' '.join(overrides)} ")
    assert calls[1].endswith(f"{run}/data/test.jsonl")
    assert calls[3] == f"average {run} --domain {run}/data/valid.jsonl --out {run}/model.safetensors"
    assert (run / "data" / "check.txt").read_text() == "{}\n", "the report is kept"
    stamps = {file.stem: json.loads(file.read_text()) for file in (run / "stages").glob("*.json")}
    assert stamps.keys() == {
        "prepare", "check", "tokens", "train", "average", "decode.valid", "decode.test", "score.valid", "score.test"
    }  # fmt: skip
    assert all(stamp["done"] for stamp in stamps.values())
    done = checkout.start(
        "--corpus", "corpora/yesno", "--accept", "any", "--seed", "7", "train.epochs=3", "text.case=lower"
    )
    assert checkout.calls() == []
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == [" done and unchanged"] * 9


def test_a_change_repeats_what_depends_on_it_and_nothing_else(checkout: Checkout) -> None:
    checkout.run()
    with (checkout.root / "asr" / "scoring" / "bootstrap.py").open("a") as file:
        file.write("# changed\n")
    (checkout.root / "runs" / "yesno" / "model.safetensors").unlink()
    assert checkout.ran() == ["average", "score", "score"], "the false average is the same again, so none decodes"
    checkout.write("conf/yesno.yaml", "model: {more: 1}\n")
    done = checkout.start("--corpus", "corpora/yesno", "--accept", "any", "--seed", "2", "--stop", "train")
    assert [call.split()[0] for call in checkout.calls()] == ["tokens", "check", "train"]
    assert "train: starting; its command changed: '1' is now '2' and 1 more; what was there is now" in done.stderr
    assert "--resume" not in checkout.calls()[-1], "not from checkpoints of another configuration"


def test_kill_during_training_is_resumed(checkout: Checkout) -> None:
    checkout.write("kill-train", "")
    done = checkout.start("--corpus", "corpora/yesno", "--accept", "any")
    assert done.returncode == -signal.SIGKILL
    calls = checkout.run()
    assert calls[0].startswith("train")
    assert calls[0].endswith("--resume")
    assert [call.split()[0] for call in calls] == STAGES[2:]


def test_a_failing_stage_ends_the_run_with_its_exit_code_and_is_taken_up_again(checkout: Checkout) -> None:
    checkout.write("fail-decode", "")
    done = checkout.start("--corpus", "corpora/yesno", "--accept", "any")
    assert done.returncode == 3
    assert checkout.calls()[-1].startswith("decode")
    (checkout.root / "fail-decode").unlink()
    assert checkout.ran() == STAGES[4:]


def test_start_and_stop(checkout: Checkout) -> None:
    assert checkout.ran("--stop", "check") == ["tokens", "check"]
    assert checkout.ran("--start", "train", "--stop", "average") == ["train", "average"]
    assert checkout.ran("--start", "decode", "--stop", "decode") == ["decode", "decode"]
    assert checkout.ran() == ["score", "score"]


def test_start_refuses_to_build_on_something_stale(checkout: Checkout) -> None:
    checkout.run("train.epochs=3")
    done = checkout.start("--corpus", "corpora/yesno", "--accept", "any", "--start", "decode")
    assert done.returncode == 2
    assert "check: its command changed: without 'train.epochs=3'" in done.stderr
    assert "something stale" in done.stderr.splitlines()[-1]
    assert checkout.calls() == []


def test_an4_ends_with_the_small_model_of_the_one_it_trained(checkout: Checkout) -> None:
    run = checkout.root / "runs" / "an4"
    calls = checkout.run(recipe="an4")
    assert [call.split()[0] for call in calls] == [*STAGES, "average", "decode", "score"]
    assert calls[-3] == f"average {run}/model.safetensors --storage int8 --out {run}/an4-int8.safetensors"
    assert calls[-2].startswith(f"decode {run}/data/test.jsonl --model {run}/an4-int8.safetensors --out ")


def test_an4_trains_on_the_manifest_that_was_asked_for(checkout: Checkout) -> None:
    run = checkout.root / "elsewhere"
    calls = checkout.run("--out", "elsewhere", recipe="an4")
    assert f"--train {run}/data/train.jsonl" in calls[2]
    calls = checkout.run("--out", str(run), "--train", "train_all", "--stop", "train", recipe="an4")
    assert f"--train {run}/data/train_all.jsonl" in calls[2]
    assert [call.split()[0] for call in calls] == STAGES[:3]
    calls = checkout.run("--out", str(run), "--train", "train_all", "--start", "average", recipe="an4")
    assert f"--domain {run}/data/test.jsonl" in calls[0], "valid is a part of train_all"


def test_an4_is_scored_with_a_language_model_of_the_training_texts(checkout: Checkout) -> None:
    run = checkout.root / "runs" / "an4"
    lm_calls = [call for call in checkout.run("--lm", "yes", recipe="an4") if ".lm" in call]
    assert lm_calls[0] == f"lm train {run}/data/train.jsonl --model {run}/tokens.json --out {run}/train.lm"
    assert lm_calls[1].startswith(f"lm tune {run}/train.lm {run}/data/valid.jsonl --model {run}/model.safetensors")
    assert f"--lm {run}/tuned.lm --out {run}/test-lm.hyp.jsonl" in lm_calls[2]
    everyone = checkout.run("--lm", "yes", "--train", "train_all", "--out", "all", recipe="an4")
    assert not any(call.startswith("lm tune") for call in everyone), "no speaker was held out"
    assert any("--lm" in call and "train.lm" in call for call in everyone if call.startswith("decode"))


def test_a_live_an4_is_scored_at_five_latencies(checkout: Checkout) -> None:
    calls = checkout.run("--live", "yes", recipe="an4")
    assert next(call for call in calls if call.startswith("train ")).startswith("train conf/an4-live.yaml --train")
    seen = [call.split("encoder.")[1:] for call in calls if call.startswith("decode ") and "encoder." in call]
    assert [context[0].split("=")[1].strip() for context in seen[::2]] == ["0", "630", "300", "150", "30"]
    assert [context[1] for context in seen[1::2]] == [f"right_context_ms={right}" for right in (0, 600, 270, 120, 60)]
    scored = [call for call in calls if call.startswith("score ")]
    assert sum("+" in call for call in scored) == 10
    assert not any("encoder." in call for call in checkout.run("--out", "plain", recipe="an4"))


def test_an4_may_start_from_a_model(checkout: Checkout) -> None:
    calls = checkout.run("--live", "yes", "--from", "an4", "--stop", "train", recipe="an4")
    assert [call.split()[0] for call in calls] == ["check", "train"], "its tokens come with it"
    assert f" --from {checkout.root}/asr/models/an4.safetensors" in calls[-1]
    phones = checkout.start("--corpus", "corpora/an4", "--from", "an4", "--tokens", "lexicon", recipe="an4")
    assert phones.returncode == 2
    assert "--tokens lexicon is for trainings from scratch; leave --from out" in phones.stderr


def test_an4_trains_on_phones_and_searches_their_lexicon(checkout: Checkout) -> None:
    calls = checkout.run("--tokens", "lexicon", recipe="an4")
    dictionary = checkout.root / "corpora" / "an4" / "etc" / "an4.dic"
    assert f" --kind lexicon --lexicon {dictionary} --out " in calls[0]
    decodings = [call for call in calls if call.startswith("decode ")]
    assert [" --beam 100" in call for call in decodings] == [True, True, True]
    assert not any("--beam" in call or "--lexicon" in call for call in checkout.run(recipe="an4"))
    done = checkout.start("--corpus", "corpora/an4", "--tokens", "phones", recipe="an4")
    assert (done.returncode, done.stderr) == (2, "recipes/an4: --tokens must be one of char lexicon; got 'phones'\n")


def test_a_language_has_its_own_run_folder_and_may_start_from_a_model(checkout: Checkout) -> None:
    make_fillets(checkout.root / "corpora" / "fillets")
    run = checkout.root / "runs" / "fillets-cs"
    calls = checkout.run("--stop", "train", recipe="fillets")
    assert [call.split()[0] for call in calls] == STAGES[:3]
    assert f"--out {run} " in calls[2]
    assert "--from" not in calls[2]
    model = checkout.root / "model.safetensors"
    model.write_text("weights")

    def train(name: str) -> list[str]:
        return checkout.run("--stop", "train", "--from", name, recipe="fillets")

    assert f" --seed 1 --from {model} --tokens " in train("model.safetensors")[-1]
    assert train(str(model)) == [], "the same"
    assert f" --from {checkout.root}/asr/models/an4.safetensors " in train("an4")[-1]
    train(str(model))
    model.write_text("other weights")
    assert train(str(model)), "another model, another training"


def test_less_to_train_on_is_asked_for_in_minutes(checkout: Checkout) -> None:
    make_fillets(checkout.root / "corpora" / "fillets")
    checkout.run("--stop", "prepare", "--train-minutes", "0.2", recipe="fillets")
    assert len((checkout.root / "runs" / "fillets-cs" / "data" / "train.jsonl").read_text().splitlines()) < 20
    for wrong in ("0", "-1", "nan", "some"):
        done = checkout.start("--corpus", "corpora/fillets", "--train-minutes", wrong, recipe="fillets")
        assert done.returncode == 2
        assert f"must be a number of minutes above 0, or 'all', got '{wrong}'" in done.stderr
    done = checkout.start("--corpus", "corpora/fillets", "--language", "xx", recipe="fillets")
    assert done.returncode == 2
    assert done.stderr == "recipes/fillets: --language must be one of cs nl; got 'xx'\n"
    assert not (checkout.root / "runs" / "fillets-xx").exists()  # nothing of a wrong command line stays


def test_the_old_model_is_blended_in_where_that_is_asked_for(checkout: Checkout) -> None:
    run, model = checkout.root / "runs" / "fsdd", checkout.root / "asr" / "models" / "an4.safetensors"
    calls = checkout.run("--train", "train", recipe="fsdd")
    assert f"average {run} --domain {run}/data/valid.jsonl --out {run}/model.safetensors" in calls
    calls = checkout.run("--train", "train", "--old-share", "0.3", recipe="fsdd")
    domain = f"--domain {run}/data/valid.jsonl"
    assert calls[0] == f"average {run} --old {model} --old-share 0.3 {domain} --out {run}/model.safetensors"
    for wrong in ("2", "-0.1", "some", "1.01"):
        done = checkout.start("--corpus", "corpora/fsdd", "--old-share", wrong, "--out", "other", recipe="fsdd")
        assert done.returncode == 2
        assert done.stderr == f"recipes/fsdd: --old-share must be a number from 0 to 1, such as 0.3; got '{wrong}'\n"
    done = checkout.start("--corpus", "corpora/fsdd", "--old-share", "1.0", "--from", "nothing", recipe="fsdd")
    message = "--old-share goes back to the weights of another model; name it with --from"
    assert (done.returncode, done.stderr) == (2, f"recipes/fsdd: {message}\n")
    assert not (checkout.root / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--sede", "1"], 2, "unknown option '--sede'"),
        (["--seed"], 2, "--seed needs a value"),
        (["--seed", "one"], 2, "--seed must be a whole number, got 'one'"),
        (["--start", "tran"], 2, "'tran' is no stage; there are: prepare tokens check train average decode score"),
        (["--start", "train", "--stop", "check"], 2, "--start train comes after --stop check"),
        (["extra"], 2, "'extra' is neither an option nor key.path=value"),
        (["--corpus", "nowhere"], 3, "no corpus folder at 'nowhere'"),
        (["--out", "/proc/run"], 4, "cannot write to '/proc/run'"),
        (["--split", "x;touch owned"], 2, "invalid choice: 'x;touch owned'"),
        (["--corpus", "corpora/yesno"], 3, "yesno all: 14 audio files, expected 60"),
        (["--corpus", "corpora/an4"], 3, "not the corpus yesno"),
    ],
)
def test_wrong_usage_is_said(checkout: Checkout, arguments: list[str], code: int, message: str) -> None:
    default = [] if "--corpus" in arguments else ["--corpus", "corpora/yesno"]
    done = checkout.start(*default, *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert checkout.calls() == []
    assert not (checkout.root / "owned").exists()


def test_finetune_keeps_the_tokens_of_its_model(checkout: Checkout) -> None:
    corpus = checkout.root / "corpora" / "finetune"
    shutil.copytree(checkout.root / "corpora" / "fsdd" / "recordings", corpus)
    for recording in corpus.iterdir():
        recording.with_suffix(".txt").write_text("one")
    done = checkout.start("--corpus", "corpora/finetune", recipe="finetune")
    assert done.returncode == 0, done.stderr
    calls = checkout.calls()
    assert [call.split()[0] for call in calls] == STAGES[1:]
    model = f"{checkout.root}/asr/models/an4.safetensors"
    assert calls[0].startswith(f"check --model {model} ")
    assert calls[1].endswith(f"--out {checkout.root}/runs/finetune --seed 1 --from {model}")
    assert "--tokens" not in calls[0] + calls[1]


def test_fsdd_fine_tunes_a_model_with_words_as_tokens(checkout: Checkout) -> None:
    calls = checkout.run(recipe="fsdd")
    assert [call.split()[0] for call in calls] == STAGES
    tokens, model = f"{checkout.root}/runs/fsdd/tokens.json", f"{checkout.root}/asr/models/an4.safetensors"
    assert calls[0].endswith(f"--kind bpe --size 64 --out {tokens}")
    assert calls[1].startswith(f"check --model {model} --tokens {tokens} ")
    assert calls[2].endswith(f"--out {checkout.root}/runs/fsdd --seed 1 --from {model} --tokens {tokens}")


def test_fsdd_with_letters_keeps_the_tokens_of_its_model(checkout: Checkout) -> None:
    calls = checkout.run("--tokens", "letters", recipe="fsdd")
    (train,) = (call for call in calls if call.startswith("train "))
    assert "--tokens" not in train
    assert not any(call.startswith("tokens ") for call in calls)
    assert "--kind char" in checkout.run("--tokens", "letters", "--from", "nothing", recipe="fsdd")[0]
    done = checkout.start("--corpus", "corpora/fsdd", "--tokens", "syllables", recipe="fsdd")
    assert (done.returncode, done.stderr) == (2, "recipes/fsdd: --tokens must be words or letters, got 'syllables'\n")


def test_fsdd_from_nothing(checkout: Checkout) -> None:
    calls = checkout.run("--from", "nothing", recipe="fsdd")
    assert [call.split()[0] for call in calls] == STAGES
    assert "--from" not in calls[2]
    assert "--tokens" in calls[2]


def test_another_model_repeats_the_training(checkout: Checkout) -> None:
    checkout.run(recipe="fsdd")
    other = checkout.root / "other.safetensors"
    other.write_text("another")
    calls = checkout.run("--from", "other.safetensors", recipe="fsdd")
    assert f"--from {other}" in calls[1]
    assert [call.split()[0] for call in calls[:2]] == ["check", "train"]


def test_from_a_model_that_is_not_there(checkout: Checkout) -> None:
    done = checkout.start("--corpus", "corpora/fsdd", "--from", "an5", recipe="fsdd")
    assert done.returncode == 3
    assert done.stderr.strip() == (
        "recipes/fsdd: --from 'an5' is neither a bundled model, a file nor a run folder; check the path"
    )


def test_help(checkout: Checkout) -> None:
    done = checkout.start("--help")
    assert done.returncode == 0
    for word in ("--corpus", "--out", "--seed", "--start", "--stop", "--split", "key.path=value"):
        assert word in done.stdout
    assert "  kaldi: the first 30 files by name train" in done.stdout, "what the recipe's own options mean"


def test_two_runs_in_one_folder_are_refused(checkout: Checkout) -> None:
    lock = checkout.root / "runs" / "yesno" / "stages" / "lock"
    lock.parent.mkdir(parents=True)
    with subprocess.Popen(["flock", lock, "cat"], stdin=subprocess.PIPE) as holder:
        while subprocess.run(["flock", "--nonblock", lock, "true"], check=False).returncode == 0:
            pass
        done = checkout.start("--corpus", "corpora/yesno")
        holder.communicate()
    assert done.returncode == 4
    assert "another run is at work" in done.stderr


def test_without_a_corpus_the_downloaded_one_is_used(checkout: Checkout) -> None:
    make_yesno(checkout.root / "downloads" / "yesno" / "waves_yesno", 14)
    done = checkout.start("--accept", "any", "--stop", "check")
    assert done.returncode == 0, done.stderr
    assert len(checkout.calls()) == 2
    assert checkout.start("--accept", "any", "--stop", "check").returncode == 0
    assert checkout.calls() == []


def test_scripts_are_short_and_build_no_commands_from_strings() -> None:
    for recipe in (ROOT / "recipes").glob("*/run.sh"):
        assert len(recipe.read_text().splitlines()) < 40, recipe
        assert os.access(recipe, os.X_OK), recipe
    for script in [*(ROOT / "recipes").rglob("*.sh"), ROOT / "tools" / "setup", ROOT / "tools" / "test"]:
        assert " eval " not in f" {script.read_text()} ", script
        subprocess.run(["bash", "-n", script], check=True)
