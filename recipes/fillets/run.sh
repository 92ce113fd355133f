#!/usr/bin/env bash
# The dialogs of Fish Fillets, in Czech or Dutch, from Debian's packages to a score, in named stages that run only when
# they must; options: run.sh --help.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"

# language: cs or nl
# from: the model to fine-tune (a file, a run folder or a bundled name)
# train-minutes: of the training part, to see how far little goes (all: everything)
extra=([language]=cs [from]=nothing [train-minutes]=all [accept]=published)
recipe fillets "$@"
choice language cs nl
data=$out/data

stage prepare --input "$corpus" --output "$data/train.jsonl" --output "$data/valid.jsonl" \
    --output "$data/test.jsonl" --output "$data/unpacked" \
    -- python recipes/fillets/prepare.py --corpus "$corpus" --out "$data" --language "${extra[language]}" \
    --train-minutes "${extra[train-minutes]}" --accept "${extra[accept]}" "${download[@]}"
model_stages "$data/train.jsonl" --kind char
