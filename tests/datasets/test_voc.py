"""VOC to COCO: right on good files, and nothing lost silently on bad ones."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rankdet import compat
from rankdet.datasets import voc
from rankdet.datasets.official import VOC_CLASSES
from rankdet.datasets.voc import voc_to_coco
from tests.datasets.voc_tree import Tree, voc_object

REPO = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / 'VOC')


def single(found, *parts):
    assert len(found) == 1, found
    assert all(part in found[0] for part in parts), found[0]


# --- good files --------------------------------------------------------------------------------


def test_a_box_of_pixels_becomes_distances_from_the_corner(tree):
    """Pixels 11..30, counted from 1, are the 20 pixels from 10 to 30."""
    tree.add('a', voc_object('dog', (11, 21, 30, 40)), voc_object('cat', (1, 1, 100, 80)))
    coco, found = tree.convert()
    assert found == []
    assert coco['images'] == [dict(id=1, file_name='JPEGImages/a.jpg', width=100, height=80)]
    assert coco['categories'] == [dict(id=1, name='cat'), dict(id=2, name='dog')]
    dog, cat = coco['annotations']
    assert dog['bbox'] == [10, 20, 20, 20] and dog['area'] == 400 and dog['category_id'] == 2
    assert cat['bbox'] == [0, 0, 100, 80] and cat['iscrowd'] == 0


def test_zero_based_coordinates_stay(tree):
    tree.add('a', voc_object(box=(0, 0, 100, 80)), voc_object(box=(2.5, 3, 7.25, 9)))
    coco, found = tree.convert(zero_based=True)
    assert found == []
    assert [a['bbox'] for a in coco['annotations']] == [[0, 0, 100, 80], [2.5, 3, 4.75, 6]]


def test_splits_keep_their_order_and_all_share_the_category_ids(tree):
    for stem, name in (('a', 'zebra'), ('b', 'ant'), ('c', 'cat')):
        tree.add(stem, voc_object(name))
    tree.split('train', 'c  1', '', 'a -1')
    coco, found = tree.convert(split='train')
    assert [i['file_name'] for i in coco['images']] == ['JPEGImages/c.jpg', 'JPEGImages/a.jpg']
    assert [c['name'] for c in coco['categories']] == ['ant', 'cat', 'zebra']
    assert found == []


def test_images_without_objects_stay(tree):
    tree.add('a', voc_object())
    tree.add('b')
    coco, found = tree.convert()
    assert len(coco['images']) == 2 and found == []
    assert '1 without objects' in coco['info']['summary']


def test_roots_are_merged_under_one_prefix(tmp_path):
    for year, name in (('VOC2007', 'cat'), ('VOC2012', 'dog')):
        Tree(tmp_path / 'devkit' / year).add('000001', voc_object(name))
    roots = [tmp_path / 'devkit' / year for year in ('VOC2007', 'VOC2012')]
    result = voc_to_coco(roots, tmp_path / 'out.json')
    coco = json.loads((tmp_path / 'out.json').read_text())
    assert result.image_prefix == tmp_path / 'devkit'
    assert result.classes == VOC_CLASSES  # by the names of the folders
    names = ['VOC2007/JPEGImages/000001.jpg', 'VOC2012/JPEGImages/000001.jpg']
    assert [i['file_name'] for i in coco['images']] == names
    assert [i['id'] for i in coco['images']] == [1, 2]
    assert [(a['id'], a['image_id']) for a in coco['annotations']] == [(1, 1), (2, 2)]
    for name in names:
        assert (result.image_prefix / name).is_file()


def test_progress_is_told(tree):
    for stem in 'ab':
        tree.add(stem, voc_object())
    calls = []
    tree.convert(progress=lambda *call: calls.append(call))
    assert calls == [
        (stage, done, 2)
        for stage in ('looking for classes', 'reading images of all')
        for done in (1, 2)
    ]


def test_conversion_is_deterministic(tree):
    for number in range(12):
        tree.add(f'i{number}', voc_object(box=(number + 1, 1, 50, 50)))
    tree.convert(workers=4)
    first = (tree.root.parent / 'out.json').read_bytes()
    tree.convert(workers=1)
    assert (tree.root.parent / 'out.json').read_bytes() == first


def test_sideways_photos_have_the_size_that_loaders_see(tree):
    cv2 = pytest.importorskip('cv2')
    tree.xml('a', voc_object(), size=(80, 100))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tree.image('a', exif=exif)
    coco, found = tree.convert()
    height, width = cv2.imread(str(path)).shape[:2]
    assert (coco['images'][0]['width'], coco['images'][0]['height']) == (width, height) == (80, 100)
    assert found == []


# --- difficult objects -------------------------------------------------------------------------


def evaluate(coco, detections, path):
    """AP at IoU 0.5 from pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    path.write_text(json.dumps(coco))
    truth = COCO(str(path))
    evaluation = COCOeval(truth, truth.loadRes(detections), 'bbox')
    evaluation.params.iouThrs = np.array([0.5])
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval['precision'][0, :, 0, 0, -1]
    return pytest.approx(precision.mean())


def test_difficult_objects_count_neither_way(tree, tmp_path):
    """However many detections fall on a difficult object, and though none does, AP is 1."""
    tree.add('a', voc_object(box=(1, 1, 20, 20)), voc_object(box=(51, 41, 80, 70), difficult=1))
    coco, found = tree.convert()
    assert found == []
    assert [a['difficult'] for a in coco['annotations']] == [0, 1]
    assert not any('ignore' in a for a in coco['annotations'])

    def detection(box, score):
        return dict(image_id=1, category_id=1, bbox=box, score=score)

    easy = detection([0, 0, 20, 20], 0.5)
    on_difficult = [detection([50, 40, 30, 30], 0.9), detection([50, 40, 30, 27], 0.8)]
    scratch = tmp_path / 'coco.json'
    assert evaluate(coco, [easy], scratch) == 1.0
    assert evaluate(coco, [easy, *on_difficult], scratch) == 1.0
    # The oracle can fail: were the object not difficult, missing it or hitting it twice costs.
    ordinary = json.loads(json.dumps(coco))
    ordinary['annotations'][1]['iscrowd'] = 0
    assert evaluate(ordinary, [easy], scratch) != 1.0
    assert evaluate(ordinary, [easy, *on_difficult], scratch) != 1.0


def test_mmdet_trains_difficult_objects_as_ignored(tree):
    compat.install()
    from mmdet.datasets import CocoDataset

    tree.add('a', voc_object(), voc_object(box=(51, 41, 80, 70), difficult=1))
    tree.convert()
    dataset = CocoDataset(
        ann_file=str(tree.root.parent / 'out.json'),
        data_prefix=dict(img=str(tree.root)),
        metainfo=dict(classes=('cat',)),
        pipeline=[],
    )
    info = dataset.get_data_info(0)
    assert [i['ignore_flag'] for i in info['instances']] == [0, 1]
    assert info['instances'][0]['bbox'] == [10, 20, 30, 40]
    assert Path(info['img_path']).is_file()


def test_a_strange_difficult_flag_is_noted(tree):
    tree.add('a', voc_object(difficult='Unspecified'))
    coco, found = tree.convert()
    single(found, 'note: a.xml: object 1 (cat)', "difficult is 'Unspecified', taken as 0")
    assert coco['annotations'][0]['iscrowd'] == 0


# --- bad boxes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'box, reason',
    [
        ((31, 21, 30, 40), 'degenerate: xmax < xmin or ymax < ymin'),
        ((11, 40, 30, 21), 'degenerate: xmax < xmin or ymax < ymin'),
        ((11, 21, 11, 21), 'degenerate: a single pixel'),
        ((300, 21, 400, 40), 'outside the image of 100 x 80'),
        ((-50, 21, -5, 40), 'outside the image of 100 x 80'),
        ((1e308, 21, 1.5e308, 40), 'outside the image'),
        ((100.5, 21, 140, 40), 'less than a pixel'),
        (('nan', 21, 30, 40), "xmin is 'nan', not a finite number"),
        ((11, 21, 'inf', 40), "xmax is 'inf', not a finite number"),
        ((11, 'left', 30, 40), "ymin is 'left', not a number"),
        ((11, 21, 30, ''), "ymax is '', not a number"),
        ((11, 21, 30), "ymax is '', not a number"),
    ],
)
def test_bad_boxes_are_skipped_by_name(tree, box, reason):
    tree.add('bad', voc_object(), voc_object('dog', box))
    coco, found = tree.convert()
    single(found, 'object skipped: bad.xml: object 2 (dog)', reason)
    assert [a['category_id'] for a in coco['annotations']] == [1]
    assert len(coco['images']) == 1


@pytest.mark.parametrize(
    ('box', 'wanted'),
    [
        ((30, 21, 30, 40), [29, 20, 1, 20]),
        ((11, 40, 30, 40), [10, 39, 20, 1]),
        ((1, 1, 1, 80), [0, 0, 1, 80]),
        ((100, 1, 100, 80), [99, 0, 1, 80]),
    ],
)
def test_a_box_of_one_row_or_column_of_pixels_counts(tree, box, wanted):
    """Its last pixel is its first one, as the development kit counts."""
    tree.add('a', voc_object(box=box))
    coco, found = tree.convert()
    assert found == []
    assert coco['annotations'][0]['bbox'] == wanted


@pytest.mark.parametrize('box', [(30, 21, 30, 40), (11, 40, 30, 40), (30, 21, 29, 40)])
def test_a_box_without_area_between_zero_based_corners_does_not(tree, box):
    tree.add('a', voc_object('dog'), voc_object(box=box))
    single(tree.convert(zero_based=True)[1], 'xmax <= xmin or ymax <= ymin')


def test_a_box_partly_outside_is_clipped_and_reported(tree):
    tree.add('a', voc_object(box=(-9, 71, 20, 999)))
    coco, found = tree.convert()
    single(found, 'object clipped: a.xml: object 1 (cat)', '[0.0, 70.0, 20.0, 80.0]')
    assert coco['annotations'][0]['bbox'] == [0, 70, 20, 10]


@pytest.mark.parametrize(
    'text, reason',
    [
        ('<object><name>cat</name></object>', 'has no bndbox'),
        (voc_object(' '), 'has no class name'),
    ],
)
def test_incomplete_objects_are_skipped_by_name(tree, text, reason):
    tree.add('a', text, voc_object('dog'))
    coco, found = tree.convert()
    single(found, 'object skipped: a.xml: object 1', reason)
    assert len(coco['annotations']) == 1


# --- bad images and annotations ----------------------------------------------------------------


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    'damage, reason',
    [
        (Path.unlink, 'image is missing'),
        (truncate, 'image cannot be decoded'),
        (lambda path: path.write_bytes(b''), 'image cannot be decoded'),
        (lambda path: path.write_bytes(b'no image at all'), 'image cannot be decoded'),
        (lambda path: (path.unlink(), path.mkdir()), 'image cannot be decoded'),
        (lambda path: (path.unlink(), os.mkfifo(path)), 'it is no regular file'),
        (lambda path: (path.unlink(), path.symlink_to('/dev/zero')), 'it is no regular file'),
    ],
)
def test_bad_images_are_skipped_by_name(tree, damage, reason):
    tree.add('good', voc_object())
    damage(tree.add('bad', voc_object()))
    coco, found = tree.convert()
    single(found, 'image skipped: bad.xml', reason)
    assert [i['file_name'] for i in coco['images']] == ['JPEGImages/good.jpg']
    assert len(coco['annotations']) == 1


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">'
    + ''.join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "&a;" * 10}">' for i in range(12))
    + ']><annotation><object><name>&a11;</name></object></annotation>'
)
OUTSIDE = (
    '<!DOCTYPE b [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    '<annotation><object><name>&x;</name></object></annotation>'
)


@pytest.mark.parametrize(
    'text, reason',
    [
        ('<annotation><object>', 'no valid XML'),
        ('<?xml version="1.0" encoding="utf-99"?><annotation/>', 'no valid XML'),
        ('not xml', 'no valid XML'),
        (BOMB, 'document type'),
        (OUTSIDE, 'document type'),
    ],
)
def test_bad_annotations_are_skipped_by_name(tree, text, reason):
    tree.add('good', voc_object())
    tree.add('bad', text=text)
    coco, found = tree.convert()
    single(found, 'image skipped: bad.xml', reason)
    assert coco['categories'] == [dict(id=1, name='cat')]


def test_an_annotation_that_is_a_pipe_is_not_waited_for(tree):
    tree.add('good', voc_object())
    tree.add('bad')
    path = tree.root / 'Annotations' / 'bad.xml'
    path.unlink()
    os.mkfifo(path)
    single(tree.convert()[1], 'image skipped: bad.xml', 'is no regular file')


def test_a_list_beyond_all_memory(tree):
    tree.add('a', voc_object())
    tree.split('train', 'a')
    with (tree.root / 'ImageSets/Main/train.txt').open('r+b') as file:
        file.truncate(20 * 10**9)
    with pytest.raises(ValueError, match=r'train\.txt is no list .*it is larger than 64 MB'):
        tree.convert(split='train')


def test_a_document_type_is_seen_in_any_encoding(tree):
    tree.add('good', voc_object())
    tree.add('bad')
    path = tree.root / 'Annotations' / 'bad.xml'
    path.write_bytes(BOMB.replace('?>', ' encoding="utf-16"?>', 1).encode('utf-16'))
    single(tree.convert()[1], 'image skipped: bad.xml', 'document type')


def test_an_image_without_annotation_is_reported(tree):
    tree.add('a', voc_object())
    tree.image('lonely')
    single(tree.convert()[1], 'image skipped: lonely.xml', 'annotation is missing')


def test_two_images_of_one_name_are_reported(tree):
    tree.add('good', voc_object())
    tree.add('a', voc_object())
    tree.image('a', '.PNG')
    single(tree.convert()[1], 'image skipped: a.xml', 'several images fit: a.PNG, a.jpg')


def test_a_name_that_a_terminal_would_obey_is_shown_as_what_it_is(tree):
    tree.add('a', voc_object())
    tree.image('\x1b[2J')
    found = tree.convert()[1]
    assert len(found) == 1 and '\x1b' in found[0]
    report = (tree.root.parent / 'out.report.txt').read_text().splitlines()
    assert report[1].endswith(r'\x1b[2J.xml: annotation is missing')


def test_no_class_name_holds_control_characters(tree):
    tree.add('a', voc_object('a\x85b'))
    with pytest.raises(ValueError, match=r"the name of class 'a\\x85b' holds control characters"):
        tree.convert()


def test_filename_is_compared_never_followed(tree):
    secret = tree.root.parent / 'secret.png'
    Image.new('RGB', (5, 5)).save(secret)
    tree.add('a', voc_object(), filename='../../secret.png')
    coco, found = tree.convert()
    single(found, 'note: a.xml', "filename says '../../secret.png', used a.jpg")
    assert coco['images'][0]['file_name'] == 'JPEGImages/a.jpg'
    assert coco['images'][0]['width'] == 100


def test_the_image_tells_its_size(tree):
    tree.add('a', voc_object(), size=(999, 80))
    coco, found = tree.convert()
    single(found, 'note: a.xml: size says 999 x 80, image is 100 x 80')
    assert coco['images'][0]['width'] == 100


@pytest.mark.parametrize(
    'lines, images',
    [
        (['IMG (1)', 'at 5 1', 'a'], ['IMG (1)', 'at 5 1', 'a']),
        (['IMG (1)  1', 'at 5 1 -1', 'a 0'], ['IMG (1)', 'at 5 1', 'a']),  # of a class
        (['a\t-1'], ['a']),
    ],
)
def test_names_in_a_split_may_have_spaces(tree, lines, images):
    for name in images:
        tree.add(name, voc_object())
    tree.split('train', *lines)
    coco, found = tree.convert(split='train')
    assert not found
    assert [image['file_name'] for image in coco['images']] == [
        f'JPEGImages/{name}.jpg' for name in images
    ]


def test_names_in_a_split_cannot_leave_the_folder(tree):
    tree.add('a', voc_object())
    tree.split('train', 'a', '../secret', '..', 'b\\c', 'a', 'gone')
    coco, found = tree.convert(split='train')
    assert len(coco['images']) == 1
    for name, text in zip(('../secret', '..', 'b\\\\c'), found):
        assert text == f"image skipped: train.txt: '{name}' is no plain name"
    assert found[3:] == [
        "note: train.txt: 'a' is listed twice, used once",
        'image skipped: gone.xml: annotation is missing',
    ]


# --- refusals ----------------------------------------------------------------------------------


def nothing_written(folder):
    return not [path for path in folder.iterdir() if 'out' in path.name]


def test_unknown_classes_stop_or_are_skipped(tree, tmp_path):
    tree.add('a', voc_object('cat'), voc_object('unicorn'))
    with pytest.raises(ValueError, match=r"a\.xml: class 'unicorn' is not among \['cat'\]"):
        tree.convert(classes=['cat'])
    assert nothing_written(tmp_path)
    coco, found = tree.convert(classes=['cat'], skip_unknown=True)
    single(found, 'object skipped: a.xml', "class 'unicorn'")
    assert len(coco['annotations']) == 1


def test_given_classes_keep_their_order(tree):
    tree.add('a', voc_object('cat'), voc_object('dog'))
    coco, _ = tree.convert(classes=['dog', 'cat'])
    assert [c['name'] for c in coco['categories']] == ['dog', 'cat']
    assert [a['category_id'] for a in coco['annotations']] == [2, 1]


def test_nothing_usable_is_an_error(tree, tmp_path):
    tree.xml('a', voc_object())
    with pytest.raises(ValueError, match=r'(?s)no usable image.*a\.xml: image is missing'):
        tree.convert()
    assert nothing_written(tmp_path)


@pytest.mark.parametrize(
    'options, error, message',
    [
        (dict(split='nope'), FileNotFoundError, r"no split 'nope': .*; there are \['train'\]"),
        (dict(classes=[]), ValueError, 'at least one'),
        (dict(classes=['cat', 'cat']), ValueError, 'different names'),
        (dict(classes='cat'), TypeError, "got the string 'cat'"),
        (dict(image_prefix='elsewhere'), ValueError, 'does not contain'),
    ],
)
def test_wrong_options_are_named(tree, tmp_path, options, error, message):
    tree.add('a', voc_object())
    tree.split('train', 'a')
    with pytest.raises(error, match=message):
        tree.convert(**options)
    assert nothing_written(tmp_path)


def test_annotations_that_name_no_class(tree, tmp_path):
    tree.add('a')
    with pytest.raises(
        ValueError, match=r'no annotation in .* names a class: give classes \(--cla'
    ):
        tree.convert()
    assert nothing_written(tmp_path)


def test_a_folder_of_another_layout_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='not in the layout of VOC: it has no Annotations'):
        voc_to_coco(tmp_path, tmp_path / 'out.json')
    with pytest.raises(ValueError, match='roots is empty'):
        voc_to_coco([], tmp_path / 'out.json')


def test_a_root_given_twice_is_named(tree, tmp_path):
    with pytest.raises(ValueError, match='names a folder twice'):
        voc_to_coco([tree.root, tree.root / '.'], tmp_path / 'out.json')


def test_a_failed_write_leaves_the_old_file(tree, tmp_path, monkeypatch):
    tree.add('a', voc_object())
    (tmp_path / 'out.json').write_text('old')
    monkeypatch.setattr(voc.json, 'dumps', lambda *_, **__: 'x' + chr(0xD800))  # cannot be encoded
    with pytest.raises(UnicodeEncodeError):
        voc_to_coco(tree.root, tmp_path / 'out.json')
    assert (tmp_path / 'out.json').read_text() == 'old'
    assert not list(tmp_path.glob('.*part'))


# --- real photos, test sets -------------------------------------------------------------------


def test_real_photos(tmp_path):
    default = REPO.parent / 'shared' / 'data' / 'bccd' / 'BCCD'
    root = Path(os.environ.get('RANKDET_BCCD', default))
    if not root.is_dir():
        pytest.skip('the blood cell photos are absent: set RANKDET_BCCD to their folder')
    result = voc_to_coco(root, tmp_path / 'out.json', split='val')
    assert result.classes == ('Platelets', 'RBC', 'WBC')
    names = (root / 'ImageSets' / 'Main' / 'val.txt').read_text().split()
    assert result.images == len(names)
    written = sum((root / 'Annotations' / f'{n}.xml').read_text().count('<object>') for n in names)
    skipped = [f for f in result.findings if f.kind == 'object skipped']
    assert result.annotations + len(skipped) == written
    assert len(skipped) == 1 and 'BloodImage_00338.xml' in skipped[0].file


def test_images_only(tree):
    """A test set without annotations, and one with some that must not show."""
    tree.add('a', voc_object('cat'))
    tree.image('b', size=(60, 40))
    tree.split('test', 'b', 'a')
    coco, found = tree.convert(split='test', images_only=True)
    assert [i['file_name'] for i in coco['images']] == ['JPEGImages/b.jpg', 'JPEGImages/a.jpg']
    assert (coco['images'][0]['width'], coco['images'][0]['height']) == (60, 40)
    assert coco['annotations'] == [] and coco['categories'] == [dict(id=1, name='cat')]
    assert found == []
