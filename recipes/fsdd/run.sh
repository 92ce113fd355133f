#!/usr/bin/env bash
# FSDD, spoken digits at 8 kHz: fine-tunes a model, from the corpus to a score; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# from: a model, a file or a run folder; nothing: from scratch.  train: without index 5 and 6; train_all: with them
# tokens: words: each of the ten is one, so that nothing is misspelled; letters: the model's own, which old speech needs too
# old-share: how far the weights go back to those of --from, 0 to 1: what it knew is kept better
extra=([from]=an4 [train]=train_all [tokens]=words [minutes]=all [speaker]=nobody [others]=yes [own-seconds]=0
    [old-share]=0 [accept]=published)
recipe fsdd "$@"
data=$out/data
tokens=(--kind bpe --size 64) # enough merges of letters to make each word one token
case ${extra[tokens]} in
    words) ;;
    letters) [[ -z $from ]] && tokens=(--kind char) || tokens=() ;;
    *) fail 2 "--tokens must be words or letters, got '${extra[tokens]}'" ;;
esac

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/train_all.jsonl" \
    --output "$data/valid.jsonl" --output "$data/test.jsonl" \
    -- python recipes/fsdd/prepare.py --corpus "$corpus" --out "$data" --minutes "${extra[minutes]}" \
    --speaker "${extra[speaker]}" --others "${extra[others]}" --own-seconds "${extra[own-seconds]}" \
    --accept "${extra[accept]}" "${download[@]}"
model_stages "$data/${extra[train]}.jsonl" "${tokens[@]}"
