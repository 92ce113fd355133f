#!/usr/bin/env bash
# FSDD, spoken digits at 8 kHz: fine-tunes a model, from the corpus to a score; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# from: a model, a file or a run folder; nothing: from scratch.  train: without index 5 and 6; train_all: with them
extra=([from]=an4 [train]=train_all [minutes]=all [speaker]=nobody [others]=yes [own-seconds]=0 [accept]=published)
recipe fsdd "$@"
data=$out/data

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/train_all.jsonl" \
    --output "$data/valid.jsonl" --output "$data/test.jsonl" \
    -- python recipes/fsdd/prepare.py --corpus "$corpus" --out "$data" --minutes "${extra[minutes]}" \
    --speaker "${extra[speaker]}" --others "${extra[others]}" --own-seconds "${extra[own-seconds]}" \
    --accept "${extra[accept]}" "${download[@]}"
# so many merges of letters that each of the ten words is one token: a closed vocabulary, in which nothing is misspelled
model_stages "$data/${extra[train]}.jsonl" --kind bpe --size 64
