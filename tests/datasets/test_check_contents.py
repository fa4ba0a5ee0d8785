"""Files that are in the format, but that MMDetection would read otherwise than they are meant."""

import os

import pytest
from test_check import coco, drop_last_image, edit_json, official, single, voc  # noqa: F401

from rankdet.datasets.check import check_folder
from rankdet.evaluation import load_ground_truth

TRAIN = 'annotations/instances_train2017.json'


def set_all(**values):
    def change(content):
        for annotation in content['annotations']:
            annotation.update(values)

    return change


def set_first(key, **values):
    return lambda content: content[key][0].update(values)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (set_first('annotations', area=None), 'area of 1 annotations is not a finite number: None'),
        (set_first('annotations', area=float('nan')), 'area of 1 annotations is not a finite'),
        (set_first('annotations', iscrowd=2), 'iscrowd of 1 annotations is not 0 or 1: 2'),
        (set_first('annotations', area=True), 'area of 1 annotations is not a finite number: True'),
        (set_first('annotations', area='12'), 'area of 1 annotations is not a finite number: 12'),
        (set_first('annotations', area=-3), 'area of 1 annotations is negative, which the eval'),
        (set_first('annotations', difficult=2), 'difficult of 1 annotations is not 0 or 1: 2'),
        (set_all(iscrowd=1), 'none of 20 objects'),
        (set_first('images', id=[1]), 'entry 0 of images has id [1]'),
        (set_first('images', file_name=5), 'entry 0 of images has file_name 5'),
        (set_first('images', width='abc'), "entry 0 of images has width 'abc'"),
        (set_first('images', height=0), 'entry 0 of images has height 0'),
        (set_first('annotations', category_id=[1]), 'entry 0 of annotations has category_id [1]'),
        (set_first('annotations', bbox=[10**400, 0, 1, 1]), 'not four finite numbers'),
        (set_first('categories', name=3), 'entry 0 of categories has name 3'),
    ],
)
def test_what_mmdetection_cannot_use(coco, change, message):  # noqa: F811
    edit_json(coco / TRAIN, change)
    single(check_folder(coco), 'instances_train2017.json', message)


def test_annotations_of_unknown_images_do_not_count_as_images(coco):  # noqa: F811
    path = coco / 'annotations/instances_val2017.json'

    def change(content):
        content['annotations'] += [
            dict(content['annotations'][0], id=10**6 + n, image_id=10**6 + n) for n in range(2)
        ]
        alone = content['images'][0]['id']
        content['annotations'] = [a for a in content['annotations'] if a['image_id'] != alone]

    edit_json(path, change)
    report = check_folder(coco)
    assert f'{path}: 1 images have no objects' in report.text()
    assert 'image_id of 2 annotations are not in the file' in report.text()


def test_what_the_check_passes_the_evaluation_reads(coco):  # noqa: F811
    path = coco / 'annotations/instances_val2017.json'
    sound = path.read_text()
    for change in (dict(bbox=[1, 2, -3, 4]), dict(area=-1), dict(bbox=[1, 2, 0, 4]), dict(area=0)):
        path.write_text(sound)
        edit_json(path, set_first('annotations', **change))
        try:
            load_ground_truth(path)
        except ValueError:
            assert not check_folder(coco).ok, change
        else:
            assert check_folder(coco).ok, change


def test_objects_without_area_are_dropped(coco):  # noqa: F811
    edit_json(coco / TRAIN, set_first('annotations', area=0))
    single(check_folder(coco), '1 of 20 objects have no area > 0', stops=False)
    edit_json(coco / TRAIN, set_all(area=0))
    report = check_folder(coco)
    assert [p.stops for p in report.problems] == [False, True]
    assert 'none of 20 objects has an area > 0' in report.text()


def test_training_images_among_those_to_test_on(coco):  # noqa: F811
    (coco / TRAIN).write_text((coco / 'annotations/instances_val2017.json').read_text())
    for name in ('train2017', 'val2017'):
        for path in (coco / 'val2017').iterdir():
            (coco / name / path.name).write_bytes(path.read_bytes())
    single(check_folder(coco), '4 images are in instances_val2017 too: 5, 6, 7 and 1 more')


def test_categories_numbered_from_1_to_80(coco):  # noqa: F811
    def renumber(content):
        ids = {category['id']: n for n, category in enumerate(content['categories'], 1)}
        for category in content['categories']:
            category['id'] = ids[category['id']]
        for annotation in content['annotations']:
            annotation['category_id'] = ids[annotation['category_id']]

    edit_json(coco / TRAIN, renumber)
    single(check_folder(coco), 'do not have the id of COCO: stop sign 12 instead of 13')


def test_converted_files_have_the_images_of_the_list(voc):  # noqa: F811
    path = voc / 'VOC2007/instances_trainval.json'
    whole = path.read_text()
    edit_json(path, set_first('images', file_name='JPEGImages/000005.jpg'))
    report = check_folder(voc / 'VOC2007')
    assert '1 are missing, 1 are not in the list; make it from' in report.text()
    assert 'voc_to_coco.py' in report.text() and not report.ok
    path.write_text(whole)
    edit_json(path, set_first('images', file_name='nowhere/000001.jpg'))
    single(check_folder(voc / 'VOC2007'), '1 of 4 images are missing: nowhere/000001.jpg')
    path.write_text(whole)
    edit_json(path, drop_last_image)
    report = check_folder(voc / 'VOC2007')
    assert '1 are missing, 0 are not in the list' in report.text() and not report.ok


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        (b'000001\n', 'names 1 images more than once: 000001'),
        (b'\xff\xfe\n', 'not UTF-8'),
    ],
)
def test_damaged_lists_of_voc(voc, line, message):  # noqa: F811
    listing = voc / 'VOC2007/ImageSets/Main/trainval.txt'
    listing.write_bytes(listing.read_bytes() + line)
    report = check_folder(voc)
    found = [p for p in report.problems if message in p.what]
    assert len(found) == 1 and found[0].stops and found[0].where == str(listing)


def test_a_list_of_voc_beyond_all_memory(voc):  # noqa: F811
    """It is looked for in the list itself, and where the converted file is compared with it."""
    listing = voc / 'VOC2007/ImageSets/Main/trainval.txt'
    with listing.open('r+b') as file:
        file.truncate(20 * 10**9)
    report = check_folder(voc)
    assert f'error: {listing}: is no list of names: it is larger than 64 MB' in report.text()


def test_a_list_that_is_a_pipe_is_not_waited_for(voc):  # noqa: F811
    listing = voc / 'VOC2007/ImageSets/Main/trainval.txt'
    listing.unlink()
    os.mkfifo(listing)
    assert f'error: {listing}: list of images is missing' in check_folder(voc).text()
