"""The page of tools/report.py: its numbers against a slow count, and that it stands alone."""

import base64
import json
import math
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from rankdet.analysis.report import page
from rankdet.analysis.report.analyses import included, read_results
from rankdet.analysis.report.image_errors import ImageErrors, best_and_worst, image_errors
from rankdet.evaluation import load_detections, load_ground_truth, match


def a_scene(seed, images=6, classes=3):
    """Random objects, crowds among them, and detections near and far."""
    draw = np.random.default_rng(seed)
    objects, found = [], []
    for image in range(images - 1):  # the last one is empty
        for _ in range(draw.integers(0, 5)):
            box = [*draw.uniform(0, 60, 2), *draw.uniform(10, 30, 2)]
            label = int(draw.integers(classes))
            objects.append(dict(image_id=image, category_id=label, bbox=box,
                                iscrowd=int(draw.random() < 0.15)))  # fmt: skip
            for _ in range(draw.integers(0, 3)):
                near = (np.array(box) + draw.normal(0, 2, 4)).tolist()
                found.append(dict(image_id=image, category_id=label, bbox=near,
                                  score=float(draw.random())))  # fmt: skip
        for _ in range(draw.integers(0, 3)):
            far = [*draw.uniform(0, 60, 2), *draw.uniform(10, 30, 2)]
            found.append(dict(image_id=image, category_id=int(draw.integers(classes)), bbox=far,
                              score=float(draw.random())))  # fmt: skip
    truth = dict(
        images=[dict(id=i, file_name=f'{i}.png') for i in range(images)],
        categories=[dict(id=k, name=str(k)) for k in range(classes)],
        annotations=objects,
    )
    return truth, found


def slow_iou(a, b, crowd):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (a[2] * a[3] + (0 if crowd else b[2] * b[3] - w * h))


def slow_lrp(truth, found, thresholds, image):
    """One image, one detection after the other."""
    tp = fp = fn = error = 0
    for label in range(len(thresholds)):
        own = [o for o in truth['annotations']
               if o['image_id'] == image and o['category_id'] == label]  # fmt: skip
        free = [o for o in own if not o['iscrowd']]
        chosen = [d for d in found if d['image_id'] == image and d['category_id'] == label]
        for d in sorted(chosen, key=lambda d: -d['score']):
            if not d['score'] >= thresholds[label]:
                continue
            best = max(free, key=lambda o: slow_iou(d['bbox'], o['bbox'], False), default=None)
            if best and (iou := slow_iou(d['bbox'], best['bbox'], False)) >= 0.5:
                free.remove(best)
                tp, error = tp + 1, error + (1 - iou) / 0.5
            elif not any(slow_iou(d['bbox'], o['bbox'], True) >= 0.5 for o in own if o['iscrowd']):
                fp += 1
        fn += len(free)
    total = tp + fp + fn
    return (tp, fp, fn, (fp + fn + error) / total if total else math.nan)


@pytest.mark.parametrize('seed', range(8))
def test_errors_of_each_image(seed):
    truth, found = a_scene(seed)
    thresholds = np.array([0.3, math.nan, 0.0])
    gt = load_ground_truth(truth)
    errors = image_errors(match(gt, load_detections(found, gt)), thresholds)
    for image in range(6):
        tp, fp, fn, lrp = slow_lrp(truth, found, thresholds, image)
        assert (errors.tp[image], errors.fp[image], errors.fn[image]) == (tp, fp, fn)
        np.testing.assert_allclose(errors.lrp[image], lrp, rtol=1e-12)
    assert math.isnan(errors.lrp[5])


def test_best_and_worst():
    lrp = np.array([0.5, 0.0, 0.0, math.nan, 1.0, 0.7])
    tp = np.array([2, 1, 4, 0, 0, 1])
    errors = ImageErrors(lrp, tp, np.array([0, 0, 0, 0, 3, 0]), np.zeros(6, int), None, None)
    best, worst = best_and_worst(errors, 2)
    assert best.tolist() == [2, 1] and worst.tolist() == [4, 5]
    best, worst = best_and_worst(errors, 10)
    assert best.tolist() == [2, 1, 0] and worst.tolist() == [4, 5]  # no image in both


class Reader(HTMLParser):
    """Collects tags that are left open, addresses, and text."""

    VOID = {'meta', 'img', 'br'}

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.text, self.tags = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for key, value in attrs if key in ('src', 'href')]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


EVIL = '<script>alert("1 & 2")</script>'


def test_all_text_is_escaped():
    png = cv2.imencode('.png', np.zeros((2, 2, 3), np.uint8))[1].tobytes()
    content = (
        page.note(EVIL) + page.folded(EVIL, EVIL) + page.picture(png, 'png', EVIL, EVIL)
        + page.pair([png, png], [EVIL, EVIL], EVIL) + page.chart(png, EVIL)
        + page.table(EVIL, {EVIL: {EVIL: 0.25}}, [EVIL])
    )  # fmt: skip
    text = page.document(EVIL, [('one', EVIL, content)], page.note(EVIL))
    read = Reader(text)
    assert 'script' not in read.tags and text.count('<script') == 0
    assert ''.join(read.text).count(EVIL) == 13 and '0.250' in read.text


def test_the_best_of_a_column_is_bold():
    rows = {'a': dict(AP=0.5, oLRP=0.9, x=math.nan), 'b': dict(AP=0.4, oLRP=0.8, x=math.nan)}
    text = page.table('run', rows, ['AP', 'oLRP', 'x'], ['oLRP'])
    assert re.findall(r'class="best">([\d.]+)', text) == ['0.500', '0.800']
    assert text.count('–') == 2
    assert 'best' not in page.table('run', rows, ['AP'], mark_best=False)
    assert 'best' not in page.table('run', {'a': rows['a']}, ['AP'])


def robustness(tmp_path, *cells):
    """The rows of the table in HTML: text of each cell, and whether it is bold."""
    rows = [dict(name=f'd{n}', cells=one) for n, one in enumerate(cells)]
    (tmp_path / 'robustness.json').write_text(json.dumps(rows))
    (_, table, *_) = included(read_results([tmp_path / 'robustness.json']))
    lines = [re.findall('<t[dh]( class="best")?>(.*?)</t[dh]>', line)
             for line in table.split('<tr>')[1:]]  # fmt: skip
    assert 'AP50 / AP in percent on 3 images (9 objects)' in table
    return [[('*' if bold else '') + text for bold, text in line] for line in lines]


def test_robustness_is_in_percent_and_best_where_images_are_the_same(tmp_path):
    ap = dict(AP=0.1234, AP50=0.5678, images=3, objects=9)
    fool = dict(L2=70.125, relative=0.1, fooled=4, withstood=0, missed=5, images=3)
    same = fool | dict(common_L2=60.0, common=3)
    low, part = ap | dict(AP50=0.5), ap | dict(images=2, AP50=0.9)
    assert robustness(tmp_path, dict(original=ap, black=ap, deepfool=fool),
                      dict(original=low, black=part, deepfool=fool | dict(L2=99.0))) == [
        ['detector', 'Original AP50', 'Original AP', 'Black patch AP50', 'Black patch AP',
         'DeepFool L2'],
        ['d0', '*56.8', '*12.3', '56.8', '12.3', '70.1'],
        ['d1', '50.0', '*12.3', '90.0', '12.3', '99.0'],
    ]  # fmt: skip
    fewer = ap | dict(objects=8)  # of the same number of images
    assert robustness(tmp_path, dict(original=ap), dict(original=fewer))[1] == [
        'd0',
        '56.8',
        '12.3',
    ]
    assert robustness(tmp_path, dict(original=ap), dict(black=ap))[1][1:3] == ['56.8', '12.3']
    assert robustness(tmp_path, dict(original=ap, deepfool=same),
                      dict(original=ap, deepfool=same | dict(L2=9.0, common_L2=61.0))) == [
        ['detector', 'Original AP50', 'Original AP', 'DeepFool L2', 'DeepFool L2, same objects'],
        ['d0', '*56.8', '*12.3', '70.1', '60.0'],
        ['d1', '*56.8', '*12.3', '9.0', '*61.0'],
    ]  # fmt: skip


def check_page(text):
    """It needs no network and no other file, and every picture in it can be decoded."""
    read = Reader(text)
    anchors = [source for source in read.sources if source.startswith('#')]
    assert all(f'id="{anchor[1:]}"' in text for anchor in anchors)
    pictures = [source for source in read.sources if not source.startswith('#')]
    assert 'url(' not in text and '@import' not in text and 'link' not in read.tags
    assert 'width=device-width' in text
    for source in pictures:
        kind, _, data = source.partition(';base64,')
        assert kind in ('data:image/png', 'data:image/jpeg')
        assert cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1) is not None
    return read, len(pictures)
