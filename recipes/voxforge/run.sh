#!/usr/bin/env bash
# VoxForge, from the corpus to a score, in named stages that run only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

extra=([language]=en)
page=http://www.repository.voxforge1.org/downloads
recipe voxforge "$@"
data=$out/data faulty=drop
jobs=$(getconf _NPROCESSORS_ONLN)

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" --output "$data/test.jsonl" \
    -- python recipes/voxforge/prepare.py --corpus "$corpus" --out "$data" --language "${extra[language]}"
model_stages "$data/train.jsonl" --kind char
