"""Dense heads: the stock head with stock losses, the union of all rows with ranking losses."""

import math

import pytest
import torch
from builders import (
    ATSS,
    DENSE,
    FOCAL,
    GIOU,
    LOSSES,
    SMOOTH_L1,
    SOFTMAX,
    build,
    features,
    fovea,
    retina,
    rpn,
    ssd,
    total,
    truth,
)
from mmdet.registry import MODELS
from mmengine.config import ConfigDict

from rankdet.functional import ap_loss

GHMC = dict(type='GHMC', bins=30, momentum=0.75, use_sigmoid=True, loss_weight=1.0)
STOCK = {
    'retina-ghmc': (retina, GHMC, 'RetinaHead'),  # keeps sums of what it saw
    'rpn-ghmc': (rpn, GHMC, 'RPNHead'),
    'retina-focal': (retina, FOCAL, 'RetinaHead'),
    'retina-softmax': (retina, SOFTMAX, 'RetinaHead'),
    'fovea-focal': (fovea, FOCAL, 'FoveaHead'),
    'rpn-focal': (rpn, FOCAL, 'RPNHead'),
    'rpn-sigmoid': (rpn, dict(type='CrossEntropyLoss', use_sigmoid=True), 'RPNHead'),
}


def run(head, counts=(3, 2), num_classes=3):
    instances, metas = truth(counts, num_classes)
    outs = head(features(len(counts)))
    return outs, head.loss_by_feat(*outs, instances, metas)


def gradients(head):
    return {name: p.grad for name, p in head.named_parameters()}


@pytest.mark.parametrize('name', STOCK)
def test_with_a_stock_loss_it_is_the_stock_head(name):
    make, loss, kind = STOCK[name]
    classes = 1 if make is rpn else 3
    ours = build(make(loss, SMOOTH_L1))
    host = build(make(loss, SMOOTH_L1, kind=kind))
    outs_ours, losses_ours = run(ours, num_classes=classes)
    outs_host, losses_host = run(host, num_classes=classes)
    assert losses_ours.keys() == losses_host.keys()
    for a, b in zip(sum(outs_ours, type(outs_ours[0])()), sum(outs_host, type(outs_host[0])())):
        assert torch.equal(a, b)
    total(losses_ours).backward()
    total(losses_host).backward()
    assert total(losses_ours) == total(losses_host)
    for name_, value in host.state_dict().items():
        assert torch.equal(ours.state_dict()[name_], value)
    for name_, grad in gradients(host).items():
        assert torch.equal(gradients(ours)[name_], grad)
    _, metas = truth()
    with torch.no_grad():
        for mine, stock in zip(
            ours.predict_by_feat(*outs_ours, batch_img_metas=metas),
            host.predict_by_feat(*outs_host, batch_img_metas=metas),
        ):
            assert torch.equal(mine.bboxes, stock.bboxes)
            assert torch.equal(mine.scores, stock.scores)


def test_ssd_without_losses_is_the_stock_head_and_can_predict():
    ours, host = build(ssd()), build(ssd(kind='SSDHead'))
    outs, losses = run(ours)
    _, stock = run(host)
    total(losses).backward()
    total(stock).backward()
    assert total(losses) == total(stock)
    for name, grad in gradients(host).items():
        assert torch.equal(gradients(ours)[name], grad)
    _, metas = truth()
    found = ours.predict_by_feat(*outs, batch_img_metas=metas)
    assert len(found) == 2 and all(f.scores.min() >= 0 and f.scores.max() <= 1 for f in found)


@pytest.mark.parametrize('counts', [(3, 2), (3, 0)])
def test_ssd_with_focal_loss_is_retina_focal_over_all_rows(counts):
    head = build(ssd(FOCAL, SMOOTH_L1))
    outs, losses = run(head, counts)
    rows = head.rows(*outs, *truth(counts))
    loss = MODELS.build(ConfigDict(FOCAL))
    # As in the host's anchor heads an image without a positive counts as one with one.
    positives = sum(max(1, int((labels < 3).sum())) for labels in rows.labels)
    expected = loss(
        rows.logits.flatten(0, 1), rows.labels.flatten(), rows.weights.flatten(),
        avg_factor=positives,
    )  # fmt: skip
    assert losses['loss_cls'].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('kind', DENSE)
@pytest.mark.parametrize('num_classes', [1, 20])
def test_every_head_trains_and_predicts_with_every_loss(kind, loss, num_classes):
    if kind == 'rpn' and num_classes > 1:
        pytest.skip('an RPN has one class')
    cls, box = LOSSES[loss]
    extra = {} if kind == 'rpn' else dict(num_classes=num_classes)
    head = build(DENSE[kind](cls, box, **extra))
    outs, losses = run(head, num_classes=num_classes)
    value = total(losses)
    assert math.isfinite(value) and value > 0
    value.backward()
    for name, grad in gradients(head).items():
        assert grad is not None and grad.isfinite().all(), name
    assert any(grad.abs().sum() > 0 for grad in gradients(head).values())
    # Channels and scores are those that the loss was made for.
    sigmoid = getattr(head.loss_cls, 'use_sigmoid', True)
    assert head.use_sigmoid_cls == sigmoid
    assert head.cls_out_channels == num_classes + (not sigmoid)
    _, metas = truth()
    for found in head.predict_by_feat(*outs, batch_img_metas=metas):
        assert len(found) and found.scores.min() >= 0 and found.scores.max() <= 1
        assert found.labels.max() < num_classes


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('kind', DENSE)
@pytest.mark.parametrize('counts', [(0, 0), (0, 2)])
def test_images_without_objects_leave_every_parameter_with_a_gradient(kind, loss, counts):
    cls, box = LOSSES[loss]
    head = build(DENSE[kind](cls, box))
    full = run(build(DENSE[kind](cls, box)), num_classes=1)[1]
    _, losses = run(head, counts, num_classes=1)
    assert losses.keys() == full.keys()
    total(losses).backward()
    for name, grad in gradients(head).items():
        assert grad is not None and grad.isfinite().all(), name


@pytest.mark.parametrize('kind', ['retina', 'ssd', 'fovea', 'rpn'])
def test_ap_loss_sees_all_levels_and_images_at_once(kind):
    """Against rows gathered here by loops over images, levels, places and anchors."""
    head = build(DENSE[kind](dict(type='APLoss'), SMOOTH_L1))
    classes = head.num_classes
    (scores, _), losses = run(head, num_classes=classes)
    instances, metas = truth(num_classes=classes)
    logits, targets = [], []
    if kind == 'fovea':
        sizes = [s.shape[-2:] for s in scores]
        points = head.prior_generator.grid_priors(sizes, dtype=torch.float32, device='cpu')
        labels_of = [head._get_targets_single(i, sizes, points)[0] for i in instances]
        for image, per_level in enumerate(labels_of):
            for level, label in enumerate(per_level):
                for y, x in torch.cartesian_prod(*map(torch.arange, label.shape)).tolist():
                    logits.append(scores[level][image, :, y, x])
                    targets.append(label[y, x])
    else:
        anchors, flags = head.get_anchors([s.shape[-2:] for s in scores], metas, device='cpu')
        labels, weights, *_ = head.get_targets(anchors, flags, instances, metas)
        for image in range(2):
            for level, score in enumerate(scores):
                per_place = score.shape[1] // classes
                _, _, height, width = score.shape
                for at in range(height * width * per_place):
                    place, anchor = divmod(at, per_place)
                    y, x = divmod(place, width)
                    logits.append(score[image, anchor * classes : (anchor + 1) * classes, y, x])
                    ignored = weights[level][image, at] == 0
                    targets.append(torch.tensor(-1) if ignored else labels[level][image, at])
    logits, targets = torch.stack(logits), torch.stack(targets)
    expected = ap_loss(logits, targets, class_indices=True)
    key = 'loss_rpn_cls' if kind == 'rpn' else 'loss_cls'
    assert losses[key].item() == pytest.approx(expected.item(), abs=1e-6)


def test_box_loss_is_summed_over_coordinates_and_divided_by_four_times_positives():
    head = build(retina(dict(type='APLoss'), SMOOTH_L1))
    (scores, deltas), losses = run(head)
    instances, metas = truth()
    rows = head.rows(scores, deltas, instances, metas, None)
    positives = ((rows.labels < 3) & (rows.weights > 0)).flatten().nonzero()[:, 0]
    predicted, target = rows.boxes(positives)
    error = (predicted - target).abs()
    beta = SMOOTH_L1['beta']
    smooth = torch.where(error < beta, error**2 / (2 * beta), error - beta / 2)
    assert len(positives) > 1
    expected = smooth.sum() / (4 * len(positives))
    assert losses['loss_bbox'].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize('tau', [0.5, 0.7])
@pytest.mark.parametrize('box', ['GIoULoss', 'IoULoss'])
def test_alrp_gets_the_errors_of_decoded_boxes(tau, box):
    """E = (1 - IoU) / (1 - tau), or (1 - GIoU) / (2 (1 - tau)), by hand, in float64."""
    loss_bbox = dict(type=box, loss_weight=3.0, **({'mode': 'linear'} if box == 'IoULoss' else {}))
    head = build(
        retina(dict(type='aLRPLoss', tau=tau, self_balance=False, loc_weight=1.0), loss_bbox)
    )
    outs = head(features())
    instances, metas = truth()
    seen = {}
    head.loss_cls.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    losses = head.loss_by_feat(*outs, instances, metas)
    rows = head.rows(*outs, instances, metas, None)
    positives = ((rows.labels < 3) & (rows.weights > 0)).flatten().nonzero()[:, 0]
    predicted, target = (b.double() for b in rows.boxes(positives))
    for error, p, t in zip(seen['loc_errors'], predicted, target):
        w = max(0.0, min(p[2], t[2]) - max(p[0], t[0]))
        h = max(0.0, min(p[3], t[3]) - max(p[1], t[1]))
        union = (p[2] - p[0]) * (p[3] - p[1]) + (t[2] - t[0]) * (t[3] - t[1]) - w * h
        iou = w * h / union
        if box == 'IoULoss':
            expected = (1 - iou) / (1 - tau)
        else:
            hull = (max(p[2], t[2]) - min(p[0], t[0])) * (max(p[3], t[3]) - min(p[1], t[1]))
            expected = (1 - (iou - (hull - union) / hull)) / (2 * (1 - tau))
        assert error.item() == pytest.approx(float(expected), abs=1e-4)
    plain = build(
        retina(
            dict(type='aLRPLoss', tau=tau, self_balance=False, loc_weight=1.0),
            {**loss_bbox, 'loss_weight': 1.0},
        )
    ).loss_by_feat(*outs, instances, metas)
    assert losses['loss_cls'].item() == pytest.approx(plain['loss_cls'].item(), rel=1e-5)
    assert losses['loss_bbox'].item() == pytest.approx(3 * plain['loss_bbox'].item(), rel=1e-5)


@pytest.mark.parametrize('border', [-1, 0])
def test_atss_on_retina_labels_like_the_atss_head(border):
    instances, metas = truth((3, 0, 2))
    head = build(retina(dict(type='APLoss'), SMOOTH_L1, assigner=ATSS))
    head.train_cfg['allowed_border'] = border
    config = retina(FOCAL, SMOOTH_L1, assigner=ATSS, kind='ATSSHead')
    config['train_cfg']['allowed_border'] = border
    host = build({**config, 'norm_cfg': None})
    sizes = [f.shape[-2:] for f in features()]
    labels, weights, *_ = head.get_targets(
        *head.get_anchors(sizes, metas, device='cpu'), instances, metas
    )
    _, host_labels, host_weights, *_ = host.get_targets(
        *host.get_anchors(sizes, metas, device='cpu'), instances, metas
    )
    assert sum((level < 3).sum() for level in labels) > 0
    for a, b in zip(labels, host_labels):
        assert torch.equal(a, b)
    for a, b in zip(weights, host_weights):
        assert torch.equal(a, b)
    # An image without anything to find must train too.
    total(head.loss_by_feat(*head(features(3)), instances, metas)).backward()


@pytest.mark.parametrize('kind', DENSE)
@pytest.mark.parametrize(('loss', 'prior'), [('focal', 0.01), ('ap', 0.01), ('auc', 0.01),
                                             ('alrp-giou', 0.01), ('dr', 0.5)])  # fmt: skip
def test_scores_start_at_the_prior_of_the_loss(kind, loss, prior):
    if kind == 'rpn' and loss == 'focal':
        prior = 0.5  # with a stock loss it is the stock head, which starts there
    head = build(DENSE[kind](*LOSSES[loss]))
    zeros = [torch.zeros_like(f) for f in features()]
    for score in head(zeros)[0]:
        assert score.sigmoid().mean().item() == pytest.approx(prior, abs=1e-4)


@pytest.mark.parametrize('loss', ['ap', 'dr'])
@pytest.mark.parametrize('as_list', [False, True])
def test_a_prior_of_the_config_wins(loss, as_list):
    prior = dict(type='Normal', name='retina_cls', std=0.01, bias_prob=0.1)
    own = dict(type='Normal', layer='Conv2d', std=0.01, override=prior)
    head = build(dict(retina(*LOSSES[loss]), init_cfg=[own] if as_list else own))
    assert head.retina_cls.bias.sigmoid().mean().item() == pytest.approx(0.1)


@pytest.mark.parametrize('loss, prior', [('ap', 0.01), ('dr', 0.5)])
def test_other_fillings_of_the_config_leave_the_prior_to_the_loss(loss, prior):
    own = dict(type='Normal', layer='Conv2d', std=0.02)
    head = build(dict(retina(*LOSSES[loss]), init_cfg=own))
    assert head.retina_cls.bias.sigmoid().mean().item() == pytest.approx(prior)
    assert head.retina_cls.weight.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize('kind', DENSE)
@pytest.mark.parametrize('loss', ['ap', 'dr'])
def test_weights_of_a_file_win_over_the_prior(kind, loss, tmp_path):
    head = build(DENSE[kind](*LOSSES[loss]))
    for layer in head.classifiers():
        torch.nn.init.constant_(layer.bias, 1.25)
    torch.save(head.state_dict(), tmp_path / 'head.pth')
    trained = dict(type='Pretrained', checkpoint=str(tmp_path / 'head.pth'))
    again = build(dict(DENSE[kind](*LOSSES[loss]), init_cfg=trained), seed=1)
    for key, value in head.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


@pytest.mark.parametrize('kind', ['retina', 'ssd', 'rpn'])
def test_iou_losses_need_decoded_boxes_beside_a_ranking_loss(kind):
    config = {**DENSE[kind](dict(type='APLoss'), GIOU), 'reg_decoded_bbox': False}
    with pytest.raises(ValueError, match='GIoULoss compares decoded boxes; set reg_decoded_bbox'):
        build(config)


def test_fovea_without_gradients_has_its_box_loss_too():
    with torch.no_grad():
        _, losses = run(build(fovea(FOCAL, SMOOTH_L1)))
        _, stock = run(build(fovea(FOCAL, SMOOTH_L1, kind='FoveaHead')))
    assert losses['loss_bbox'] == stock['loss_bbox'] > 0


def test_fovea_stays_finite_where_its_exponential_would_not():
    head = build(fovea(*LOSSES['alrp-giou']))
    scores, boxes = head(features())
    huge = [torch.full_like(box, 1e4).requires_grad_() for box in boxes]
    instances, metas = truth()
    losses = head.loss_by_feat(scores, huge, instances, metas)
    total(losses).backward()
    assert total(losses).isfinite() and all(box.grad.isfinite().all() for box in huge)
    for found in head.predict_by_feat(scores, huge, batch_img_metas=metas):
        assert found.bboxes.isfinite().all()


@pytest.mark.parametrize(
    ('loss_cls', 'loss_bbox', 'words'),
    [
        (dict(type='aLRPLoss'), SMOOTH_L1, 'one localisation error per box'),
        (dict(type='aLRPLoss'), dict(type='IoULoss'), "mode='linear'"),
        (dict(type='aLRPLoss'), dict(type='GIoULoss', loss_weight=0.0), 'loss_weight'),
        (dict(type='QualityFocalLoss'), SMOOTH_L1, 'cannot take loss_cls=QualityFocalLoss'),
        (dict(type='L1Loss'), SMOOTH_L1, 'cannot take loss_cls=L1Loss'),
    ],
)
@pytest.mark.parametrize('make', [retina, ssd, fovea])
def test_losses_that_do_not_fit_are_refused_at_once(make, loss_cls, loss_bbox, words):
    with pytest.raises(Exception, match=words):
        build(make(loss_cls, loss_bbox))


def test_alrp_needs_decoded_boxes():
    with pytest.raises(ValueError, match='reg_decoded_bbox=True'):
        build({**retina(dict(type='aLRPLoss'), GIOU), 'reg_decoded_bbox': False})


def test_a_ranking_loss_in_a_stock_head_says_what_to_use():
    config = retina(dict(type='APLoss'), SMOOTH_L1, kind='RetinaHead')
    config['loss_cls']['loss_weight'] = 1.0
    head = build(config)
    with pytest.raises(TypeError, match='RankRetinaHead'):
        run(head)
