#!/usr/bin/env bash
# Test on several GPUs or, where there is none, on several CPU processes.
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
#
# Several nodes: run it on each of them with the same NNODES, MASTER_ADDR and PORT, and NODE_RANK
# 0, 1, ...:  NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 tools/dist_test.sh CONFIG CHECKPOINT 8
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" |
        sed "s|tools/dist_test.sh|${RANKDET_STARTED_AS:-&}|" >&2
    case ${1-} in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
exec "${PYTHON:-python}" -m rankdet.engine.torchrun \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$gpus" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$(dirname "$0")/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
