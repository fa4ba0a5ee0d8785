"""Complete training iterations of every detector under focal, AP, aLRP and DR Loss.

    python -m tools.benchmarks.benchmark_step --device cuda --out tools/benchmarks/steps.jsonl
    python -m tools.benchmarks.benchmark_step --images 1 --repeats 2 --threads 2 \
        --out tools/benchmarks/steps.jsonl

An iteration is that of a training: images normalised, forward, targets, losses, backward, a step of
SGD with momentum. All losses of a detector see the same images and objects and take turns, so that
a busy machine is busy for all; the best time of each counts. Weights are random, as at the start of
a training: all scores lie close together and no negative is trivial, which is where ranking costs
most. Faster R-CNN samples neither anchors nor proposals here, so that its second stage sees as many
under all losses; ``stock``, for it alone, is cross-entropy on a sample, as it is usually trained.

``iteration`` is measured as it runs. Then the calls of an iteration that assign targets and compute
losses are made again on the same arguments: ``loss`` is the losses with their backward pass to the
predictions, ``targets`` the anchors and their assignment, which are the host's and no part of it;
``share`` and ``share_of_targets`` are their parts of an iteration. Faster R-CNN's two stages count
together. On a CPU the shares and the ratio are those of the processor's seconds. ``focal`` is
mmcv's fused kernel on a GPU where ``mmcv_compiled`` says so, plain operations on a CPU.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from rankdet.functional import kernels_in_use
from tools.benchmarks.benchmark_losses import (
    ROOT,
    describe_run,
    has_compiled_mmcv,
    peak_bytes,
    run_once,
)

MODELS = 'configs/_base_/models'
FOCAL = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
SMOOTH_L1 = dict(type='SmoothL1Loss', beta=0.11, loss_weight=0.25)
LOSSES = {
    'focal': (FOCAL, SMOOTH_L1),
    'ap': (dict(type='APLoss'), SMOOTH_L1),
    'alrp': (dict(type='aLRPLoss'), dict(type='GIoULoss')),
    'dr': (dict(type='DRLoss'), SMOOTH_L1),
}
STOCK = 'stock'
# Name: config of the model, the smallest image that it takes.
DETECTORS = {
    'retinanet': (f'{MODELS}/retinanet_r50_fpn_alrp-loss.py', 64),
    'retinanet-atss': (f'{MODELS}/retinanet-atss_r50_fpn_alrp-loss.py', 64),
    'foveabox': (f'{MODELS}/foveabox_r50_fpn.py', 64),
    'faster-rcnn': (f'{MODELS}/faster-rcnn_r50_fpn_alrp-loss.py', 64),
    'ssd512': (f'{MODELS}/ssd512_vgg16.py', 264),
}
STOCK_FASTER_RCNN = 'configs/alrp_loss/faster-rcnn_r50_fpn_ce-l1_4xb8-100e_coco-512.py'


def model_config(detector: str, loss: str) -> ConfigDict:
    """The detector with a loss; where it was trained from does not matter here."""
    path = DETECTORS[detector][0]
    if loss == STOCK:
        path = STOCK_FASTER_RCNN
    model = Config.fromfile(ROOT / path).model
    _forget_weights(model)
    if path == STOCK_FASTER_RCNN:
        return model
    loss_cls, loss_bbox = LOSSES[loss]
    heads = [model.bbox_head] if 'bbox_head' in model else [model.roi_head.bbox_head]
    for head in [*heads, *([model.rpn_head] if 'rpn_head' in model else [])]:
        head.loss_cls, head.loss_bbox = ConfigDict(loss_cls), ConfigDict(loss_bbox)
        if head.type != 'RankFoveaHead':  # it has no coder
            head.reg_decoded_bbox = loss == 'alrp'
    if 'rpn_head' in model:
        model.rpn_head.loss_cls.loss_weight = 0.2
        if loss == 'alrp':
            model.rpn_head.loss_cls.tau = 0.7
    return model


def _forget_weights(config: object) -> None:
    if isinstance(config, dict):
        config.pop('init_cfg', None)
        for value in config.values():
            _forget_weights(value)


def build_detector(detector: str, loss: str, device: str, seed: int) -> nn.Module:
    import rankdet.plugin  # noqa: F401, I001, before any import of MMDetection
    from mmdet.registry import MODELS as registry
    from mmengine.logging import MMLogger
    from mmengine.registry import DefaultScope

    # How each weight was initialised is not to be printed.
    MMLogger.get_current_instance().setLevel('ERROR')
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = registry.build(model_config(detector, loss))
    model.init_weights()
    return model.to(device).train()


def make_batch(args: argparse.Namespace, classes: int) -> dict:
    """Images of noise with objects of all sizes, as a data loader hands them over."""
    from mmdet.structures import DetDataSample

    generator = torch.Generator().manual_seed(args.seed)
    shape = (args.size, args.size)
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0))
    images, samples = [], []
    for _ in range(args.images):
        images.append(torch.randint(256, (3, *shape), dtype=torch.uint8, generator=generator))
        side = args.size * 0.06 * 10 ** torch.rand(args.objects, 2, generator=generator)
        corner = (args.size - side) * torch.rand(args.objects, 2, generator=generator)
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + side], 1),
            labels=torch.randint(classes, (args.objects,), generator=generator),
        )
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


class Parts:
    """The calls of an iteration that assign targets and compute losses, to be made again."""

    def __init__(self, model: nn.Module, device: str) -> None:
        self.device = device
        self.calls: list[tuple[str, Callable, tuple, dict]] = []
        self._recording = False
        self._depth = 0
        self._of_targets = (0.0, 0.0)
        dense = [model.bbox_head] if hasattr(model, 'bbox_head') else [model.rpn_head]
        for head in dense:
            self._watch('loss', head, 'loss_by_feat')
            self._watch('targets', head, 'get_targets')
            if hasattr(head, 'get_anchors'):  # FoveaBox has none
                self._watch('targets', head, 'get_anchors')
        if hasattr(model, 'roi_head'):
            roi = model.roi_head
            self._watch('loss', roi.bbox_head, 'loss_and_target')
            self._watch('targets', roi.bbox_head, 'get_targets')
            self._watch('targets', roi.bbox_assigner, 'assign')
            self._watch('targets', roi.bbox_sampler, 'sample')

    def record(self, iteration: Callable[[], None]) -> None:
        """Run an iteration and keep its outermost calls."""
        self.calls.clear()
        self._recording = True
        iteration()
        self._recording = False

    def replay(self) -> dict[str, tuple[float, float]]:
        """Seconds, and processor seconds, of the losses without targets, and of the targets."""
        self._of_targets = (0.0, 0.0)
        all_of_it = (0.0, 0.0)
        for kind, call, args, options in self.calls:
            args, options = _as_new(args), _as_new(options)
            start = self._now()
            result = call(*args, **options)
            if kind == 'loss':
                sum(_losses(result)).backward()
            spent = _minus(self._now(), start)
            all_of_it = _plus(all_of_it, spent)
        return dict(loss=_minus(all_of_it, self._of_targets), targets=self._of_targets)

    def _watch(self, kind: str, owner: object, method: str) -> None:
        original = getattr(owner, method)

        def watched(*args, **options):
            start = self._now()
            if self._recording and self._depth == 0:
                self.calls.append((kind, watched, _as_new(args), _as_new(options)))
            self._depth += 1
            try:
                return original(*args, **options)
            finally:
                self._depth -= 1
                if kind == 'targets':  # within losses or alone
                    self._of_targets = _plus(self._of_targets, _minus(self._now(), start))

        setattr(owner, method, watched)

    def _now(self) -> tuple[float, float]:
        if self.device == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def _plus(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] + b[0], a[1] + b[1]


def _minus(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] - b[0], a[1] - b[1]


def _as_new(value: object) -> object:
    """Predictions cut off from the network, each a leaf that gets a gradient."""
    if isinstance(value, Tensor) and value.requires_grad:
        return value.detach().requires_grad_()
    if _is_list(value) and not hasattr(value, '_fields'):
        return type(value)(_as_new(part) for part in value)
    if type(value) is dict:
        return {key: _as_new(part) for key, part in value.items()}
    # A sampler adds the objects to the assignment that it is given.
    return copy.copy(value) if hasattr(value, 'add_gt_') else value


def _losses(result: object) -> list[Tensor]:
    """What is to be minimised in what a head returns."""
    if isinstance(result, Tensor):
        return [result.sum()] if result.requires_grad else []
    if isinstance(result, dict):
        result = list(result.values())
    return [loss for part in result for loss in _losses(part)] if _is_list(result) else []


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def make_iteration(model: nn.Module, batch: dict, rate: float = 1e-6) -> Callable[[], None]:
    """One step of a training; the rate is so small that all steps cost the same."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=rate, momentum=0.9, weight_decay=1e-4)

    def iteration() -> None:
        data = model.data_preprocessor(batch, training=True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return iteration


def benchmark(detector: str, args: argparse.Namespace) -> list[dict]:
    """One row per loss."""
    anything = torch.zeros(1, device=args.device)
    losses = [loss for loss in args.losses if loss != STOCK or detector == 'faster-rcnn']
    models = {loss: build_detector(detector, loss, args.device, args.seed) for loss in losses}
    iterations, parts, memory = {}, {}, {}
    for loss, model in models.items():
        head = model.bbox_head if hasattr(model, 'bbox_head') else model.roi_head.bbox_head
        iterations[loss] = make_iteration(model, make_batch(args, head.num_classes))
        iterations[loss]()  # compiles, and makes the optimizer's state
        memory[loss] = peak_bytes(iterations[loss], anything)
    whole = {loss: [] for loss in models}
    for _ in range(args.repeats):
        for loss, iteration in iterations.items():
            whole[loss].append(run_once(iteration, anything))
    some = {loss: [] for loss in models}
    for loss, model in models.items():
        parts[loss] = Parts(model, args.device)
        parts[loss].record(iterations[loss])
    for _ in range(args.repeats + 1):
        for loss, part in parts.items():
            some[loss].append(part.replay())
    clock = 0 if args.device == 'cuda' else 1
    rows = []
    for loss in models:
        best = tuple(map(min, zip(*whole[loss])))
        base = tuple(map(min, zip(*whole['focal'])))
        part = {
            kind: tuple(map(min, zip(*(run[kind] for run in some[loss]))))
            for kind in ('loss', 'targets')
        }
        rows.append(
            dict(
                detector=detector,
                loss=loss,
                size=args.size,
                images=args.images,
                objects=args.objects,
                iteration_ms=round(best[0] * 1e3, 2),
                median_ms=round(statistics.median(wall for wall, _ in whole[loss]) * 1e3, 2),
                processor_ms=round(best[1] * 1e3, 2),
                ratio_to_focal=round(best[clock] / base[clock], 4),
                loss_ms=round(part['loss'][0] * 1e3, 2),
                loss_processor_ms=round(part['loss'][1] * 1e3, 2),
                targets_ms=round(part['targets'][0] * 1e3, 2),
                targets_processor_ms=round(part['targets'][1] * 1e3, 2),
                share=round(part['loss'][clock] / best[clock], 4),
                share_of_targets=round(part['targets'][clock] / best[clock], 4),
                peak_bytes=memory[loss],
                repeats=args.repeats,
                seed=args.seed,
                load=round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None,
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--detectors', nargs='+', choices=DETECTORS, default=list(DETECTORS))
    parser.add_argument('--losses', nargs='+', choices=[*LOSSES, STOCK], default=[*LOSSES, STOCK],
                        help='focal is always there')  # fmt: skip
    parser.add_argument('--size', type=int, default=512, help='side of an image in pixels')
    parser.add_argument('--images', type=int, default=8)
    parser.add_argument('--objects', type=int, default=7, help='objects an image')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--threads', type=int, default=1, help='of the CPU')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='JSON lines file to append the rows to')
    args = parser.parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU')
    for detector in args.detectors:
        if args.size < DETECTORS[detector][1]:
            parser.error(f'--size {args.size}: {detector} needs {DETECTORS[detector][1]} or more')
    args.losses = list(dict.fromkeys(['focal', *args.losses]))
    torch.set_num_threads(args.threads)
    where = describe_run(args.device) | {
        package: version(f'onedl-{package}') for package in ('mmdetection', 'mmcv', 'mmengine')
    }
    where['kernels'] = kernels_in_use()
    where['mmcv_compiled'] = has_compiled_mmcv()
    where['command'] = ' '.join(['python -m tools.benchmarks.benchmark_step', *sys.argv[1:]])
    for detector in args.detectors:
        for row in benchmark(detector, args):
            print(json.dumps(row), flush=True)
            if args.out:
                with args.out.open('a') as file:
                    file.write(json.dumps(row | where) + '\n')


if __name__ == '__main__':
    main()
