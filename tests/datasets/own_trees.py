"""The same four photos as every format and layout writes them. Not a test itself."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.datasets.voc_tree import voc_object

SIZE = (100, 80)
CLASSES = ('cat', 'dog')
# Corners x1, y1, x2, y2 measured from the image's corner, written out by hand in each format.
CAT, DOG, CORNER = (10, 20, 40, 60), (50, 0, 100, 80), (0, 0, 20, 8)
VOC = {CAT: (11, 21, 40, 60), DOG: (51, 1, 100, 80), CORNER: (1, 1, 20, 8)}
COCO = {CAT: [10, 20, 30, 40], DOG: [50, 0, 50, 80], CORNER: [0, 0, 20, 8]}
YOLO = {CAT: '0.25 0.5 0.3 0.5', DOG: '0.75 0.5 0.5 1.0', CORNER: '0.1 0.05 0.2 0.1'}
PHOTOS = {
    'a': ('train', [('cat', CAT), ('dog', DOG)]),
    'b': ('train', [('dog', CORNER)]),
    'c': ('train', []),
    'd': ('val', [('cat', CORNER), ('dog', CAT)]),
}
#: What every conversion must hold: objects by stem of the image, in COCO's x, y, width, height.
EXPECTED = {
    split: {
        stem: [(name, COCO[box]) for name, box in objects]
        for stem, (own, objects) in PHOTOS.items()
        if own == split
    }
    for split in ('train', 'val')
}


def photo(path: Path, size=SIZE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.stem)).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
    return path


def voc_xml(objects) -> str:
    inner = ''.join(voc_object(name, VOC[box]) for name, box in objects)
    return f'<annotation>{inner}</annotation>'


def yolo_text(objects) -> str:
    return ''.join(f'{CLASSES.index(name)} {YOLO[box]}\n' for name, box in objects)


def coco_json(stems, folder='', first_id=7) -> str:
    """Ids start anywhere, and the class named as the data set has no objects (Roboflow's habit)."""
    content = dict(images=[], annotations=[], categories=[dict(id=0, name='pets')])
    content['categories'] += [dict(id=3, name='cat'), dict(id=5, name='dog')]
    for id, stem in enumerate(stems, first_id):
        image = dict(id=id, file_name=f'{folder}{stem}.png', width=SIZE[0], height=SIZE[1])
        content['images'].append(image)
        for name, box in PHOTOS[stem][1]:
            own = dict(id=100 + len(content['annotations']), image_id=id, bbox=COCO[box], iscrowd=0)
            own |= dict(category_id=dict(cat=3, dog=5)[name], area=1)
            content['annotations'].append(own)
    return json.dumps(content)


def of_split(split):
    return [stem for stem, (own, _) in PHOTOS.items() if own == split]


def voc_kit(root):
    for stem, (_, objects) in PHOTOS.items():
        photo(root / f'JPEGImages/{stem}.png')
        write(root / f'Annotations/{stem}.xml', voc_xml(objects))
    for split in ('train', 'val'):
        write(root / f'ImageSets/Main/{split}.txt', '\n'.join(of_split(split)))


def voc_beside(root, train='train', val='valid'):
    for stem, (split, objects) in PHOTOS.items():
        folder = root / (train if split == 'train' else val)
        photo(folder / f'{stem}.png')
        write(folder / f'{stem}.xml', voc_xml(objects))


def coco_archives(root):
    for split in ('train', 'val'):
        for stem in of_split(split):
            photo(root / f'{split}2017/{stem}.png')
        write(root / f'annotations/instances_{split}2017.json', coco_json(of_split(split)))
        write(root / f'annotations/captions_{split}2017.json', '{"images": [], "annotations": []}')


def coco_beside(root):
    for split, folder in (('train', 'train'), ('val', 'valid')):
        for stem in of_split(split):
            photo(root / f'{folder}/{stem}.png')
        write(root / f'{folder}/_annotations.coco.json', coco_json(of_split(split)))


def coco_elsewhere(root):
    """File names are paths of the machine that wrote them."""
    for split in ('train', 'val'):
        for stem in of_split(split):
            photo(root / f'images/{split}/{stem}.png')
        text = coco_json(of_split(split), folder=f'/home/somebody/{split}/')
        write(root / f'{split}.json', text)


def yolo_ultralytics(root, names='names:\n  0: cat\n  1: dog\n'):
    for stem, (split, objects) in PHOTOS.items():
        photo(root / f'images/{split}/{stem}.png')
        if objects:
            write(root / f'labels/{split}/{stem}.txt', yolo_text(objects))
    write(root / 'data.yaml', f'# ours\npath: .\ntrain: images/train\nval: images/val\n{names}')


def yolo_roboflow(root):
    for stem, (split, objects) in PHOTOS.items():
        folder = root / dict(train='train', val='valid')[split]
        photo(folder / f'images/{stem}.png')
        write(folder / f'labels/{stem}.txt', yolo_text(objects))
    text = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n"
    write(root / 'data.yaml', text)


def yolo_darknet(root):
    """Lists with the paths of another machine; images and labels in one folder."""
    for stem, (_, objects) in PHOTOS.items():
        photo(root / f'obj_data/{stem}.png')
        write(root / f'obj_data/{stem}.txt', yolo_text(objects))
    for split, name in (('train', 'train'), ('val', 'valid')):
        lines = [f'/content/data/obj_data/{stem}.png' for stem in of_split(split)]
        write(root / f'{name}.txt', '\n'.join(lines) + '\n')
    write(root / 'obj.names', 'cat\ndog\n')


LAYOUTS = {
    'VOC XML': [voc_kit, voc_beside],
    'COCO JSON': [coco_archives, coco_beside, coco_elsewhere],
    'YOLO text': [yolo_ultralytics, yolo_roboflow, yolo_darknet],
}
