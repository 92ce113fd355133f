#!/usr/bin/env bash
# Runs a recipe whose training spreads over several nodes of a SLURM cluster.  To be submitted from the checkout:
#
#   sbatch --nodes 2 --ntasks-per-node 1 recipes/cluster/slurm.sh an4 --corpus DIR --out DIR
#
# RECIPE and the OPTIONS of its run.sh follow.  README.md says what must be there, and what happens.
#SBATCH --job-name=asr
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
set -euo pipefail

fail() { printf 'recipes/cluster/slurm.sh: %s\n' "$1" >&2 && exit 2; }
root=${SLURM_SUBMIT_DIR:-$PWD} # SLURM runs a copy of this file from another folder
recipe=${1:-} nodes=${SLURM_JOB_NUM_NODES:-} tasks=${SLURM_NTASKS_PER_NODE:-}
[[ -r $root/recipes/stages.sh ]] || fail "'$root' is not the checkout; submit from there"
[[ $recipe =~ ^[a-z0-9_]+$ && -x $root/recipes/$recipe/run.sh ]] || fail "'$recipe' is no recipe; see recipes/"
[[ $nodes =~ ^[1-9][0-9]*$ && $tasks =~ ^[1-9][0-9]*$ ]] || fail "submit it: sbatch --nodes N --ntasks-per-node N $0"
case ${SLURM_JOB_NAME:-} in bash | interactive) fail "--job-name ${SLURM_JOB_NAME}: give another; Lightning takes it for no job" ;; esac

[[ -z ${SLURM_CPUS_PER_TASK:-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun no longer takes it over itself
export ASR_LAUNCH="srun --nodes=$nodes --ntasks-per-node=$tasks --kill-on-bad-exit=1"
exec "$root/recipes/$recipe/run.sh" "${@:2}" "train.num_nodes=$nodes" "train.devices=$tasks"
