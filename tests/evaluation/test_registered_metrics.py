"""The registered metrics: beside CocoMetric, without an annotation file, over two processes."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger

from rankdet import compat
from rankdet.evaluation import evaluate, metrics
from tests.evaluation.scenes import make_scenes

ROOT = Path(__file__).resolve().parents[2]
GT, RESULTS = make_scenes(6, images=13)
CLASSES = tuple(category['name'] for category in GT['categories'])
NAMES = ('DetectionMetric', 'LRPMetric', 'RankCorrelationMetric', 'VOCAPMetric')


def make_samples(gt=GT, results=RESULTS, instances=False) -> list[dict]:
    """What MMDetection hands to a metric, image by image."""
    ids = [category['id'] for category in gt['categories']]
    samples = []
    for image in gt['images']:
        rows = [r for r in results if r['image_id'] == image['id']]
        boxes = torch.tensor([r['bbox'] for r in rows], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        sample = dict(
            img_id=image['id'],
            ori_shape=(300, 300),
            pred_instances=dict(
                bboxes=boxes,
                scores=torch.tensor([r['score'] for r in rows], dtype=torch.float32),
                labels=torch.tensor([ids.index(r['category_id']) for r in rows]).long(),
            ),
        )
        if instances:
            sample['instances'] = [
                dict(
                    bbox=[x, y, x + w, y + h],
                    bbox_label=ids.index(a['category_id']),
                    ignore_flag=a['iscrowd'],
                )
                for a in gt['annotations']
                if a['image_id'] == image['id']
                for x, y, w, h in [a['bbox']]
            ]
        samples.append(sample)
    return samples


@pytest.fixture
def ann_file(tmp_path):
    path = tmp_path / 'gt.json'
    path.write_text(json.dumps(GT))
    return str(path)


def run(metric, samples, classes=CLASSES, batch=4):
    metric.dataset_meta = dict(classes=classes)
    for start in range(0, len(samples), batch):
        metric.process({}, samples[start : start + batch])
    return metric.evaluate(len(samples))


def build(name, **kwargs):
    return getattr(metrics, name)(**kwargs)


def test_together_in_one_evaluator(ann_file):
    compat.install()
    evaluator = Evaluator(
        [dict(type='mmdet.CocoMetric', ann_file=ann_file, metric='bbox', classwise=True)]
        + [dict(type=f'mmdet.{name}', ann_file=ann_file, classwise=True) for name in NAMES]
    )
    evaluator.dataset_meta = dict(classes=CLASSES)
    samples = make_samples()
    evaluator.process(samples, {})
    found = evaluator.evaluate(len(samples))
    for ours, theirs in (('AP', 'mAP'), ('AP50', 'mAP_50'), ('AP75', 'mAP_75'), ('AP_S', 'mAP_s')):
        assert found[f'det/{ours}'] == pytest.approx(found[f'coco/bbox_{theirs}'], abs=6e-4)
    assert found['lrp/oLRP'] == found['det/oLRP']
    assert found['rank/rho'] == found['det/rho']
    assert found['rank/upper/AP90'] == found['det/upper/AP90']
    assert 0 < found['voc/VOC_AP50_area'] < 1


def test_values_of_the_classes(ann_file):
    samples, wanted = make_samples(), evaluate(GT, RESULTS).per_class()
    lrp = run(build('LRPMetric', ann_file=ann_file, classwise=True), samples)
    det = run(build('DetectionMetric', ann_file=ann_file, classwise=True), samples)
    names = ('oLRP', 'oLRP_loc', 'oLRP_fp', 'oLRP_fn', 'threshold')
    for label in CLASSES[:-1]:
        for name in names:
            value = pytest.approx(wanted[label][name], abs=1e-5)
            assert lrp[f'lrp/{label}_{name}'] == det[f'det/{label}_{name}'] == value
        assert det[f'det/{label}_AP'] == pytest.approx(wanted[label]['AP'], abs=1e-4)
    # The last class has objects and no detections: what it does not have is left out.
    assert {n for n in names if f'lrp/{CLASSES[-1]}_{n}' in lrp} == {'oLRP', 'oLRP_fn'}
    assert lrp[f'lrp/{CLASSES[-1]}_oLRP'] == 1


def test_sizes_are_taken_in_double_precision(tmp_path):
    """In single precision the box is 65 wide, and half of the object to the last bit."""
    compat.install()
    from mmdet.evaluation import CocoMetric

    x1, x2 = np.array([5.131997, 70.131996], np.float32).tolist()
    box = [x1, 0.0, x2, 10.0]
    assert x2 - x1 < 65 == np.float32(x2) - np.float32(x1)
    gt = dict(
        images=[dict(id=1, width=300, height=300, file_name='1.jpg')],
        categories=[dict(id=1, name='a')],
        annotations=[
            dict(id=1, image_id=1, category_id=1, bbox=[x1, 0, 130, 10], area=1300, iscrowd=0)
        ],
    )
    path = tmp_path / 'gt.json'
    path.write_text(json.dumps(gt))
    pred = dict(bboxes=torch.tensor([box]), scores=torch.ones(1), labels=torch.zeros(1).long())
    sample = dict(img_id=1, ori_shape=(300, 300), pred_instances=pred)
    theirs = CocoMetric(ann_file=str(path), metric='bbox')
    ours = build('DetectionMetric', ann_file=str(path))
    found = run(theirs, [sample], classes=('a',)) | run(ours, [sample], classes=('a',))
    assert found['det/AP50'] == found['coco/bbox_mAP_50'] == 0


def test_refuses_an_image_tested_twice(ann_file):
    metric = build('LRPMetric', ann_file=ann_file)
    samples = make_samples()
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, samples + samples[:1])
    with pytest.raises(ValueError, match=r'images \[3\] \(1 such\) were tested more than once'):
        metric.evaluate(len(samples) + 1)


def test_equals_the_saved_result(ann_file, tmp_path):
    metric = build('DetectionMetric', ann_file=ann_file, outfile_prefix=str(tmp_path / 'new' / 'r'))
    found = run(metric, make_samples())
    saved = evaluate(ann_file, tmp_path / 'new' / 'r.bbox.json').summary()
    assert found == pytest.approx({f'det/{k}': v for k, v in saved.items()}, abs=0, nan_ok=True)


def test_ground_truth_of_the_samples():
    gt = dict(GT, annotations=[dict(a) for a in GT['annotations']])
    for annotation in gt['annotations']:
        annotation['area'] = annotation['bbox'][2] * annotation['bbox'][3]
    found = run(build('DetectionMetric'), make_samples(instances=True))
    wanted = evaluate(gt, RESULTS).summary()
    for name in ('AP', 'AP_S', 'AP_M', 'oLRP', 'rho'):
        assert found[f'det/{name}'] == pytest.approx(wanted[name], abs=1e-3), name
    with pytest.raises(ValueError, match='LRPMetric needs ann_file'):
        run(build('LRPMetric'), make_samples())


def test_labels_follow_the_order_of_the_file(ann_file, tmp_path):
    wanted = run(build('LRPMetric', ann_file=ann_file), make_samples())
    turned = dict(GT, categories=GT['categories'][::-1])
    path = tmp_path / 'turned.json'
    path.write_text(json.dumps(turned))
    metric = build('LRPMetric', ann_file=str(path))
    assert run(metric, make_samples(turned), CLASSES[::-1]) == pytest.approx(wanted)


def test_some_classes_of_the_file(ann_file):
    category = GT['categories'][1]
    gt = dict(GT, categories=[category])
    gt['annotations'] = [a for a in GT['annotations'] if a['category_id'] == category['id']]
    results = [r for r in RESULTS if r['category_id'] == category['id']]
    metric = build('LRPMetric', ann_file=ann_file)
    found = run(metric, make_samples(gt, results), classes=(category['name'],))
    wanted = evaluate(gt, results).summary()['oLRP']
    assert found['lrp/oLRP'] == pytest.approx(wanted, abs=1e-6)


def test_nothing_detected(ann_file):
    found = run(build('DetectionMetric', ann_file=ann_file), make_samples(results=[]))
    assert found['det/AP'] == 0
    assert found['det/oLRP'] == 1
    assert math.isnan(found['det/rho'])


@pytest.mark.parametrize('name', NAMES)
def test_refuses_nan(name, ann_file):
    samples = make_samples()
    samples[0]['pred_instances']['scores'][0] = math.nan
    with pytest.raises(ValueError, match=f'{name}: detections: score must be finite'):
        run(build(name, ann_file=ann_file), samples)


def test_refuses_images_and_classes_that_do_not_fit(ann_file):
    samples = make_samples()
    samples[2]['img_id'] = 999
    with pytest.raises(ValueError, match=r'does not have the images \[999\]'):
        run(build('LRPMetric', ann_file=ann_file), samples)
    with pytest.raises(ValueError, match=r"classes \['dog'\] are not in"):
        run(build('LRPMetric', ann_file=ann_file), make_samples(), classes=('dog',))
    with pytest.raises(ValueError, match=r'labels must be in \[0, 1\)'):
        run(build('LRPMetric', ann_file=ann_file), make_samples(), classes=CLASSES[:1])


@pytest.mark.parametrize('name', NAMES)
def test_ground_truth_is_read_before_the_first_batch(name, tmp_path):
    path = tmp_path / 'gt.json'
    for content, error, message in (
        (None, FileNotFoundError, rf'{name}: ann_file: .*gt.json.* does not exist'),
        ('{', ValueError, 'gt.json.* is not JSON'),
        (json.dumps(GT | dict(annotations=[])), ValueError, 'gt.json. has no annotations'),
    ):
        if content is not None:
            path.write_text(content)
        evaluator = Evaluator([build(name, ann_file=str(path))])
        with pytest.raises(error, match=message):
            evaluator.dataset_meta = dict(classes=CLASSES)
    with pytest.raises(ValueError, match=f'{name} needs the classes of dataset_meta'):
        build(name, ann_file=str(path)).process({}, make_samples())


def test_explains_values_that_are_undefined(tmp_path, caplog):
    path = tmp_path / 'gt.json'
    gt = dict(GT, annotations=[dict(a, area=1e11) for a in GT['annotations']])
    path.write_text(json.dumps(gt))
    with caplog.at_level('WARNING', logger='mmengine'):
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        try:
            found = run(build('LRPMetric', ann_file=str(path)), make_samples(results=[]))
        finally:
            logger.removeHandler(caplog.handler)
    assert math.isnan(found['lrp/oLRP'])
    assert 'LRPMetric: the result is empty' in caplog.text
    assert 'LRPMetric: no object counts, so that every value is NaN' in caplog.text


@pytest.mark.parametrize(
    ('name', 'kwargs', 'message'),
    [
        ('LRPMetric', dict(tau=1), 'tau must be in'),
        ('LRPMetric', dict(max_dets=0), 'max_dets must be at least 1'),
        ('DetectionMetric', dict(tau=-1), 'tau must be in'),
        ('DetectionMetric', dict(max_dets=(100, 10)), 'max_dets must be at least 1 and ascend'),
        ('DetectionMetric', dict(max_dets=(0, 100)), 'max_dets must be at least 1 and ascend'),
        ('VOCAPMetric', dict(iou_thr=0), 'iou_thr must be in'),
    ],
)
def test_refuses_options(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(name, **kwargs)


WORKER = """
import json, sys
import torch.distributed as dist
from tests.evaluation.test_registered_metrics import NAMES, CLASSES, build, make_samples

store, rank, ann_file, out = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
samples = make_samples()
# As a distributed sampler deals: alternately, and the odd one out is filled up from the front.
mine = (samples + samples[:1])[rank::2]
found = {}
for name in NAMES:
    metric = build(name, ann_file=ann_file)
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, mine)
    found.update(metric.evaluate(len(samples)))
json.dump(found, open(f'{out}.{rank}', 'w'))
dist.destroy_process_group()
"""


def test_two_processes_measure_the_union(ann_file, tmp_path):
    wanted = {}
    for name in NAMES:
        wanted.update(run(build(name, ann_file=ann_file), make_samples()))
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    args = [str(tmp_path / 'store'), ann_file, str(tmp_path / 'found')]
    workers = [
        subprocess.Popen(
            [sys.executable, '-c', WORKER, args[0], str(rank), *args[1:]],
            env=env,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [worker.communicate(timeout=120)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], errors
    for rank in range(2):
        found = json.loads((tmp_path / f'found.{rank}').read_text())
        assert list(found) == list(wanted)
        np.testing.assert_array_equal(list(found.values()), list(wanted.values()))
