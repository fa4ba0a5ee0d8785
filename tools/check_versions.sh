#!/usr/bin/env bash
# Checks rankdet with one Python and one torch in an environment of its own: builds wheel and sdist,
# installs the wheel with all that it asks for, runs the demo from an empty folder and the tests.
#
#     PYTHON=python3.13 tools/check_versions.sh                  the newest torch that is allowed
#     PYTHON=python3.10 TORCH=2.6.0 TORCHVISION=0.21.0 tools/check_versions.sh
#     TESTS='tests/functional tests/models' tools/check_versions.sh
#     tools/check_versions.sh FOLDER                             in FOLDER, which stays
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
if [ $# -gt 0 ]; then
  mkdir -p "$1"
  work=$(cd "$1" && pwd)
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
python=$work/venv/bin/python
pip="$python -m pip --disable-pip-version-check -q"

echo '== 1/5  a copy of this checkout'
rm -rf "$work/source" "$work/dist" "$work/empty" && mkdir "$work/source" "$work/empty"
(cd "$root" && git ls-files -co --exclude-standard -z |
  while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
  tar -c --null -T -) | tar -x -C "$work/source"

echo "== 2/5  the environment $work/venv"
[ -e "$python" ] || "${PYTHON:-python3}" -m venv "$work/venv"
# Before the rest, so that the packages below come to fit them; without a number, the newest.
$pip install "torch${TORCH:+==$TORCH}" "torchvision${TORCHVISION:+==$TORCHVISION}" \
  -c "$work/source/requirements.txt"
$pip install build
"$python" -m build -q --outdir "$work/dist" "$work/source"
$pip install --force-reinstall --no-deps "$work"/dist/*.whl
$pip install "$work"/dist/*.whl
# The desktop's OpenCV wants libGL, which servers lack.
"$python" -c 'import cv2' 2> /dev/null || $pip install --force-reinstall --no-deps \
  "opencv-python-headless==$("$python" -m pip list --format=freeze 2> /dev/null | sed -n 's/^opencv-python==//p')"
"$python" --version
"$python" -m pip list 2> /dev/null | grep -E '^(rankdet|onedl-[a-z]+|torch|torchvision|triton|numpy|opencv[a-z-]*) '

echo '== 3/5  what was installed finds itself, its configs and its tools'
cd "$work/empty"
"$python" -c "
import rankdet, rankdet.plugin
from mmengine.config import Config
assert '$work/venv' in rankdet.__file__, rankdet.__file__
open('mine.py', 'w').write(
    \"_base_ = 'rankdet::demo/retinanet_r18_fpn_ap-loss_1xb8-3e_digits-160.py'\")
print(Config.fromfile('mine.py').model.bbox_head.type)
"

echo '== 4/5  the demo, from an empty folder'
"$work/venv/bin/rankdet" demo --train 64 --val 16 --epochs 1 --data digits --work-dir run
test -s run/detections.jpg -a -s run/summary.md

echo "== 5/5  the tests: ${TESTS:-all}"
$pip install -r "$work/source/requirements-dev.txt" -c "$work/source/requirements.txt"
cd "$work/source"
# As make test does. What tests start, too, is this copy: the wheel has had its turn.
PYTHONPATH=$work/source OMP_NUM_THREADS=1 "$python" -m pytest -n auto --maxprocesses 4 --dist loadfile ${TESTS:-}
echo "== rankdet works with $("$python" --version) and torch $("$python" -c 'import torch; print(torch.__version__)')"
