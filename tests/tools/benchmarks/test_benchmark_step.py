"""The benchmark of whole iterations runs end to end and leaves complete rows."""

import json
import sys

import pytest
import torch

from tools.benchmarks import benchmark_step

SIZE = 64


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the command; its rows."""
    before = torch.get_num_threads()

    def call(*arguments):
        out = tmp_path / 'steps.jsonl'
        command = ['benchmark_step', '--images', '1', '--repeats', '1', '--out', out, *arguments]
        monkeypatch.setattr(sys, 'argv', list(map(str, command)))
        benchmark_step.main()
        capsys.readouterr()
        return [json.loads(line) for line in out.read_text().splitlines()]

    yield call
    torch.set_num_threads(before)


def test_one_row_a_loss_and_each_complete(run):
    rows = run('--detectors', 'retinanet', '--losses', 'alrp', '--size', SIZE)
    assert [row['loss'] for row in rows] == ['focal', 'alrp']  # focal is always there
    for row in rows:
        assert row['detector'] == 'retinanet' and row['size'] == SIZE
        may_be_missing = {'threads', 'triton', 'commit', 'load', 'peak_bytes'}
        assert all(value is not None for key, value in row.items() if key not in may_be_missing)
        assert 0 < row['loss_processor_ms'] < row['processor_ms']
        assert 0 < row['targets_processor_ms'] < row['processor_ms']
        assert row['share'] == pytest.approx(
            row['loss_processor_ms'] / row['processor_ms'], abs=2e-3
        )
        assert row['command'].startswith('python -m tools.benchmarks.benchmark_step ')
        assert {
            'device',
            'torch',
            'python',
            'mmdetection',
            'kernels',
            'mmcv_compiled',
        } <= row.keys()
    assert rows[0]['ratio_to_focal'] == 1


def test_an_image_too_small_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run('--detectors', 'ssd512', '--size', SIZE)
    assert 'ssd512 needs 264 or more' in capsys.readouterr().err


class Head(torch.nn.Module):
    """Squares what it gets, after an assignment of its own."""

    def get_targets(self, values):
        return values.detach() + 1

    def loss_by_feat(self, values, scale):
        return {'loss': [(values - self.get_targets(values)).square().sum() * scale.sum()]}


def test_calls_are_made_again_on_leaves_of_their_own():
    model = torch.nn.Module()
    model.bbox_head = Head()
    parts = benchmark_step.Parts(model, 'cpu')
    source = torch.ones(3, requires_grad=True)
    values, scale = source * 2, source.exp()
    parts.record(lambda: model.bbox_head.loss_by_feat([values][0], scale=scale))
    assert [kind for kind, *_ in parts.calls] == ['loss']  # the targets are within
    for _ in range(2):  # the graph behind the predictions is not gone through
        spent = parts.replay()
        assert spent['loss'][0] > 0 and spent['targets'][0] > 0
    assert source.grad is None


@pytest.mark.parametrize('detector', benchmark_step.DETECTORS)
@pytest.mark.parametrize('loss', benchmark_step.LOSSES)
def test_every_pair_has_the_heads_and_losses_that_it_says(detector, loss):
    model = benchmark_step.model_config(detector, loss)
    for head in heads_of(model):
        assert head.loss_cls.type == benchmark_step.LOSSES[loss][0]['type']
        assert head.type.startswith('Rank')
        if head.type != 'RankFoveaHead':
            assert head.reg_decoded_bbox == (loss == 'alrp')


def test_the_stock_detector_samples():
    model = benchmark_step.model_config('faster-rcnn', 'stock')
    assert [head.loss_cls.type for head in heads_of(model)] == ['CrossEntropyLoss'] * 2
    assert model.train_cfg.rcnn.sampler.type == 'RandomSampler'


def heads_of(model):
    if 'bbox_head' in model:
        return [model.bbox_head]
    return [model.rpn_head, model.roi_head.bbox_head]
