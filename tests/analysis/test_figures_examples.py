"""Scatter and densities against a slow matcher, and against numpy on the same forward pass."""

import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope

import rankdet.plugin  # noqa: F401
from rankdet.analysis import figures
from rankdet.analysis.figures.densities import split_scores
from rankdet.analysis.figures.examples import annotated_batches, examples
from rankdet.analysis.figures.predictions import predict
from rankdet.analysis.figures.runs import load_model
from rankdet.analysis.figures.scatter import _Draw, score_pairs
from rankdet.engine.errors import UserError
from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401

torch.set_num_threads(1)
SOFTMAX = dict(
    model__bbox_head__loss_cls=dict(_delete_=True, type='OHEMCrossEntropyLoss'),
    model__bbox_head__num_classes=10,
)


def untrained(folder, data, **overrides):
    """A folder with a config and the weights it begins with."""
    from mmdet.registry import MODELS

    cfg = tiny.load(data, folder, **overrides)
    folder.mkdir(parents=True)
    cfg.dump(folder / 'config.py')
    init_default_scope('mmdet')
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    with torch.no_grad():  # scores that differ
        model.bbox_head.retina_cls.weight.normal_(std=0.5)
    classes = tuple('0123456789')
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=classes), iter=1)),
        folder / 'epoch_1.pth',
    )
    return folder


@pytest.fixture(scope='module')
def runs(digits, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp('untrained')
    paths = [untrained(folder / 'ap', digits), untrained(folder / 'ohem', digits, **SOFTMAX)]
    return figures.open_runs(paths)


def slow_iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return w * h / (area - w * h)


def slow_pairs(run):
    """By loops: (IoU, score) of each anchor by kind, and probabilities by foreground or not."""
    model = load_model(run, 'cpu')
    head, found = model.bbox_head, {kind: [] for kind in ('positive', 'ignored', 'negative')}
    scores = {True: [], False: []}
    for batch in annotated_batches(run.config):
        data = model.data_preprocessor(batch, False)
        with torch.no_grad():
            maps = head(model.extract_feat(data['inputs']))[0]
        grid = head.prior_generator.grid_priors([m.shape[-2:] for m in maps], device='cpu')
        anchors = torch.cat(grid).tolist()
        for image, sample in enumerate(data['data_samples']):
            boxes = sample.gt_instances.bboxes.tolist()
            labels = sample.gt_instances.labels.tolist()
            channels = head.cls_out_channels
            rows = torch.cat([m[image].permute(1, 2, 0).reshape(-1, channels) for m in maps])
            p = rows.softmax(1)[:, :10] if channels > 10 else rows.sigmoid()
            ious = np.array([[slow_iou(anchor, box) for box in boxes] for anchor in anchors])
            kinds = ['negative' if max(row) < 0.4 else 'ignored' for row in ious]
            kinds = ['positive' if max(r) >= 0.5 else k for r, k in zip(ious, kinds)]
            assigned = ious.argmax(1)
            for column in range(len(boxes)):  # min_pos_iou 0: every object gets its best anchors
                for row in np.flatnonzero(ious[:, column] == ious[:, column].max()):
                    kinds[row], assigned[row] = 'positive', column
            for row, kind in enumerate(kinds):
                best = ious[row].argmax()
                own = p[row, labels[best]] if ious[row][best] > 0 else p[row].max()
                found[kind].append((ious[row][best], float(own)))
                if kind == 'ignored':
                    continue
                for label in range(10):
                    is_own = kind == 'positive' and labels[assigned[row]] == label
                    scores[is_own].append(float(p[row, label]))
    return found, scores


@pytest.mark.parametrize('which', [0, 1], ids=['sigmoid', 'softmax'])
def test_pairs_and_scores_are_those_of_a_slow_matcher(runs, which):
    expected, scores = slow_pairs(runs[which])
    parts = list(examples(runs[which], device='cpu'))
    pairs = [score_pairs(part) for part in parts]
    for kind, values in expected.items():
        found = np.concatenate([part[kind] for part in pairs])
        assert len(found) == len(values) > 5, kind
        np.testing.assert_allclose(found, values, atol=2e-5)
    for is_own in (False, True):
        found = np.concatenate([split_scores(part)[is_own] for part in parts])
        np.testing.assert_allclose(np.sort(found), np.sort(scores[is_own]), atol=1e-5)


@pytest.mark.parametrize(
    'batch, count, sizes',
    [(2, 1, [1]), (2, 2, [2]), (2, 3, [2, 1]), (2, 4, [2, 2]), (2, 9, [2, 2, 2]), (4, 5, [4, 1])],
)
def test_exactly_the_first_images(runs, batch, count, sizes):
    """Also above the batch size and no multiple of it: the last batch is cut."""
    cfg = Config(runs[0].config.to_dict())
    dataset = cfg.val_dataloader.dataset
    cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=[dataset, dataset])
    cfg.val_dataloader.batch_size = batch
    batches = list(annotated_batches(cfg, count))
    found = [sample.img_id for one in batches for sample in one['data_samples']]
    every = [sample.img_id for one in annotated_batches(cfg) for sample in one['data_samples']]
    assert len(every) == 6 and found == every[:count]
    assert [len(one['inputs']) for one in batches] == sizes


def test_densities_are_numpy_histograms(runs):
    data = figures.densities(runs, bins=7, images=3, device='cpu')
    assert [curve['label'] for curve in data['curves']] == ['AP', 'CE + OHEM']
    parts = list(examples(runs[0], device='cpu'))
    for kind, name in enumerate(('background', 'foreground')):
        values = np.concatenate([split_scores(part)[kind] for part in parts])
        found = data['curves'][0][name]
        expected, edges = np.histogram(values, 7, range=(0, 1), density=True)
        np.testing.assert_allclose(found['density'], expected)
        np.testing.assert_allclose(data['edges'], edges)
        assert found['count'] == len(values)
        assert found['mean'] == pytest.approx(values.mean())
    figures.draw_densities(data)
    assert len(figures.draw_separation(data).axes) == 2


def test_runs_of_one_label_count_together(runs):
    twice = figures.open_runs([runs[0].folder] * 2)
    one, two = (figures.densities(r, images=1, device='cpu')['curves'] for r in (twice[:1], twice))
    assert len(two) == 1 and two[0]['runs'] == 2
    assert two[0]['background']['count'] == 2 * one[0]['background']['count']
    np.testing.assert_allclose(two[0]['background']['density'], one[0]['background']['density'])


def test_scatter_keeps_some_of_the_points(runs):
    data = figures.scatter(runs, points=30, images=2, device='cpu')
    assert [panel['label'] for panel in data['panels']] == ['AP', 'CE + OHEM']
    pairs = [score_pairs(part) for part in examples(runs[0], images=2, device='cpu')]
    negatives = np.concatenate([part['negative'] for part in pairs]).tolist()
    kept = data['panels'][0]['negative']
    assert kept['count'] == len(negatives) and len(kept['iou']) == 30
    assert all([iou, score] in negatives for iou, score in zip(kept['iou'], kept['score']))
    assert len(figures.draw_scatter(data).axes) == 2


def test_every_point_has_the_same_chance():
    rows = np.arange(420)[:, None].repeat(2, 1).astype(float)
    times = np.zeros(420)
    for seed in range(500):
        draw = _Draw(40, (seed, 0))
        for part in np.split(rows, [1, 11, 11, 60, 400]):  # as batches come
            draw.add(part)
        kept = draw.rows[:, 0].astype(int)
        assert draw.count == 420 and len(set(kept)) == 40
        times[kept] += 1
    # Of 500 draws each row is in 40 / 420, give or take a binomial's 6.6.
    expected = 500 * 40 / 420
    for part in np.split(times, [1, 11, 60, 400]):
        assert abs(part.mean() - expected) < 4 * 6.6 / np.sqrt(len(part))
    assert 5.5 < times.std() < 7.7


def test_a_part_of_a_data_set_is_measured_on_its_images(digits, tmp_path, monkeypatch):  # noqa: F811
    """Images that were not tested have not been missed."""
    run = figures.open_runs(
        [untrained(tmp_path / 'a', digits, val_dataloader__dataset__indices=[2, 0])]
    )
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})  # as in a process of its own
    truth, found = predict(run[0])
    content = json.loads((digits / 'annotations/instances_val.json').read_text())
    ids = sorted(image['id'] for image in content['images'])
    assert truth.image_ids == (ids[0], ids[2])
    objects = sorted(
        (one['image_id'], one['category_id'], *one['bbox'])
        for one in content['annotations']
        if one['image_id'] in truth.image_ids
    )
    assert objects == sorted(
        (truth.image_ids[image], truth.class_ids[label], *box)
        for image, label, box in zip(truth.image, truth.label, truth.boxes.tolist())
    )
    assert set(found.image) == {0, 1}


def test_a_part_without_objects(digits, tmp_path):  # noqa: F811
    data = shutil.copytree(digits, tmp_path / 'data')
    path = data / 'annotations/instances_val.json'
    content = json.loads(path.read_text())
    first = min(image['id'] for image in content['images'])
    content['annotations'] = [one for one in content['annotations'] if one['image_id'] != first]
    path.write_text(json.dumps(content))
    run = figures.open_runs([untrained(tmp_path / 'a', data, val_dataloader__dataset__indices=1)])
    with pytest.raises(ValueError, match='no annotations of the 1 images that are tested'):
        predict(run[0])


def test_loss_cost_of_two_losses(runs):
    data = figures.loss_cost(runs, batch_sizes=[1, 2], rounds=1, device='cpu')
    for curve in data['curves']:
        for key in ('loss_seconds', 'loss_bytes', 'network_seconds', 'network_bytes'):
            assert len(curve[key]) == 2 and min(curve[key]) > 0
        assert curve['network_bytes'][1] > 1.3 * curve['network_bytes'][0]
    figures.draw_loss_cost(data)


def test_a_preprocessor_beside_the_model(runs, tmp_path):
    """MMEngine's Runner takes it for that of the model: the same training, the same figure."""
    cfg = Config.fromfile(runs[0].config_file)
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    cfg.dump(tmp_path / 'config.py')
    shutil.copy(runs[0].checkpoint, tmp_path)
    found = [
        figures.densities(figures.open_runs([folder]), images=2, device='cpu')
        for folder in (runs[0].folder, tmp_path)
    ]
    np.testing.assert_equal(found[0], found[1])


# ---------------------------------------------------------------- mistakes


def test_no_config_beside_the_checkpoint(runs, tmp_path):
    shutil.copy(runs[0].checkpoint, tmp_path)
    (run,) = figures.open_runs([tmp_path])
    with pytest.raises(UserError, match=r'has no config \(\*.py\) beside it.*--config FILE'):
        figures.scatter([run])
    (run,) = figures.open_runs([tmp_path], config=runs[0].config_file)
    assert run.label == 'AP' and figures.scatter([run], images=1, device='cpu')['panels']


def test_a_config_that_does_not_fit(runs):
    (run,) = figures.open_runs([runs[1].checkpoint], config=runs[0].config_file)
    with pytest.raises(
        UserError, match=r'does not fit this config.*use the config of its training'
    ):
        figures.densities([run])


def test_a_data_set_without_boxes(runs, digits, tmp_path):  # noqa: F811
    data = shutil.copytree(digits, tmp_path / 'data')
    path = data / 'annotations/instances_val.json'
    content = json.loads(path.read_text())
    content['annotations'] = []
    path.write_text(json.dumps(content))
    cfg = Config.fromfile(runs[0].config_file)
    cfg.merge_from_dict(tiny.at(data))
    folder = tmp_path / 'run'
    folder.mkdir()
    cfg.dump(folder / 'config.py')
    shutil.copy(runs[0].checkpoint, folder)
    with pytest.raises(UserError, match=r'instances_val\.json has no boxes on its 3 images'):
        figures.scatter(figures.open_runs([folder]))
