#!/usr/bin/env bash
# Mini LibriSpeech, from the corpus to a score, in named stages that run only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# train: without the 3 speakers held out for validation; train_all: all
extra=([train]=train [accept]=published)
recipe mini_librispeech "$@"
data=$out/data

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/train_all.jsonl" \
    --output "$data/valid.jsonl" --output "$data/test.jsonl" \
    -- python recipes/mini_librispeech/prepare.py --corpus "$corpus" --out "$data" \
    --accept "${extra[accept]}" "${download[@]}"
model_stages "$data/${extra[train]}.jsonl" --kind char
