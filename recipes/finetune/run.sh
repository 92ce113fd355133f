#!/usr/bin/env bash
# Your own words: fine-tunes a model, from a folder of recordings to a score; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# from: a model, a file or a run folder.  alphabet: the model's, or new: the characters of your texts
# split: what may not stand in two of train, valid and test: utterance, text or speaker
# old-share: how far the weights go back to those of --from, 0 to 1: what it knew is kept better
extra=([from]=an4 [alphabet]=model [split]=utterance [old-share]=0)
page=docs/your-own-data.md
recipe finetune "$@"
[[ -n $from ]] || fail 2 "--from nothing trains no model of yours: name one, or see asr train"
choice alphabet model new
data=$out/data tokens=()
[[ ${extra[alphabet]} == model ]] || tokens=(--kind char)

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" --output "$data/test.jsonl" \
    -- python recipes/finetune/prepare.py --corpus "$corpus" --out "$data" --split "${extra[split]}"
model_stages "$data/train.jsonl" "${tokens[@]}"
