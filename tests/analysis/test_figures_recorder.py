"""LossRecorder: the gradients against explicit ones, and a training that goes as without it."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmdet.models.dense_heads import AnchorHead
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import rankdet.plugin  # noqa: F401
from rankdet.engine import launch, recorder
from rankdet.engine.errors import UserError
from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401

torch.set_num_threads(1)

ALRP = dict(
    model__bbox_head__loss_cls=dict(_delete_=True, type='aLRPLoss'),
    model__bbox_head__loss_bbox=dict(_delete_=True, type='GIoULoss'),
    model__bbox_head__reg_decoded_bbox=True,
)
LOSSES = {
    'ap': {},
    'alrp': ALRP,
    'focal': dict(model__bbox_head__loss_cls=dict(_delete_=True, type='FocalLoss')),
    'ohem': dict(model__bbox_head__loss_cls=dict(_delete_=True, type='OHEMCrossEntropyLoss')),
}


def a_batch(digits, folder, overrides):  # noqa: F811
    """A tiny head in training, and what its ``loss_by_feat`` takes for one batch."""
    from mmdet.models.utils import unpack_gt_instances
    from mmdet.registry import MODELS

    cfg = tiny.load(digits, folder, **overrides)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    data = model.data_preprocessor(batch, True)
    outputs = model.bbox_head(model.extract_feat(data['inputs']))
    features = [[level.detach().requires_grad_() for level in maps] for maps in outputs]
    objects, ignored, metas = unpack_gt_instances(data['data_samples'])
    return model.bbox_head, (*features, objects, metas, ignored)


def slow_magnitudes(head, cls_scores, boxes, objects, metas, ignored):
    """Entry by entry: |dL/ds| at positives and at negatives, and the loss."""
    loss = head.loss_by_feat(cls_scores, boxes, objects, metas, ignored)['loss_cls']
    loss = sum(loss) if isinstance(loss, list) else loss
    gradients = torch.autograd.grad(loss, cls_scores)
    sizes = [score.shape[-2:] for score in cls_scores]
    anchors, valid = head.get_anchors(sizes, metas, device='cpu')
    labels, weights, *_ = head.get_targets(anchors, valid, objects, metas, ignored)
    channels, totals = head.cls_out_channels, [0.0, 0.0]
    for level, gradient in enumerate(gradients):
        for image in range(len(gradient)):
            width, per_place = gradient.shape[-1], gradient.shape[1] // channels
            for row, label in enumerate(labels[level][image].tolist()):
                if not weights[level][image][row]:
                    continue
                place, anchor = divmod(row, per_place)
                y, x = divmod(place, width)
                own = gradient[image, anchor * channels : (anchor + 1) * channels, y, x].tolist()
                if channels > head.num_classes:  # a softmax: the row is the example
                    totals[label == head.num_classes] += sum(map(abs, own))
                else:
                    for channel, value in enumerate(own):
                        totals[channel != label] += abs(value)
    return *totals, float(loss.detach())


@pytest.mark.parametrize('loss', LOSSES)
def test_magnitudes_are_those_of_explicit_gradients(digits, tmp_path, loss):  # noqa: F811
    head, features = a_batch(digits, tmp_path, LOSSES[loss])
    assert recorder.dense_head(torch.nn.ModuleDict(dict(bbox_head=head))) is head
    positive, negative, value = slow_magnitudes(head, *features)
    measured = recorder.measure_loss(head, head.loss_by_feat, *features)
    targets = recorder.targets_of(measured.gradients)
    found = recorder.split_magnitude(measured.gradients.logits, targets, head.num_classes)
    torch.testing.assert_close(found.tolist(), [positive, negative], rtol=1e-5, atol=1e-8)
    assert float(measured.loss) == pytest.approx(value, rel=1e-6) and measured.seconds > 0
    if loss in ('ap', 'alrp'):
        assert positive == pytest.approx(negative, rel=1e-4)  # balanced, by their theory
    assert 'get_targets' not in vars(head)


def test_ignored_rows_have_no_part():
    gradients = torch.tensor([[1.0, -2.0], [4.0, 8.0], [-16.0, 32.0]])
    found = recorder.split_magnitude(gradients, torch.tensor([1, -1, 2]), 2)
    assert found.tolist() == [2.0, 1.0 + 16 + 32]
    softmax = torch.cat([gradients, torch.ones(3, 1)], 1)
    found = recorder.split_magnitude(softmax, torch.tensor([1, -1, 2]), 2)
    assert found.tolist() == [4.0, 49.0]


def test_memory_is_the_peak():
    def function():
        a = torch.zeros(1000, 250)
        b = a + 1
        del a
        return b * 2

    held = recorder.peak_bytes(function, torch.device('cpu'))
    assert 2_000_000 <= held < 2_200_000


@pytest.mark.parametrize('loss', ['ap', 'alrp'])
def test_a_training_goes_as_without_it(digits, tmp_path, loss, capfd):  # noqa: F811
    options = dict(LOSSES[loss], train_cfg__max_epochs=1)
    recording = dict(type='LossRecorder', interval=2, memory=True)
    cfg = tiny.load(digits, tmp_path / 'with', **options, default_hooks__recorder=recording)
    with_it = tiny.train(cfg)
    without = tiny.train(tiny.load(digits, tmp_path / 'without', **options))
    expected = tiny.weights(without / 'epoch_1.pth')
    found = tiny.weights(with_it / 'epoch_1.pth')
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    (path,) = with_it.glob(f'*/vis_data/{recorder.RECORDS}')
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record['step'] for record in records] == [1, 2]  # of three iterations
    for record in records:
        assert record['negatives'] == pytest.approx(record['positives'], rel=1e-3)
        assert 0 < record['loss_seconds'] < record['iteration_seconds']
        assert record['loss_bytes'] > 1000
    if loss == 'ap':
        assert all(r['ap_loss'] == pytest.approx(r['loss_cls'], abs=1e-6) for r in records)
    assert 'USDT' not in capfd.readouterr().err


def test_a_second_recorder_is_refused(digits, tmp_path):  # noqa: F811
    recorders = [dict(type='LossRecorder'), dict(type='LossRecorder', interval=2)]
    cfg = tiny.load(digits, tmp_path / 'run', custom_hooks=recorders)
    with pytest.raises(UserError, match=r'^the config has more than one LossRecorder, [^\n]*$'):
        launch.train(cfg)
    assert not (tmp_path / 'run').exists()


def test_what_was_there_before_is_put_back(tmp_path):
    head, hook = AnchorHead(num_classes=2, in_channels=4), recorder.LossRecorder()
    model = SimpleNamespace(bbox_head=head)
    runner = SimpleNamespace(model=model, hooks=[hook], log_dir=tmp_path)
    for earlier in ({}, dict(loss_by_feat=print)):
        vars(head).update(earlier)
        hook.before_train(runner)
        assert head.loss_by_feat == hook._observe
        hook.after_train(runner)
        assert vars(head).get('loss_by_feat') is earlier.get('loss_by_feat')


def test_bad_options():
    with pytest.raises(ValueError, match='interval must be an integer >= 1, got 0'):
        recorder.LossRecorder(interval=0)
    with pytest.raises(ValueError, match='Linear has no head that scores anchors'):
        recorder.dense_head(torch.nn.Linear(1, 1))
