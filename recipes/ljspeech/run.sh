#!/usr/bin/env bash
# LJ Speech, from the corpus to a score, in named stages that run only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

extra=([accept]=published)
recipe ljspeech "$@"
data=$out/data faulty=drop

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" --output "$data/test.jsonl" \
    -- python recipes/ljspeech/prepare.py --corpus "$corpus" --out "$data" \
    --accept "${extra[accept]}" "${download[@]}"
model_stages "$data/train.jsonl" --kind char
