#!/usr/bin/env bash
# yesno, from the corpus to a score, in named stages that run only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# kaldi: the first 30 files by name train, the rest test; lhotse: every second one
extra=([split]=kaldi [accept]=published)
recipe yesno "$@"
data=$out/data

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" \
    --output "$data/test.jsonl" --output "$data/recombined" \
    -- python recipes/yesno/prepare.py --corpus "$corpus" --out "$data" --split "${extra[split]}" \
    --accept "${extra[accept]}" "${download[@]}"
model_stages "$data/train.jsonl" --kind char
