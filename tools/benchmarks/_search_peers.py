"""Decodes log-probs by one decoder and says what it found and how long it took: run in the Python that has it.

    python _search_peers.py DECODER FOLDER OUT.json

FOLDER is what `tools/bench search` wrote: log_probs.npz, job.json, words.txt, lexicon.txt.  Every decoder is built
anew in its own process, hears the utterances one after another on one thread, and is timed from the first to the last;
the first utterance is heard once before, so that nothing is measured that happens once.
"""

import json
import sys
import time
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import numpy as np

Decode = Callable[[Any], str]  # log-probs (E, V) -> text
LN_10 = log(10)


def ours(folder: Path, job: dict[str, Any]) -> Decode:
    """Return our search."""
    from asr.decoding.beam import BeamConfig, BeamSearch
    from asr.decoding.scorer import FusionConfig, fuse
    from asr.lm.files import load_ngram
    from asr.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder / "tokens.json")
    model = load_ngram(job["arpa"]) if job["arpa"] else None
    weights = FusionConfig(weight=job["weight"], bonus=job["bonus"], unknown=job["unknown"])
    fusion = fuse(tokenizer, model, weights)
    config = BeamConfig(beam=job["beam"], beam_margin=job["beam_margin"], token_margin=job["token_margin"])

    def decode(log_probs: Any) -> str:
        search = BeamSearch(log_probs.shape[1], config, fusion)
        search.accept(log_probs)
        return tokenizer.decode(search.finish()[0].token_ids)

    return decode


def pyctcdecode(folder: Path, job: dict[str, Any]) -> Decode:
    """Return pyctcdecode's search, with its own margins."""
    from pyctcdecode import build_ctcdecoder

    return _of_pyctcdecode(build_ctcdecoder, folder, job)


def ctc_beam_decoder(folder: Path, job: dict[str, Any]) -> Decode:
    """Return the search of ctc-beam-decoder, pyctcdecode made again in C++, with its own margins."""
    from ctc_beam_decoder import build_ctcdecoder

    return _of_pyctcdecode(build_ctcdecoder, folder, job)


def _of_pyctcdecode(build: Any, folder: Path, job: dict[str, Any]) -> Decode:
    labels = ["" if place == 0 else " " if symbol == "▁" else symbol for place, symbol in enumerate(job["symbols"])]
    words = (folder / "words.txt").read_text().split()
    settings: dict[str, Any] = {}
    if job["arpa"]:
        # its price of an unknown word is a log10 that is weighted, ours a natural log that is not
        price = job["unknown"] / (job["weight"] * LN_10)
        settings = {"alpha": job["weight"], "beta": job["bonus"], "unk_score_offset": price}
        settings |= {"kenlm_model_path": job["arpa"], "unigrams": words}
    decoder = build(labels, **settings)

    def decode(log_probs: Any) -> str:
        return str(decoder.decode(log_probs, beam_width=job["beam"]))

    return decode


def flashlight(folder: Path, job: dict[str, Any]) -> Decode:
    """Return torchaudio's decoder (flashlight-text), its beam threshold ours; it writes words of the lexicon alone."""
    import torch
    from torchaudio.models.decoder import ctc_decoder

    torch.set_num_threads(1)
    symbols = ["|" if symbol == "▁" else symbol for symbol in job["symbols"]]
    decoder = ctc_decoder(
        lexicon=str(folder / "lexicon.txt") if job["arpa"] else None,
        tokens=symbols,
        lm=job["arpa"] or None,
        beam_size=job["beam"],
        beam_threshold=job["beam_margin"],
        # its language model's logarithms are to base 10
        lm_weight=job["weight"] * LN_10 if job["arpa"] else 0.0,
        word_score=job["bonus"] if job["arpa"] else 0.0,
        log_add=True,
        blank_token=symbols[0],
        sil_token="|",
    )

    def decode(log_probs: Any) -> str:
        best = decoder(torch.from_numpy(log_probs)[None])[0][0]
        if best.words:
            return " ".join(best.words)
        return "".join(decoder.idxs_to_tokens(best.tokens)).replace("|", " ").strip()

    return decode


DECODERS = {"ours": ours, "pyctcdecode": pyctcdecode, "flashlight": flashlight, "ctc-beam-decoder": ctc_beam_decoder}


def main(name: str, folder: Path, out: Path) -> None:
    """Decode all utterances and write {"texts", "seconds", "build_seconds", "first_seconds"}."""
    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "log_probs.npz") as file:
        utterances = [file[key] for key in job["keys"][name]]
    began = time.perf_counter()
    decode = DECODERS[name](folder, job)
    built = time.perf_counter()
    decode(utterances[0])
    start = time.perf_counter()
    texts = [decode(log_probs) for log_probs in utterances]
    seconds = time.perf_counter() - start
    result = {"texts": texts, "seconds": seconds, "build_seconds": built - began, "first_seconds": start - built}
    out.write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
