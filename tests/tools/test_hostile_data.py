"""Annotations and images of a stranger: each tool refuses them in one line and writes nothing."""

import json
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from rankdet.datasets.voc_files import Unusable, decode_size, header_size, parse_xml
from tests.engine import tiny
from tests.tools import cli

TRAIN = 'train_dataloader.dataset.dataset'
RUN = 'run'


def huge_png(side: int) -> bytes:
    """A hundred bytes that unpack to side x side pixels, or would."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    parts = (b'IHDR', header), (b'IDAT', zlib.compress(bytes(100))), (b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*part) for part in parts)


def not_finite(content):
    content['annotations'][0]['bbox'][2] = float('nan')


def infinite(content):
    content['images'][0]['width'] = float('inf')


def outside(content):
    content['images'][0]['file_name'] = '../../../../etc/passwd'


def absolute(content):
    content['images'][0]['file_name'] = '/etc/passwd'


def deep(content):
    nested = content['annotations'][0]
    for _ in range(300):
        nested['more'] = nested = {}


def box(*values):
    def spoil(content):
        content['annotations'][0]['bbox'] = list(values)

    return spoil


def unknown_class(content):
    content['annotations'][0]['category_id'] = 91


def unknown_image(content):
    content['annotations'][0]['image_id'] = 91


BOX = 'bbox of annotations with id 1 is not four finite numbers, got ['
HOSTILE = [
    (not_finite, BOX),
    (infinite, 'width of images with id'),
    (box(10**400, 1, 2, 2), BOX),
    (box(1e99, 1, 1e99, 2), f'{BOX}1e+99, 1, 1e+99, 2]'),
    (box('NaN', 1, 2, 2), f'{BOX}"NaN", 1, 2, 2]'),
    (box(None, 1, 2, 2), BOX),
    (box(1, 2), f'{BOX}1, 2]; rankdet check_data CONFIG'),
    (unknown_class, 'category_id of annotations with id 1 is not among the categories'),
    (unknown_image, 'image_id of annotations with id 1 is not among the images'),
    (outside, 'names 1 files outside of its folder of images'),
    (absolute, 'RANKDET_ALLOW_OUTSIDE_FILES'),
    (deep, 'RANKDET_MAX_JSON_DEPTH'),
]


@pytest.mark.parametrize('spoil, words', HOSTILE)
def test_training(tool, config, own_data, edit_json, tmp_path, spoil, words):
    edit_json(own_data / 'annotations/instances_train.json', spoil)
    done = tool(
        'train', config, '--work-dir', RUN, '--cfg-options', f'{TRAIN}.data_root={own_data}/'
    )
    (line,) = done.err.splitlines()
    assert done.status == 1 and line.startswith('error: ') and words in line
    assert 'instances_train.json' in line and not (tmp_path / RUN).exists()


def test_a_field_that_is_needed(tool, config, own_data, edit_json, tmp_path):
    def spoil(content):
        del content['annotations'][2]['area']

    edit_json(own_data / 'annotations/instances_train.json', spoil)
    options = [f'{TRAIN}.data_root={own_data}/']
    done = tool('train', config, '--work-dir', RUN, '--cfg-options', *options)
    assert done.status == 1 and '1 of its annotations have no area, entry 2' in done.err
    assert 'Traceback' not in done.err and not (tmp_path / RUN).exists()


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda text: b'\xef\xbb\xbf' + text, 'save it as UTF-8 without BOM'),
        (lambda text: text.decode().encode('utf-16'), 'is in UTF-16; save it as UTF-8'),
        (lambda text: text.replace(b'"bbox"', b'"bbox', 1), 'is not JSON, perhaps cut short'),
    ],
)
def test_how_a_file_is_written(tool, config, own_data, tmp_path, change, words):
    path = own_data / 'annotations/instances_train.json'
    path.write_bytes(change(path.read_bytes()))
    options = [f'{TRAIN}.data_root={own_data}/']
    done = tool('train', config, '--work-dir', RUN, '--cfg-options', *options)
    (line,) = done.err.splitlines()
    assert done.status == 1 and words in line and f'annotation file {path}' in line
    assert not (tmp_path / RUN).exists()


@pytest.mark.parametrize('spoil, words', HOSTILE)
def test_the_truth_of_an_evaluator(tool, config, own_data, edit_json, tmp_path, spoil, words):
    truth = own_data / 'annotations/instances_val.json'
    edit_json(truth, spoil)
    done = tool(
        'train', config, '--work-dir', RUN, '--cfg-options', f'val_evaluator.ann_file={truth}'
    )
    (line,) = done.err.splitlines()
    assert done.status == 1 and words in line and not (tmp_path / RUN).exists()


@pytest.mark.parametrize('key', ['ann_file', 'proposal_file'])
def test_a_pickle_of_annotations(tool, config, own_data, tmp_path, key):
    (own_data / 'found.pkl').write_bytes(b'cposix\nmkdir\n(Vtaken\ntR.')
    options = [f'{TRAIN}.data_root={own_data}/', f'{TRAIN}.{key}=found.pkl']
    done = tool('train', config, '--work-dir', RUN, '--cfg-options', *options)
    assert done.status == 1 and 'is a pickle, which may run any code' in done.err
    assert not Path('taken').exists() and not (tmp_path / RUN).exists()


BOXES = 'bbox of 1 annotations are not four finite numbers'
WORDS = [
    (not_finite, BOXES),
    (infinite, 'has width inf'),
    *((spoil, BOXES) for spoil, words in HOSTILE[2:] if words.startswith(BOX)),
    (unknown_class, 'category_id of 1 annotations are not in the file'),
    (unknown_image, 'image_id of 1 annotations are not in the file'),
    *HOSTILE[-3:],
]


@pytest.mark.parametrize('spoil, words', WORDS)
def test_checking(tool, config, own_data, edit_json, spoil, words):
    edit_json(own_data / 'annotations/instances_train.json', spoil)
    tiny.load(own_data, own_data.parent / 'unused').dump(config)
    done = tool('check_data', config)
    assert done.status == 1 and words in done.out


@pytest.mark.parametrize('side', [13_000, 60_000])
def test_a_gigantic_image(own_data, tool, config, side):
    image = next((own_data / 'train').glob('*.png'))
    image.write_bytes(huge_png(side))
    tiny.load(own_data, own_data.parent / 'unused').dump(config)
    done = tool('check_data', config)
    assert done.status == 1 and f'{image.name} (image is too large' in done.out
    assert 'RANKDET_MAX_MEGAPIXELS' in done.out
    for read in (header_size, decode_size):
        with pytest.raises(Unusable, match='too large'):
            read(image)


def test_a_limit_above_that_of_pillow(tmp_path, monkeypatch):
    (tmp_path / 'a.png').write_bytes(huge_png(20_000))
    with pytest.raises(Unusable, match='too large'):
        header_size(tmp_path / 'a.png')
    monkeypatch.setenv('RANKDET_MAX_MEGAPIXELS', '500')
    assert header_size(tmp_path / 'a.png') == (20_000, 20_000)


def test_training_on_a_gigantic_image(own_data, tmp_path):
    """As a process of its own: OpenCV takes its limit when it is imported."""
    for image in (own_data / 'train').glob('*.png'):
        image.write_bytes(huge_png(20_000))
    config = tiny.write(tmp_path / 'config.py', own_data)
    command = [sys.executable, cli.ROOT / 'tools/train.py', config, '--work-dir', RUN]
    done = cli.run_alone(command, tmp_path)
    assert done.status == 1 and 'RANKDET_MAX_MEGAPIXELS' in done.err.splitlines()[-1]
    assert not (tmp_path / RUN).exists()


@pytest.mark.parametrize(
    'content, words',
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', 'document type'),
        ('', r'is empty \(0 bytes\)'),
        ('<a>' * 100, 'deep'),
    ],
)
def test_an_annotation_in_xml(tmp_path, content, words):
    (tmp_path / 'a.xml').write_text(content)
    with pytest.raises(Unusable, match=f'^(?!.*a.xml).*{words}'):
        parse_xml(tmp_path / 'a.xml')


def test_names_in_a_list(tool, tmp_path):
    year = tmp_path / 'VOC2007'
    for part in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (year / part).mkdir(parents=True)
    for split in ('trainval', 'test'):
        (year / f'ImageSets/Main/{split}.txt').write_text('000001\n../../../etc/passwd\n')
    done = tool('check_data', year)
    assert done.status == 1 and 'has 1 names that are no plain ones: ../../../etc' in done.out


def test_scores_of_a_stranger(tool, tmp_path, digits, config, checkpoint):
    scores = tmp_path / 'scores.json'
    picture = digits / 'val/000000.png'
    arguments = [picture, '--config', config, '--checkpoint', checkpoint, '--score', scores]
    for content in ('', '[' * 100_000, json.dumps([1])):
        scores.write_text(content)
        done = tool('image_demo', *arguments)
        assert done.status == 2 and 'scores.json' in done.err.splitlines()[-1]


def test_unpacking(tool, tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr('../taken', 'here')
        archive.writestr('fine', 'here')
    done = tool('unpack', 'a.zip', 'data')
    assert done.status == 1 and "'../taken' would be written outside" in done.err
    assert {path.name for path in tmp_path.iterdir()} == {'a.zip'}
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr('VOC/fine', 'here')
    done = tool('unpack', 'a.zip', 'data')
    assert done.status == 0 and done.out == '1 files in data\n'
    assert (tmp_path / 'data/VOC/fine').read_text() == 'here'
