"""What the demo says and draws about a result, on one made by hand."""

import json

import cv2
import numpy as np
import pytest

from rankdet.analysis import demo
from rankdet.analysis.pictures import BLUE, GREEN, ORANGE
from rankdet.analysis.reproduce.commands import locked
from rankdet.engine.errors import UserError
from tests.tools import cli

BOXES = {1: [[10, 10, 30, 30], [60, 60, 20, 24]], 2: [[40, 40, 24, 24]], 3: []}


@pytest.fixture
def data(tmp_path):
    """Three images; the objects of two classes, four in COCO's corner, width, height."""
    images, annotations = [], []
    for number, boxes in BOXES.items():
        name = f'{number}.png'
        cv2.imwrite(str(tmp_path / name), np.full((96, 96, 3), 90, np.uint8))
        images.append(dict(id=number, file_name=name, width=96, height=96))
        for index, box in enumerate(boxes):
            annotations.append(
                dict(id=len(annotations) + 1, image_id=number, bbox=box, iscrowd=0,
                     area=box[2] * box[3], category_id=index + 1)
            )  # fmt: skip
    truth = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name='cell'), dict(id=2, name='platelet')],
    )
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    log = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('\n'.join(json.dumps(dict(loss=1 / n, step=n, time=1.0)) for n in (1, 2)))
    return tmp_path


def row(image, box, score, category=1):
    return dict(image_id=image, bbox=box, score=score, category_id=category)


PERFECT = [row(1, BOXES[1][0], 0.9), row(1, BOXES[1][1], 0.8, 2), row(2, BOXES[2][0], 0.7)]


def describe(data, detections):
    (data / 'results.json').write_text(json.dumps(detections))
    return demo.describe(data / 'truth.json', data, data / 'results.json', data, 'by hand')


def colours(path):
    """Boxes' colours that occur on a page, by name."""
    image = cv2.imread(str(path)).astype(int)[34:]  # below the headers
    names = dict(green=GREEN, blue=BLUE, orange=ORANGE)
    return {n for n, c in names.items() if (np.abs(image - c).max(2) < 40).sum() > 50}


def test_a_perfect_result(data):
    found = describe(data, PERFECT)
    assert (found['AP'], found['AP50'], found['AP75'], found['oLRP']) == (1.0, 1.0, 1.0, 0.0)
    assert found['images'] == 3
    assert colours(found['pictures']) == {'green', 'blue'}
    for key in ('precision_recall', 'training_curve'):
        assert cv2.imread(found[key]) is not None
    thresholds = json.loads((data / 'score_thresholds.json').read_text())
    assert thresholds == pytest.approx(dict(cell=0.7, platelet=0.8))


def test_what_it_gets_wrong_is_orange(data):
    """A box beside the object, above all others, cannot be left out by any threshold."""
    wrong = row(3, [5, 5, 30, 30], 0.95)
    found = describe(data, [*PERFECT, wrong])
    assert found['AP'] < 1.0 and colours(found['pictures']) == {'green', 'blue', 'orange'}


@pytest.mark.parametrize('saved', [True, False])
def test_nothing_detected(data, saved):
    """MMDetection writes no result file then: a result all the same."""
    if saved:
        found = describe(data, [])
    else:
        found = demo.describe(data / 'truth.json', data, data / 'results.json', data, 'none')
    assert (found['AP'], found['oLRP']) == (0.0, 1.0)
    assert colours(found['pictures']) == {'green'}


def test_nothing_to_measure_on(data):
    """pycocotools says -1, and the mean of nothing is NaN: neither is a result."""
    truth = json.loads((data / 'truth.json').read_text())
    for annotation in truth['annotations']:
        annotation |= dict(iscrowd=1, difficult=1)
    (data / 'truth.json').write_text(json.dumps(truth))
    found = describe(data, PERFECT)
    assert [found[key] for key in ('AP', 'AP50', 'AP75', 'oLRP')] == [None] * 4
    assert cv2.imread(found['precision_recall']) is not None
    paths = dict(config='c', checkpoint='p', log='l', loss='ap', minutes_of_training=1)
    text = demo.as_text(found | paths)
    assert text.startswith('AP -   AP50 -   AP75 -   oLRP -\n')
    assert 'Nothing could be measured' in text and 'Hardly' not in text


def test_a_missing_image_is_named(data):
    (data / '2.png').unlink()
    with pytest.raises(UserError, match=r'2\.png is no readable image'):
        describe(data, PERFECT)


def test_hits_take_each_object_once():
    objects = [
        dict(bbox=[10, 10, 20, 20], category_id=1),
        dict(bbox=[50, 50, 20, 20], category_id=2),
    ]
    detections = [
        row(1, [11, 10, 20, 20], 0.9),
        row(1, [10, 10, 20, 20], 0.8),  # better placed, but the object is taken
        row(1, [50, 50, 20, 20], 0.7),  # another class
        row(1, [50, 50, 20, 20], 0.6, 2),
        row(1, [52, 62, 20, 20], 0.5, 2),  # IoU below 0.5
    ]
    assert demo._hits(detections, objects) == [True, False, False, True, False]
    assert demo._hits([], objects) == [] and demo._hits(detections[:1], []) == [False]


def test_a_finished_demo_is_not_run_again(tmp_path):
    options = demo.DemoOptions(train=4, val=2, epochs=1)
    (tmp_path / 'demo_options.json').write_text(json.dumps(demo.asdict(options)))
    (tmp_path / 'summary.json').write_text('{"AP": 0.5}')
    assert demo.run_demo(options, tmp_path, tmp_path / 'nowhere')['AP'] == 0.5
    other = demo.DemoOptions(train=5, val=2, epochs=1)
    with pytest.raises(UserError, match='other options'):
        demo.run_demo(other, tmp_path, tmp_path / 'nowhere')


def test_a_second_demo_in_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, '_step', lambda *arguments, **environment: None)
    run = tmp_path / 'run'
    with locked(run), pytest.raises(UserError, match='another run is at work in'):
        demo.run_demo(demo.DemoOptions(), run, tmp_path)


def test_an_edited_config_is_used(tmp_path, monkeypatch):
    def step(title, command, **environment):
        if 'train' in title:
            raise UserError((tmp_path / 'run/demo_config.py').read_text())

    monkeypatch.setattr(demo, '_step', step)
    for text in ("^_base_ = '.*digits-160.py'", '^edited$'):
        with pytest.raises(UserError, match=text):
            demo.run_demo(demo.DemoOptions(), tmp_path / 'run', tmp_path)
        (tmp_path / 'run/demo_config.py').write_text('edited')


@pytest.mark.parametrize('name', ['train', 'val', 'epochs'])
def test_options_out_of_range_are_named_before_anything_is_made(tmp_path, name):
    options = demo.DemoOptions(**{name: 0}, data=str(tmp_path / 'data'))
    with pytest.raises(UserError, match=f'--{name} must be at least 1, got 0'):
        demo.run_demo(options, tmp_path / 'run', tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_summary_says_what_to_do_next(data, monkeypatch):
    monkeypatch.chdir(cli.ROOT)
    found = describe(data, PERFECT) | dict(
        loss='ap',
        config='my run/demo_config.py',
        checkpoint='c.pth',
        log='l',
        minutes_of_training=1,
    )
    text = demo.as_text(found)
    assert 'Hardly anything' not in text and "--config 'my run/demo_config.py'" in text
    assert "--loss focal, then python tools/report.py 'my run' OTHER_RUN" in text
    poor = demo.as_text(found | dict(AP50=0.0))
    assert '- Hardly anything was learnt. Look at ' in poor
