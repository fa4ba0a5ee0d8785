"""What the pages say of memory, AP and robustness is what the records hold."""

import json
import re

import pytest

from tools.benchmarks.speed_tables import ROOT, read

PAGE = ' '.join((ROOT / 'docs/choose_a_loss.md').read_text().split())
SPAN = r' (?:add )?(\d\.\d\d)(?: to (\d\.\d\d))? times'


@pytest.mark.parametrize(
    'who, losses',
    [('AP, AUC, aLRP and DR Loss', ('ap', 'auc', 'alrp', 'dr')), (r'CE\+OHEM', ('ohem',))],
)
def test_the_memory_of_the_losses(who, losses):
    rows = read('heads')
    assert {row['images'] for row in rows} == {2, 4} and '2 and 4 images' in PAGE
    ratios = [row['ratio'] for row in rows if row['loss'] in losses]
    assert len(ratios) == 2 * len(losses)
    ((least, most),) = re.findall(who + SPAN, PAGE)
    assert (least, most or least) == (f'{min(ratios):.2f}', f'{max(ratios):.2f}')


def measured(detector):
    """AP and AP75 of each loss with their deviations, from the first table of docs/learning.md."""
    page = (ROOT / 'docs/learning.md').read_text().partition('## ')[0]
    rows = re.findall(rf'^\| {detector} \| (\S+) \|(.*)\|$', page, re.MULTILINE)
    cells = {loss: [cell.split(' ± ') for cell in rest.split('|')] for loss, rest in rows}
    return {loss: [tuple(map(float, row[n])) for n in (2, 4)] for loss, row in cells.items()}


def test_where_ap_loss_leads():
    assert 'by a wide margin on RetinaNet, FoveaBox and Faster R-CNN, and is level with' in PAGE
    for detector in ('retinanet', 'foveabox', 'faster-rcnn'):
        (own, _), *_ = (found := measured(detector)).pop('ap-loss')
        assert found and all(own > row[0][0] + 0.03 for row in found.values())
    ssd = measured('ssd')
    (own, spread), (own75, _) = ssd['ap-loss']
    (other, others_spread), (other75, _) = ssd['ce-ohem']
    assert abs(own - other) < spread + others_spread
    assert f'(AP {own:.3f} and {other:.3f}, AP75 {own75:.3f} and {other75:.3f})' in PAGE


def test_what_the_detectors_keep():
    page = ' '.join((ROOT / 'docs/robustness.md').read_text().split())
    record = json.loads((ROOT / 'docs/records/robustness.json').read_text())
    kept = {}
    for kind in ('black', 'flip', 'random', 'noise', 'adversarial'):
        shares = [row['cells'][kind]['AP50'] / row['cells']['original']['AP50'] for row in record]
        kept[kind] = [f'{100 * share:.0f}' for share in shares]
    (focal, ap, alrp), (a, b, c) = kept['black'], kept['flip']
    assert f'{focal} % (focal), {ap} % (AP) and {alrp} % (aLRP), and {a}, {b} and {c} %.' in page
    assert min(int(focal) - int(ap), int(focal) - int(alrp), int(a) - int(b), int(a) - int(c)) > 2
    (a, b, c), (d, e, f) = kept['random'], kept['noise']
    assert f'a little behind: {a}, {b} and {c} %, and {d}, {e} and {f} %.' in page
    assert a == b and d == e and int(c) < int(a) and int(f) < int(d)
    assert 'leaves the one with focal loss {} %, the others {} and {} %'.format(
        *kept['adversarial']
    ) in page  # fmt: skip
