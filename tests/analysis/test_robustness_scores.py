"""What a detector calls an object, against its own detections."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import nn

import rankdet.plugin  # noqa: F401
from rankdet.analysis.robustness.object_scores import Batch, Candidates, candidates, log_odds
from rankdet.engine.errors import UserError
from tests.engine import tiny
from tests.models import builders
from tests.models.builders import FOCAL, GIOU, LOSSES, SMOOTH_L1, SOFTMAX, fovea, retina, ssd

EVERYTHING = dict(
    nms_pre=-1, min_bbox_size=-1, score_thr=0.0, nms=dict(type='nms', iou_threshold=1.0),
    max_per_img=-1,
)  # fmt: skip


class OneStage(nn.Module):
    """Two linear levels and a head."""

    def __init__(self, head: dict) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(3, 8, stride, stride) for stride in (8, 16))
        self.bbox_head = builders.build(head | dict(test_cfg=Config(EVERYTHING)))
        for parameter in self.parameters():  # scores and boxes that differ
            parameter.data = torch.randn_like(parameter) * 0.3

    def extract_feat(self, images):
        return tuple(level(images) for level in self.levels)


def batch_of(images: int = 2, size: int = 48) -> Batch:
    samples = []
    for _ in range(images):
        shape = (size - 4, size - 8)  # the rest is padding
        meta = dict(img_shape=shape, scale_factor=(1.0, 1.0), ori_shape=shape)
        samples.append(DetDataSample(metainfo=meta | dict(batch_input_shape=(size, size))))
    return Batch(torch.randn(images, 3, size, size), samples)


HEADS = {
    'retina by sigmoid': retina(FOCAL, SMOOTH_L1),
    'retina by softmax': retina(*LOSSES['ohem']),
    'retina ranked, corners': retina(*LOSSES['alrp-giou']),
    'ssd by softmax': ssd(SOFTMAX, SMOOTH_L1),
    'ssd ranked': ssd(*LOSSES['ap']),
    'fovea by sigmoid': fovea(FOCAL, SMOOTH_L1),
    'fovea ranked': fovea(dict(type='APLoss'), GIOU),
    'fovea by softmax': fovea(*LOSSES['ohem']),
}


@pytest.mark.parametrize('head', HEADS.values(), ids=HEADS)
def test_every_detection_is_a_candidate_with_its_score(head):
    torch.manual_seed(0)
    model, batch = OneStage(head).eval(), batch_of()
    with torch.no_grad():
        found, proposals = candidates(model, batch)
        detections = model.bbox_head.predict(model.extract_feat(batch.inputs), batch.samples)
    assert proposals is None
    for one, detected in zip(found, detections, strict=True):
        assert len(detected) >= 100
        check(one, detected)


def check(found: Candidates, detected: InstanceData, classes: int = 3) -> None:
    scores = log_odds(found.logits, found.softmax).sigmoid()
    assert scores.shape[1] == classes
    for box, score, label in zip(detected.bboxes, detected.scores, detected.labels):
        own = found.boxes[:, min(int(label), found.boxes.shape[1] - 1)]
        far = (own - box).abs().amax(1) + (scores[:, label] - score).abs()
        assert far.min() < 1e-4


ONE_ANCHOR = dict(
    type='AnchorGenerator', octave_base_scale=3, scales_per_octave=1, ratios=[1.0], strides=[8, 16]
)
SMALL = dict(
    num_classes=3, in_channels=8, feat_channels=8, stacked_convs=1, norm_cfg=dict(type='BN')
)
BY_THE_BASE_CLASS = {
    'atss': SMALL | dict(type='ATSSHead', anchor_generator=ONE_ANCHOR),
    'fcos': SMALL | dict(type='FCOSHead', strides=[8, 16], norm_on_bbox=True),
}


@pytest.mark.parametrize('head', BY_THE_BASE_CLASS.values(), ids=BY_THE_BASE_CLASS)
def test_every_detection_of_a_stock_head_is_the_box_of_a_candidate(head):
    """Their scores have a factor more, for centerness or IoU."""
    torch.manual_seed(0)
    model, batch = OneStage(head).eval(), batch_of()
    with torch.no_grad():
        found, _ = candidates(model, batch)
        detections = model.bbox_head.predict(model.extract_feat(batch.inputs), batch.samples)
    for one, detected in zip(found, detections, strict=True):
        assert len(detected) >= 30
        far = (one.boxes[:, 0] - detected.bboxes[:, None]).abs().amax(2)
        assert far.amin(1).max() < 1e-4


@MODELS.register_module()
class OwnFoveaHead(MODELS.get('mmdet.FoveaHead')):
    def _bbox_decode(self, *args):
        return super()._bbox_decode(*args) + 5


WITH_A_DECODING_OF_THEIR_OWN = {
    'RepPointsHead': SMALL | dict(type='RepPointsHead', point_feat_channels=8,
                                  point_strides=[8, 16]),
    'YOLOXHead': SMALL | dict(type='YOLOXHead', strides=(8, 16)),
    'GFLHead': SMALL | dict(type='GFLHead', anchor_generator=ONE_ANCHOR),
    'OwnFoveaHead': fovea(FOCAL, SMOOTH_L1, kind='OwnFoveaHead'),
}  # fmt: skip


@pytest.mark.parametrize('kind', WITH_A_DECODING_OF_THEIR_OWN)
def test_a_head_with_a_decoding_of_its_own_is_refused(kind):
    model = OneStage(WITH_A_DECODING_OF_THEIR_OWN[kind]).eval()
    with pytest.raises(UserError, match=rf'OneStage with {kind}: attacks need to know how'):
        candidates(model, batch_of(1))


@pytest.mark.parametrize('changed', ['box head', 'roi head'])
def test_a_second_stage_with_boxes_of_its_own_is_refused(changed):
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(tiny.FASTER_RCNN).model).eval()
    if changed == 'box head':
        head, name = model.roi_head.bbox_head, '_predict_by_feat_single'
    else:
        head, name = model.roi_head, 'predict_bbox'
    head.__class__ = type('Own', (type(head),), {name: lambda self: None})
    with pytest.raises(UserError, match=r'FasterRCNN with .*: attacks need to know how'):
        candidates(model, batch_of(1, size=96))


@pytest.mark.parametrize('loss', ['alrp', 'softmax'])
def test_proposals_stay_where_they_were_found(loss):
    cfg = Config.fromfile(tiny.FASTER_RCNN)
    if loss == 'softmax':
        cfg.model.roi_head.bbox_head.loss_cls = SOFTMAX
    cfg.model.test_cfg.rcnn.update(
        score_thr=0.0, nms=dict(type='nms', iou_threshold=1.0), max_per_img=-1
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model, batch = MODELS.build(cfg.model).eval(), batch_of(size=96)
    model.init_weights()
    with torch.no_grad():
        found, proposals = candidates(model, batch)
        features = model.extract_feat(batch.inputs)
        detections = model.roi_head.predict(features, proposals, batch.samples)
        moved = Batch(batch.inputs + torch.randn_like(batch.inputs), batch.samples)
        again, same = candidates(model, moved, proposals)
    for one, other, detected in zip(found, again, detections, strict=True):
        assert one.boxes.shape[1:] == (10, 4)  # each class has its own
        check(one, detected, classes=10)
        assert one.logits.shape == other.logits.shape and not torch.equal(one.logits, other.logits)
    assert same is proposals
    image = batch.inputs.clone().requires_grad_()
    moving = candidates(model, Batch(image, batch.samples), proposals)[0]
    (gradient,) = torch.autograd.grad(moving[1].scores(torch.arange(3)).sum(), image)
    assert gradient[1].abs().sum() > 0 and not gradient[0].any()


def test_gradients_reach_the_image():
    model, batch = OneStage(retina(FOCAL, SMOOTH_L1)).eval(), batch_of(1)
    image = batch.inputs.clone().requires_grad_()
    (found,), _ = candidates(model, Batch(image, batch.samples))
    (gradient,) = torch.autograd.grad(found.scores(torch.arange(5)).sum(), image)
    assert gradient.abs().sum() > 0 and not found.boxes.requires_grad


@pytest.mark.parametrize('size', [1.0, 30.0])
def test_log_odds_of_a_softmax_against_float64(size):
    logits = size * torch.randn(20, 5, dtype=torch.float64)
    p = logits.softmax(1)
    rest = torch.stack([torch.cat([p[:, :k], p[:, k + 1 :]], 1).sum(1) for k in range(5)], 1)
    expected = (p.log() - rest.log())[:, :-1]
    assert torch.allclose(log_odds(logits, softmax=True), expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(log_odds(logits, softmax=False), logits)


def test_log_odds_do_not_saturate():
    logits = torch.tensor([[200.0, 0.0, -50.0]], requires_grad=True)
    found = log_odds(logits, softmax=True)
    assert found.tolist() == [[200.0, -200.0]]
    (gradient,) = torch.autograd.grad(found[0, 0], logits)
    assert gradient[0, 0] == 1


def test_the_candidates_on_an_object_are_those_of_half_iou():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4.9], [30, 30, 40, 40.0]])
    found = Candidates(torch.arange(8.0).view(4, 2), boxes[:, None], softmax=False)
    rows = found.on(torch.tensor([0, 0, 10, 10.0]), label=1)
    assert rows.tolist() == [0, 1] and found.scores(rows).tolist() == [2.0, 3.0]
    own = Candidates(found.logits, torch.stack([boxes, boxes.flip(0)], 1), softmax=False)
    assert own.on(torch.tensor([0, 0, 10, 10.0]), label=1).tolist() == [2, 3]


def test_a_detector_without_such_heads_is_refused():
    with pytest.raises(UserError, match='Linear: attacks need to know how a head makes'):
        candidates(nn.Linear(1, 1), batch_of(1))
