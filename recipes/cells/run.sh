#!/usr/bin/env bash
# Every cell on AN4, at the same number of parameters and on the same audio, in one table; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# cells: names with commas, or all; seeds: trainings of each; jobs: side by side, each on one thread
stages=(prepare tokens train) stop=train
extra=([accept]=published [cells]=all [seeds]=3 [jobs]=2)
recipe cells "$@"
[[ $seed == 1 ]] || fail 2 "the seeds are 1 to --seeds; leave out --seed"
data=$out/data tokens=$out/tokens.json
chosen=(--seeds "${extra[seeds]}" --jobs "${extra[jobs]}" --device "${device:-cpu}")
[[ ${extra[cells]} == all ]] || chosen+=(--cells "${extra[cells]}")

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" \
    -- python recipes/an4/prepare.py --corpus "$corpus" --out "$data" --accept "${extra[accept]}" "${download[@]}"
stage tokens --input "$config" --input "$data/train.jsonl" --output "$tokens" \
    -- asr tokens --config "$config" "$data/train.jsonl" --kind char --out "$tokens"
# runs that are done stay: they are found again by their result
stage train --input "$config" --input "$corpus" --input "$tokens" --input "$data/train.jsonl" \
    --input "$data/valid.jsonl" --output "$out/cells.receipt.json" \
    -- python recipes/cells/compare.py --config "$config" --data "$data" --tokens "$tokens" --out "$out" "${chosen[@]}" \
    "${overrides[@]}"
