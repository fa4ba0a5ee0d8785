"""The page of tools/report.py in a real browser, as wide as a desktop's and as a phone's screen.

It is skipped where there is no browser; CONTRIBUTING.md says how to get one.
"""

import json
import re
import shutil
import subprocess

import pytest
import torch

from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401

torch.set_num_threads(1)
BROWSERS = ('chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome')
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason='there is no chromium')

# A window may be no narrower than 500 pixels, a frame in it may: to the page it is the screen.
FRAME = """<!DOCTYPE html><title>waiting</title><body style="margin: 0">
<script>addEventListener('message', event => { document.title = event.data; });</script>
<iframe src="page.html" style="border: 0; width: {width}px; height: 844px"></iframe>"""
MEASURE = """<script>addEventListener('load', () => {
  const seen = [...document.querySelectorAll('body *')].filter(e => e.checkVisibility());
  const outside = e => e.getBoundingClientRect().right > innerWidth + 1;
  parent.postMessage(JSON.stringify({
    inner: innerWidth,
    page: document.scrollingElement.scrollWidth,
    small: Math.min(...seen.map(e => parseFloat(getComputedStyle(e).fontSize))),
    images: document.images.length,
    broken: [...document.images].filter(e => !e.naturalWidth).length,
    outside: seen.filter(e => outside(e) && !e.closest('.scroll, pre')).length,
    pair: [...document.querySelectorAll('.pair')].map(
      e => [...e.querySelectorAll('img')].map(i => i.getBoundingClientRect().top)),
    chart: [...document.querySelectorAll('.chart img')].map(
      e => [e.naturalWidth, e.getBoundingClientRect().width]),
    first: Math.max(...[...document.querySelectorAll('td:first-child')].map(
      e => e.getBoundingClientRect().width)),
    loaded: performance.getEntriesByType('resource').filter(e => !/^data:/.test(e.name)).length,
  }), '*');
});</script></body>"""


@pytest.fixture(scope='module')
def report(digits, tmp_path_factory):  # noqa: F811
    """The page of a tiny training with a long name, its configs unfolded."""
    from rankdet.analysis.report import build_report

    folder = tmp_path_factory.mktemp('browser')
    name = 'run_retinanet_r18_fpn_alrp-loss_1xb8-1e_digits-128_lr0.01_seed0' * 2
    cfg = tiny.load(digits, folder / name, train_cfg__max_epochs=1)
    cell = dict(AP=0.25, AP50=0.5, images=3, objects=9)
    columns = ('original', 'black', 'random', 'flip', 'adversarial', 'noise')
    results = folder / 'robustness.json'
    results.write_text(json.dumps([dict(name=name, cells=dict.fromkeys(columns, cell))]))
    page = build_report([tiny.train(cfg)], folder / 'report.html', labels=[name], title=name,
                        pictures=2, include=[results])  # fmt: skip
    text = page.read_text().replace('<details>', '<details open>')
    (folder / 'page.html').write_text(text.replace('</body>', MEASURE))
    return folder


@pytest.mark.parametrize('width', [1280, 390])
def test_nothing_is_wider_than_the_screen(report, tmp_path, width):
    frame = report / f'{width}.html'
    frame.write_text(FRAME.replace('{width}', str(width)))
    command = [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
               '--dump-dom', '--enable-logging=stderr', '--virtual-time-budget=20000',
               f'--user-data-dir={tmp_path / "profile"}', '--window-size=1300,900',
               frame.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if '<title>' not in done.stdout:
        pytest.skip(f'{BROWSER} does not start here: {done.stderr[-200:]}')
    found = re.search('<title>({.*?})</title>', done.stdout)
    assert found, done.stdout[:200]
    seen = json.loads(found[1])
    assert seen['page'] == seen['inner'] == width
    assert (seen['broken'], seen['outside'], seen['loaded']) == (0, 0, 0)
    assert seen['small'] >= 12
    assert 'CONSOLE' not in done.stderr
    assert len(seen['chart']) >= 4 and len(seen['pair']) >= 2
    assert seen['images'] == len(seen['chart']) + 2 * len(seen['pair'])
    assert seen['first'] < seen['inner'] / 2  # it stays in sight, the numbers move beside it
    for natural, shown in seen['chart']:
        expected = min(natural, seen['inner']) if width == 1280 else 0.8 * natural
        assert shown <= expected + 1 and (width == 1280 or shown >= expected - 1)
    for left, right in seen['pair']:
        assert left == right if width == 1280 else left < right
