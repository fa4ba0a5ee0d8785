"""Training on the anchors that an RPN finds likely, and on the positives (TPAMI, Sec. 4.2.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from rankdet.analysis.figures.runs import checkpoint_at
from rankdet.analysis.figures.trainings import train_once
from rankdet.engine.launch import model_config
from rankdet.engine.recorder import dense_head
from rankdet.engine.weights_only import load_weights


def train_rpn(cfg: Config, iterations: int, report: Callable[[str], None]) -> dict:
    """Train an RPN, without its regression, on the anchors of a detector.

    Args:
        cfg: schedule, data and detector, whose backbone, neck and anchors are taken.
        iterations: of its training.
        report: called with a line when it is trained.

    Returns:
        ``config`` and ``checkpoint``, two paths for :class:`ProposalSamples`.
    """
    cfg.model = rpn_model(model_config(cfg))
    cfg.train_cfg.max_iters = iterations
    cfg.default_hooks.checkpoint.interval = iterations
    folder = train_once(cfg, 'rpn', report)
    config = folder / 'rpn.py'
    Config(dict(model=cfg.model)).dump(config)
    return dict(config=str(config), checkpoint=str(checkpoint_at(folder, iterations)))


def rpn_model(detector: ConfigDict) -> ConfigDict:
    """An RPN with a detector's backbone, neck and anchors, that does not move its anchors."""
    head = detector.bbox_head
    parts = {
        key: detector[key] for key in ('data_preprocessor', 'backbone', 'neck') if key in detector
    }
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3)
    sampler = dict(
        type='RandomSampler', num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False
    )
    return ConfigDict(
        type='RPN',
        **parts,
        rpn_head=dict(
            type='RankRPNHead',
            in_channels=head.in_channels,
            feat_channels=head.get('feat_channels', 256),
            anchor_generator=head.anchor_generator,
            bbox_coder=head.bbox_coder,
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
            loss_bbox=dict(type='SmoothL1Loss', loss_weight=0.0),
        ),
        train_cfg=dict(
            rpn=dict(assigner=assigner, sampler=sampler, allowed_border=-1, pos_weight=-1)
        ),
        test_cfg=dict(
            rpn=dict(nms_pre=1000, max_per_img=100, nms=dict(type='nms', iou_threshold=0.7))
        ),
    )


@HOOKS.register_module()
class ProposalSamples(Hook):
    """Leaves to the loss the anchors that an RPN scores highest, and the positives.

    Args:
        config, checkpoint: of the RPN, from :func:`train_rpn`.
        count: anchors of each image; positives come on top.
    """

    def __init__(self, config: str, checkpoint: str, count: int) -> None:
        self.config, self.checkpoint, self.count = config, checkpoint, count

    def before_train(self, runner: Runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        head = dense_head(model)
        self.rpn = MODELS.build(Config.fromfile(self.config).model).eval()
        load_weights(self.rpn, self.checkpoint)
        self.rpn.to(next(model.parameters()).device)
        loss, get_targets = model.loss, head.get_targets

        def loss_of_samples(inputs: Tensor, samples: SampleList) -> dict:
            self.chosen = self._choose(inputs)
            return loss(inputs, samples)

        def targets_of_samples(*args: Any, **options: Any) -> tuple:
            labels, weights, *rest = get_targets(*args, **options)
            return labels, keep_samples(labels, weights, self.chosen, head.num_classes), *rest

        model.loss, head.get_targets = loss_of_samples, targets_of_samples

    @torch.no_grad()
    def _choose(self, inputs: Tensor) -> Tensor:
        """``(N, A)``: whether an anchor is among the best of its image."""
        maps = dense_head(self.rpn)(self.rpn.extract_feat(inputs))[0]
        scores = torch.cat([m.permute(0, 2, 3, 1).flatten(1) for m in maps], 1)
        best = scores.topk(min(self.count, scores.shape[1]), dim=1).indices
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, best, True)


def keep_samples(
    labels: list[Tensor], weights: list[Tensor], chosen: Tensor, num_classes: int
) -> list[Tensor]:
    """Weights that ignore what is neither chosen nor positive.

    Args:
        labels, weights: ``(N, anchors of a level)``, one tensor a level.
        chosen: ``(N, A)`` bool, the levels end to end.
        num_classes: the label of background.
    """
    chosen = chosen.split([level.shape[1] for level in labels], 1)
    kept = [mask | ((y >= 0) & (y < num_classes)) for mask, y in zip(chosen, labels)]
    return [weight * mask for weight, mask in zip(weights, kept)]
