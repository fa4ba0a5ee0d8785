"""Memory and time of a RetinaNet head's losses, targets and backward pass included.

    python -m tools.benchmarks.benchmark_heads --out tools/benchmarks/heads.jsonl

The head is that of RetinaNet at its usual size: 80 classes, 9 anchors a place, five levels. A row
is one loss with the targets, the box loss and the backward pass to the predictions.

``peak_bytes`` is the most that torch's allocator holds at a time, beyond what it held before, in a
pass of its own: the same in every run. ``added_bytes`` is how much of it goes beyond the row
``predictions``, which makes the head's outputs and their gradients and nothing else; ``ratio`` is
added_bytes against the stock head with focal loss, the row ``focal``. ``targets`` is the assignment
alone, which all losses share. On a CPU the host computes focal loss from plain operations; with
``--device cuda`` by one kernel. All losses take turns, and the best time of each counts;
``time_ratio`` compares the processor's seconds.

The losses have their default options. Others need more: on the head of ``tests/models/test_memory``
(40 classes) APLoss with ``step='sigmoid'`` adds 4.3 times what focal loss does, and ApproxAPLoss
7.3 times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

import rankdet.plugin  # noqa: F401  before any import of MMDetection
from rankdet.engine.recorder import peak_bytes
from tools.benchmarks.benchmark_losses import describe_run, has_compiled_mmcv, run_once

STRIDES, ANCHORS = (8, 16, 32, 64, 128), 9
SMOOTH_L1 = dict(type='SmoothL1Loss', beta=0.11, loss_weight=0.25)
FOCAL = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
LOSSES = {
    'focal': (FOCAL, SMOOTH_L1),
    'ap': (dict(type='APLoss'), SMOOTH_L1),
    'auc': (dict(type='AUCLoss'), SMOOTH_L1),
    'alrp': (dict(type='aLRPLoss'), dict(type='GIoULoss')),
    'dr': (dict(type='DRLoss'), SMOOTH_L1),
    'ohem': (dict(type='OHEMCrossEntropyLoss', use_sigmoid=True), SMOOTH_L1),
}


def build_head(loss: str, classes: int) -> nn.Module:
    """The head of RetinaNet with a loss; the stock head where the loss is stock."""
    from mmdet.registry import MODELS

    loss_cls, loss_bbox = LOSSES[loss]
    config = dict(
        type='RetinaHead' if loss == 'focal' else 'RankRetinaHead',
        num_classes=classes,
        in_channels=4,  # the convolutions are not measured
        feat_channels=4,
        stacked_convs=1,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=4, scales_per_octave=3,
            ratios=[0.5, 1.0, 2.0], strides=STRIDES,
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]
        ),
        reg_decoded_bbox='IoU' in loss_bbox['type'],
        loss_cls=loss_cls,
        loss_bbox=loss_bbox,
        train_cfg=dict(
            assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
            sampler=dict(type='PseudoSampler'),
            allowed_border=-1, pos_weight=-1, debug=False,
        ),
    )  # fmt: skip
    return MODELS.build(ConfigDict(config))


def make_batch(args: argparse.Namespace) -> tuple[Tensor, list, list, list, list]:
    """All predictions in one leaf, its parts by level, and ground truth with its meta data.

    Scores are those of a head that has begun to learn; the objects are of all sizes.
    """
    generator = torch.Generator().manual_seed(args.seed)
    sizes = [-(-args.size // stride) for stride in STRIDES]
    per_place = ANCHORS * (args.classes + 4)
    counts = [args.images * per_place * size**2 for size in sizes]
    leaf = torch.randn(sum(counts), generator=generator)
    leaf = leaf.mul_(1.5).to(args.device).requires_grad_()
    instances = []
    for _ in range(args.images):
        side = args.size * 0.06 * 10 ** torch.rand(args.objects, 2, generator=generator)
        corner = (args.size - side) * torch.rand(args.objects, 2, generator=generator)
        labels = torch.randint(args.classes, (args.objects,), generator=generator)
        boxes = torch.cat([corner, corner + side], 1)
        instances.append(InstanceData(bboxes=boxes, labels=labels).to(args.device))
    shape = (args.size, args.size)
    metas = [dict(img_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0))] * args.images
    return leaf, sizes, counts, instances, metas


def calls(args: argparse.Namespace) -> tuple[Tensor, dict[str, Callable[[], Tensor | None]]]:
    """The leaf, and each loss as a call without arguments."""
    leaf, sizes, counts, instances, metas = make_batch(args)

    def maps() -> tuple[list[Tensor], list[Tensor]]:
        scores, deltas = [], []
        for part, size in zip(leaf.split(counts), sizes):
            level = part.view(args.images, -1, size, size)
            scores.append(level[:, : ANCHORS * args.classes] - 4.0)  # as a convolution leaves it
            deltas.append(level[:, ANCHORS * args.classes :] * 0.1)
        return scores, deltas

    def call(head: nn.Module) -> Callable[[], Tensor]:
        def total() -> Tensor:
            losses = head.loss_by_feat(*maps(), instances, metas)
            values = [sum(v) if isinstance(v, list) else v for v in losses.values()]
            return sum(values)

        return total

    heads = {name: build_head(name, args.classes).to(args.device) for name in args.losses}
    some = heads['focal']

    def targets() -> None:
        scores = [(size, size) for size in sizes]
        some.get_targets(*some.get_anchors(scores, metas, args.device), instances, metas)

    def nothing() -> Tensor:
        """What the predictions and their gradients take, whatever the loss."""
        return sum(m.sum() for pair in maps() for m in pair)

    return leaf, dict(
        predictions=nothing, targets=targets, **{name: call(h) for name, h in heads.items()}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--losses', nargs='+', choices=LOSSES, default=list(LOSSES))
    parser.add_argument('--images', type=int, default=2)
    parser.add_argument('--size', type=int, default=512, help='side of an image in pixels')
    parser.add_argument('--classes', type=int, default=80)
    parser.add_argument('--objects', type=int, default=7, help='objects an image')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--threads', type=int, default=1, help='of the CPU')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='JSON lines file to append the rows to')
    args = parser.parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU')
    args.losses = list(dict.fromkeys(['focal', *args.losses]))
    torch.set_num_threads(args.threads)
    leaf, chosen = calls(args)
    where = describe_run(args.device) | {
        package: version(f'onedl-{package}') for package in ('mmdetection', 'mmcv', 'mmengine')
    }
    where['mmcv_compiled'] = has_compiled_mmcv()
    where['command'] = ' '.join(['python -m tools.benchmarks.benchmark_heads', *sys.argv[1:]])
    for loss in chosen.values():
        run_once(loss, leaf)
    memory = {}
    for name, loss in chosen.items():
        leaf.grad = None
        memory[name] = peak_bytes(lambda loss=loss: run_once(loss, leaf), leaf.device)
    seconds = {name: [] for name in chosen}
    for _ in range(args.repeats):
        for name, loss in chosen.items():
            seconds[name].append(run_once(loss, leaf))
    best = {name: tuple(map(min, zip(*times))) for name, times in seconds.items()}
    base = memory['predictions']
    for name in chosen:
        added = memory[name] - base * (name in LOSSES)
        row = dict(
            loss=name,
            images=args.images,
            size=args.size,
            classes=args.classes,
            objects=args.objects,
            scores=leaf.numel() * args.classes // (args.classes + 4),
            peak_bytes=memory[name],
            added_bytes=added,
            best_ms=round(best[name][0] * 1e3, 1),
            processor_ms=round(best[name][1] * 1e3, 1),
            repeats=args.repeats,
            seed=args.seed,
            load=round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None,
        )
        if name in LOSSES:
            row['ratio'] = round(added / (memory['focal'] - base), 3)
        row['time_ratio'] = round(best[name][1] / best['focal'][1], 3)
        print(json.dumps(row))
        if args.out:
            with args.out.open('a') as file:
                file.write(json.dumps(row | where) + '\n')


if __name__ == '__main__':
    main()
