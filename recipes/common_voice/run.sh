#!/usr/bin/env bash
# Common Voice, from the corpus to a score, in named stages that run only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# language: its code there, such as cs.  tsv: what to train on; what dev and test share with it is left out
extra=([language]='' [tsv]=train.tsv)
page=https://commonvoice.mozilla.org/datasets
recipe common_voice "$@"
[[ -n ${extra[language]} ]] || fail 2 "--language is missing; give its code in Common Voice, such as cs"
data=$out/data faulty=drop scored=(dev test)
jobs=$(getconf _NPROCESSORS_ONLN)

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" \
    --output "$data/dev.jsonl" --output "$data/test.jsonl" \
    -- python recipes/common_voice/prepare.py --corpus "$corpus" --out "$data" \
    --language "${extra[language]}" --tsv "${extra[tsv]}"
model_stages "$data/train.jsonl" --kind char
