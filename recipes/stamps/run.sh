#!/usr/bin/env bash
# Descriptions of Tux Paint's stamps, read in eight languages, from Debian's package to a score, in named stages that run
# only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# language: be, bg, ca, el, es, fr, ro or ru
# from: the model to fine-tune (a file, a run folder or a bundled name)
# train-minutes: of the training part, to see how far little goes (all: everything)
extra=([language]=ru [from]=nothing [train-minutes]=all [accept]=published)
recipe stamps "$@"
choice language be bg ca el es fr ro ru
data=$out/data

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" \
    --output "$data/test.jsonl" --output "$data/unpacked" \
    -- python recipes/stamps/prepare.py --corpus "$corpus" --out "$data" --language "${extra[language]}" \
    --train-minutes "${extra[train-minutes]}" --accept "${extra[accept]}" "${download[@]}"
model_stages "$data/train.jsonl" --kind char
