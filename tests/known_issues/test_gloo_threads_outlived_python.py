"""A training of several processes that had ended well sometimes said "terminate called without an active exception".

Lightning leaves the process group of gloo as it is.  Its threads may still run when the interpreter ends, and C++
aborts a process whose threads are neither joined nor detached: exit code 134 after all the work was done.  It came
once in some hundred trainings of two processes, on a busy machine.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.miniature import ROOT, Corpus, make_corpus

SCRIPT = """
import sys
from pathlib import Path
from unittest import mock

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from asr.training import fit as fitting
from asr.training.request import Request
from tests.training.miniature import Corpus, experiment

corpus = Corpus(Path(sys.argv[1]))
joined = []


def trainer(**settings):
    return Trainer(**{**settings, "strategy": DDPStrategy(process_group_backend="gloo")})


class Watched(fitting.CtcTraining):
    def on_train_end(self):
        joined.append(torch.distributed.is_initialized())


request = Request(
    experiment(train__epochs=1), corpus.tokenizer, corpus.utterances, [], Path(sys.argv[2]), seed=1
)
with mock.patch.object(fitting, "Trainer", trainer), mock.patch.object(fitting, "CtcTraining", Watched):
    fitting.fit(request, say=lambda _: None, progress=lambda *_, **__: None)
print(joined, torch.distributed.is_initialized())
"""


@pytest.mark.slow
def test_the_process_group_ends_with_the_training(tmp_path: Path) -> None:
    corpus: Corpus = make_corpus(tmp_path / "corpus")
    command = [sys.executable, "-c", SCRIPT, str(corpus.folder), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines()[-1:] == ["[True] False"], done.stderr
