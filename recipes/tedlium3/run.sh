#!/usr/bin/env bash
# TED-LIUM 3, from the corpus to a score, in named stages that run only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

extra=([accept]=published)
recipe tedlium3 "$@"
data=$out/data faulty=drop
jobs=$(getconf _NPROCESSORS_ONLN)

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" --output "$data/test.jsonl" \
    -- python recipes/tedlium3/prepare.py --corpus "$corpus" --out "$data" \
    --accept "${extra[accept]}" "${download[@]}"
model_stages "$data/train.jsonl" --kind unigram --size 512
