#!/usr/bin/env bash
# Checks rankdet on the original OpenMMLab releases (mmdet 3.3.0, mmengine 0.10.7, mmcv-lite 2.1.0)
# with current torch, in an environment of its own: installs both, runs the tests, then trains,
# resumes and tests a RetinaNet that inherits MMDetection's config.
#
#     tools/check_original_stack.sh                 everything in a temporary folder, then removed
#     tools/check_original_stack.sh FOLDER          in FOLDER, which stays: the next run is quick
#     TESTS='tests/compat' tools/check_original_stack.sh
#     PYTHON=python3.12 tools/check_original_stack.sh
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
tests=${TESTS:-tests/compat tests/models tests/tools}
if [ $# -gt 0 ]; then
  mkdir -p "$1"
  work=$(cd "$1" && pwd)
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
python=$work/venv/bin/python
pip="$python -m pip install --disable-pip-version-check -q"

echo "== 1/4  the environment $work/venv"
if [ ! -e "$work/venv/ready" ]; then
  "${PYTHON:-python3}" -m venv --clear "$work/venv"
  # The maintained packages unpack into the same folders: their lines must not get in.
  sed '/^onedl-/d; /^-r/d' "$root"/requirements.txt "$root"/requirements-dev.txt \
    > "$work/requirements.txt"
  # --upgrade setuptools: newer ones lack pkg_resources, which mmengine 0.10.7 wants.
  $pip --upgrade setuptools -r "$work/requirements.txt" \
    mmdet==3.3.0 mmengine==0.10.7 mmcv-lite==2.1.0
  touch "$work/venv/ready"
fi

echo '== 2/4  rankdet, installed from a copy of this checkout'
rm -rf "$work/source" && mkdir "$work/source"
(cd "$root" && git ls-files -co --exclude-standard -z |
  while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
  tar -c --null -T -) | tar -x -C "$work/source"
cd "$work/source"
$pip --no-deps --force-reinstall .
"$python" -m pip list --disable-pip-version-check 2>/dev/null |
  grep -E '^(rankdet|mm[a-z-]+|torch|torchvision|numpy|setuptools|opencv[a-z-]*) '

echo "== 3/4  the tests: $tests"
present=$(for path in $tests; do if [ -e "$path" ]; then echo "$path"; fi; done)
"$python" -m pytest -q $present

echo '== 4/4  train, resume and test RetinaNet from mmdet::, trained by AP Loss'
cat > config.py <<'CONFIG'
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['rankdet.plugin'])

data_root = 'data/digits/'
metainfo = dict(classes=tuple('0123456789'))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
resize = dict(type='Resize', scale=(128, 128), keep_ratio=True)
test_pipeline = [pipeline[0], resize, pipeline[1], dict(type='PackDetInputs')]
model = dict(
    backbone=dict(init_cfg=None),
    bbox_head=dict(
        type='RankRetinaHead', num_classes=10, loss_cls=dict(_delete_=True, type='APLoss')
    ),
    test_cfg=dict(score_thr=0.0),  # so few steps leave low scores: NMS shall see them
)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=pipeline,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator
default_hooks = dict(logger=dict(interval=1))
CONFIG
"$python" tools/make_digits.py --out data/digits --train 8 --val 2 --size 128
train="$python tools/train.py config.py --work-dir run --cfg-options"
$train train_cfg.max_epochs=1
$train train_cfg.max_epochs=2 --resume
"$python" tools/test.py config.py run/epoch_2.pth --work-dir run
echo '== rankdet works on the original stack'
