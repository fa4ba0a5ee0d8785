#!/usr/bin/env bash
# Train on several GPUs or, where there is none, on several CPU processes.
#
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# Several nodes: run it on each of them with the same NNODES, MASTER_ADDR and PORT, and NODE_RANK
# 0, 1, ...:  NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_train.sh CONFIG 8
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" |
        sed "s|tools/dist_train.sh|${RANKDET_STARTED_AS:-&}|" >&2
    case ${1-} in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi
config=$1 gpus=$2
shift 2
exec "${PYTHON:-python}" -m rankdet.engine.torchrun \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
