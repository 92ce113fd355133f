"""Our search beside its peers on the same log-probs and the same language models, and what it costs besides.

    tools/bench search --corpus AN4 --text NOVELS.txt.gz [--peers PYTHON] [--lmplz PROGRAM] [--out FILE] ...

The log-probs are the bundled model's on AN4's test part, its utterances joined in random orders and cut every 10 s.
Every decoder runs in its own process on one core, one utterance after another, with a beam of 100 and no language
model, AN4's 3-gram (of the training transcripts) or that of the text (lower case, letters and apostrophes).  Ours runs
with three pairs of margins, the others with their own.  Then the best texts are judged by what all of them maximise:
the exact CTC log-probability of the text (spaces at its ends and next to others say nothing), the language model's, a
bonus for each word and a price for each unknown one.

PYTHON has pyctcdecode, kenlm, ctc-beam-decoder, flashlight-text, torch and torchaudio; without it ours runs alone.
PROGRAM is kenlm's lmplz; without it our training of language models runs alone.
"""

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path
from typing import Any

from _common import prepare_an4, run, say, table, use_cores

from asr.cli.main import Parser
from asr.errors import EXIT_DONE, MachineError

WORKER = Path(__file__).with_name("_search_peers.py")
SECONDS = 10
SEED = 1
BEAM = 100
WEIGHT, BONUS, UNKNOWN = 0.5, 1.0, -8.0
# margins of prefixes and of tokens: our defaults, narrower ones, pyctcdecode's
MARGINS = {"ours, wide": (20.0, 10.0), "ours, middle": (14.0, 8.0), "ours, narrow": (10.0, 5.0)}
PEERS = ("pyctcdecode", "ctc-beam-decoder", "flashlight")
_FOREIGN = re.compile("[^a-z' ]")
TOLERANCE = 1e-3  # of a sum of natural logs of several hundred


def parser() -> Parser:
    """Return the command line."""
    found = Parser(
        prog="tools/bench search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("--corpus", type=Path, required=True, metavar="DIR", help="AN4")
    found.add_argument("--text", type=Path, required=True, metavar="FILE", help="text of the large language model")
    found.add_argument("--utterances", type=int, default=1000, metavar="N", help="of 10 s for ours (default: 1000)")
    found.add_argument("--peer-utterances", type=int, default=200, metavar="N", help="for the others (default: 200)")
    found.add_argument("--peers", type=Path, metavar="PYTHON", help="an interpreter that has the other decoders")
    found.add_argument("--lmplz", type=Path, metavar="PROGRAM", help="kenlm's trainer")
    found.add_argument("--out", type=Path, metavar="FILE", help="write the receipt")
    return found


def bench(args: argparse.Namespace) -> int:
    """Measure, print, and write the receipt; return the exit code."""
    started = time.monotonic()
    cores = use_cores(0)
    with tempfile.TemporaryDirectory(prefix="asr-bench-") as name:
        from asr import receipts

        folder = Path(name)
        manifests = prepare_an4(args.corpus, folder, accept=False)
        _write_job(folder, manifests, args)
        models = {"none": None, "AN4": _small_model(folder, manifests["train_all"]), "text": None}
        result: dict[str, Any] = {"training": _training(folder, args)}
        models["text"] = folder / "text.arpa"
        result["memory"] = _memory(folder)
        result["first_call"] = _first_calls(folder)
        result["search"] = {key: _compared(folder, key, arpa, args) for key, arpa in models.items()}
        result["threads"] = _threads(folder, cores)
        for title, rows in result.items():
            print(table(title, rows))
        receipt = receipts.collect(
            ["tools/bench", "search", *sys.argv[1:]],
            config={
                "beam": BEAM,
                "weight": WEIGHT,
                "bonus": BONUS,
                "unknown": UNKNOWN,
                "margins": MARGINS,
                "utterance_seconds": SECONDS,
            },
            seed=SEED,
            inputs=[args.text],
            result=result,
            utterances=args.utterances,
            audio_seconds=SECONDS * args.utterances,
            wall_seconds=time.monotonic() - started,
        )
    if args.out:
        receipts.write(args.out, receipt)
    return EXIT_DONE


def _write_job(folder: Path, manifests: Mapping[str, Path], args: argparse.Namespace) -> None:
    """Write the log-probs, the tokens and the words of AN4."""
    import numpy as np

    from asr.data.manifest import read_manifest
    from asr.model import AcousticModel
    from asr.recognizer import Recognizer, resolve_model

    model = AcousticModel.load(resolve_model("an4"))
    model.tokenizer.save(folder / "tokens.json")
    test = read_manifest(manifests["test"])
    say("log-probs of AN4's test part")
    heard = list(Recognizer(model).log_probs([item.source for item in test]))
    random = np.random.default_rng(SEED)
    frames = round(SECONDS * model.sample_rate / model.geometry.encoder_hop)
    pieces: list[Any] = []
    while len(pieces) < max(args.utterances, args.peer_utterances):
        joined = np.concatenate([heard[place] for place in random.permutation(len(heard))])
        pieces += [joined[first : first + frames] for first in range(0, len(joined) - frames + 1, frames)]
    np.savez(folder / "log_probs.npz", **{f"{place:06d}": piece for place, piece in enumerate(pieces)})
    words = sorted({word for item in read_manifest(manifests["train_all"]) for word in item.text.lower().split()})
    (folder / "words.txt").write_text("\n".join(words))
    (folder / "symbols.json").write_text(json.dumps(model.tokenizer.symbols))


def _small_model(folder: Path, manifest: Path) -> Path:
    from asr.data.manifest import read_manifest
    from asr.lm.files import save_ngram
    from asr.lm.training import train_ngram

    text = folder / "an4.txt"
    text.write_text("".join(f"{item.text.lower()}\n" for item in read_manifest(manifest)))
    save_ngram(folder / "an4.arpa", train_ngram(text).model)
    return folder / "an4.arpa"


def _training(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds that a 3-gram of the text takes, ours and lmplz's in turns."""
    plain = folder / "text.txt"
    with gzip.open(args.text, "rt", encoding="utf-8") as source, open(plain, "w") as target:
        spelled = (" ".join(_FOREIGN.sub(" ", line.lower()).split()) for line in source)
        target.writelines(f"{line}\n" for line in spelled if line)
    ours = [sys.executable, "-m", "asr", "lm", "train", str(plain), "--out", str(folder / "text.arpa")]
    theirs = [str(args.lmplz), "-o", "3", "-S", "4G", "-T", str(folder), "--text", str(plain)]
    theirs += ["--arpa", str(folder / "theirs.arpa")]
    found: dict[str, list[float]] = {"asr lm train, ARPA": [], "lmplz, ARPA": []}
    for _ in range(2):
        for name, command in zip(found, (ours, theirs), strict=True):
            if command is ours or args.lmplz:
                say(name)
                start = time.perf_counter()
                _call(command)
                found[name].append(time.perf_counter() - start)
    return {name: min(seconds) for name, seconds in found.items() if seconds}


def _call(command: Sequence[str], **more: str) -> str:
    """Return what a command printed.  Raises: MachineError if it failed."""
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1", **more}, capture_output=True, text=True)
    if done.returncode:
        raise MachineError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


_RESIDENT = """
import sys
from asr.lm.files import load_ngram
from asr.decoding.scorer import fuse
from asr.text.tokenizer import Tokenizer
def resident():
    return 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1])
from asr.lm import arpa, binary
tokenizer = Tokenizer.load(sys.argv[2])
before = resident()
model = load_ngram(sys.argv[1])
loaded = resident()
fusion = fuse(tokenizer, model)
sum(float(array.sum()) for array in model.arrays)  # every page is touched
print(resident() - before)
"""


def _memory(folder: Path) -> dict[str, Any]:
    """Return what the 3-gram of the text takes in memory, as a multiple of its ARPA.gz."""
    import shutil

    packed, ours = folder / "text.arpa.gz", folder / "text.lm"
    with open(folder / "text.arpa", "rb") as source, gzip.open(packed, "wb") as target:
        shutil.copyfileobj(source, target)
    from asr.lm.files import load_ngram, save_ngram

    save_ngram(ours, load_ngram(packed))
    size = packed.stat().st_size
    found: dict[str, Any] = {"ARPA.gz, bytes": size, "our own form, bytes": ours.stat().st_size}
    for name, file in (("our own form", ours), ("ARPA.gz", packed)):
        taken = int(_call([sys.executable, "-c", _RESIDENT, str(file), str(folder / "tokens.json")]))
        found[f"resident from {name}, with its words as a trie, per byte of ARPA.gz"] = taken / size
    return found


def _first_calls(folder: Path) -> dict[str, Any]:
    """Return the seconds of the first utterance ever, and of the first of a later process."""
    _write_settings(folder, folder / "an4.arpa", MARGINS["ours, wide"], {"ours": 1})
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        ever = _decode(folder, "ours", sys.executable, NUMBA_CACHE_DIR=cache)
        later = _decode(folder, "ours", sys.executable, NUMBA_CACHE_DIR=cache)
    return {"compiled, seconds": ever["first_seconds"], "from the cache, seconds": later["first_seconds"]}


def _write_settings(folder: Path, arpa: Path | None, margins: tuple[float, float], counts: Mapping[str, int]) -> None:
    job = {
        "arpa": str(arpa) if arpa else "",
        "symbols": json.loads((folder / "symbols.json").read_text()),
        "beam": BEAM,
        "beam_margin": margins[0],
        "token_margin": margins[1],
        "weight": WEIGHT,
        "bonus": BONUS,
        "unknown": UNKNOWN,
        "keys": {name: [f"{place:06d}" for place in range(count)] for name, count in counts.items()},
    }
    (folder / "job.json").write_text(json.dumps(job))
    if arpa:
        words = folder / "words.txt" if arpa.name == "an4.arpa" else folder / "text_words.txt"
        listed = "".join(f"{word}\t{' '.join(word)} |\n" for word in words.read_text().split())
        (folder / "lexicon.txt").write_text(listed)


def _decode(folder: Path, name: str, python: str | Path, **more: str) -> dict[str, Any]:
    out = folder / f"{name}.json"
    core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    _call([*core, str(python), str(WORKER), name, str(folder), str(out)], **more)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def _compared(folder: Path, key: str, arpa: Path | None, args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds for 1,000 utterances of each decoder, and how often ours finds at least as good a text."""
    counts = {"ours": args.utterances, **dict.fromkeys(PEERS, args.peer_utterances)}
    if arpa and arpa.name == "text.arpa":
        _text_words(folder)
    runs: dict[str, dict[str, Any]] = {}
    for name, margins in MARGINS.items():
        _write_settings(folder, arpa, margins, counts)
        say(f"{name}, language model: {key}")
        runs[name] = _decode(folder, "ours", sys.executable)
    _write_settings(folder, arpa, MARGINS["ours, wide"], counts)
    for name in PEERS if args.peers else ():
        say(f"{name}, language model: {key}")
        runs[name] = _decode(folder, name, args.peers)
    scores = {name: _objective(folder, arpa, found["texts"][: args.peer_utterances]) for name, found in runs.items()}
    rows: dict[str, Any] = {}
    for name, found in runs.items():
        row: dict[str, Any] = {"seconds for 1,000": 1000 * found["seconds"] / len(found["texts"])}
        if name in PEERS:
            for mine in MARGINS:
                pairs = list(zip(scores[mine], scores[name], strict=True))
                faster = row["seconds for 1,000"] / rows[mine]["seconds for 1,000"]
                row[f"{mine}: times as fast"] = faster
                row[f"{mine}: at least as good, %"] = (
                    100 * sum(ours >= theirs - TOLERANCE for ours, theirs in pairs) / len(pairs)
                )
        rows[name] = row
    return rows


def _text_words(folder: Path) -> None:
    """Write the words of the large language model that the tokens can spell."""
    from asr.lm.files import load_ngram

    words = load_ngram(folder / "text.arpa").symbols[3:]
    known = set("abcdefghijklmnopqrstuvwxyz")
    (folder / "text_words.txt").write_text("\n".join(word for word in words if known.issuperset(word)))


def _objective(folder: Path, arpa: Path | None, texts: Sequence[str]) -> list[float]:
    """Return the score of each utterance's text: exact CTC over all alignments, language model, bonus, price."""
    import numpy as np

    from asr.lm.files import load_ngram
    from asr.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder / "tokens.json")
    space = tokenizer.symbols.index("▁")
    model = load_ngram(arpa) if arpa else None
    found = []
    with np.load(folder / "log_probs.npz") as file:
        for place, text in enumerate(texts):
            acoustic = text_log_prob(file[f"{place:06d}"], tokenizer.encode(text), space)
            found.append(acoustic + (_language(model, text) if model else 0.0))
    return found


def text_log_prob(log_probs: Any, token_ids: Sequence[int], space: int) -> float:
    """Return the natural log-probability of a text: the sum over all alignments of all that decodes to it.

    Spaces may stand at the ends, and several in place of one: all of these decoders take them for the same text.

    Args: log_probs: (E, V); token_ids: (U,) of the text, with single spaces.
    """
    import numpy as np

    tokens = [space, *token_ids, space] if token_ids else [space]
    labels = np.zeros(2 * len(tokens) + 1, np.int64)
    labels[1::2] = tokens
    skips = np.zeros(len(labels), np.bool_)
    skips[3::2] = labels[3::2] != labels[1:-2:2]
    again = np.flatnonzero(labels == space)  # a space comes after the blank behind it, too
    scores = np.full(len(labels), -np.inf)
    scores[2] = 0.0  # before the first frame: as if a blank had been heard after spaces
    for row in log_probs.astype(np.float64):
        one = np.concatenate([[-np.inf], scores[:-1]])
        two = np.where(skips, np.concatenate([[-np.inf, -np.inf], scores[:-2]]), -np.inf)
        new = np.logaddexp(np.logaddexp(scores, one), two)
        new[again] = np.logaddexp(new[again], scores[again + 1])
        scores = new + row[labels]
    ends = scores[-4:] if token_ids else scores[1:]
    return float(np.logaddexp.reduce(ends))


def _language(model: Any, text: str) -> float:
    words = text.split()
    strange = sum(model.id_of(word) == 0 for word in words)
    return float(WEIGHT * log(10) * model.sentence_log10(words) + BONUS * len(words) + UNKNOWN * strange)


def _threads(folder: Path, cores: int) -> dict[str, Any]:
    """Return how many times as fast two threads are, with AN4's language model."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from asr.decoding.beam import BeamSearch
    from asr.decoding.scorer import fuse
    from asr.lm.files import load_ngram
    from asr.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder / "tokens.json")
    fusion = fuse(tokenizer, load_ngram(folder / "an4.arpa"))
    with np.load(folder / "log_probs.npz") as file:
        utterances = [file[key] for key in sorted(file)[:200]]

    def decode(log_probs: Any) -> None:
        search = BeamSearch(log_probs.shape[1], None, fusion)
        search.accept(log_probs)
        search.finish()

    decode(utterances[0])
    ratios = []
    for _ in range(3):
        seconds = []
        for count in (1, 2):
            with ThreadPoolExecutor(count) as threads:
                start = time.perf_counter()
                list(threads.map(decode, utterances))
                seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    return {"cores": cores, "two threads against one": sorted(ratios)}


if __name__ == "__main__":
    sys.exit(run("tools/bench search", parser(), bench))
