"""VOC and COCO as their authors publish them: class names, image counts, names of archives."""

from __future__ import annotations

from typing import NamedTuple

from rankdet.commands import tool_line

VOC_CLASSES = (
    *('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow'),
    *('diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa'),
    *('train', 'tvmonitor'),
)
COCO_CLASSES = (
    *('person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat'),
    *('traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat', 'dog'),
    *('horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella'),
    *('handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball', 'kite'),
    *('baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket', 'bottle'),
    *('wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple', 'sandwich'),
    *('orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch'),
    *('potted plant', 'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote'),
    *('keyboard', 'cell phone', 'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book'),
    *('clock', 'vase', 'scissors', 'teddy bear', 'hair drier', 'toothbrush'),
)
#: COCO numbers its 80 classes from 1 to 90; these are not in use.
_UNUSED_COCO_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_CATEGORY_IDS = tuple(id for id in range(1, 91) if id not in _UNUSED_COCO_IDS)


class VocSplit(NamedTuple):
    """One of VOC's image lists.

    Attributes:
        images: how many it has.
        archive: the archive that holds it, with its images and annotations.
    """

    images: int
    archive: str


_TRAINVAL07, _TRAINVAL12 = 'VOCtrainval_06-Nov-2007.tar', 'VOCtrainval_11-May-2012.tar'
VOC_SPLITS = {
    ('VOC2007', 'trainval'): VocSplit(5011, _TRAINVAL07),
    ('VOC2007', 'train'): VocSplit(2501, _TRAINVAL07),
    ('VOC2007', 'val'): VocSplit(2510, _TRAINVAL07),
    ('VOC2007', 'test'): VocSplit(4952, 'VOCtest_06-Nov-2007.tar'),
    ('VOC2012', 'trainval'): VocSplit(11540, _TRAINVAL12),
    ('VOC2012', 'train'): VocSplit(5717, _TRAINVAL12),
    ('VOC2012', 'val'): VocSplit(5823, _TRAINVAL12),
    ('VOC2012', 'test'): VocSplit(10991, 'VOC2012test.tar'),
}


class CocoSplit(NamedTuple):
    """One of COCO's annotation files.

    Attributes:
        images: how many it lists.
        folder: where their files are.
        annotations_archive: the archive that holds the file, or how it comes about.
        annotated: whether it has objects; a server keeps those of the others.
        with_objects: how many of its images have any; None where nobody but the server knows.
    """

    images: int
    folder: str
    annotations_archive: str
    annotated: bool = True
    with_objects: int | None = None

    @property
    def images_archive(self) -> str:
        return f'{self.folder}.zip'


_BOXES17, _BOXES14 = 'annotations_trainval2017.zip', 'annotations_trainval2014.zip'
_SPLIT14 = (
    f'no archive of COCO: make it with {tool_line("dataset_converters/split_coco_val2014")} from '
    f'{_BOXES14} and {_BOXES17}'
)
COCO_SPLITS = {
    'instances_train2017': CocoSplit(118287, 'train2017', _BOXES17, with_objects=117266),
    'instances_val2017': CocoSplit(5000, 'val2017', _BOXES17, with_objects=4952),
    'image_info_test-dev2017': CocoSplit(20288, 'test2017', 'image_info_test2017.zip', False),
    'image_info_test2017': CocoSplit(40670, 'test2017', 'image_info_test2017.zip', False),
    'instances_train2014': CocoSplit(82783, 'train2014', _BOXES14, with_objects=82081),
    'instances_val2014': CocoSplit(40504, 'val2014', _BOXES14, with_objects=40137),
    'instances_valminusminival2014': CocoSplit(35504, 'val2014', _SPLIT14, with_objects=35185),
    'instances_minival2014': CocoSplit(5000, 'val2014', _SPLIT14, with_objects=4952),
    'image_info_test-dev2015': CocoSplit(20288, 'test2015', 'image_info_test2015.zip', False),
    'image_info_test2015': CocoSplit(81434, 'test2015', 'image_info_test2015.zip', False),
}
