"""The Python of the pages runs; configs among it load, and their heads can be built.

What the pages on a new loss, on use without MMDetection and the notebook show has tests of its own.
"""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
BASE = "_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\n"
LOSSES = {'APLoss', 'aLRPLoss', 'DRLoss'}


def blocks(page: str) -> list[str]:
    return re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(encoding='utf-8'), re.DOTALL)


@pytest.mark.parametrize('page', ['docs/how_it_works.md', 'docs/safety.md'])
def test_programs_run(page):
    (program,) = blocks(page)
    exec(compile(program, page, 'exec'), {})


def test_the_switch_of_kernels():
    from rankdet.functional import kernels_in_use, use_kernels

    (program,) = blocks('docs/kernels.md')
    before = kernels_in_use()
    try:
        exec(program, {})
        assert kernels_in_use() == 'torch'
    finally:
        use_kernels(before)


@pytest.mark.parametrize(
    'page, number',
    [
        ('README.md', 0),
        ('docs/get_started.md', 0),
        *(('docs/choose_a_loss.md', k) for k in range(3)),
    ],
)
def test_configs_build_their_heads(page, number, tmp_path):
    from mmdet.registry import MODELS

    import rankdet.plugin  # noqa: F401

    block = blocks(page)[number]
    path = tmp_path / 'config.py'
    path.write_text(block if '_base_' in block else BASE + block)
    cfg = Config.fromfile(path)
    model = cfg.model
    head = MODELS.build(dict(model.bbox_head, train_cfg=model.train_cfg, test_cfg=model.test_cfg))
    if 'get_started' not in page:
        assert type(head.loss_cls).__name__ in LOSSES


def test_the_page_shows_every_loss():
    shown = set(re.findall(r"type='(\w+Loss)'", ''.join(blocks('docs/choose_a_loss.md'))))
    assert shown >= LOSSES
