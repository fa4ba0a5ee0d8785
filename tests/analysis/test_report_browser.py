"""The page of tools/report.py in a real browser, at the width of a desktop and of a phone."""

import json
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest

from rankdet.analysis.report import page

BROWSERS = ('chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome')
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
MEASURE = """<script>addEventListener('load', () => {
  const seen = [...document.querySelectorAll('body *')].filter(e => e.checkVisibility());
  const outside = e => e.getBoundingClientRect().right > innerWidth + 1;
  document.title = JSON.stringify({
    inner: innerWidth,
    page: document.scrollingElement.scrollWidth,
    small: Math.min(...seen.map(e => parseFloat(getComputedStyle(e).fontSize))),
    broken: [...document.images].filter(e => !e.naturalWidth).length,
    outside: seen.filter(e => outside(e) && !e.closest('.scroll, pre')).length,
    pair: [...document.querySelectorAll('.pair img')].map(e => e.getBoundingClientRect().top),
    chart: document.querySelector('.chart img').getBoundingClientRect().width,
    loaded: performance.getEntriesByType('resource').filter(e => !/^data:/.test(e.name)).length,
  });
});</script></body>"""


def a_page():
    """All parts of a report, each wider or longer than a phone."""
    png = cv2.imencode('.png', np.zeros((300, 1188, 3), np.uint8))[1].tobytes()
    jpeg = cv2.imencode('.jpg', np.zeros((288, 288, 3), np.uint8))[1].tobytes()
    name = 'run_retinanet_r18_fpn_alrp-loss_1xb8-1e_digits-128_lr0.01_seed0' * 2
    numbers = {name: {f'a long heading {i}': i / 7 for i in range(14)}}
    content = (
        page.table('run', numbers, list(numbers[name])) + page.note(name) + page.chart(png, 'chart')
        + page.pictures([page.pair([jpeg, jpeg], ['a', 'b'], name)] * 3)
        + page.folded('show', f'config = {name!r} * 10  # {"long " * 60}').replace(
            '<details>', '<details open>')
    )  # fmt: skip
    return page.document(name, [('one', name, content), ('two', 'two', '')], page.note(name))


@pytest.mark.skipif(BROWSER is None, reason='there is no chromium')
@pytest.mark.parametrize('width', [1440, 390])
def test_nothing_is_wider_than_the_screen(tmp_path, width):
    file = tmp_path / 'page.html'
    file.write_text(a_page().replace('</body>', MEASURE))
    command = [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
               '--dump-dom', '--enable-logging=stderr', f'--user-data-dir={tmp_path / "profile"}',
               f'--window-size={width},900', file.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if not (found := re.search('<title>({.*?})</title>', done.stdout)):
        pytest.skip(f'{BROWSER} does not start here: {done.stderr[-200:]}')
    seen = json.loads(found[1])
    assert seen['inner'] <= max(width, 500)  # some browsers have no narrower window
    assert seen['page'] == seen['inner']
    assert (seen['broken'], seen['outside'], seen['loaded']) == (0, 0, 0)
    assert seen['small'] >= 12
    assert 'CONSOLE' not in done.stderr
    left, right = seen['pair'][:2]
    if seen['inner'] >= 1000:
        assert left == right and seen['chart'] <= 1188
    else:
        assert left < right and seen['chart'] == pytest.approx(0.8 * 1188, rel=1e-3)
