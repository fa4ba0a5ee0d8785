"""Own data, from the folder to pictures by one command."""

import json

import numpy as np
import pytest
from PIL import Image

from rankdet.analysis.own_data import advice, as_text
from tests.tools import cli

SMALL = ('--image-size', 64, '--epochs', 1, '--batch', 4)


@pytest.fixture
def squares(tmp_path):
    """Eight photos of bright squares on noise, with labels in YOLO's format."""
    root, rng = tmp_path / 'my squares', np.random.default_rng(0)
    root.mkdir()
    for number in range(8):
        pixels = rng.integers(0, 60, (64, 64, 3), np.uint8)
        x, y, side = rng.integers(0, 40), rng.integers(0, 40), 16 + number
        pixels[y : y + side, x : x + side] = 250
        Image.fromarray(pixels).save(root / f'{number}.png')
        shares = ((x + side / 2) / 64, (y + side / 2) / 64, side / 64, side / 64)
        (root / f'{number}.txt').write_text(' '.join(map(str, (0, *shares))) + '\n')
    (root / 'classes.txt').write_text('square\n')
    return root


def test_from_photos_to_pictures(tool, squares, tmp_path):
    done = tool('train_own', squares, *SMALL, '--work-dir', 'mine')
    assert done.status == 0, done.err
    assert 'YOLO text, 1 class; splits are made here: 20% of the images are held out' in done.out
    left = tmp_path / 'mine'
    for name in ('run/detections.jpg', 'run/precision_recall.png', 'run/training.png'):
        assert Image.open(left / name).size[0] > 300
    assert (left / 'run/epoch_1.pth').is_file() and (left / 'run/score_thresholds.json').is_file()
    for folder, what in (('run', 'train'), ('run/test', 'test')):
        (start,) = json.loads((left / folder / 'run.json').read_text())
        assert start['what'] == what and start['rankdet']['version']
    summary = json.loads((left / 'summary.json').read_text())
    assert summary['classes']['square']['objects'] == 6 and summary['images'] == 2
    assert 0 <= summary['AP'] <= 1 and summary['split'] == 'val'
    assert (left / 'summary.md').read_text() == as_text(summary)
    assert done.out.endswith(as_text(summary))

    again = tool('train_own', squares, *SMALL, '--work-dir', 'mine')
    assert again.status == 0 and '3/4' not in again.out and again.out.endswith(as_text(summary))

    other = tool('train_own', squares, *SMALL, '--work-dir', 'mine', '--loss', 'focal')
    assert other.status == 1 and 'mine was begun with another loss' in other.err
    (squares / '0.txt').write_text('')
    other = tool('train_own', squares, *SMALL, '--work-dir', 'mine')
    assert other.status == 1 and 'the data has changed since mine was begun' in other.err
    shown = tool(
        'image_demo',
        *(squares / '0.png', '--config', 'mine/config.py', '--out-dir', 'drawn'),
        *('--checkpoint', 'mine/run/epoch_1.pth', '--score', 'mine/run/score_thresholds.json'),
    )
    assert shown.status == 0, shown.err


def test_an_edited_config_is_used_and_an_interrupted_run_goes_on(tool, squares, tmp_path):
    first = tool('train_own', squares, *SMALL, '--work-dir', 'mine', '--loss', 'alrp')
    assert first.status == 0, first.err
    config = tmp_path / 'mine/config.py'
    config.write_text(config.read_text().replace('max_epochs = 1\n', 'max_epochs = 2\n'))
    (tmp_path / 'mine/summary.json').unlink()  # as if it had been killed before the end
    done = tool('train_own', squares, *SMALL, '--work-dir', 'mine', '--loss', 'alrp')
    assert done.status == 0, done.err
    assert 'is there already, and is used as it is' in done.out
    assert 'resumed epoch: 1' in done.out + done.err
    assert (tmp_path / 'mine/run/epoch_2.pth').is_file()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('missing',), 'missing does not exist'),
        (('my squares', '--detector', 'faster-rcnn', '--loss', 'dr'), 'takes ap, alrp, ce'),
        (('my squares', '--epochs', '0'), '--epochs must be at least 1, got 0'),
        (('my squares', '--val-share', '1.5'), 'val_share must lie between 0 and 1'),
        (('my squares', '--format', 'voc'), 'annotation is missing; and 7 more'),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tool, squares, tmp_path, arguments, message):
    done = tool('train_own', *arguments, '--work-dir', 'mine')
    assert done.status == 1 and message in done.err.splitlines()[-1]
    assert 'Traceback' not in done.err and not (tmp_path / 'mine').exists()


def test_a_bad_line_names_itself(tool, squares, tmp_path):
    (squares / '3.txt').write_text('0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2\n')
    done = tool('train_own', squares, '--work-dir', 'mine')
    assert done.status == 1 and not (tmp_path / 'mine').exists()
    assert '3.txt:2: class 7 is not among the 1 classes of classes.txt' in done.err.splitlines()[-1]


def test_the_converter_alone(squares, tmp_path):
    tool = [cli.ROOT / 'tools/dataset_converters/to_coco.py', squares]
    python = [cli.sys.executable]
    checked = cli.run_alone([*python, *tool], tmp_path)
    assert checked.status == 0 and 'only checked' in checked.out
    assert [path.name for path in tmp_path.iterdir()] == ['my squares']
    done = cli.run_alone([*python, *tool, '--out', 'coco', '--copy-images'], tmp_path)
    assert done.status == 0, done.err
    assert len(list((tmp_path / 'coco/images').iterdir())) == 8
    (squares / '0.png').write_bytes(b'')
    broken = cli.run_alone([*python, *tool, '--out', 'other'], tmp_path)
    assert broken.status == 1 and broken.err.splitlines()[-1].startswith('error: ')
    assert '0.png: image cannot be decoded' in broken.err and not (tmp_path / 'other').exists()


def test_advice_follows_the_result():
    paths = dict(pictures='p', config='a b/config.py', checkpoint='c', thresholds='t')
    classes = dict(cat=dict(objects=500), dog=dict(objects=3))
    good = advice(dict(AP50=0.9, classes=classes, options=dict(backbone='r50'), **paths))
    assert 'dog' in good[0] and 'cat' not in good[0] and "--config 'a b/config.py'" in good[1]
    poor = advice(dict(AP50=0.01, classes=classes, options=dict(backbone='small'), **paths))
    assert poor[0].startswith('Hardly anything was learnt') and any('r50' in line for line in poor)


def test_undefined_values_are_shown_as_such():
    summary = dict(AP=None, oLRP=None, AP50=None, AP75=None, images=3, split='test')
    summary |= dict(pictures='p', precision_recall='r', training_curve='t', thresholds='s')
    summary |= dict(checkpoint='c', config='f', minutes_of_training=1, options=dict(backbone='r50'))
    cat = dict(objects=50, AP=None, oLRP=None, threshold=None)
    text = as_text(summary | dict(classes=dict(cat=cat)))
    assert 'all            50      -      -\n' in text
    assert 'AP50 -, AP75 - on 3 images of test' in text and 'Nothing could be measured' in text


def test_the_summary_shows_what_a_terminal_would_obey():
    values = dict(objects=9, AP=0.5, oLRP=0.5, threshold=0.5)
    keys = ('images', 'split', 'minutes_of_training', 'pictures', 'precision_recall')
    keys += ('training_curve', 'checkpoint', 'config', 'thresholds')
    summary = dict.fromkeys(keys, '-') | dict(AP=0.5, oLRP=0.5, AP50=0.5, AP75=0.5)
    summary |= dict(classes={'c\u202eat\x1b[2J': values}, options=dict(backbone='r50'))
    text = as_text(summary)
    assert text.replace('\n', '').isprintable() and r'c\u202eat\x1b[2J' in text
