"""A data set is broken in one place at a time, and the report must say which."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from rankdet.datasets.check import check_folder
from rankdet.datasets.official import COCO_CATEGORY_IDS, COCO_CLASSES, COCO_SPLITS, VOC_SPLITS
from rankdet.datasets.tiny import make_tiny_coco, make_tiny_voc

REPO = Path(__file__).parents[2]


@pytest.fixture
def voc(tmp_path):
    return make_tiny_voc(tmp_path / 'VOCdevkit', images=4)


@pytest.fixture
def coco(tmp_path):
    return make_tiny_coco(tmp_path / 'coco', images=4)


@pytest.fixture(autouse=True)
def official(monkeypatch):
    """The tiny sets have the official number of images, so that all else stands out."""
    for splits in (VOC_SPLITS, COCO_SPLITS):
        for key, split in splits.items():
            number = 2 if key[1:] in (('train',), ('val',)) else 4
            monkeypatch.setitem(splits, key, split._replace(images=number))


def single(report, *parts, stops=True):
    found = [str(problem) for problem in report.problems]
    assert len(found) == 1, found
    assert found[0].startswith('error' if stops else 'warning'), found
    assert all(part in found[0] for part in parts), found[0]
    assert report.ok == (not stops)
    assert report.text().splitlines()[-1] == f'{int(stops)} errors, {int(not stops)} warnings'


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_text(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# --- sound ones --------------------------------------------------------------------------------


def test_sound_voc(voc):
    report = check_folder(voc, decode=True)
    assert report.problems == [] and report.ok
    assert (
        'VOC2007/ImageSets/Main/trainval.txt: 4 images, 20 objects (2 difficult)' in report.text()
    )
    assert 'VOC2012/ImageSets/Main/test.txt: 4 images, annotations withheld' in report.text()
    assert len(report.parts) == 2 * 8  # four lists and four files made from them, and the images


@pytest.mark.parametrize('names', ['2017', '2014'])
def test_sound_coco(tmp_path, names):
    report = check_folder(make_tiny_coco(tmp_path / 'coco', names=names, images=4), decode=True)
    assert report.problems == [] and report.ok
    assert len(report.parts) == 2 * {'2017': 3, '2014': 4}[names]


def test_one_year_alone(voc):
    assert check_folder(voc / 'VOC2012').problems == []


def test_official_numbers():
    """Known by heart: COCO has 80 classes with ids up to 90."""
    assert len(COCO_CLASSES) == len(set(COCO_CLASSES)) == len(COCO_CATEGORY_IDS) == 80
    names = dict(zip(COCO_CATEGORY_IDS, COCO_CLASSES))
    assert names[1] == 'person' and names[90] == 'toothbrush' and names[13] == 'stop sign'
    assert names[44] == 'bottle' and names[67] == 'dining table' and names[82] == 'refrigerator'


# --- layout ------------------------------------------------------------------------------------


def test_no_folder(tmp_path):
    single(check_folder(tmp_path / 'nowhere'), 'nowhere', 'does not exist')
    (tmp_path / 'photos').mkdir()
    single(check_folder(tmp_path / 'photos'), 'no layout known')


@pytest.mark.parametrize(
    ('gone', 'archive', 'stops'),
    [
        ('VOC2007/ImageSets/Main/trainval.txt', 'VOCtrainval_06-Nov-2007.tar', True),
        ('VOC2007/ImageSets/Main/test.txt', 'VOCtest_06-Nov-2007.tar', True),
        ('VOC2007/JPEGImages/000002.jpg', 'VOCtrainval_06-Nov-2007.tar', True),
        ('VOC2007/Annotations/000006.xml', 'VOCtest_06-Nov-2007.tar', True),
        ('VOC2012/Annotations/2008_000001.xml', 'VOCtrainval_11-May-2012.tar', True),
        ('VOC2012/JPEGImages/2008_000008.jpg', 'VOC2012test.tar', True),
        ('VOC2012/ImageSets/Main/test.txt', 'VOC2012test.tar', False),
        ('VOC2007/instances_test.json', 'VOC2007 --split test --out', True),
        ('VOC2012/instances_test.json', 'VOC2012 --split test --images-only --out', True),
    ],
)
def test_missing_in_voc(voc, gone, archive, stops):
    (voc / gone).unlink()
    single(check_folder(voc), archive, stops=stops)


def test_missing_year_and_folder(voc):
    (voc / 'VOC2012').rename(voc / 'gone')
    single(check_folder(voc), 'VOCtrainval_11-May-2012.tar and VOC2012test.tar', stops=False)
    (voc / 'VOC2007' / 'JPEGImages').rename(voc / 'gone too')
    report = check_folder(voc / 'VOC2007')
    assert not report.ok and 'has no JPEGImages' in report.text()


@pytest.mark.parametrize(
    ('gone', 'archive'),
    [
        ('annotations/instances_train2017.json', 'annotations_trainval2017.zip'),
        ('annotations/instances_val2017.json', 'annotations_trainval2017.zip'),
        ('annotations/image_info_test-dev2017.json', 'image_info_test2017.zip'),
        ('train2017/000000000003.jpg', 'train2017.zip'),
        ('val2017/000000000006.jpg', 'val2017.zip'),
        ('test2017/000000000010.jpg', 'test2017.zip'),
    ],
)
def test_missing_in_coco(coco, gone, archive):
    (coco / gone).unlink()
    single(check_folder(coco), Path(gone).name, archive)


def test_missing_folders_of_coco(coco):
    (coco / 'val2017').rename(coco / 'gone')
    single(check_folder(coco), 'folder of images is missing', 'val2017.zip')


def test_minival_of_2014_is_in_no_archive(tmp_path):
    root = make_tiny_coco(tmp_path / 'coco', names='2014', images=4)
    (root / 'annotations/instances_minival2014.json').unlink()
    single(check_folder(root), 'no archive', 'split_coco_val2014', 'annotations_trainval2014')


def test_counts(voc, coco):
    listing = voc / 'VOC2012/ImageSets/Main/trainval.txt'
    listing.write_text('\n'.join(listing.read_text().split()[:3]))
    edit_json(voc / 'VOC2012/instances_trainval.json', drop_last_image)
    report = check_folder(voc)  # the list, and what is converted from it
    assert [p.stops for p in report.problems] == [True, True] and not report.ok
    few = 'has 3 images, the official number is 4'
    assert f'trainval.txt: {few}; it is in VOCtrainval_11-May-2012.tar' in report.text()
    assert f'trainval.json: {few}; make it from VOCtrainval_11-May-2012.tar' in report.text()
    assert [p.stops for p in check_folder(voc, subset=True).problems] == [False, False]
    path = coco / 'annotations/image_info_test-dev2017.json'
    edit_json(path, lambda content: content['images'].pop())
    single(check_folder(coco), few, 'it is in image_info_test2017.zip; --subset')
    single(check_folder(coco, subset=True), few, stops=False)


def test_more_images_than_there_are(coco):
    path = coco / 'annotations/image_info_test-dev2017.json'
    edit_json(path, lambda c: c['images'].append(dict(c['images'][0], id=10**6)))
    single(check_folder(coco), 'has 5 images, the official number is 4', stops=False)


@pytest.mark.parametrize(
    'kept',
    [
        ('train2014', 'val2014'),
        ('val2014',),
        ('annotations/instances_minival2014.json',),
        ('annotations/instances_val2014.json',),
        ('val2014', 'annotations/instances_val2017.json'),
    ],
)
def test_a_partial_folder_of_2014_is_one_of_2014(tmp_path, kept):
    for name in kept:
        path = tmp_path / 'coco' / name
        if path.suffix:
            path.parent.mkdir(parents=True)
            path.write_text('{}')
        else:
            path.mkdir(parents=True)
    text = check_folder(tmp_path / 'coco').text()
    assert 'instances_train2014.json: annotation file is missing; it is in ' in text
    assert 'annotations_trainval2014.zip' in text and '2017.json' not in text


def test_annotations_of_2017_beside_2014_are_no_folder_of_2017(tmp_path):
    """Both archives of annotations are unpacked there, to split minival off."""
    root = make_tiny_coco(tmp_path / 'coco', names='2014', images=4)
    for name in ('train', 'val'):
        (root / f'annotations/instances_{name}2017.json').write_text('{}')
    assert check_folder(root).problems == []


# --- annotations -------------------------------------------------------------------------------


def test_annotations_cut_short(voc, coco):
    path = coco / 'annotations/instances_train2017.json'
    path.write_text(path.read_text()[:-40])
    single(check_folder(coco), 'cut short', 'annotations_trainval2017.zip')
    path = voc / 'VOC2007/Annotations/000001.xml'
    path.write_text(path.read_text()[:-40])
    single(check_folder(voc), '000001.xml', 'damaged', 'VOCtrainval_06-Nov-2007.tar')


def drop_last_image(content):
    last = content['images'].pop()['id']
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] != last]


def break_format(content):
    del content['images'][1]['width']


def repeat_id(content):
    content['annotations'][1]['id'] = content['annotations'][0]['id']


def lose_image(content):
    content['annotations'][3]['image_id'] = 999


def lose_category(content):
    content['annotations'][3]['category_id'] = 12


def break_box(content):
    content['annotations'][2]['bbox'] = [1, 2, None, 4]


def infinite_box(content):
    content['annotations'][2]['bbox'] = [1, 2, float('nan'), 4]


def negative_width(content):
    content['annotations'][2]['bbox'] = [1, 2, -0.1, 4]


def true_box(content):
    content['annotations'][2]['bbox'] = [1, 2, True, 4]


def text_box(content):
    content['annotations'][2]['bbox'] = ['1', 2, 3, 4]


def lose_annotations(content):
    content['annotations'].clear()


def rename_category(content):
    content['categories'][5]['name'] = 'omnibus'


def turn_categories(content):
    content['categories'].reverse()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (break_format, 'entry 1 of images has no width'),
        (repeat_id, '1 ids of annotations occur more than once'),
        (lose_image, 'image_id of 1 annotations are not in the file: 999'),
        (lose_category, 'category_id of 1 annotations are not in the file: 12'),
        (break_box, 'bbox of 1 annotations are not four finite numbers: [1, 2, None, 4]'),
        (infinite_box, 'bbox of 1 annotations are not four finite numbers'),
        (
            negative_width,
            'width or height of 1 annotations is negative, which the evaluation refuses',
        ),
        (true_box, 'bbox of 1 annotations are not four finite numbers: [1, 2, True, 4]'),
        (text_box, "bbox of 1 annotations are not four finite numbers: ['1', 2, 3, 4]"),
        (lose_annotations, 'has no annotations'),
        (turn_categories, 'another order'),
    ],
)
def test_broken_coco_file(coco, change, message):
    edit_json(coco / 'annotations/instances_train2017.json', change)
    single(check_folder(coco), message)


def test_unknown_classes(voc, coco):
    edit_json(coco / 'annotations/instances_train2017.json', rename_category)
    report = check_folder(coco)
    assert [p.stops for p in report.problems] == [True, False]
    assert 'has no category bus' in report.text() and 'not used: omnibus' in report.text()
    edit_text(voc / 'VOC2007/Annotations/000001.xml', '<name>bird<', '<name>brid<')
    single(check_folder(voc), "class 'brid' (1 x) is not among")


@pytest.mark.parametrize(
    ('box', 'message'),
    [
        ([3, 4, 0.5, 20], 'are less than a pixel'),
        ([300, 4, 20, 20], 'lie outside their image'),
        ([-30, 4, 20, 20], 'lie outside their image'),
        ([-5, 4, 20, 20], 'reach over the edge'),
        ([90, 4, 50, 20], 'reach over the edge'),
    ],
)
def test_boxes_of_coco(coco, box, message):
    def change(content):
        content['annotations'][0]['bbox'] = box

    edit_json(coco / 'annotations/instances_train2017.json', change)
    single(check_folder(coco), f'1 of 20 boxes {message}', '000000000001.jpg', stops=False)


@pytest.mark.parametrize('box', [[-0.7, 4, 20, 20], [0, 0, 128.8, 96]])
def test_rounding_is_no_error(coco, box):
    def change(content):
        content['annotations'][0]['bbox'] = box

    edit_json(coco / 'annotations/instances_train2017.json', change)
    assert check_folder(coco).problems == []


def test_boxes_of_voc(voc):
    path = voc / 'VOC2007/Annotations/000001.xml'
    text = path.read_text()
    corner = text[text.index('<xmin>') : text.index('</xmin>')]
    edit_text(path, corner, '<xmin>500')
    single(check_folder(voc), '1 objects cannot be used', 'xmax < xmin', stops=False)
    path.write_text(text)
    edit_text(path, corner, '<xmin>-20')
    single(check_folder(voc), 'reach over the edge', stops=False)


# --- the tools ---------------------------------------------------------------------------------


def run(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=REPO,
        env=dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(REPO)),
        capture_output=True,
        text=True,
    )


def test_command(voc):
    done = run('tools/check_data.py', voc, '--decode')
    assert done.returncode == 1 and 'error: ' in done.stdout  # for want of thousands of images
    done = run('tools/check_data.py', voc, '--decode', '--subset')
    assert done.returncode == 0, done.stderr
    assert 'not decoded' not in done.stdout
    assert 'official number is 5011' in done.stdout  # not the numbers of these tests
    (voc / 'VOC2007/instances_test.json').unlink()
    done = run('tools/check_data.py', voc, '--subset')
    assert done.returncode == 1 and 'voc_to_coco.py' in done.stdout
    assert done.stdout.endswith('not decoded: damage in their pixels shows with --decode.\n')


def test_nothing_is_said_of_images_where_none_was_opened(tmp_path):
    done = run('tools/check_data.py', tmp_path / 'absent')
    assert done.returncode == 1 and 'folder does not exist' in done.stdout
    assert done.stdout.endswith('1 errors, 0 warnings\n')


def test_a_missing_conversion_is_listed_beside_errors_of_what_it_is_made_from(voc):
    (voc / 'VOC2007/instances_test.json').unlink()
    (voc / 'VOC2007/JPEGImages/000005.jpg').unlink()
    found = [str(problem) for problem in check_folder(voc).problems]
    assert len(found) == 2, found
    assert 'images are missing' in found[0]
    assert 'instances_test.json: is missing; make it from' in found[1]
    assert f'voc_to_coco.py {voc}/VOC2007 --split test --out {voc}/VOC2007' in found[1]


def test_config(coco, monkeypatch, capsys):
    """What only testing needs does not stop a training."""
    import rankdet.plugin  # noqa: F401
    from rankdet.analysis.data_check import check_config

    config = str(REPO / 'configs/_base_/datasets/coco_flip-800.py')
    (coco / 'annotations/image_info_test-dev2017.json').unlink()
    monkeypatch.setenv('COCO_ROOT', str(coco))
    monkeypatch.setenv('COCO_TEST', 'test-dev')
    single(check_config(config), 'image_info_test2017.zip', stops=False)
    (coco / 'val2017/000000000006.jpg').unlink()
    monkeypatch.setattr(sys, 'argv', ['check_data.py', config])
    with pytest.raises(SystemExit) as left:  # in this process: importing MMDetection takes long
        runpy.run_path(str(REPO / 'tools/check_data.py'), run_name='__main__')
    assert left.value.code == 1
    assert 'val2017.zip' in capsys.readouterr().out


def test_config_of_voc_xml(voc, tmp_path):
    import rankdet.plugin  # noqa: F401
    from rankdet.analysis.data_check import check_config

    config = tmp_path / 'voc.py'
    config.write_text(
        'train_dataloader = dict(dataset=dict(type="VOCDataset", '
        f'data_root={str(voc)!r}, ann_file="VOC2007/ImageSets/Main/trainval.txt", '
        'data_prefix=dict(sub_data_root="VOC2007/")))\n'
    )
    assert check_config(config).problems == []
    (voc / 'VOC2007/JPEGImages/000001.jpg').unlink()
    single(check_config(config), 'VOCtrainval_06-Nov-2007.tar')
    config.write_text('model = dict()\n')
    with pytest.raises(ValueError, match='no data set'):
        check_config(config)


def test_tiny_data_is_the_same_again_and_never_overwritten(tmp_path):
    a, b = (make_tiny_coco(tmp_path / name, images=4) for name in 'ab')
    for path in a.rglob('*.*'):
        assert path.read_bytes() == (b / path.relative_to(a)).read_bytes()
    with pytest.raises(FileExistsError):
        make_tiny_coco(a)
    make_tiny_voc(tmp_path / 'voc', images=4)
    with pytest.raises(FileExistsError):
        make_tiny_voc(tmp_path / 'voc')
    with pytest.raises(ValueError, match='images must be'):
        make_tiny_voc(tmp_path / 'few', images=3)
    with pytest.raises(ValueError, match='names must be'):
        make_tiny_coco(tmp_path / 'few', names='2015')
