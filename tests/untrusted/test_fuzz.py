"""Damaged files are refused or read, never anything else, and nothing appears outside."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from rankdet.datasets.check_coco import check_coco_file
from rankdet.datasets.check_report import CheckReport
from rankdet.datasets.check_voc import check_voc_split
from rankdet.datasets.voc import voc_to_coco
from rankdet.datasets.voc_files import Unusable, parse_xml
from rankdet.evaluation.coco_data import load_detections, load_ground_truth
from rankdet.untrusted import Refused, coco_bytes, read_json, read_xml, unpack
from tests.untrusted.mutations import Damage, damaged

fuzzed = settings(max_examples=60, deadline=None)

COCO = json.dumps(
    dict(
        images=[dict(id=1, file_name='a.jpg', width=20, height=10)],
        categories=[dict(id=1, name='cat', supercategory='animal')],
        annotations=[
            dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 3.5, 4], area=14.0, iscrowd=0)
        ],
    )
).encode()
RESULTS = b'[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3.5, 4], "score": 0.5}]'
XML = b"""<?xml version="1.0" encoding="utf-8"?>
<annotation><filename>a.png</filename><size><width>20</width><height>10</height></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object></annotation>
"""
FILES = {'a/b.txt': b'first', 'c.jpg': b'second' * 20}


def zip_bytes() -> bytes:
    with zipfile.ZipFile(file := io.BytesIO(), 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def tar_bytes(mode: str) -> bytes:
    with tarfile.open(fileobj=(file := io.BytesIO()), mode=mode) as archive:
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


class Sandbox:
    """A folder in which only ``inside`` may be written."""

    def __enter__(self) -> Path:
        self.folder = TemporaryDirectory()
        root = Path(self.folder.name, 'x', 'y', 'z')
        root.mkdir(parents=True)
        return root

    def __exit__(self, kind, *_) -> None:
        root = Path(self.folder.name)
        outside = {
            str(path.relative_to(root)) for path in root.rglob('*') if 'x/y/z' not in str(path)
        }
        self.folder.cleanup()
        assert kind is not None or outside == {'x', 'x/y'}


@fuzzed
@given(Damage)
def test_json(damage):
    with Sandbox() as root:
        path = root / 'a.json'
        path.write_bytes(damaged(COCO, damage))
        for read in (read_json, coco_bytes, load_ground_truth):
            try:
                read(path)
            except ValueError as error:
                assert str(error)
        assert numbers_are_finite(path)


def numbers_are_finite(path: Path) -> bool:
    """Unless ``coco_bytes`` refuses the file, or it is no JSON, which is said when it is loaded."""
    try:
        content = json.loads(coco_bytes(path))
        boxes = [annotation['bbox'] for annotation in content['annotations']]
    except (ValueError, TypeError, KeyError):
        return True
    return all(abs(v) < float('inf') for box in boxes for v in box if isinstance(v, float))


@fuzzed
@given(Damage)
def test_results(damage):
    gt = load_ground_truth(json.loads(COCO))
    with Sandbox() as root:
        path = root / 'a.json'
        path.write_bytes(damaged(RESULTS, damage))
        try:
            found = load_detections(path, gt)
            assert len(found) == len(json.loads(path.read_bytes().decode('utf-8-sig')))
        except ValueError as error:
            assert str(error)


@fuzzed
@given(Damage)
def test_checking_coco(damage):
    with Sandbox() as root:
        (root / 'instances.json').write_bytes(damaged(COCO, damage))
        report = CheckReport()
        check_coco_file(report, root / 'instances.json', root)
        assert not report.ok and report.text()  # the image is missing, whatever else


@fuzzed
@given(Damage)
def test_xml(damage):
    with Sandbox() as root:
        path = root / 'a.xml'
        path.write_bytes(damaged(XML, damage))
        try:
            read_xml(path)
        except Refused as error:
            assert 'a.xml' in str(error)
        try:
            parse_xml(path)
        except Unusable as error:
            assert str(error)


@settings(max_examples=30, deadline=None)
@given(Damage, Damage)
def test_voc(image, damage):
    """Image, annotation and list are damaged; the converter and the check say so."""
    with Sandbox() as root:
        year = root / 'VOC2007'
        for part in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
            (year / part).mkdir(parents=True)
        (year / 'JPEGImages/a.png').write_bytes(damaged(picture(), image))
        (year / 'Annotations/a.xml').write_bytes(damaged(XML, damage))
        (year / 'ImageSets/Main/train.txt').write_bytes(damaged(b'a\n', damage))
        try:
            voc_to_coco(year, root / 'out.json', split='train', classes=['cat'], workers=1)
        except ValueError as error:
            assert str(error) and not (root / 'out.json').exists()
        else:
            load_ground_truth(root / 'out.json', allow_empty=True)
        report = CheckReport()
        check_voc_split(report, year, 'train')
        assert report.text()


def picture() -> bytes:
    from PIL import Image

    Image.new('L', (20, 10), 7).save(file := io.BytesIO(), 'png')
    return file.getvalue()


@fuzzed
@given(damage=Damage)
@pytest.mark.parametrize('pack', ['zip', 'w', 'w:gz', 'w:bz2', 'w:xz'])
def test_archives(pack, damage):
    content = zip_bytes() if pack == 'zip' else tar_bytes(pack)
    with Sandbox() as root:
        (root / 'archive').write_bytes(damaged(content, damage))
        try:
            files = unpack(root / 'archive', root / 'out')
        except Refused as error:
            assert 'archive' in str(error)
        else:
            assert all(path.resolve().is_relative_to(root / 'out') for path in files)
            assert all(path.is_file() for path in files)
        assert {path.name for path in root.iterdir()} <= {'archive', 'out'}
        assert not list(root.rglob('*.part'))
