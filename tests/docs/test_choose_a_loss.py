"""What the page says of memory is what the record holds."""

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
