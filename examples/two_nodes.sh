#!/bin/sh
# Train on two machines: run this on both, the same words but for the second, which is 0 on the first machine and 1 on the other.
#
#     sh examples/two_nodes.sh first-host 0 people/ /shared/runs/big        # on first-host
#     sh examples/two_nodes.sh first-host 1 people/ /shared/runs/big        # on the second machine
#
# first-host: a name or address of the first machine that both can reach; PORT on it must be free and open to the other.
# people/: the same pictures on both machines, under the same path or not. The run's folder: on a disk that both see.
# Whatever follows goes to `mien train`, such as --set data.batch=512 (a multiple of all processes). The same two commands
# go on where the run was stopped.
#
# As it stands: one process a machine, which talk over gloo where there is no CUDA. With NVIDIA GPUs mien takes NCCL by
# itself; what to change then is PROCESSES, to the GPUs of a machine:
#
#     PROCESSES=8 NCCL_SOCKET_IFNAME=eth0 sh examples/two_nodes.sh first-host 0 people/ /shared/runs/big
#
# NCCL_SOCKET_IFNAME (GLOO_SOCKET_IFNAME for gloo) names the network card that leads to the other machine, where there are
# several; NCCL_DEBUG=INFO tells which one was taken. Machines without GPUs: also OMP_NUM_THREADS=cores of a process.
set -eu
[ $# -ge 4 ] || { echo "usage: two_nodes.sh FIRST_HOST 0|1 DATA OUT [more for mien train]" >&2; exit 2; }
host=$1 rank=$2 data=$3 out=$4
shift 4
exec torchrun --nnodes 2 --node-rank "$rank" --nproc-per-node "${PROCESSES:-1}" \
    --master-addr "$host" --master-port "${PORT:-29500}" \
    -m mien train "${RECIPE:-arcface}" --data "$data" --out "$out" "$@"
