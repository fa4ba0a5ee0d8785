"""Archives for the evaluation servers: names, content, refusals, and nothing half written."""

import json
import math
import tarfile
import zipfile

import pytest

from rankdet.evaluation import submission
from rankdet.evaluation.submission import write_coco_submission, write_voc_submission
from tests.evaluation.scenes import make_scenes

GT, RESULTS = make_scenes(0)
CLASSES = [category['name'] for category in GT['categories']]
IMAGES = {key: GT[key] for key in ('images', 'categories')}


def test_coco_zip(tmp_path):
    rows = [dict(row, segmentation=[]) for row in RESULTS]
    path, *counts = write_coco_submission(
        iter(rows), IMAGES, tmp_path / 'new', algorithm='AP-Loss.r50'
    )
    detected = {row['image_id'] for row in RESULTS}
    assert counts == [len(IMAGES['images']), len(detected), len(RESULTS)]
    assert path == tmp_path / 'new' / 'detections_test-dev2017_AP-Loss.r50_results.zip'
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ['detections_test-dev2017_AP-Loss.r50_results.json']
        assert json.loads(archive.read(archive.namelist()[0])) == RESULTS
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(score=math.nan), 'score must be finite'),
        (dict(score='0.5'), 'a number as score'),
        (dict(image_id=3.0), 'image_id must be an integer, got 3.0 at entry 0'),
        (dict(image_id=4), 'image_id that the ground truth does not know'),
        (dict(bbox=[0, 0, 1, -1]), 'must be >= 0'),
    ],
)
def test_coco_refuses_and_writes_nothing(tmp_path, change, message):
    rows = [RESULTS[0] | dict(image_id=3) | change, *RESULTS[1:]]
    with pytest.raises(ValueError, match=message):
        write_coco_submission(rows, IMAGES, tmp_path, algorithm='x')
    assert not list(tmp_path.iterdir())


def test_coco_refuses_names_and_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"algorithm must be letters.*'a_b'"):
        write_coco_submission(RESULTS, IMAGES, tmp_path, algorithm='a_b')
    with pytest.raises(ValueError, match=r"test_set must be one of .*'test-dev2017'.* got 'foo'"):
        write_coco_submission(RESULTS, IMAGES, tmp_path, algorithm='a', test_set='foo')
    with pytest.raises(ValueError, match='no detection'):
        write_coco_submission([], IMAGES, tmp_path, algorithm='a')
    with pytest.raises(ValueError, match='images must be the list of a test set'):
        write_coco_submission(RESULTS, GT, tmp_path, algorithm='a')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('categories', 'message'),
    [
        (
            {c['name']: c['id'] + 1 for c in GT['categories']},
            'number otherwise class 2 2 instead of 3',
        ),
        ({'person': 1}, 'lack person; they have besides class 2, class 7, class 12'),
    ],
)
def test_coco_wants_the_classes_and_ids_of_the_server(tmp_path, categories, message):
    with pytest.raises(ValueError, match=message):
        write_coco_submission(RESULTS, IMAGES, tmp_path, algorithm='a', categories=categories)
    assert not list(tmp_path.iterdir())
    official = {c['name']: c['id'] for c in reversed(GT['categories'])}
    write_coco_submission(RESULTS, IMAGES, tmp_path, algorithm='a', categories=official)


def test_the_number_of_images_is_that_of_the_test_set(tmp_path):
    for write, *rest in (
        (write_coco_submission, tmp_path, dict(algorithm='a')),
        (write_voc_submission, tmp_path / 'r.tgz', dict(classes=CLASSES, year='VOC2010')),
    ):
        images = IMAGES | dict(images=[dict(i) for i in IMAGES['images']])
        for n, image in enumerate(images['images']):
            image['file_name'] = f'JPEGImages/2008_{n:06d}.jpg'
        out, options = rest
        with pytest.raises(ValueError, match=f'of which there are 20288, got {len(GT["images"])}'):
            write(RESULTS, images, out, num_images=20288, **options)
        assert not list(tmp_path.iterdir())
        write(RESULTS, images, out, num_images=len(GT['images']), **options).path.unlink()


def test_voc2012_test_has_its_names_and_no_annotations(tmp_path):
    options = dict(classes=CLASSES, num_images=len(GT['images']))
    for images, message in (
        (GT, rf'these have {len(GT["annotations"])} annotations'),
        (IMAGES, "images must be those of VOC2012, .* 12 are not, such as '000003'"),
    ):
        with pytest.raises(ValueError, match=message):
            write_voc_submission(RESULTS, images, tmp_path / 'r.tgz', **options)
    assert not list(tmp_path.iterdir())
    write_voc_submission(RESULTS, IMAGES, tmp_path / 'r.tgz', year='VOC2007', **options)


@pytest.mark.parametrize('content', ['null', '5', '{}'])
def test_coco_refuses_files_of_another_kind(tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_text(content)
    with pytest.raises(ValueError, match='results must be a list of detections'):
        write_coco_submission(path, IMAGES, tmp_path, algorithm='a')


def test_voc_archive(tmp_path):
    path = write_voc_submission(RESULTS, IMAGES, tmp_path / 'r.tar.gz', classes=CLASSES[::-1]).path
    with tarfile.open(path) as archive:
        files = {m.name: archive.extractfile(m).read().decode() for m in archive.getmembers()}
    folder = 'results/VOC2012/Main/comp4_det_test_'
    assert sorted(files) == sorted(f'{folder}{c["name"]}.txt' for c in GT['categories'])
    assert files[f'{folder}{GT["categories"][-1]["name"]}.txt'] == ''
    category = GT['categories'][0]
    lines = [line.split() for line in files[f'{folder}{category["name"]}.txt'].splitlines()]
    wanted = [r for r in RESULTS if r['category_id'] == category['id']]
    assert len(lines) == len(wanted)
    found = sorted((name, *map(float, rest)) for name, *rest in lines)
    # A box from the corner of pixel 1 to that of pixel x + w covers the pixels x + 1 .. x + w.
    expected = sorted(
        (f'{r["image_id"]:06d}', r['score'], x + 1, y + 1, x + w, y + h)
        for r in wanted
        for x, y, w, h in [r['bbox']]
    )
    for line, want in zip(found, expected):
        assert line[0] == want[0]
        assert line[1:] == pytest.approx(want[1:], abs=1e-6)


def test_equal_results_give_equal_files(tmp_path):
    paths = [
        write_voc_submission(RESULTS, IMAGES, tmp_path / f'{n}.tgz', classes=CLASSES).path
        for n in 'ab'
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_voc_refuses(tmp_path):
    with pytest.raises(ValueError, match=r'must end in .tar.gz or .tgz'):
        write_voc_submission(RESULTS, IMAGES, tmp_path / 'r.zip', classes=CLASSES)
    images = IMAGES | dict(images=[dict(i, file_name='') for i in IMAGES['images']])
    with pytest.raises(ValueError, match='file_name'):
        write_voc_submission(RESULTS, images, tmp_path / 'r.tgz', classes=CLASSES)
    with pytest.raises(ValueError, match=r"lack \['dog'\] and have \['class 12'\] besides"):
        write_voc_submission(RESULTS, IMAGES, tmp_path / 'r.tgz', classes=[*CLASSES[:2], 'dog'])
    with pytest.raises(ValueError, match='no detection'):
        write_voc_submission([], IMAGES, tmp_path / 'r.tgz', classes=CLASSES)
    assert not list(tmp_path.iterdir())


def test_failure_keeps_the_old_file(tmp_path, monkeypatch):
    path = write_voc_submission(RESULTS, IMAGES, tmp_path / 'r.tgz', classes=CLASSES).path
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError('no space left')

    monkeypatch.setattr(submission.tarfile.TarFile, 'addfile', full)
    with pytest.raises(OSError, match='no space'):
        write_voc_submission(RESULTS[:5], IMAGES, path, classes=CLASSES)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['r.tgz']
