"""The command line of the VOC converter: all splits or none, and errors on one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.datasets.voc_tree import Tree, voc_object

REPO = Path(__file__).parents[2]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / 'VOC')


def run_tool(*args):
    tool = REPO / 'tools' / 'dataset_converters' / 'voc_to_coco.py'
    return subprocess.run(
        [sys.executable, str(tool), *map(str, args)],
        capture_output=True,
        text=True,
        env={'PYTHONPATH': str(REPO), 'PATH': ''},
    )


def test_command_line(tree, tmp_path):
    tree.add('a', voc_object(), voc_object('dog', (5, 5, 5, 5)))
    tree.split('train', 'a')
    done = run_tool(tree.root, '--split', 'train', '--out', tmp_path / 'coco')
    assert done.returncode == 0, done.stderr
    assert '1 x object skipped' in done.stdout and 'a.xml: object 2 (dog)' in done.stdout
    assert "metainfo=dict(classes=('cat', 'dog'))" in done.stdout
    assert (tmp_path / 'coco' / 'instances_train.json').is_file()
    failed = run_tool(tree.root, '--classes', 'dog', '--out', tmp_path / 'none')
    assert failed.returncode == 1 and 'Traceback' not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith('voc_to_coco: ')
    assert "class 'cat'" in failed.stderr and not (tmp_path / 'none').exists()


def test_every_split_has_a_file_and_the_same_classes(tree, tmp_path):
    for stem, name in (('a', 'dog'), ('b', 'ant')):
        tree.add(stem, voc_object(name))
        tree.split(stem, stem)
    done = run_tool(tree.root, '--split', 'a', 'b', '--out', tmp_path / 'coco')
    assert done.returncode == 0, done.stderr
    assert 'reading images of a' in done.stderr and 'reading images of b' in done.stderr
    for stem in 'ab':
        content = json.loads((tmp_path / 'coco' / f'instances_{stem}.json').read_text())
        assert [image['file_name'] for image in content['images']] == [f'JPEGImages/{stem}.jpg']
        assert [category['name'] for category in content['categories']] == ['ant', 'dog']


def lose_list(tree):
    (tree.root / 'ImageSets/Main/val.txt').unlink()


def lose_image(tree):
    (tree.root / 'JPEGImages/b.jpg').unlink()


def add_class(tree):
    tree.xml('b', voc_object('unicorn'))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lose_list, 'no such split: '),
        (lose_image, 'no usable image'),
        (add_class, "class 'unicorn' is not among"),
    ],
)
def test_an_error_in_the_last_split_leaves_all_files_as_they_were(tree, tmp_path, damage, message):
    for stem, split in (('a', 'train'), ('b', 'val')):
        tree.add(stem, voc_object('cat'))
        tree.split(split, stem)
    damage(tree)
    out = tmp_path / 'coco'
    done = run_tool(tree.root, '--split', 'train', 'val', '--classes', 'cat', '--out', out)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'voc_to_coco: ' in done.stderr and message in done.stderr
    assert not out.exists()


def test_a_test_set_without_annotations(tmp_path):
    """The 20 classes are known by the name of the folder, others have to be given."""
    for name in ('VOC2012', 'photos'):
        tree = Tree(tmp_path / name)
        tree.image('a')
        tree.split('test', 'a')
        (tree.root / 'Annotations').rmdir()
    args = ('--split', 'test', '--images-only', '--out')
    done = run_tool(tmp_path / 'VOC2012', *args, tmp_path / 'voc')
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / 'voc' / 'instances_test.json').read_text())
    names = [category['name'] for category in content['categories']]
    assert len(names) == 20 and names[0] == 'aeroplane' and names[19] == 'tvmonitor'
    assert len(content['images']) == 1 and content['annotations'] == []
    done = run_tool(tmp_path / 'photos', *args, tmp_path / 'none')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        'names a class: give classes (--classes on the command line), in the order that training '
        'has them'
    )
    done = run_tool(tmp_path / 'photos', *args, tmp_path / 'new', '--classes', 'cat')
    assert done.returncode == 0, done.stderr
