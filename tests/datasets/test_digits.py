"""The embedded data set: honest, deterministic, never half written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rankdet import compat
from rankdet.datasets import digit_scenes, digits
from rankdet.datasets.digits import CLASSES, make_digits, make_scene, split_scans

pytest.importorskip('sklearn')
REPO = Path(__file__).parents[2]


def box_iou(a, b):
    """IoU by counting pixels: an oracle that shares nothing with the code."""
    masks = np.zeros((2, 400, 400), bool)
    for mask, (x, y, w, h) in zip(masks, (a, b)):
        mask[y : y + h, x : x + w] = True
    return (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return make_digits(tmp_path_factory.mktemp('digits') / 'a', num_train=6, num_val=3)


def test_scans_are_split_once_and_evenly():
    from sklearn.datasets import load_digits

    labels = load_digits().target
    train, val = split_scans()['train'], split_scans()['val']
    everything = np.concatenate([*train, *val])
    assert sorted(everything) == list(range(len(labels)))  # disjoint and complete
    for label in range(10):
        assert set(labels[train[label]]) == set(labels[val[label]]) == {label}
        assert 0.2 < len(val[label]) / (len(val[label]) + len(train[label])) <= 0.25


@pytest.mark.parametrize('size', [96, 192])
def test_scenes_keep_the_promised_bounds(size):
    overlapped = 0
    for index in range(25):
        image, objects = make_scene(index, size=size)
        assert image.shape == (size, size, 3) and image.dtype == np.uint8
        assert 3 <= len(objects) <= 15
        for number, item in enumerate(objects):
            x, y, w, h = item['bbox']
            assert 10 <= max(w, h) <= min(64, size // 2)
            assert min(x, y) >= 0 and x + w <= size and y + h <= size
            assert item['scan'] in split_scans()['train'][item['label']]
            ious = [box_iou(item['bbox'], other['bbox']) for other in objects[:number]]
            assert all(iou <= 0.4 for iou in ious)
            overlapped += any(iou >= 0.1 for iou in ious)
    assert overlapped > 10


def test_boxes_are_tight_around_the_ink(monkeypatch):
    """Each digit painted alone on a flat ground: the pixels that change span the box."""
    painted = []
    paint = digit_scenes._paint

    def spy(rng, image, alpha, contrast):
        painted.append(alpha)
        paint(rng, image, alpha, contrast)

    monkeypatch.setattr(digit_scenes, '_paint', spy)
    monkeypatch.setattr(digit_scenes, '_draw_clutter', lambda rng, image: None)
    _, objects = make_scene(5)
    assert len(painted) == len(objects)
    for alpha, item in zip(painted, objects):
        assert list(alpha.shape[::-1]) == item['bbox'][2:]
        ink = alpha >= digit_scenes.INK
        assert ink[0].any() and ink[-1].any() and ink[:, 0].any() and ink[:, -1].any()


def test_digits_stand_out_from_what_they_cover(monkeypatch):
    """Ink differs from the ground under it by far more than rounding, darker and lighter."""
    signs = set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        image = np.full((3, 12, 12), rng.uniform(10, 245))
        before = image.copy()
        digit_scenes._paint(rng, image, np.ones((12, 12)), 40.0)
        difference = (image - before).mean()
        assert abs(difference) > 20 and image.min() >= 0 and image.max() <= 255
        signs.add(np.sign(difference))
    assert signs == {-1.0, 1.0}


def test_validation_never_shows_a_training_scan():
    shown = {
        split: {item['scan'] for index in range(40) for item in make_scene(index, split=split)[1]}
        for split in ('train', 'val')
    }
    assert len(shown['train']) > 200 and len(shown['val']) > 150
    assert not shown['train'] & shown['val']


def test_files_are_the_same_bytes_again_and_prefixes_of_longer_sets(made, tmp_path):
    again = make_digits(tmp_path / 'again', num_train=6, num_val=3)
    assert contents(again) == contents(made)
    longer = contents(make_digits(tmp_path / 'longer', num_train=8, num_val=4))
    for path, content in contents(made).items():
        if path.suffix == '.png':
            assert longer[path] == content
    short, long = (
        json.loads((root / 'annotations' / 'instances_train.json').read_text())['annotations']
        for root in (made, tmp_path / 'longer')
    )
    assert long[: len(short)] == short


def test_seed_and_split_change_the_scene():
    base = make_scene(0)[0]
    assert not np.array_equal(base, make_scene(0, seed=1)[0])
    assert not np.array_equal(base, make_scene(0, split='val')[0])
    assert not np.array_equal(base, make_scene(1)[0])


def test_annotations_are_coco(made):
    from pycocotools.coco import COCO

    coco = COCO(str(made / 'annotations' / 'instances_train.json'))
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert coco.getCatIds() == list(range(1, 11)) and len(coco.getImgIds()) == 6
    for index, image in enumerate(coco.loadImgs(coco.getImgIds())):
        annotations = coco.loadAnns(coco.getAnnIds(image['id']))
        expected = make_scene(index)[1]
        assert [a['bbox'] for a in annotations] == [item['bbox'] for item in expected]
        assert [a['category_id'] - 1 for a in annotations] == [item['label'] for item in expected]
        assert (made / 'train' / image['file_name']).is_file()


def test_stored_pixels_are_those_of_the_scene(made):
    cv2 = pytest.importorskip('cv2')
    stored = cv2.imread(str(made / 'val' / '000002.png'))[..., ::-1]
    assert np.array_equal(stored, make_scene(2, split='val')[0])


def test_mmdet_reads_it(made):
    compat.install()  # first: it serves what mmdet imports
    from mmdet.datasets import CocoDataset

    dataset = CocoDataset(
        data_root=str(made),
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=digits.METAINFO,
        pipeline=[],
    )
    assert len(dataset) == 3
    for index in range(3):
        expected = make_scene(index, split='val')[1]
        instances = dataset.get_data_info(index)['instances']
        assert [i['bbox_label'] for i in instances] == [item['label'] for item in expected]


def test_second_run_returns_at_once(made, monkeypatch):
    monkeypatch.setattr(digits, 'make_scene', None)
    before = contents(made)
    assert make_digits(made, num_train=6, num_val=3) == made
    assert contents(made) == before


def test_other_options_are_refused_unless_overwritten(tmp_path):
    out = make_digits(tmp_path / 'd', num_train=1, num_val=1)
    with pytest.raises(FileExistsError, match=r"other options.*'seed': 0.*'seed': 4"):
        make_digits(out, num_train=1, num_val=1, seed=4)
    make_digits(out, num_train=1, num_val=1, seed=4, overwrite=True)
    assert json.loads((out / 'digits.json').read_text())['seed'] == 4
    assert [path.name for path in tmp_path.iterdir()] == ['d']


def test_lost_images_are_noticed(tmp_path):
    out = make_digits(tmp_path / 'd', num_train=2, num_val=1)
    (out / 'train' / '000001.png').unlink()
    with pytest.raises(FileExistsError, match=r'holds 1 \+ 1 images'):
        make_digits(out, num_train=2, num_val=1)
    make_digits(out, num_train=2, num_val=1, overwrite=True)
    assert (out / 'train' / '000001.png').is_file()


def test_a_foreign_folder_is_never_replaced(tmp_path):
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(FileExistsError, match='no digit data set'):
        make_digits(tmp_path, num_train=1, num_val=1, overwrite=True)
    assert (tmp_path / 'thesis.tex').read_text() == 'precious'


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(split, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_digits(tmp_path / 'd', num_train=2, num_val=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(num_train=0), 'num_train must be an integer of at least 1, got 0'),
        (dict(num_val=-3), 'num_val'),
        (dict(size=64), 'size must be an integer of at least 96, got 64'),
        (dict(seed=-1), 'seed'),
        (dict(num_train=2.5), 'num_train'),
        (dict(seed=True), 'seed'),
    ],
)
def test_options_out_of_range_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_digits(tmp_path / 'd', **options)
    assert list(tmp_path.iterdir()) == []


def test_scene_options_are_checked():
    with pytest.raises(ValueError, match=r"split must be one of .* got 'test'"):
        make_scene(0, split='test')
    with pytest.raises(ValueError, match='size must be at least 96, got 32'):
        make_scene(0, size=32)


def test_missing_scikit_learn_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    digit_scenes._load_scans.cache_clear()
    with pytest.raises(ImportError, match='pip install scikit-learn'):
        digit_scenes._load_scans()


def run_tool(*args):
    command = [sys.executable, str(REPO / 'tools' / 'make_digits.py'), *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, env={'PYTHONPATH': str(REPO), 'PATH': ''}
    )


def test_command_line(tmp_path):
    done = run_tool('--out', tmp_path / 'd', '--train', 2, '--val', 1, '--size', 96, '--seed', 3)
    assert done.returncode == 0, done.stderr
    assert 'train: 2/2 scenes' in done.stdout
    again = run_tool('--out', tmp_path / 'd', '--train', 3)
    assert again.returncode == 1
    assert again.stderr.startswith('error: ') and again.stderr.count('\n') == 1


def test_importing_pulls_in_no_framework():
    code = (
        'import sys, rankdet.datasets.digits, rankdet.datasets.voc;'
        'print([m for m in sys.modules if m.split(".")[0] in '
        '("mmdet", "mmcv", "mmengine", "torch", "sklearn", "cv2", "PIL")])'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, cwd=REPO, check=True
    )
    assert done.stdout.strip() == '[]'
