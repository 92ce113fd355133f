#!/usr/bin/env bash
# AISHELL-1, from the corpus to a score, in named stages that run only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

extra=([accept]=published)
recipe aishell1 "$@"
data=$out/data faulty=drop scored=(dev test)
jobs=$(getconf _NPROCESSORS_ONLN)

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" \
    --output "$data/dev.jsonl" --output "$data/test.jsonl" \
    -- python recipes/aishell1/prepare.py --corpus "$corpus" --out "$data" \
    --accept "${extra[accept]}" "${download[@]}"
model_stages "$data/train.jsonl" --kind char
