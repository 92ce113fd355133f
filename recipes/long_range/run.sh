#!/usr/bin/env bash
# The cell laboratory: over how many steps each cell can remember, on tasks made for it; options: run.sh --help.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
"$root/tools/setup"
PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$root/.venv/bin/python" -m recipes.long_range.laboratory "$@"
