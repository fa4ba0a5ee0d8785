"""A small folder in the layout of VOC, to be filled and broken."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from rankdet.datasets.voc import voc_to_coco


def voc_object(name='cat', box=(11, 21, 30, 40), difficult=None):
    corners = ''.join(
        f'<{key}>{value}</{key}>' for key, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box)
    )
    flag = '' if difficult is None else f'<difficult>{difficult}</difficult>'
    return f'<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox></object>'


class Tree:
    """A folder in the layout of VOC, filled one file at a time."""

    def __init__(self, root):
        self.root = root
        for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
            (root / folder).mkdir(parents=True)

    def xml(self, stem, *objects, size=(100, 80), filename=None, text=None):
        text = text or (
            f'<annotation><filename>{filename or stem + ".jpg"}</filename>'
            f'<size><width>{size[0]}</width><height>{size[1]}</height></size>'
            f'{"".join(objects)}</annotation>'
        )
        (self.root / 'Annotations' / f'{stem}.xml').write_text(text)

    def image(self, stem, suffix='.jpg', size=(100, 80), **options):
        pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
        path = self.root / 'JPEGImages' / f'{stem}{suffix}'
        Image.fromarray(pixels).save(path, **options)
        return path

    def add(self, stem, *objects, **options):
        self.xml(stem, *objects, **options)
        return self.image(stem)

    def split(self, name, *lines):
        (self.root / 'ImageSets' / 'Main' / f'{name}.txt').write_text('\n'.join(lines))

    def convert(self, **options):
        """The JSON, and each finding as 'kind: file name: reason'."""
        out = self.root.parent / 'out.json'
        result = voc_to_coco(self.root, out, **options)
        found = [f'{f.kind}: {Path(f.file).name}: {f.reason}' for f in result.findings]
        report = (self.root.parent / 'out.report.txt').read_text().splitlines()
        assert report == [result.summary(), *map(str, result.findings)]
        return json.loads(out.read_text()), found
