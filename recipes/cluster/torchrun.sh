#!/usr/bin/env bash
# Runs a recipe whose training spreads over several nodes, by torchrun.  To be started on each node, alike but for its rank:
#
#   NODES=2 NODE_RANK=0 MASTER_ADDR=first.host recipes/cluster/torchrun.sh an4 --corpus DIR --out DIR
#
# RECIPE and the OPTIONS of its run.sh follow.  README.md says what must be there, and what happens.
set -euo pipefail

fail() { printf 'recipes/cluster/torchrun.sh: %s\n' "$1" >&2 && exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
recipe=${1:-} nodes=${NODES:-} rank=${NODE_RANK:-} address=${MASTER_ADDR:-} port=${MASTER_PORT:-29500}
processes=${PROCESSES:-1} # on each node; with GPUs: one for each
[[ $recipe =~ ^[a-z0-9_]+$ && -x $root/recipes/$recipe/run.sh ]] || fail "'$recipe' is no recipe; see recipes/"
[[ $nodes =~ ^[1-9][0-9]*$ ]] || fail "NODES='$nodes': give the number of nodes"
[[ $rank =~ ^[0-9]+$ ]] && ((rank < nodes)) || fail "NODE_RANK='$rank': give this node's number, 0 to $((nodes - 1))"
[[ $address =~ ^[A-Za-z0-9.:_-]+$ ]] || fail "MASTER_ADDR='$address': give the name of node 0"
[[ $port =~ ^[1-9][0-9]*$ ]] || fail "MASTER_PORT='$port': give a free port of node 0"
[[ $processes =~ ^[1-9][0-9]*$ ]] || fail "PROCESSES='$processes': give the processes on each node"

# from the checkout, where run.sh works; the others wait ten hours for node 0 to prepare the data
ASR_LAUNCH=".venv/bin/python -m torch.distributed.run --no-python --nnodes $nodes --node-rank $rank"
ASR_LAUNCH+=" --nproc-per-node $processes --master-addr $address --master-port $port --rdzv-conf timeout=36000"
export ASR_LAUNCH
((rank == 0)) || export ASR_FOLLOW=1
exec "$root/recipes/$recipe/run.sh" "${@:2}" "train.num_nodes=$nodes" "train.devices=$processes"
