"""tools/image_demo.py: pictures that a user names."""

import json
import signal

import cv2
import numpy as np
import pytest
from mmengine.config import Config

CLASSES = set('0123456789')


@pytest.fixture
def pictures(digits, tmp_path):
    """A folder with a PNG, a large JPEG and a file that is no picture."""
    folder = tmp_path / 'pictures'
    folder.mkdir()
    image = cv2.imread(str(digits / 'val/000000.png'))
    cv2.imwrite(str(folder / 'a.png'), image)
    cv2.imwrite(str(folder / 'b.JPG'), cv2.resize(image, (700, 500)))
    (folder / 'notes.txt').write_text('not drawn')
    return folder


@pytest.fixture
def demo(tool, config, checkpoint):
    return lambda *arguments: tool(
        'image_demo', *arguments, '--config', config, '--checkpoint', checkpoint,
        '--device', 'cpu', '--out-dir', 'drawn',
    )  # fmt: skip


def test_files_and_folders(demo, digits, pictures, tmp_path):
    done = demo(digits / 'val/000001.png', pictures, '--score', '0')
    assert done.status == 0 and done.out.strip().endswith('3 pictures and detections.json in drawn')
    drawn = tmp_path / 'drawn'
    assert sorted(p.name for p in drawn.iterdir()) == [
        '000001.png', 'a.png', 'b.png', 'detections.json'
    ]  # fmt: skip
    assert cv2.imread(str(drawn / 'a.png')).shape == (640, 640, 3)  # enlarged: labels are readable
    assert cv2.imread(str(drawn / 'b.png')).shape == (500, 700, 3)
    records = json.loads((drawn / 'detections.json').read_text())
    names = [digits / 'val/000001.png', pictures / 'a.png', pictures / 'b.JPG']
    assert [record['image'] for record in records] == list(map(str, names))
    boxes = np.array([box['bbox'] for box in records[2]['boxes']])
    assert len(boxes) and (boxes[:, 0] <= boxes[:, 2]).all() and boxes.max() > 96
    assert {box['class'] for record in records for box in record['boxes']} <= CLASSES
    assert all(box['score'] >= 0 for record in records for box in record['boxes'])


def test_the_least_score(demo, digits, tmp_path):
    assert demo(digits / 'val/000001.png', '--score', '1.1').status == 0
    (record,) = json.loads((tmp_path / 'drawn/detections.json').read_text())
    assert record['boxes'] == []


def test_a_preprocessor_beside_the_model(tool, digits, config, checkpoint, tmp_path):
    """MMEngine's Runner takes it from there; the detections are those of the usual config."""
    cfg = Config.fromfile(config)
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    cfg.dump(tmp_path / 'beside.py')
    found = []
    for name in (config, tmp_path / 'beside.py'):
        done = tool(
            'image_demo', digits / 'val/000001.png', '--config', name, '--checkpoint', checkpoint,
            '--device', 'cpu', '--out-dir', 'drawn', '--score', '0',
        )  # fmt: skip
        assert done.status == 0, done.err
        found.append((tmp_path / 'drawn/detections.json').read_text())
    assert len(found[0]) > 1000 and found[0] == found[1]


def test_every_picture_gets_a_file_of_its_own(demo, tmp_path):
    paths = [tmp_path / name for name in ('a/x.png', 'b/x.png', 'b/x.bmp', 'c/b/x.png')]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8))
    assert demo(*paths).status == 0
    drawn = sorted(path.name for path in (tmp_path / 'drawn').glob('*.png'))
    assert drawn == ['b_x.png', 'b_x_2.png', 'b_x_3.png', 'x.png']


def test_the_pictures_themselves_are_never_drawn_over(demo, pictures, tmp_path):
    pictures.rename(tmp_path / 'drawn')
    before = (tmp_path / 'drawn/a.png').read_bytes()
    done = demo(tmp_path / 'drawn')
    assert done.status == 1 and 'would overwrite' in done.err and 'a.png' in done.err
    assert (tmp_path / 'drawn/a.png').read_bytes() == before


@pytest.mark.parametrize(
    'name, content, words',
    [
        ('none.png', None, ['none.png', 'does not exist']),
        ('broken.png', b'', ['broken.png', 'no readable image']),
        ('broken.jpg', b'GIF?', ['broken.jpg', 'no readable image']),
        ('folder', None, ['folder', 'holds no image']),
    ],
)
def test_nothing_is_drawn_if_one_picture_fails(demo, pictures, tmp_path, name, content, words):
    if name == 'folder':
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    done = demo(pictures / 'a.png', tmp_path / name)
    line = done.err.splitlines()[-1]
    assert done.status == 1 and 'Traceback' not in done.err
    assert all(word in line for word in words)
    assert not (tmp_path / 'drawn').exists()


def test_a_config_that_is_not_there(tool, pictures, checkpoint):
    done = tool('image_demo', pictures, '--config', 'none.py', '--checkpoint', checkpoint)
    assert done.status == 1 and done.err == 'error: config none.py does not exist\n'


@pytest.mark.parametrize(
    'text, words',
    [
        ('a = (', 'SyntaxError'),
        ('a = 1 / 0', 'ZeroDivisionError'),
        ('{base}\nmodel = None', 'has no model;'),
        ('{base}\ntest_dataloader = None', 'has no test_dataloader;'),
    ],
)
def test_a_config_that_says_too_little(tool, pictures, config, checkpoint, tmp_path, text, words):
    (tmp_path / 'own.py').write_text(text.format(base=f'_base_ = [{str(config)!r}]'))
    done = tool('image_demo', pictures, '--config', 'own.py', '--checkpoint', checkpoint)
    line = done.err.splitlines()[-1]
    assert (
        done.status == 1 and 'Traceback' not in done.err and not (tmp_path / 'detections').exists()
    )
    assert line.startswith('error: config own.py') and words in line


def test_it_says_how_far_it_is(demo, pictures):
    done = demo(pictures)
    assert [line.rsplit(' (')[0] for line in done.err.splitlines()] == [
        'reading images',
        'detecting',
    ]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_is_done(demo, pictures, tmp_path, monkeypatch, number):
    from rankdet.analysis import detect

    detecting = detect.inference_detector

    def interrupted(*arguments):
        if (tmp_path / 'drawn/a.png').exists():
            signal.raise_signal(number)
        return detecting(*arguments)

    monkeypatch.setattr(detect, 'inference_detector', interrupted)
    done = demo(pictures)
    assert done.status == 128 + number
    assert done.err.splitlines()[-1].endswith('; drawn/detections.json holds 1 of 2 pictures')
    (record,) = json.loads((tmp_path / 'drawn/detections.json').read_text())
    assert record['image'] == str(pictures / 'a.png')
