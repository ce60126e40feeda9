#!/bin/bash
# Several machines under Slurm. Edit the directives below, then:
#   MODEL=… DATA=… sbatch docs/launch/slurm.sh
#
# Slurm starts one launcher a machine; the launcher is torchrun and starts one process a card. Out of
# time, preempted or requeued, the job goes on with the run in $RUNS: give every run a folder of its
# own. Jobs that wait for it with --dependency=afterok begin when the run is finished, not before.

#SBATCH --job-name=unfrozen
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# SIGTERM five to six minutes before the end, to the processes of the run and not to this script: the
# step is finished and everything saved. Give more for a model that is saved for longer.
#SBATCH --signal=TERM@300

set -uo pipefail
trap : TERM  # a preemption tells this script too, which has to outlive the run it started

RUNS=${RUNS:-$PWD/runs/$SLURM_JOB_NAME}  # on a file system that all machines see
PYTHON=${PYTHON:-$PWD/.venv/bin/python}

# What is trained, on what: the same options as on one GPU. --grad-accum counts the micro-batches
# of all cards together and must be a multiple of their number.
TRAIN=(
  --model "${MODEL:?a directory that all machines see}"
  --data "${DATA:?a .jsonl file that all machines see}"
  --micro-batch 4
  --grad-accum 32
)

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
export OMP_NUM_THREADS=8
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}  # since 22.05 srun does not ask sbatch for it

srun "$PYTHON" -m gpu_runner.cluster \
  --runs "$RUNS" \
  --nnodes "$SLURM_NNODES" \
  --nproc-per-node "$SLURM_GPUS_ON_NODE" \
  --rdzv-id "$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}" \
  --rdzv-backend c10d \
  --rdzv-endpoint "${hosts[0]}:29500" \
  -- "${TRAIN[@]}"
code=$?

# 75: saved, not finished. Requeued from here, while it still runs, the job never counts as failed;
# a job that has failed once is one that afterok never forgives.
if [[ $code -eq 75 ]]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
