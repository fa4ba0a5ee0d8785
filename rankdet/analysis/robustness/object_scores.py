"""What a detector calls an object, as a differentiable function of the image.

An attack needs one score per class for each object, whatever the detector and however it was
trained. Take the candidates (anchors, points or proposals) whose predicted box has an IoU of at
least 0.5 with the object: those that a detection of it can come from. The score of a class is the
greatest log-odds of the class among them,

    g_k(x) = max over the candidates i of  log p_ik(x) / (1 - p_ik(x)),

and the class with the greatest one is the detector's prediction for the object. Log-odds are the
logit of a sigmoid, and f_k - logsumexp of the others for a softmax. Neither a score threshold nor
a background is part of it: losses that rank do not calibrate their scores, so that a threshold
would mean another thing for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from mmdet.models.dense_heads import FoveaHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads import BaseRoIHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.structures.bbox import bbox2roi, get_box_tensor
from torch import Tensor
from torchvision.ops import box_iou

from rankdet.engine.errors import UserError
from rankdet.models.dense_heads.fovea_head import _LOG_RANGE

if TYPE_CHECKING:
    from mmdet.models import BaseDetector

MIN_IOU = 0.5


class Candidates(NamedTuple):
    """All that one image's detections can come from.

    Attributes:
        logits: ``(N, K)``: K classes, by a sigmoid; or a last column more, background, by a
            softmax.
        boxes: ``(N, 1, 4)`` corners in pixels of the network's input, or ``(N, K, 4)`` where each
            class has its own. Not differentiable.
        softmax: which of the two the logits are.
    """

    logits: Tensor
    boxes: Tensor
    softmax: bool

    def on(self, box: Tensor, label: int, min_iou: float = MIN_IOU) -> Tensor:
        """Indices of those whose box has an IoU of ``min_iou`` with ``box``, of shape ``(4,)``."""
        own = self.boxes[:, min(label, self.boxes.shape[1] - 1)]
        return (box_iou(own, box[None])[:, 0] >= min_iou).nonzero()[:, 0]

    def scores(self, rows: Tensor) -> Tensor:
        """``(K,)`` greatest log-odds of each class among the candidates ``rows``, one at least."""
        return log_odds(self.logits[rows], self.softmax).amax(0)


def log_odds(logits: Tensor, softmax: bool) -> Tensor:
    """Log-odds ``(n, K)`` of the classes; of a softmax the background is left out.

    >>> log_odds(torch.tensor([[0.0, 2.0, 0.0]]), softmax=True).sigmoid().round(decimals=3)
    tensor([[0.1070, 0.7870]])
    """
    if not softmax:
        return logits
    classes = logits.shape[1]
    itself = torch.eye(classes, dtype=torch.bool, device=logits.device)
    others = logits[:, None].expand(-1, classes, -1).masked_fill(itself, -torch.inf)
    return (logits - others.logsumexp(-1))[:, :-1]


class Batch(NamedTuple):
    """Preprocessed images with what the detector's heads ask for."""

    inputs: Tensor
    samples: list

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Height and width of each image before padding."""
        return [sample.img_shape[:2] for sample in self.samples]


def preprocess(model: BaseDetector, images: Sequence[Tensor], samples: Sequence) -> Batch:
    """Normalised, padded images.

    Args:
        model: a detector of MMDetection.
        images: ``(3, H, W)`` each, on the scale that the pipeline gives; gradients pass.
        samples: the data sample of each.
    """
    data = dict(inputs=list(images), data_samples=list(samples))
    ready = model.data_preprocessor(data, False)
    return Batch(ready['inputs'], ready['data_samples'])


def candidates(
    model: BaseDetector, batch: Batch, proposals: list | None = None
) -> tuple[list[Candidates], list | None]:
    """The candidates of each image.

    Args:
        model: a detector with a dense head, or with proposals and a box head.
        batch: from :func:`preprocess`.
        proposals: of a two-stage detector; None finds them on these images. Given, candidate i of
            an image stays candidate i while its pixels change.

    Returns:
        The candidates, and the proposals (None for one stage).

    Raises:
        UserError: the detector has neither kind of head, or one that makes boxes in its own way.
    """
    roi_head, head = getattr(model, 'roi_head', None), getattr(model, 'bbox_head', None)
    if roi_head is None and _is_known_dense(head):
        return _of_priors(model, batch), None
    if _is_known_two_stage(roi_head):
        return _of_proposals(model, batch, proposals)
    names = [type(one).__name__ for one in (model, roi_head, head) if one is not None]
    raise UserError(
        f'{" with ".join(names)}: attacks need to know how a head makes its boxes, which they do '
        'of dense heads that leave it to the base class of MMDetection (RetinaHead, SSDHead, '
        'ATSSHead, FCOSHead ...), of FoveaHead, and of a single box head on proposals'
    )


def _is_known_dense(head: object) -> bool:
    kind = type(head)
    if not isinstance(head, BaseDenseHead) or not hasattr(head, 'prior_generator'):
        return False
    if _overrides(kind, BaseDenseHead, 'predict', 'predict_by_feat'):
        return False
    if issubclass(kind, FoveaHead):
        return not _overrides(kind, FoveaHead, '_bbox_decode')
    return not _overrides(kind, BaseDenseHead, '_predict_by_feat_single')


def _is_known_two_stage(roi_head: object) -> bool:
    head = getattr(roi_head, 'bbox_head', None)
    return (
        isinstance(roi_head, StandardRoIHead)
        and isinstance(head, BBoxHead)
        and not _overrides(type(roi_head), BaseRoIHead, 'predict')
        and not _overrides(type(roi_head), StandardRoIHead, 'predict_bbox')
        and not _overrides(type(head), BBoxHead, 'predict_by_feat', '_predict_by_feat_single')
    )


def _overrides(kind: type, base: type, *names: str) -> bool:
    return any(getattr(kind, name) is not getattr(base, name) for name in names)


def _of_priors(model: BaseDetector, batch: Batch) -> list[Candidates]:
    head = model.bbox_head
    cls_scores, bbox_preds = head(model.extract_feat(batch.inputs))[:2]
    sizes = [score.shape[-2:] for score in cls_scores]
    priors = head.prior_generator.grid_priors(
        sizes, dtype=cls_scores[0].dtype, device=cls_scores[0].device
    )

    def rows(maps: list[Tensor], channels: int) -> list[Tensor]:
        return [m.permute(0, 2, 3, 1).reshape(len(m), -1, channels) for m in maps]

    logits = torch.cat(rows(cls_scores, head.cls_out_channels), 1)
    preds = rows([pred.detach() for pred in bbox_preds], head.bbox_coder.encode_size)
    found = []
    for image, shape in enumerate(batch.shapes):
        boxes = [
            _decode(head, level, priors[level], pred[image], shape)
            for level, pred in enumerate(preds)
        ]
        softmax = not head.use_sigmoid_cls
        found.append(Candidates(logits[image], torch.cat(boxes)[:, None], softmax))
    return found


def _decode(
    head: BaseDenseHead, level: int, priors: Tensor, pred: Tensor, shape: Sequence[int]
) -> Tensor:
    if isinstance(head, FoveaHead):
        if getattr(head, 'ranks', False):
            pred = pred.clamp(-_LOG_RANGE, _LOG_RANGE)
        return head._bbox_decode(priors, pred, head.base_edge_list[level], shape)
    return get_box_tensor(head.bbox_coder.decode(priors, pred, max_shape=shape))


def _of_proposals(
    model: BaseDetector, batch: Batch, proposals: list | None
) -> tuple[list[Candidates], list]:
    features, head = model.extract_feat(batch.inputs), model.roi_head.bbox_head
    if proposals is None:
        with torch.no_grad():
            proposals = model.rpn_head.predict(features, batch.samples, rescale=False)
    rois = bbox2roi([one.bboxes for one in proposals])
    out = model.roi_head._bbox_forward(features, rois)
    counts = [len(one.bboxes) for one in proposals]
    found = []
    parts = zip(
        rois.split(counts),
        out['cls_score'].split(counts),
        out['bbox_pred'].detach().split(counts),
        batch.shapes,
    )
    for roi, logits, pred, shape in parts:
        pred = pred.view(len(roi), -1, head.bbox_coder.encode_size)
        each = roi[:, 1:].repeat_interleave(pred.shape[1], 0)
        boxes = head.bbox_coder.decode(each, pred.flatten(0, 1), max_shape=shape)
        boxes = get_box_tensor(boxes).view(len(roi), -1, 4)
        # Stock box heads score by a softmax whatever their loss is.
        softmax = not getattr(head, 'use_sigmoid_cls', False)
        found.append(Candidates(logits, boxes, softmax))
    return found, proposals
