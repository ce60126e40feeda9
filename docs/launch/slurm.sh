#!/bin/bash
# Several machines under Slurm. Edit the lines with <…>, then: sbatch docs/launch/slurm.sh
#
# Slurm starts one torchrun a machine; torchrun starts one process a card. Submitted again, or
# requeued, it goes on with the run it finds in $RUNS: give every run a directory of its own.

#SBATCH --job-name=unfrozen
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# SIGTERM two minutes before the end: the step is finished, everything saved, and the exit is clean.
#SBATCH --signal=TERM@120

set -euo pipefail

RUNS=${RUNS:-$PWD/runs/$SLURM_JOB_NAME}  # on a file system that all machines see
PYTHON=${PYTHON:-$PWD/.venv/bin/python}

# What is trained, on what: the same options as on one card. --grad-accum counts the micro-batches
# of all cards together and must be a multiple of their number.
TRAIN=(
  --model "${MODEL:?a directory that all machines see}"
  --data "${DATA:?a .jsonl file that all machines see}"
  --micro-batch 4
  --grad-accum 32
  --runs "$RUNS"
)

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
mkdir -p "$RUNS"
newest=$(find "$RUNS" -mindepth 1 -maxdepth 1 -type d | sort | tail -n 1)

if [[ -n $newest && -e $newest/finished ]]; then
  echo "$newest is finished: there is nothing to do."
  exit 0
elif [[ -n $newest && -e $newest/events.jsonl ]]; then
  command=(resume "$newest")
else
  command=(train "${TRAIN[@]}")
fi

export OMP_NUM_THREADS=8
exec srun "$PYTHON" -m torch.distributed.run \
  --nnodes "$SLURM_NNODES" \
  --nproc-per-node "$SLURM_GPUS_ON_NODE" \
  --rdzv-id "$SLURM_JOB_ID" \
  --rdzv-backend c10d \
  --rdzv-endpoint "${hosts[0]}:29500" \
  -m gpu_runner "${command[@]}"
