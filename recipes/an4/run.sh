#!/usr/bin/env bash
# AN4, from the corpus to a score, in named stages that run only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# train: without the 8 speakers held out for validation; train_all: all 74
# tokens: char, or lexicon, the phones of the corpus's own etc/an4.dic
# lm: yes, and the test part is scored with a 3-gram of the training texts, too
# live: yes, and the model is the one that streams (conf/an4-live.yaml), scored at five latencies
# from: a model to start from, an4 say, whose backward direction learns to read chunks; nothing: from scratch
extra=([train]=train [accept]=published [tokens]=char [lm]=no [live]=no [from]=nothing)
recipe an4 "$@"
choice tokens char lexicon
choice lm yes no
choice live yes no
[[ ${extra[live]} == no ]] || config=conf/an4-live.yaml
data=$out/data kind=(--kind "${extra[tokens]}")
if [[ -n $from ]]; then # a model brings its tokens along
    [[ ${extra[tokens]} == char ]] || fail 2 "--tokens ${extra[tokens]} is for trainings from scratch; leave --from out"
    kind=()
fi

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/train_all.jsonl" \
    --output "$data/valid.jsonl" --output "$data/test.jsonl" \
    -- python recipes/an4/prepare.py --corpus "$corpus" --out "$data" \
    --accept "${extra[accept]}" "${download[@]}"
[[ ${extra[tokens]} == char ]] || lexicon=$(first_file "$corpus/etc/an4.dic" "$corpus/an4/etc/an4.dic")
model_stages "$data/${extra[train]}.jsonl" "${kind[@]}"
if [[ ${extra[lm]} == yes ]]; then
    [[ ${extra[train]} == train ]] && held_out=yes || held_out=no
    language_model_stages "$data/${extra[train]}.jsonl" "$held_out"
fi
[[ ${extra[live]} == no ]] || latency_stages 0+0 630+600 300+270 150+120 30+60

# the same model with its matrices as int8: the files that come with the project are such, of seed 1
small_stages an4-int8
