"""tools/test.py: what it measures, saves and draws."""

import json
import pickle
import re

import cv2
import pytest
from mmengine.config import Config

from tests.engine import tiny


def metrics(run):
    """What a test logged, from the JSON file beside its log."""
    (path,) = run.glob('*/*.json')
    return json.loads(path.read_text())


def test_saves_what_it_measured(tool, config, checkpoint, digits, tmp_path):
    done = tool(
        'test', config, checkpoint, '--work-dir', 'run', '--out', 'new/predictions.pkl',
        '--cfg-options', 'test_evaluator.outfile_prefix=results',
    )  # fmt: skip
    assert done.status == 0 and 'coco/bbox_mAP' in done.out
    predictions = pickle.loads((tmp_path / 'new/predictions.pkl').read_bytes())
    assert [p['img_id'] for p in predictions] == [1, 2, 3]
    saved = json.loads((tmp_path / 'results.bbox.json').read_text())
    counts = [sum(row['image_id'] == p['img_id'] for row in saved) for p in predictions]
    assert counts == [len(p['pred_instances']['scores']) for p in predictions]
    assert max(counts) <= 30
    assert -1 <= metrics(tmp_path / 'run')['coco/bbox_mAP'] <= 1


def test_saves_results_for_the_other_tools(tool, config, checkpoint, digits, tmp_path):
    low = ['--cfg-options', 'model.test_cfg.score_thr=0.01']
    done = tool(
        'test', config, checkpoint, '--work-dir', 'run', '--save-results', 'new/low', *low
    )  # fmt: skip
    assert done.status == 0, done.err
    assert done.out.endswith('saved new/low.bbox.json\n')
    ann_file = Config.fromfile(config).test_evaluator.ann_file
    done = tool('sweep_scores', ann_file, 'new/low.bbox.json', '--thresholds', 0.01, 0.02)
    assert done.status == 0 and '> 0.02' in done.out


@pytest.mark.parametrize(
    ('evaluator', 'prefix', 'message'),
    [
        ('VOCMetric', 'r', 'results are saved by CocoMetric, .* is none of them: VOCMetric'),
        ('LRPMetric', 'r.pkl', "must be a name such as work_dirs/dr, got 'r.pkl'"),
        ('LRPMetric', '.', 'must be a name such as'),
    ],
)
def test_says_where_results_cannot_be_saved(
    tool, config, checkpoint, evaluator, prefix, message, tmp_path
):
    options = ['--cfg-options', f'test_evaluator.type={evaluator}']
    done = tool('test', config, checkpoint, '--work-dir', 'run', '--save-results', prefix, *options)
    assert done.status == 1 and re.search(message, done.err)
    assert not (tmp_path / 'run').exists()


def test_one_of_several_evaluators_saves():
    from rankdet.evaluation.saving import save_detections

    kinds = ('VOCMetric', 'DetectionMetric', 'CocoMetric')
    cfg = Config(dict(test_evaluator=[dict(type=kind) for kind in kinds]))
    assert str(save_detections(cfg, 'a/b.bbox.json')) == 'a/b.bbox.json'
    assert [e.get('outfile_prefix') for e in cfg.test_evaluator] == [None, 'a/b', None]


def test_draws_every_image(tool, config, checkpoint, digits, tmp_path):
    done = tool('test', config, checkpoint, '--work-dir', 'run', '--show-dir', 'drawn')
    assert done.status == 0
    drawn = sorted((tmp_path / 'run').glob('*/drawn/*'))
    assert [path.stem for path in drawn] == ['000000', '000001', '000002']
    for path in drawn:  # ground truth and detections side by side
        assert cv2.imread(str(path)).shape == (tiny.SIZE, 2 * tiny.SIZE, 3)


def test_draws_nothing_without_a_hook_for_it(tool, config, checkpoint, tmp_path):
    options = ['--cfg-options', 'default_hooks.visualization=None']
    done = tool('test', config, checkpoint, '--work-dir', 'run', '--show-dir', 'drawn', *options)
    assert done.status == 1 and 'DetVisualizationHook' in done.err
    assert not (tmp_path / 'run').exists()


def test_augments_by_flips(tool, digits, checkpoint, tmp_path):
    """The boxes of the flipped view are merged with those of the other one."""
    found = {}
    for name, options in dict(plain=[], tta=['--tta']).items():
        config = tiny.write(tmp_path / f'{name}.py', digits)
        out = f'{name}.pkl'
        done = tool('test', config, checkpoint, '--work-dir', name, '--out', out, *options)
        assert done.status == 0, done.err
        found[name] = pickle.loads((tmp_path / out).read_bytes())
    for plain, tta in zip(found['plain'], found['tta'], strict=True):
        assert plain['img_id'] == tta['img_id']
        assert 0 < len(tta['pred_instances']['scores']) <= 100
        assert tta['pred_instances']['bboxes'].max() <= tiny.SIZE
        plain_best, tta_best = (p['pred_instances']['scores'].max() for p in (plain, tta))
        assert tta_best >= plain_best - 1e-6  # the best of either view survives the merging


def test_uses_the_augmentation_of_the_config(tool, digits, checkpoint, tmp_path):
    """One view, and no merging: the same boxes as without."""
    config = tiny.write(tmp_path / 'config.py', digits)
    pipeline = Config.fromfile(config).test_dataloader.dataset.pipeline
    pack = pipeline.pop()
    pack.meta_keys = (*pack.meta_keys, 'flip', 'flip_direction')
    views = dict(type='TestTimeAug', transforms=[[dict(type='RandomFlip', prob=0.0)], [pack]])
    model = dict(
        type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.99), max_per_img=7)
    )
    with config.open('a') as file:
        file.write(
            f'\ntta_pipeline = {[*map(dict, pipeline), dict(views)]!r}\ntta_model = {model!r}\n'
        )
    done = tool('test', config, checkpoint, '--work-dir', 'run', '--out', 'tta.pkl', '--tta')
    assert done.status == 0, done.err
    predictions = pickle.loads((tmp_path / 'tta.pkl').read_bytes())
    assert [len(p['pred_instances']['scores']) for p in predictions] == [7] * 3


@pytest.mark.parametrize('name', ['train', 'test', 'image_demo'])
def test_help(tool, name):
    done = tool(name, '--help')
    assert done.status == 0 and f'python tools/{name}.py' in done.out and not done.err
