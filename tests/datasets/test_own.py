"""A user's own data in every format and layout, against expectations written by hand."""

import json
import math
import os
import re
import sys
from pathlib import Path

import pytest

from rankdet.datasets.own import convert
from rankdet.datasets.own.convert import convert_own, read_converted
from rankdet.untrusted import Refused
from tests.datasets import own_trees as trees
from tests.tools.cli import run_alone

REPO = Path(__file__).parents[2]


def contents(data):
    """For each split the objects by stem of the image, read from what was written."""
    found = {}
    for split in data.counts:
        coco = json.loads(data.annotations(split).read_text(encoding='utf-8'))
        names = {category['id']: category['name'] for category in coco['categories']}
        assert list(names.values()) == data.classes and list(names) == [*range(1, len(names) + 1)]
        for image in coco['images']:
            assert Path(data.images, image['file_name']).is_file()
            assert (image['width'], image['height']) == trees.SIZE
        stems = {image['id']: Path(image['file_name']).stem for image in coco['images']}
        objects = {stem: [] for stem in stems.values()}
        for own in coco['annotations']:
            assert own['area'] == own['bbox'][2] * own['bbox'][3]
            objects[stems[own['image_id']]].append((names[own['category_id']], own['bbox']))
        found[split] = objects
    return found


@pytest.mark.parametrize(
    ('format', 'layout'),
    [(format, layout) for format, layouts in trees.LAYOUTS.items() for layout in layouts],
    ids=lambda value: getattr(value, '__name__', value),
)
def test_every_layout_gives_the_same(tmp_path, format, layout):
    layout(tmp_path / 'data')
    data = convert_own(tmp_path / 'data', tmp_path / 'out')
    assert data.format == format and data.classes == ['cat', 'dog']
    assert data.splits == "are the data's own"
    assert contents(data) == trees.EXPECTED
    assert data.counts['train'] == dict(images=3, without=1, objects=dict(cat=1, dog=2))
    assert [line for line in data.findings if 'skipped' in line] == []
    assert read_converted(tmp_path / 'out') == data
    # An empty class, as Roboflow's COCO files begin with, is left out and named.
    assert ("class 'pets' has no objects" in '\n'.join(data.findings)) == (format == 'COCO JSON')


def test_copied_images_and_a_second_call(tmp_path, monkeypatch):
    trees.yolo_ultralytics(tmp_path / 'data')
    data = convert_own(tmp_path / 'data', tmp_path / 'out', copy_images=True)
    assert data.images == str(tmp_path / 'out/images')
    assert contents(data) == trees.EXPECTED
    with monkeypatch.context() as patch:
        patch.setattr(convert, '_read', None)  # nothing is read again
        assert convert_own(tmp_path / 'data', tmp_path / 'out', copy_images=True) == data
    trees.write(tmp_path / 'data/labels/train/c.txt', f'0 {trees.YOLO[trees.CAT]}\n')
    again = convert_own(tmp_path / 'data', tmp_path / 'out', copy_images=True)
    assert again.counts['train'] == dict(images=3, without=0, objects=dict(cat=2, dog=2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data', 'out']


# --- splits ------------------------------------------------------------------------------------


def flat(root, count):
    for number in range(count):
        trees.photo(root / f'{number:02d}.png')
        trees.write(root / f'{number:02d}.txt', f'0 {trees.YOLO[trees.CAT]}\n')
    trees.write(root / 'classes.txt', 'cat\n')
    return root


def test_held_out_images_depend_on_their_names_and_the_seed_alone(tmp_path):
    def held_out(folder, **options):
        data = convert_own(folder, tmp_path / f'out{len(list(tmp_path.iterdir()))}', **options)
        found = contents(data)
        assert not set(found['train']) & set(found['val'])
        return set(found['val']), data

    root = flat(tmp_path / 'data', 20)
    val, data = held_out(root)
    assert len(val) == 4 and '20% of the images are held out, seed 0' in data.splits
    assert val == held_out(flat(tmp_path / 'elsewhere', 20))[0]
    assert val != held_out(root, seed=1)[0]
    assert len(held_out(root, val_share=0.35)[0]) == 7
    more, _ = held_out(flat(tmp_path / 'more', 25))  # the draw of 20 to 24 moves no other image
    assert len(more) == 5 and len(val - more) <= len({f'{n}' for n in range(20, 25)} & more)


def test_a_class_may_have_any_name(tmp_path):
    trees.yolo_ultralytics(tmp_path / 'data', names='names: [images, without]\n')
    data = convert_own(tmp_path / 'data')
    assert data.counts['train']['objects'] == dict(images=1, without=2)
    assert 'images without objects' in data.summary()


@pytest.mark.parametrize('name', [r'a\e[2Jb', r'a\nb', r'a\u2028b', r'a\x85b'])
def test_no_class_name_holds_control_characters(tmp_path, name):
    trees.yolo_ultralytics(tmp_path / 'data', names=f'names: [cat, "{name}"]\n')
    with pytest.raises(Refused, match=r'the name of class .* holds control characters') as error:
        convert_own(tmp_path / 'data')
    assert str(error.value).isprintable()


def test_what_turns_text_round_is_shown_by_its_number(tmp_path):
    trees.yolo_ultralytics(tmp_path / 'data', names='names: ["c\\u202eat", "dög", none]\n')
    (tmp_path / 'data/images/train/a.png').rename(tmp_path / 'data/images/train/\x1b[2J.png')
    data = convert_own(tmp_path / 'data', skip_bad=True)
    text = '\n'.join([data.summary(), *data.findings])
    assert text.replace('\n', '').isprintable()
    assert r'c\u202eat' in text and 'dög' in text


def test_a_missing_validation_split(tmp_path):
    """The test split serves as one; without any, a share of the training images."""
    root = tmp_path / 'tested'
    trees.voc_beside(root, val='test')
    data = convert_own(root, tmp_path / 'a')
    assert contents(data) == trees.EXPECTED and 'test split serves as val' in data.splits
    root = tmp_path / 'train_only'
    trees.voc_beside(root, val='train')
    data = convert_own(root, tmp_path / 'b', val_share=0.5, seed=1)
    assert {split: counts['images'] for split, counts in data.counts.items()} == dict(
        train=2, val=2
    )


def test_an_image_in_two_splits(tmp_path):
    trees.voc_kit(tmp_path / 'data')
    trees.write(tmp_path / 'data/ImageSets/Main/val.txt', 'a\nd')
    with pytest.raises(ValueError, match=r'a\.png: is there in train and in val'):
        convert_own(tmp_path / 'data')
    data = convert_own(tmp_path / 'data', tmp_path / 'out', skip_bad=True)
    assert contents(data) == trees.EXPECTED


# --- errors ------------------------------------------------------------------------------------

BAD_ROWS = {
    '2 0.5 0.5 0.1 0.1': r'class 2 is not among the 2 classes of data\.yaml',
    '-1 0.5 0.5 0.1 0.1': r'class -1 is not among',
    '0.5 0.5 0.5 0.1 0.1': r'class 0\.5 is not among',
    '0 nan 0.5 0.1 0.1': 'are not finite',
    '0 0.5 inf 0.1 0.1': 'are not finite',
    '0 0.5 0.5 0 0.1': 'has no area',
    '0 0.5 0.5 -0.1 0.1': 'is not between 0 and 1',
    '0 320 240 64 48': '320 is not between 0 and 1',
    '0 0.5 0.5 0.1': '4 values, not 5',
    '0 0.5 0.5 0.1 0.1 0.9': '6 values, not 5',
    'cat 0.5 0.5 0.1 0.1': 'are not numbers',
    '0 0.5 0.5 0.001 0.5': 'covers less than a pixel',
}


@pytest.mark.parametrize('row', BAD_ROWS)
def test_a_bad_line_of_yolo(tmp_path, row):
    trees.yolo_ultralytics(tmp_path / 'data')
    label = tmp_path / 'data/labels/train/a.txt'
    label.write_text(label.read_text() + f'\n{row}\n')
    with pytest.raises(ValueError, match=rf'a\.txt:4: .*{BAD_ROWS[row]}') as caught:
        convert_own(tmp_path / 'data', tmp_path / 'out')
    assert '\n' not in str(caught.value) and '--skip-bad' in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data']
    data = convert_own(tmp_path / 'data', tmp_path / 'out', skip_bad=True)
    assert contents(data) == trees.EXPECTED
    assert 'a.txt:4' in (tmp_path / 'out/report.txt').read_text()


def test_an_outline_of_yolo_gives_its_box(tmp_path):
    trees.yolo_ultralytics(tmp_path / 'data')
    row = '0 0.1 0.5 0.25 0.25 0.4 0.3 0.2 0.75\n'  # within x 0.1 to 0.4, y 0.25 to 0.75
    trees.write(tmp_path / 'data/labels/train/b.txt', row)
    data = convert_own(tmp_path / 'data', tmp_path / 'out')
    assert contents(data)['train']['b'] == [('cat', trees.COCO[trees.CAT])]


def test_a_box_over_the_edge_is_clipped_and_listed(tmp_path):
    trees.yolo_ultralytics(tmp_path / 'data')
    trees.write(tmp_path / 'data/labels/train/b.txt', '1 0.9 0.5 0.4 0.5\n')
    data = convert_own(tmp_path / 'data', tmp_path / 'out')
    assert contents(data)['train']['b'] == [('dog', [70.0, 20.0, 30.0, 40.0])]
    assert any('object clipped' in line and 'b.txt:1' in line for line in data.findings)


BAD_ANNOTATIONS = {
    'category_id 9 is not among': dict(category_id=9),
    'category_id None': dict(category_id=None),
    'has no area': dict(bbox=[10, 10, 0, 5]),
    'is not finite': dict(bbox=[10, math.nan, 5, 5]),
    'is not four numbers': dict(bbox=[10, 10, 5]),
    'lies outside the image': dict(bbox=[200, 10, 5, 5]),
    'image_id 99 is not among': dict(image_id=99),
}


@pytest.mark.parametrize('message', BAD_ANNOTATIONS)
def test_a_bad_annotation_of_coco(tmp_path, message):
    trees.coco_beside(tmp_path / 'data')
    path = tmp_path / 'data/train/_annotations.coco.json'
    content = json.loads(path.read_text())
    bad = content['annotations'][0] | dict(id=55) | BAD_ANNOTATIONS[message]
    path.write_text(json.dumps(content | dict(annotations=content['annotations'] + [bad])))
    with pytest.raises(ValueError, match=rf'_annotations\.coco\.json: annotation 55.*{message}'):
        convert_own(tmp_path / 'data', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    assert (
        contents(convert_own(tmp_path / 'data', tmp_path / 'out', skip_bad=True)) == trees.EXPECTED
    )


def cut_image(root):
    path = next(root.rglob('a.png'))
    path.write_bytes(path.read_bytes()[:200])


def empty_image(root):
    next(root.rglob('a.png')).write_bytes(b'')


def lose_image(root):
    next(root.rglob('a.png')).unlink()


def other_size(root):
    trees.photo(next(root.rglob('a.png')), (80, 100))


@pytest.mark.parametrize(
    ('layout', 'damage', 'message'),
    [
        (layout, damage, message)
        for layout in (trees.voc_kit, trees.coco_archives, trees.yolo_roboflow)
        for damage, message in (
            (cut_image, 'image cannot be decoded'),
            (empty_image, 'image cannot be decoded'),
            (lose_image, r'image .*is missing'),
        )
    ]
    + [(trees.coco_beside, other_size, 'is 80 x 100, not 100 x 80 as stated')],
)
def test_an_image_that_cannot_be_used(tmp_path, layout, damage, message):
    layout(tmp_path / 'data')
    damage(tmp_path / 'data')
    with pytest.raises(ValueError, match=rf'\ba\b.*{message}') as caught:
        convert_own(tmp_path / 'data', tmp_path / 'out')
    assert '\n' not in str(caught.value) and not (tmp_path / 'out').exists()
    data = convert_own(tmp_path / 'data', tmp_path / 'out', skip_bad=True)
    assert 'a' not in contents(data)['train'] and data.counts['train']['images'] == 2


def no_names(root):
    (root / 'data.yaml').unlink()


def bad_yaml(root):
    (root / 'data.yaml').write_text('names: [cat,\ntrain: x: y\n')


def code_in_yaml(root):
    (root / 'data.yaml').write_text('names: !!python/object/apply:os.mkdir ["ran"]\n')


def same_names(root):
    (root / 'data.yaml').write_text('names: [cat, cat]\n')


def gap_in_names(root):
    (root / 'data.yaml').write_text('names: {0: cat, 2: dog}\n')


def no_labels(root):
    for path in root.rglob('*.txt'):
        path.unlink()


def two_formats(root):
    trees.write(root / 'images/train/a.xml', trees.voc_xml([]))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (no_names, 'does not name its classes: write them into .*classes.txt'),
        (bad_yaml, r'data\.yaml:\d+: is no valid YAML'),
        (code_in_yaml, r'data\.yaml:1: is no valid YAML'),
        (same_names, "class names must differ, got 'cat' twice"),
        (gap_in_names, 'names must be numbered 0 to 1'),
        (no_labels, 'holds 4 images and 5 files, but no annotations known here'),
        (two_formats, 'as VOC XML and YOLO text: say which are meant'),
    ],
)
def test_what_stops_all_of_it(tmp_path, monkeypatch, damage, message):
    monkeypatch.chdir(tmp_path)
    trees.yolo_ultralytics(tmp_path / 'data')
    damage(tmp_path / 'data')
    with pytest.raises(ValueError, match=message):
        convert_own(tmp_path / 'data', tmp_path / 'out', skip_bad=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['data']


@pytest.mark.parametrize('text', ['', '{"images": [], "annotations": [], "categories": [', '[]'])
def test_a_file_of_coco_that_is_none(tmp_path, text):
    trees.coco_beside(tmp_path / 'data')
    (tmp_path / 'data/train/_annotations.coco.json').write_text(text)
    # Without the keys of COCO the file is not looked at: the images of val are all there is.
    expected = (
        'is not JSON, perhaps cut short' if text.startswith('{') else 'to train on|measure on'
    )
    with pytest.raises(ValueError, match=expected):
        convert_own(tmp_path / 'data', tmp_path / 'out')


def test_json_that_is_nested_too_deep(tmp_path):
    trees.coco_beside(tmp_path / 'data')
    path = tmp_path / 'data/train/_annotations.coco.json'
    path.write_text(path.read_text().replace('"iscrowd": 0', f'"x": {"[" * 9999}{"]" * 9999}'))
    with pytest.raises(ValueError, match='nests lists and objects'):
        convert_own(tmp_path / 'data', tmp_path / 'out')


def test_a_name_leads_nowhere_else(tmp_path):
    trees.photo(tmp_path / 'secret.png')
    trees.coco_beside(tmp_path / 'data')
    path = tmp_path / 'data/train/_annotations.coco.json'
    for name in ('../../secret.png', str(tmp_path / 'secret.png')):
        content = json.loads(path.read_text())
        content['images'][2]['file_name'] = name
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match='image is missing'):
            convert_own(tmp_path / 'data')


def test_where_it_may_not_write(tmp_path):
    trees.voc_kit(tmp_path / 'data')
    with pytest.raises(ValueError, match='lies in the data folder'):
        convert_own(tmp_path / 'data', tmp_path / 'data/out')
    trees.write(tmp_path / 'theirs/thesis.txt', 'all of it')
    with pytest.raises(FileExistsError, match='holds something else'):
        convert_own(tmp_path / 'data', tmp_path / 'theirs')
    assert (tmp_path / 'theirs/thesis.txt').read_text() == 'all of it'
    with pytest.raises(FileNotFoundError, match='does not exist'):
        convert_own(tmp_path / 'nothing')
    for options in (dict(val_share=0.0), dict(val_share=1), dict(format='csv')):
        with pytest.raises(ValueError, match=next(iter(options))):
            convert_own(tmp_path / 'data', **options)


@pytest.mark.parametrize('begun', [False, True])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, begun):
    trees.voc_kit(tmp_path / 'data')
    before = convert_own(tmp_path / 'data', tmp_path / 'out') if begun else None

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(convert.shutil, 'copyfile', full)
    with pytest.raises(OSError, match='No space left'):
        convert_own(tmp_path / 'data', tmp_path / 'out', copy_images=True)
    assert read_converted(tmp_path / 'out') == before
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == (['data', 'out'] if begun else ['data'])


def test_real_photos(tmp_path):
    default = REPO.parent / 'shared' / 'data' / 'bccd' / 'BCCD'
    root = Path(os.environ.get('RANKDET_BCCD', default))
    if not root.is_dir():
        pytest.skip('the blood cell photos are absent: set RANKDET_BCCD to their folder')
    with pytest.raises(ValueError, match='a single pixel; and 1 more'):
        convert_own(root)
    data = convert_own(root, skip_bad=True)
    assert data.classes == ['Platelets', 'RBC', 'WBC'] and data.format == 'VOC XML'
    for split, counts in data.counts.items():
        names = (root / f'ImageSets/Main/{split}.txt').read_text().split()
        texts = [(root / f'Annotations/{name}.xml').read_text() for name in names]
        assert counts['images'] == len(names)
        written = sum(text.count('<object>') for text in texts)
        left_out = sum(name in line for name in names for line in data.findings)
        assert sum(counts['objects'].values()) == written - left_out


# --- what is no honest file ----------------------------------------------------------------------


def into_zeros(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to('/dev/zero')


def into_nothing(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path.with_name('nothing'))


def pipe(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def huge(path, begins=b''):
    """20 GB that take no room on the disk."""
    with path.open('wb') as file:
        file.write(begins)
        file.truncate(20 * 10**9)


@pytest.fixture
def to_coco(tmp_path):
    """The tool as a process of its own, with little memory and time."""

    def run(*arguments):
        tool = REPO / 'tools/dataset_converters/to_coco.py'
        limited = f'ulimit -v {4 * 2**20}; exec "$0" "$@"'
        command = ['timeout', 120, 'bash', '-c', limited, sys.executable, tool, tmp_path / 'data']
        return run_alone([*command, *arguments], tmp_path, PYTHONPATH=str(REPO))

    return run


@pytest.mark.parametrize('make', [into_zeros, into_nothing, pipe])
def test_only_regular_files_are_read(tmp_path, to_coco, make):
    """Of every ending that any format opens, wherever it is looked for."""
    trees.voc_kit(tmp_path / 'data')
    endings = ('json', 'xml', 'txt', 'yaml', 'names', 'png')
    odd = [tmp_path / f'data/{name}' for name in (*(f'x.{e}' for e in endings), 'classes.txt')]
    odd += [tmp_path / f'data/JPEGImages/e.{ending}' for ending in ('png', 'txt')]
    odd += [tmp_path / f'data/{name}' for name in ('Annotations/e.xml', 'ImageSets/Main/test.txt')]
    for path in odd:
        make(path)
    done = to_coco()
    assert done.status == 1 and done.err.splitlines()[-1].startswith(f'error: {tmp_path}/data/')
    assert 'is no regular file; and 10 more' in done.err and 'Traceback' not in done.err
    done = to_coco('--out', tmp_path / 'out', '--skip-bad')
    assert done.status == 0, done.err
    report = (tmp_path / 'out/report.txt').read_text()
    assert all(f'file skipped: {path}: is no regular file' in report for path in odd)
    assert contents(read_converted(tmp_path / 'out')) == trees.EXPECTED


def test_nothing_but_a_pipe(tmp_path):
    pipe(tmp_path / 'data/x.json')
    with pytest.raises(ValueError, match=r'no annotations known here.*x\.json is no regular file'):
        convert_own(tmp_path / 'data')


def test_where_lists_and_data_yaml_lead(tmp_path):
    """data.yaml may name what is not among the files."""
    trees.yolo_ultralytics(tmp_path / 'data')
    (tmp_path / 'data/data.yaml').write_text('names: [cat, dog]\ntrain: list.txt\n')
    pipe(tmp_path / 'data/list.txt')
    with pytest.raises(ValueError, match=r'list\.txt is no regular file'):
        convert_own(tmp_path / 'data')
    (tmp_path / 'data/list.txt').unlink()
    (tmp_path / 'data/list.txt').write_bytes(b'\xff')
    with pytest.raises(ValueError, match=r'list\.txt is no text'):
        convert_own(tmp_path / 'data')
    text = f'names: [cat, dog]\ntrain: ["a\\0", {"a" * 5000}, images/train]\nval: images/val\n'
    (tmp_path / 'data/data.yaml').write_text(text)
    assert contents(convert_own(tmp_path / 'data', tmp_path / 'out')) == trees.EXPECTED


@pytest.mark.parametrize(
    'layout, name, begins, message',
    [
        (trees.coco_beside, 'x.json', b'', r'x\.json has 20000 MB.*RANKDET_MAX_JSON_MB'),
        (trees.coco_archives, 'instances_x.json', b'', r'_x\.json has 20000 MB.*MAX_JSON_MB'),
        (trees.voc_beside, 'x.xml', b'<annotation>', r'x\.xml: has 20000 MB.*MAX_XML_MB'),
        (trees.voc_kit, 'ImageSets/Main/train.txt', b'a\n', r'train\.txt .*is larger than 64 MB'),
        (trees.yolo_roboflow, 'train/labels/a.txt', b'', r'a\.png: is larger than 64 MB'),
        (trees.yolo_roboflow, 'data.yaml', b'', r'data\.yaml is larger than 1 MB'),
        (trees.yolo_darknet, 'obj.names', b'', r'obj\.names is larger than 64 MB'),
        (trees.yolo_darknet, 'train.txt', b'a/b.png\n', r'train\.txt is larger than 64 MB'),
        (trees.yolo_darknet, 'obj_data/a.png', b'', r'a\.png: image cannot be decoded'),
    ],
)
def test_files_beyond_all_memory(tmp_path, to_coco, layout, name, begins, message):
    layout(tmp_path / 'data')
    path = tmp_path / 'data' / name
    if name == 'x.xml':
        trees.photo(path.with_suffix('.png'))
    huge(path, begins)
    done = to_coco()
    assert done.status == 1 and 'Traceback' not in done.err, done.err
    assert re.match(f'error: {tmp_path}/data/.*{message}', done.err.splitlines()[-1]), done.err


def test_the_limit_is_that_of_the_environment(tmp_path, monkeypatch):
    trees.coco_beside(tmp_path / 'data')
    with (tmp_path / 'data/x.json').open('wb') as file:
        file.truncate(1_100_000)
    convert_own(tmp_path / 'data')
    monkeypatch.setenv('RANKDET_MAX_JSON_MB', '1')
    with pytest.raises(Refused, match=r'x\.json has 1 MB; at most 1 MB are read'):
        convert_own(tmp_path / 'data')


def test_yaml_that_would_grow(tmp_path):
    """Twelve levels of ten merges each are a million million names."""
    trees.yolo_ultralytics(tmp_path / 'data')
    levels = ['a0: &a0 {x: 1}']
    levels += [f'a{n}: &a{n}\n  <<: [{", ".join([f"*a{n - 1}"] * 10)}]' for n in range(1, 13)]
    (tmp_path / 'data/data.yaml').write_text('\n'.join([*levels, 'names: [cat, dog]']))
    with pytest.raises(ValueError, match=r'data\.yaml:3: is no valid YAML, or merges'):
        convert_own(tmp_path / 'data')


@pytest.mark.parametrize('text', ['[no, 010]', '{0: no, 1: 010}', '\n- no\n- "010"', "['no', 010]"])
def test_names_are_read_as_they_are_written(tmp_path, text):
    """YAML would have False and 8."""
    trees.yolo_ultralytics(tmp_path / 'data', names=f'names: {text}\n')
    assert convert_own(tmp_path / 'data').classes == ['no', '010']


def test_many_names_are_looked_through_once(tmp_path):
    """Comparing each with each would take an hour."""
    trees.yolo_darknet(tmp_path / 'data')
    (tmp_path / 'data/obj.names').write_text('cat\ndog\n' + '\n'.join(map(str, range(200_000))))
    data = convert_own(tmp_path / 'data')
    assert data.classes == ['cat', 'dog']


# --- labels, lists and names where they are not expected ------------------------------------------


def beside(root):
    """One folder, no splits."""
    for stem, (_, objects) in trees.PHOTOS.items():
        trees.photo(root / f'{stem}.png')
        trees.write(root / f'{stem}.txt', trees.yolo_text(objects))
    trees.write(root / 'classes.txt', 'cat\ndog\n')
    return root


def objects_of(data):
    found = contents(data)
    return {stem: objects for split in found.values() for stem, objects in split.items()}


EVERY = {stem: objects for split in trees.EXPECTED.values() for stem, objects in split.items()}


@pytest.mark.parametrize(
    'place',
    [
        '{stem}.TXT',
        'annots/{stem}.txt',
        'labels/sub/{stem}.txt',
        'a/Labels/x/{stem}.Txt',
    ],
)
@pytest.mark.parametrize('count', [1, 4])
def test_labels_are_found_wherever_they_lie(tmp_path, place, count):
    """Some of them or all: a photo whose label is not found would be taken for background."""
    root = beside(tmp_path / 'data')
    for stem in list(trees.PHOTOS)[:count]:
        path = root / place.format(stem=stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        (root / f'{stem}.txt').rename(path)
    if place.startswith('a/'):
        for path in [*root.glob('*.png')]:
            (root / 'a/Images/x').mkdir(parents=True, exist_ok=True)
            path.rename(root / 'a/Images/x' / path.name)
    assert objects_of(convert_own(root, tmp_path / 'out', val_share=0.5, seed=1)) == EVERY


def test_the_split_may_be_that_of_the_labels(tmp_path):
    for stem, (split, objects) in trees.PHOTOS.items():
        trees.photo(tmp_path / f'data/images/{stem}.png')
        path = tmp_path / f'data/labels/{split}/{stem}.txt'
        trees.write(path, trees.yolo_text(objects))
    trees.write(tmp_path / 'data/classes.txt', 'cat\ndog\n')
    trees.write(tmp_path / 'data/labels/train/c.txt', '0 0.5 0.5 0.5 0.5\n')
    found = contents(convert_own(tmp_path / 'data', tmp_path / 'out'))
    assert {split: set(stems) for split, stems in found.items()} == dict(train={*'abc'}, val={'d'})


def test_labels_that_fit_several_images_or_that_are_one_too_many(tmp_path):
    trees.yolo_ultralytics(tmp_path / 'data')
    trees.photo(tmp_path / 'data/images/val/c.png')
    stray = trees.write(tmp_path / 'data/annots/c.txt', '0 0.5 0.5 0.5 0.5\n')
    with pytest.raises(ValueError, match=rf'{stray}: belongs to no image where it lies.*labels/'):
        convert_own(tmp_path / 'data')
    (tmp_path / 'data/images/val/c.png').unlink()
    other = trees.write(tmp_path / 'data/more/c.txt', '1 0.5 0.5 0.5 0.5\n')
    with pytest.raises(ValueError, match=r'annots/c\.txt: belongs to no image.*; and 1 more'):
        convert_own(tmp_path / 'data')
    other.unlink()
    assert convert_own(tmp_path / 'data').counts['train']['without'] == 0


def test_copies_of_labels_and_predictions_are_not_taken(tmp_path):
    trees.yolo_ultralytics(tmp_path / 'data')
    for stem in 'ab':
        trees.write(tmp_path / f'data/runs/predict/{stem}.txt', '0 0.5 0.5 0.5 0.5\n')
    data = convert_own(tmp_path / 'data', tmp_path / 'out')
    assert contents(data) == trees.EXPECTED
    notes = [line for line in data.findings if line.startswith('note')]
    assert len(notes) == 2 and 'is not read: a.png has its label in' in notes[0]
    trees.write(tmp_path / 'data/runs/predict/c.txt', '0 0.5 0.5 0.5 0.5\n')
    with pytest.raises(ValueError, match=r'predict/c\.txt: belongs to no image where it lies'):
        convert_own(tmp_path / 'data')


@pytest.mark.parametrize('line', ['my photos/{}.png', './my photos/{}.png', '{}', '{}.png  '])
def test_lists_of_names_with_blanks(tmp_path, line):
    root = tmp_path / 'data'
    for stem, (_, objects) in trees.PHOTOS.items():
        trees.photo(root / f'my photos/{stem} 1.png')
        trees.write(root / f'my photos/{stem} 1.txt', trees.yolo_text(objects))
    trees.write(root / 'classes.txt', 'cat\ndog\n')
    for split in ('train', 'val'):
        lines = [line.format(f'{stem} 1') for stem in trees.of_split(split)]
        place = root / ('my photos' if 'my' not in line else '.')
        trees.write(place / f'{split}.txt', '\n'.join(lines))
    data = convert_own(root, tmp_path / 'out')
    assert data.splits == "are the data's own"
    for split, stems in contents(data).items():
        assert {stem[0]: objects for stem, objects in stems.items()} == trees.EXPECTED[split]


def test_two_lists_of_classes_must_agree(tmp_path):
    trees.yolo_roboflow(tmp_path / 'data')
    (tmp_path / 'data/data.yaml').unlink()
    trees.write(tmp_path / 'data/train/labels/classes.txt', 'cat\ndog\n')
    other = trees.write(tmp_path / 'data/valid/labels/classes.txt', 'cat\r\ndog\n\n')
    assert contents(convert_own(tmp_path / 'data', tmp_path / 'out')) == trees.EXPECTED
    other.write_text('dog\ncat\n')
    with pytest.raises(ValueError, match=rf'train/labels/classes\.txt and {other} differ'):
        convert_own(tmp_path / 'data')


@pytest.mark.parametrize('images', ['JPEGImages', 'images'])
@pytest.mark.parametrize('lists', ['ImageSets/Main', 'ImageSets', '.'])
@pytest.mark.parametrize('line', ['{}', 'images/{}.png', '{}.xml'])
def test_lists_of_voc_count_wherever_they_lie(tmp_path, images, lists, line):
    root = tmp_path / 'data'
    if lists == 'ImageSets/Main' and images == 'JPEGImages':
        line = '{}'  # the kit's own layout is read as the kit does
    trees.voc_kit(root)
    (root / 'JPEGImages').rename(root / images)
    for split in ('train', 'val'):
        (root / f'ImageSets/Main/{split}.txt').unlink()
        names = [line.format(stem) for stem in trees.of_split(split)]
        trees.write(root / lists / f'{split}.txt', '\n'.join(names))
    trees.write(root / 'ImageSets/Segmentation/val.txt', 'a\nb\n')
    data = convert_own(root, tmp_path / 'out')
    assert contents(data) == trees.EXPECTED and data.splits == "are the data's own"
    trees.write(root / lists / 'train.txt', 'a\nb\nc\ngone\n')
    with pytest.raises(ValueError, match=r'gone.*|annotation is missing'):
        convert_own(root)


def test_years_of_voc_side_by_side(tmp_path):
    """One as the kit has it, one with its images under another name."""
    root = tmp_path / 'data'
    trees.voc_kit(root / 'one')
    trees.voc_kit(root / 'two')
    for stem in 'abcd':
        (root / f'two/JPEGImages/{stem}.png').rename(root / f'two/JPEGImages/2{stem}.png')
        (root / f'two/Annotations/{stem}.xml').rename(root / f'two/Annotations/2{stem}.xml')
    (root / 'two/JPEGImages').rename(root / 'two/images')
    trees.write(root / 'two/ImageSets/Main/train.txt', '2a\n')
    trees.write(root / 'two/ImageSets/Main/val.txt', '2b\n2d\n')
    found = contents(convert_own(root, tmp_path / 'out'))
    assert set(found['train']) == {'a', 'b', 'c', '2a'} and set(found['val']) == {'d', '2b', '2d'}


@pytest.mark.parametrize('layout', [trees.voc_kit, trees.voc_beside])
def test_suffixes_in_upper_case_and_jfif(tmp_path, layout):
    root = tmp_path / 'data'
    layout(root)
    for path in [*root.rglob('*.xml')]:
        path.rename(path.with_suffix('.XML'))
    for path in [*root.rglob('*.png')]:
        path.rename(path.with_suffix('.jfif'))
    assert contents(convert_own(root, tmp_path / 'out')) == trees.EXPECTED


# --- what cannot be measured, linked and misnamed images ------------------------------------------


@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_split_needs_objects_that_count(tmp_path, split):
    """AP on difficult objects alone is undefined."""
    trees.voc_kit(tmp_path / 'data')
    for stem in trees.of_split(split):
        path = tmp_path / f'data/Annotations/{stem}.xml'
        easy = re.sub('<difficult>.*?</difficult>', '', path.read_text())
        path.write_text(easy.replace('</object>', '<difficult>1</difficult></object>'))
    verb = dict(train='train', val='measure')[split]
    with pytest.raises(ValueError, match=f'object to {verb} on: difficult objects and crowds'):
        convert_own(tmp_path / 'data')


def test_what_is_too_little_says_what_it_takes(tmp_path):
    root = flat(tmp_path / 'data', 1)
    with pytest.raises(ValueError, match='to measure on: it takes two with objects'):
        convert_own(root)
    for number in range(1, 9):
        trees.photo(root / f'{number:02d}.png')
    trees.write(root / '01.txt', (root / '00.txt').read_text())
    with pytest.raises(ValueError, match='to measure on: --seed and --val-share hold out others'):
        convert_own(root, val_share=0.1)
    assert convert_own(root, val_share=0.6, seed=2).counts['val']['objects']['cat'] == 1
    trees.write(tmp_path / 'other/photo.heic', '')
    with pytest.raises(ValueError, match=r'holds 0 images \(\.bmp, .*\.webp\) and 1 files'):
        convert_own(tmp_path / 'other')


def test_a_linked_image_in_two_splits(tmp_path):
    trees.yolo_ultralytics(tmp_path / 'data')
    first = tmp_path / 'data/images/train/a.png'
    second = tmp_path / 'data/images/val/e.png'
    second.symlink_to(first)
    message = rf'{second}: is there in train and in val: {first} is the same file'
    with pytest.raises(ValueError, match=message):
        convert_own(tmp_path / 'data')
    data = convert_own(tmp_path / 'data', tmp_path / 'out', skip_bad=True)
    assert contents(data) == trees.EXPECTED


def test_names_that_are_not_utf8(tmp_path):
    root = flat(tmp_path / 'data', 4)
    for suffix in ('png', 'txt'):
        try:
            (root / f'00.{suffix}').rename(
                os.fsdecode(os.fsencode(root) + b'/caf\xe9.' + suffix.encode())
            )
        except OSError:
            pytest.skip('the file system takes no such name')
    with pytest.raises(
        ValueError, match=r'caf\\udce9\.png: its name is not UTF-8: rename it'
    ) as caught:
        convert_own(root)
    assert str(caught.value).encode()
    data = convert_own(root, tmp_path / 'out', skip_bad=True)
    assert sum(counts['images'] for counts in data.counts.values()) == 3
