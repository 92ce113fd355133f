#!/usr/bin/env bash
# LibriSpeech, from the corpus to a score, in named stages that run only when they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# hours: 100 or 960 to train on; what is sized for them lies in conf/librispeech.yaml and conf/librispeech-100.yaml
extra=([hours]=960 [accept]=published)
recipe librispeech "$@"
tokens=(--kind unigram --size 1024)
case ${extra[hours]} in
    960) ;;
    100) config=conf/librispeech-100.yaml tokens=(--kind unigram --size 256) ;;
    *) fail 2 "--hours must be 100 or 960, got '${extra[hours]}'" ;;
esac
data=$out/data scored=(dev-clean dev-other test-clean test-other)
jobs=$(getconf _NPROCESSORS_ONLN)

outputs=()
for part in train valid "${scored[@]}"; do outputs+=(--output "$data/$part.jsonl"); done
stage prepare --input "$corpus" "${outputs[@]}" \
    -- python recipes/librispeech/prepare.py --corpus "$corpus" --out "$data" --hours "${extra[hours]}" \
    --accept "${extra[accept]}" "${download[@]}"
model_stages "$data/train.jsonl" "${tokens[@]}"
