#!/bin/bash
# Pre-training on 2 nodes of 4 GPUs. Start it again, or let Slurm requeue it: it goes on from its last checkpoint.
#SBATCH --job-name=lsemvae-pretrain
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

set -euo pipefail

# Both on a file system that all nodes see.
SHARDS="${SHARDS:?folder that train prepare made}"
RUN="${RUN:?run folder}"

export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# One task for each GPU: Lightning reads its place from Slurm's variables.
srun --kill-on-bad-exit=1 lsemvae-edge train pretrain \
    --shards "$SHARDS" \
    --model reference \
    --out "$RUN" \
    --set accelerator=gpu \
    --set devices=4 \
    --set num_nodes="$SLURM_JOB_NUM_NODES" \
    --set strategy=ddp \
    --set precision=bf16-mixed \
    --set num_workers=6 \
    --json
