"""JSON, XML, names and sizes from strangers: limits, and messages that say which."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankdet.untrusted import (
    Refused,
    check_coco,
    check_pixels,
    coco_bytes,
    leaves_folder,
    limit,
    read_json,
    read_xml,
    refuse_outside,
)
from rankdet.untrusted.coco import is_odd
from rankdet.untrusted.documents import json_depth

BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "%s">%s]><a>&c;</a>' % (
    b'x' * 100,
    b'<!ENTITY c "' + b'&b;' * 100 + b'">',
)
OUTER = b'<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>'

Values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text('a"\\[]{}é', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('[]"\\'), inner, max_size=3)
    ),
    max_leaves=12,
)


def depth_of(value) -> int:
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth_of, inner), default=0) if isinstance(value, (dict, list)) else 0


@pytest.fixture
def file(tmp_path):
    def write(content):
        (tmp_path / 'file').write_bytes(content)
        return tmp_path / 'file'

    return write


@given(Values, st.booleans())
def test_the_depth_of_json(value, ascii):
    assert json_depth(json.dumps(value, ensure_ascii=ascii).encode()) == depth_of(value)


def test_the_depth_across_chunks(monkeypatch):
    monkeypatch.setattr('rankdet.untrusted.documents._CHUNK', 3)
    assert json_depth(b'{"a[[[": [[1, 2], "\\"[[["], "b": [[[]]]}') == 4


@pytest.mark.parametrize(
    'content, words',
    [
        (b'', r'is empty \(0 bytes\)'),
        (b'[' * 65 + b']' * 65, '65 deep; at most 64.*RANKDET_MAX_JSON_DEPTH'),
        (b'[' * 200_000, '200000 deep'),
        (b'[1, 2', 'cut short'),
        (b'[1]\0', 'is not JSON'),
        (b'"\xff"', 'is not JSON'),
        (b'1' * 5000, 'is not JSON'),
        (json.dumps([1]).encode('utf-16'), 'is in UTF-16; save it as UTF-8'),
        (json.dumps([1]).encode('utf-32-be'), 'is in UTF-32-BE'),
    ],
)
def test_json_that_is_refused(file, content, words):
    with pytest.raises(Refused, match=f'^results .*file .*{words}'):
        read_json(file(content), 'results')


def test_json_that_is_read(file, monkeypatch):
    assert read_json(file(b'\xef\xbb\xbf{"a": [NaN]}'))['a'][0] != 0
    monkeypatch.setenv('RANKDET_MAX_JSON_DEPTH', '100')
    assert read_json(file(b'[' * 65 + b']' * 65))


def test_a_limit_of_bytes(file, monkeypatch):
    monkeypatch.setenv('RANKDET_MAX_JSON_MB', '1')
    with pytest.raises(Refused, match=r'has 2 MB; at most 1 MB are read, RANKDET_MAX_JSON_MB'):
        read_json(file(b'[' + b' ' * 2_000_000 + b']'))


@pytest.mark.parametrize('text', ['0', '-1', 'many', '1.5', '²'])
def test_a_limit_that_is_none(monkeypatch, text):
    monkeypatch.setenv('RANKDET_MAX_JSON_MB', text)
    with pytest.raises(ValueError, match='RANKDET_MAX_JSON_MB must be a positive whole number'):
        limit('RANKDET_MAX_JSON_MB')


def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / 'pipe')  # opening it would wait for ever
    for path in (tmp_path / 'pipe', tmp_path):
        with pytest.raises(Refused, match='is no regular file'):
            read_json(path)
    with pytest.raises(FileNotFoundError, match='none does not exist'):
        read_json(tmp_path / 'none')


@pytest.mark.parametrize(
    'content, words',
    [
        (b'', 'is empty'),
        (BOMB, 'document type'),
        (OUTER, 'document type'),
        (OUTER.decode().encode('utf-16'), 'document type'),
        (b'<a>' * 65 + b'</a>' * 65, 'more than 64 deep.*RANKDET_MAX_XML_DEPTH'),
        (b'<a>' * 100_000, 'more than 64 deep'),
        (b'<a>', 'is no valid XML'),
        (b'<a>&b;</a>', 'is no valid XML'),
        (b'<?xml version="1.0" encoding="none"?><a/>', 'is no valid XML'),
        (b'text', 'is no valid XML'),
    ],
)
def test_xml_that_is_refused(file, content, words):
    with pytest.raises(Refused, match=f'file .*{words}'):
        read_xml(file(content))


def test_xml_that_is_read(file):
    assert read_xml(file('<a>é<b/></a>'.encode('utf-16'))).text == 'é'


@given(st.lists(st.sampled_from(['..', '.', 'a', 'b', '']), max_size=6), st.booleans())
def test_names(parts, windows):
    """Against walking through the folders one by one."""
    depth, left = 0, parts[:1] == [''] and len(parts) > 1
    for part in parts:
        depth += (part == 'a' or part == 'b') - (part == '..')
        left |= depth < 0
    assert leaves_folder(('\\' if windows else '/').join(parts)) >= left
    if not left:
        assert not leaves_folder('/'.join(parts))


@pytest.mark.parametrize('name', ['/etc/passwd', '//host/a', 'C:/a', 'c:a', '\\\\host\\a', 'a\0b'])
def test_names_from_elsewhere(name, monkeypatch):
    with pytest.raises(Refused, match=r'ann\.json names 1 files outside.*RANKDET_ALLOW_OUTSIDE'):
        refuse_outside(['a.jpg', name], 'ann.json')
    monkeypatch.setenv('RANKDET_ALLOW_OUTSIDE_FILES', '1')
    refuse_outside(['a.jpg', name], 'ann.json')


def test_pixels(monkeypatch):
    check_pixels(15_000, 10_000)
    with pytest.raises(Refused, match=r'10001 pixels; at most 150 megapixels'):
        check_pixels(15_000, 10_001)
    monkeypatch.setenv('RANKDET_MAX_MEGAPIXELS', '151')
    check_pixels(15_000, 10_001)


# --- a COCO file before it is handed on -----------------------------------------------------------


def coco(box='[1, 2, 3, 4]', name='a.jpg', width='10'):
    return (
        f'{{"images": [{{"id": 1, "file_name": "{name}", "width": {width}, "height": 10}}], '
        f'"annotations": [{{"id": 7, "image_id": 1, "category_id": 1, "bbox": {box}}}], '
        '"categories": [{"id": 1, "name": "x"}]}'
    ).encode()


BOX = 'bbox of annotations with id 7 is not four finite numbers'


@pytest.mark.parametrize(
    'content, words',
    [
        (coco('[1, 2, NaN, 4]'), BOX),
        (coco('[1, 2, 3, -Infinity]'), BOX),
        (coco('[1, 2, 3, 1e999]'), BOX),
        (coco('[1, 2, 3, 1E+0999]'), BOX),
        (coco(f'[1{"0" * 400}.0, 1, 2, 2]'), BOX),
        (coco(f'[1{"0" * 400}, 1, 2, 2]'), BOX),
        (coco(f'[1{"0" * 220}e99, 1, 2, 2]'), BOX),
        (coco(width='1.5e400'), 'width of images with id 1 is no finite number'),
        (coco(width='8' * 310), 'width of images with id 1 is no finite'),
        (b'\xef\xbb\xbf' + coco(), 'without BOM'),
        (coco().decode().encode('utf-16'), 'UTF-16'),
        (coco(name='../a.jpg'), 'outside'),
        (coco(name='b/../../a.jpg'), 'outside'),
        (coco(name='/a.jpg'), 'outside'),
        (coco(name='\\\\\\\\host\\\\a.jpg'), 'outside'),
        (coco(name='\\u002e\\u002e/a.jpg'), 'outside'),
        (coco(name='C:/a.jpg'), 'outside'),
        (coco(name='../a.jpg').replace(b'file_name', b'file\\u005fname'), 'outside'),
    ],
)
def test_coco_that_is_refused(file, content, words):
    with pytest.raises(Refused, match=f'annotation file .*file.*{words}'):
        coco_bytes(file(content))


@pytest.mark.parametrize(
    'content',
    [coco(), coco(name='NaN Infinity.jpg'), coco(name='\\u00e9.jpg'), coco(name='b/../a..b.jpg')],
)
def test_coco_that_is_read(file, content):
    assert coco_bytes(file(content)) == content


@given(st.floats(), st.text(max_size=8))
def test_what_is_not_parsed_is_harmless(value, name):
    """Whatever Python writes: only finite numbers and names that stay pass without parsing."""
    content = dict(images=[dict(file_name=name)], annotations=[dict(bbox=[value])])
    if not is_odd(json.dumps(content, ensure_ascii=False).encode('utf-8', 'surrogatepass')):
        assert abs(value) < float('inf') and not leaves_folder(name)


@given(st.integers(1, 400), st.integers(0, 99), st.booleans())
def test_no_plain_number_overflows_unseen(digits, exponent, point):
    text = '7' * digits + '.0' * point + f'e{exponent}'
    assert is_odd(text.encode()) or float(text) < float('inf')


def whole() -> dict:
    return json.loads(coco()) | {'images': [dict(id=n, file_name=f'{n}.jpg') for n in (1, 2)]}


@pytest.mark.parametrize(
    'path, value, words',
    [
        (('annotations', 0, 'bbox'), [1, 2, 3], 'bbox of annotations with id 7'),
        (('annotations', 0, 'bbox'), [1, 2, 3, True], 'bbox of annotations with id 7'),
        (('annotations', 0, 'bbox'), {'x': 1}, 'bbox of annotations with id 7'),
        (('annotations', 0, 'area'), '4', 'area of annotations with id 7 is no finite number'),
        (('annotations', 0, 'category_id'), [1], 'category_id of annotations with id 7'),
        (('annotations', 0, 'category_id'), '1', 'among the categories of the file, got "1"'),
        (('annotations', 0, 'image_id'), 3, 'among the images of the file, got 3'),
        (('annotations', 0), 5, 'annotations is no list of objects'),
        (('images', 1, 'file_name'), 5, 'file_name of images with id 2 is no text'),
        (('images', 1, 'id'), None, 'id of images with id null is no number'),
        (('images',), {'a': 1}, 'images is no list of objects'),
    ],
)
def test_what_is_said_of_a_coco_file(path, value, words):
    content = whole()
    check_coco(content, 'x.json')
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(Refused, match=f'^x.json: .*{words}'):
        check_coco(content, 'x.json')


def test_how_many_are_wrong():
    content = whole()
    content['annotations'] = [content['annotations'][0] | dict(id=n, bbox=[]) for n in range(3)]
    with pytest.raises(Refused, match='with id 0, and of 2 more is not four finite numbers, got'):
        check_coco(content, 'x.json')
