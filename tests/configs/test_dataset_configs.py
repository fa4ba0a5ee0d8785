"""Every data set config on tiny data: what it loads, at which size, how it measures."""

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS, TRANSFORMS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from PIL import Image

from rankdet.datasets.official import COCO_CLASSES, VOC_CLASSES
from rankdet.datasets.tiny import make_tiny_coco, make_tiny_voc
from rankdet.engine.preflight import check_data, leaf_datasets

BASES = Path(__file__).parents[2] / 'configs' / '_base_'
COMPOSED = sorted(path.stem for path in (BASES / 'datasets').glob('*_*.py'))
COMPOSED = [name for name in COMPOSED if re.match('(coco|voc)', name)]
VOC_TRAINING = {
    'voc07': [('VOC2007', 'trainval')],
    'voc12': [('VOC2012', 'trainval')],
    'voc0712': [('VOC2007', 'trainval'), ('VOC2012', 'trainval')],
    'voc07++12': [('VOC2007', 'trainval'), ('VOC2007', 'test'), ('VOC2012', 'trainval')],
}
NMS = dict(type='nms', iou_threshold=0.5)
#: Shortest and longest side that the papers and releases print.
TEST_LIMITS = {
    'test-500': (500, 833),
    'test-600': (600, 1000),
    'test-800': (800, 1333),
    'flip-400': (400, 667),
    'flip-500': (500, 833),
    'flip-600': (600, 1000),
    'flip-700': (700, 1167),
    'flip-800': (800, 1333),
    'jitter-640-800': (800, 1333),
}


@pytest.fixture(scope='module', autouse=True)
def scope():
    register_all_modules(init_default_scope=True)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    make_tiny_voc(root / 'VOCdevkit', images=4)
    make_tiny_coco(root / 'coco2017', images=4)
    make_tiny_coco(root / 'coco2014', images=4, names='2014')
    return root


@pytest.fixture
def load(data, monkeypatch):
    """The config of that name over the tiny data."""

    def load(name, names='2017', test_on='minival'):
        monkeypatch.setenv('VOC_ROOT', str(data / 'VOCdevkit'))
        monkeypatch.setenv('COCO_ROOT', str(data / f'coco{names}'))
        monkeypatch.setenv('COCO_NAMES', names)
        monkeypatch.setenv('COCO_TEST', test_on)
        return Config.fromfile(BASES / 'datasets' / f'{name}.py')

    return load


def build_loader(config, **options):
    options = dict(config, num_workers=0, persistent_workers=False, **options)
    return Runner.build_dataloader(options, seed=0)


def images_of(dataset):
    return {Path(dataset.get_data_info(n)['img_path']) for n in range(len(dataset))}


def limited(height, width, short, long):
    """Height and width with the shortest side at ``short``, unless the longest exceeds ``long``."""
    scale = min(short / min(height, width), long / max(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


# --- what is loaded ----------------------------------------------------------------------------


def test_there_are_configs():
    assert len(COMPOSED) > 20
    # AP Loss: benchmark at 500, ablations at 600, on either data
    for regime in ('ssd-512_test-500_caffe', 'ssd-512_test-600_caffe'):
        assert {f'coco_{regime}', f'voc0712_{regime}'} <= set(COMPOSED)


@pytest.mark.parametrize('path', sorted(BASES.rglob('*.py')), ids=lambda path: path.stem)
def test_a_comment_says_what_it_is(path):
    assert re.match(r'# \S.{20,}', path.read_text())


@pytest.mark.parametrize('name', COMPOSED)
def test_a_training_batch(name, load):
    config = load(name)
    classes = VOC_CLASSES if name.startswith('voc') else COCO_CLASSES
    model = dict(type='RetinaNet', bbox_head=dict(num_classes=len(classes)))
    loop = dict(type='EpochBasedTrainLoop')
    check_data(Config(dict(config, model=model, train_cfg=loop)), ('train', 'val', 'test'))
    regime = name.split('_', 1)[1]
    loader = build_loader(dict(config.train_dataloader, batch_size=2))
    batch = next(iter(loader))
    assert len(batch['inputs']) == 2
    fixed = re.match(r'ssd-(\d+)', regime)
    for pixels, sample in zip(batch['inputs'], batch['data_samples']):
        if fixed:
            assert pixels.shape == (3, int(fixed[1]), int(fixed[1]))
        elif regime.startswith('flip'):
            assert pixels.shape[1:] == limited(*sample.ori_shape, *TEST_LIMITS[regime])
        boxes = sample.gt_instances.bboxes.tensor
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert boxes.max() <= max(pixels.shape)
    infinite = type(loader.batch_sampler.sampler).__name__ == 'SeededInfiniteSampler'
    assert infinite == (not fixed), 'DR Loss counts iterations, the others epochs'


@pytest.mark.parametrize('name', [name for name in COMPOSED if name.startswith('voc')])
def test_voc_trains_on_what_its_name_says(name, load, data):
    config = load(name)
    expected = set()
    for year, split in VOC_TRAINING[name.split('_')[0]]:
        folder = data / 'VOCdevkit' / year
        stems = (folder / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split()
        expected |= {folder / 'JPEGImages' / f'{stem}.jpg' for stem in stems}
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert images_of(dataset) == expected
    assert dataset.metainfo['classes'] == VOC_CLASSES


@pytest.mark.parametrize(
    ('names', 'train', 'test', 'test_dev'),
    [
        ('2017', {'train2017'}, 'val2017', 'test2017'),
        ('2014', {'train2014', 'val2014'}, 'val2014', 'test2015'),
    ],
)
def test_coco_under_both_names(names, train, test, test_dev, load):
    config = load('coco_ssd-300_vgg', names)
    training = images_of(DATASETS.build(config.train_dataloader.dataset))
    minival = DATASETS.build(config.test_dataloader.dataset)
    assert {path.parent.name for path in training} == train
    assert {path.parent.name for path in images_of(minival)} == {test}
    assert not training & images_of(minival)
    assert minival.metainfo['classes'] == COCO_CLASSES
    assert config.test_dataloader == config.val_dataloader
    config = load('coco_ssd-300_vgg', names, 'test-dev')
    images = images_of(DATASETS.build(config.test_dataloader.dataset))
    assert {path.parent.name for path in images} == {test_dev}
    assert config.val_dataloader.dataset.data_prefix.img == f'{test}/'


@pytest.mark.parametrize('options', [dict(names='2015'), dict(test_on='val')])
def test_coco_refuses_other_names(options, load, data):
    (data / f'coco{options.get("names", "2017")}').mkdir(exist_ok=True)
    with pytest.raises(ValueError, match='must be'):
        load('coco', **options)


# --- difficult objects -------------------------------------------------------------------------


def test_difficult_objects_are_ignored_not_learned(load, data):
    config = load('voc07_flip-800')
    seen = 0
    for sample in iter_once(config):
        tree = ElementTree.parse(
            data / 'VOCdevkit/VOC2007/Annotations' / f'{Path(sample.img_path).stem}.xml'
        )
        flags = [element.findtext('difficult') == '1' for element in tree.iter('object')]
        assert len(sample.ignored_instances) == sum(flags)
        assert len(sample.gt_instances) == len(flags) - sum(flags)
        seen += sum(flags)
    assert seen


def iter_once(config):
    dataset = DATASETS.build(config.train_dataloader.dataset)
    return [dataset[n]['data_samples'] for n in range(len(dataset))]


# --- augmentation ------------------------------------------------------------------------------


def test_flips_are_the_only_change(load, data):
    """OpenCV resizes as the transform does; each image must be that, or that mirrored."""
    dataset = DATASETS.build(load('coco_flip-400').train_dataloader.dataset)
    flips = []
    torch.manual_seed(0)
    np.random.seed(0)
    for n in [*range(len(dataset))] * 4:
        drawn = dataset[n]
        sample, pixels = drawn['data_samples'], drawn['inputs'].permute(1, 2, 0).numpy()
        height, width = limited(*sample.ori_shape, 400, 667)
        plain = cv2.resize(cv2.imread(sample.img_path), (width, height))
        assert np.array_equal(pixels, plain[:, ::-1] if sample.flip else plain)
        flips.append(sample.flip)
    assert {True, False} == set(flips)


def test_jitter_draws_the_six_sizes(load):
    config = load('coco_jitter-640-800')
    dataset = DATASETS.build(config.train_dataloader.dataset)
    np.random.seed(0)
    drawn = {min(dataset[0]['inputs'].shape[1:]) for _ in range(60)}
    assert drawn == {640, 672, 704, 736, 768, 800}


@pytest.mark.parametrize('name', [name for name in COMPOSED if '_ssd-' in name])
def test_ssd_augmentation(name, load):
    """In SSD's order, and what Expand adds is zero to the network."""
    config = load(name)
    kinds = [transform.type for transform in config.train_pipeline]
    assert kinds[2:-1] == [
        *('PhotoMetricDistortion', 'Expand', 'MinIoURandomCrop', 'Resize', 'RandomFlip'),
    ]
    # SSD, Sec. 2.2 and 3.6, and its release; the transforms are built, so that defaults count too.
    photometric, expand, crop = (TRANSFORMS.build(config.train_pipeline[n]) for n in (2, 3, 4))
    assert photometric.brightness_delta == 32 and photometric.hue_delta == 18
    assert (photometric.contrast_lower, photometric.contrast_upper) == (0.5, 1.5)
    assert (photometric.saturation_lower, photometric.saturation_upper) == (0.5, 1.5)
    assert (expand.min_ratio, expand.max_ratio, expand.prob) == (1, 4, 0.5)
    assert tuple(crop.min_ious) == (0.1, 0.3, 0.5, 0.7, 0.9) and crop.min_crop_size == 0.3
    expand = TRANSFORMS.build(dict(config.train_pipeline[3], prob=1.0, ratio_range=(3, 3)))
    found = expand(
        dict(
            img=np.full((8, 8, 3), 255, np.float32),
            img_shape=(8, 8),
            gt_bboxes=np.zeros((0, 4), np.float32),
        )
    )
    assert found['img'].shape == (24, 24, 3)
    fed = feed(config.data_preprocessor, found['img'])
    assert (fed.abs() < 1e-3).all(0).sum() == 24 * 24 - 64


def feed(preprocessor, image):
    from mmdet.registry import MODELS

    built = MODELS.build(dict(preprocessor, pad_size_divisor=1))
    inputs = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return built(dict(inputs=[inputs], data_samples=None))['inputs'][0]


# --- testing -----------------------------------------------------------------------------------


@pytest.mark.parametrize('shape', [(96, 128), (144, 96), (60, 200), (210, 60)])
@pytest.mark.parametrize('name', COMPOSED)
def test_test_sizes(name, shape, load, tmp_path):
    pipeline = load(name).test_pipeline
    kinds = [transform.type for transform in pipeline]
    assert kinds == ['LoadImageFromFile', 'Resize', 'LoadAnnotations', 'PackDetInputs']
    Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(tmp_path / 'a.png')
    results = dict(img_path=str(tmp_path / 'a.png'), img_id=1)
    for transform in pipeline[:2]:
        results = TRANSFORMS.build(transform)(results)
    fixed = re.search(r'ssd-(\d+)_vgg', name)
    limits = [value for key, value in TEST_LIMITS.items() if f'_{key}' in name]
    expected = (int(fixed[1]),) * 2 if fixed else limited(*shape, *limits[0])
    assert results['img'].shape[:2] == expected


def test_what_is_kept_of_the_output():
    """NMS at 0.5 on the 1,000 best, 100 boxes remain: every table of the papers."""
    kept = Config.fromfile(BASES / 'testing' / 'detections.py').detections
    assert (kept.nms_pre, kept.nms, kept.max_per_img) == (1000, NMS, 100)
    merged = Config.fromfile(BASES / 'testing' / 'tta.py').tta_model.tta_cfg
    assert (merged.nms, merged.max_per_img) == (NMS, 100)


def measure(config, change=lambda predictions: predictions):
    """Evaluate predictions that equal the annotations, difficult ones and crowds included."""
    loader = build_loader(config.val_dataloader)
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    samples = []
    for batch in loader:
        for sample in batch['data_samples']:
            truth = [sample.gt_instances, sample.ignored_instances]
            sample.pred_instances = type(truth[0])(
                bboxes=torch.cat([part.bboxes.tensor for part in truth]),
                labels=torch.cat([part.labels for part in truth]),
                scores=torch.linspace(0.9, 0.5, sum(map(len, truth))),
            )
            samples.append(change(sample))
    evaluator.process(samples, {})
    return evaluator.evaluate(len(samples))


@pytest.mark.parametrize('name', COMPOSED)
def test_perfect_predictions_are_perfect(name, load):
    found = measure(load(name))
    for key in ('coco/bbox_mAP', 'coco/bbox_mAP_50', 'det/AP', 'det/AP50', 'det/AP75', 'det/AP90'):
        assert found[key] == pytest.approx(1), key
    assert found['det/oLRP'] == pytest.approx(0, abs=1e-4)
    if name.startswith('voc'):
        assert found['voc/VOC_AP50_11point'] == found['voc/VOC_AP50_area'] == 1


@pytest.mark.parametrize('name', ['voc0712_ssd-512_test-500_caffe', 'coco_flip-800'])
def test_missing_one_object_costs(name, load):
    """And an ignored one does not: it comes last in each image."""

    def drop(sample, first):
        n = len(sample.pred_instances)
        kept = slice(1, None) if first else slice(0, n - len(sample.ignored_instances))
        sample.pred_instances = sample.pred_instances[torch.arange(n)[kept]]
        return sample

    config = load(name)
    keys = ('coco/bbox_mAP', 'det/AP', 'voc/VOC_AP50_area')
    without = measure(config, lambda sample: drop(sample, first=True))
    assert all(without[key] < 0.99 for key in keys if key in without)
    without = measure(config, lambda sample: drop(sample, first=False))
    assert all(without[key] == pytest.approx(1) for key in keys if key in without)


@pytest.mark.parametrize(
    ('name', 'test_on'),
    [('coco_ssd-300_vgg', 'test-dev'), ('voc07++12_ssd-512_test-500_caffe', 'minival')],
)
def test_withheld_annotations_are_only_formatted(name, test_on, load, tmp_path):
    config = load(name, test_on=test_on)
    evaluator = config.test_evaluator
    metric = METRICS.build(dict(evaluator, outfile_prefix=str(tmp_path / 'found')))
    loader = build_loader(config.test_dataloader)
    metric.dataset_meta = loader.dataset.metainfo
    ids = []
    for batch in loader:
        for sample in batch['data_samples']:
            assert len(sample.gt_instances) == 0
            prediction = dict(
                bboxes=torch.tensor([[1.0, 2.0, 11.0, 22.0]]),
                labels=torch.tensor([19]),
                scores=torch.tensor([0.5]),
            )
            metric.process({}, [dict(sample.metainfo, pred_instances=prediction)])
            ids.append(sample.img_id)
    metric.evaluate(len(ids))
    rows = json.loads((tmp_path / 'found.bbox.json').read_text())
    assert [row['image_id'] for row in rows] == ids
    assert {row['category_id'] for row in rows} == {20 if name.startswith('voc') else 21}
    assert rows[0]['bbox'] == [1, 2, 10, 20]


def test_classes_of_the_host():
    """The names that are written down here are those of MMDetection."""
    assert DATASETS.get('VOCDataset').METAINFO['classes'] == VOC_CLASSES
    assert DATASETS.get('CocoDataset').METAINFO['classes'] == COCO_CLASSES


def test_leaves_are_found(load):
    """rankdet's checks before a run look through the wrappers."""
    config = load('voc07++12_ssd-512_vgg')
    assert len(list(leaf_datasets(config.train_dataloader.dataset))) == 3
