"""The table of the digits says what its configs do, and its recorded results can be traced."""

import copy
import json
import re
from pathlib import Path

import pytest
from mmengine.fileio import load as read_yaml

from rankdet.analysis.learning import COLUMNS, SCENES
from rankdet.analysis.paper_tables import read_metafile
from rankdet.analysis.reproduce.own_data import OWN_DATA
from rankdet.analysis.reproduce.recording import TABLES as SHOWN
from rankdet.analysis.reproduce.records import read_results
from rankdet.analysis.reproduce.show import format_tables
from tests.configs.zoo import CONFIGS, ROOT, load

FOLDER = CONFIGS / 'learning'
METAFILE = read_yaml(FOLDER / 'metafile.yml')
TABLES = DIGITS, DETECTORS, CONSTANT = read_metafile(FOLDER / 'metafile.yml').tables
ROWS = {row.address: row for table in TABLES for row in table.rows}
RECORD = read_results(ROOT / 'docs/records/digits.jsonl')
LOSSES = {
    'CE': 'CrossEntropyLoss',
    'CE + OHEM': 'OHEMCrossEntropyLoss',
    'Focal Loss': 'FocalLoss',
    **{f'{name} Loss': f'{name}Loss' for name in ('AUC', 'AP', 'aLRP', 'DR')},
}
DETECTOR = {
    'RetinaNet': 'RetinaNet',
    'SSD': 'SingleStageDetector',
    'FoveaBox': 'FOVEA',
    'Faster R-CNN': 'FasterRCNN',
}


def test_every_config_is_a_model_and_a_row():
    files = sorted(str(path.relative_to(ROOT)) for path in FOLDER.glob('*.py'))
    assert sorted(model['Config'] for model in METAFILE['Models']) == files
    assert sorted(row.config for row in ROWS.values()) == files


def test_the_six_losses_come_first():
    assert [row.label for row in DIGITS.rows] == list(LOSSES)[1:]
    for table in TABLES:
        assert table.columns == COLUMNS and not table.in_a_paper


@pytest.mark.parametrize('model', METAFILE['Models'], ids=lambda model: model['Name'])
def test_a_model_says_what_its_config_does(model):
    assert model['Config'] == f'configs/learning/{model["Name"]}.py'
    config, said = load(ROOT / model['Config']), model['Metadata']
    assert config.train_cfg.max_epochs == said['Epochs']
    assert config.auto_scale_lr.base_batch_size == said['Batch Size']
    assert config.optim_wrapper.optimizer.lr == said['Learning Rate']
    assert config.optim_wrapper.optimizer.type == 'AdamW'
    assert DETECTOR[said['Architecture'][0]] == config.model.type
    assert ('FPN' in said['Architecture']) == (config.model.neck.type == 'FPN')
    assert config.model.backbone.depth == 18


@pytest.mark.parametrize('address', ROWS)
def test_a_row_is_what_its_label_says(address):
    row = ROWS[address]
    detector, _, loss = row.label.rpartition(', ')
    model = load(ROOT / row.config).model
    head = model.get('bbox_head') or model.roi_head.bbox_head
    assert model.type == DETECTOR[detector or 'RetinaNet']
    if loss == 'CE + OHEM' and detector == 'SSD':  # its own: the hardest negatives of each image
        assert 'loss_cls' not in head and model.train_cfg.neg_pos_ratio == 3
    else:
        assert head.loss_cls.type == LOSSES[loss]
    assert row.data == row.test_data == 'digits-128' and not row.options and not row.paper


def test_self_balancing_is_all_that_a_constant_weight_replaces():
    weights = {}
    for row in CONSTANT.rows:
        config = copy.deepcopy(load(ROOT / row.config))
        balanced = load(ROOT / row.config.replace('-constant', ''))
        head = config.model.get('bbox_head') or config.model.roi_head.bbox_head
        assert head.loss_cls.pop('self_balance') is False
        weights[row.name] = head.loss_cls.pop('loc_weight')
        assert config.model == balanced.model
        assert config.optim_wrapper == balanced.optim_wrapper
        still_balances = 'rpn_head' in config.model
        assert config.custom_hooks == (balanced.custom_hooks if still_balances else [])
    assert weights == {'retinanet': 5.0, 'ssd': 5.0, 'faster-rcnn': 2.0}


def test_the_scenes_are_those_that_the_configs_are_for():
    assert OWN_DATA['digits-128'] is SCENES
    assert f'{SCENES["num_train"]:,} scenes of {SCENES["size"]} pixels' in DIGITS.notes
    assert f'{SCENES["num_val"]} others' in DIGITS.notes
    config = load(ROOT / DIGITS.rows[0].config)
    assert config.img_scale == (SCENES['size'],) * 2
    assert config.data_root.rstrip('/') == 'data/digits-128'


def test_the_readme_shows_the_tables():
    text = (FOLDER / 'README.md').read_text()
    shown = SHOWN.search(text)[0]
    assert shown == format_tables(TABLES), 'tools/reproduce.py show learning'
    for path in re.findall(r'\]\(([^)]+)\)', text):
        assert (FOLDER / path).exists(), path


def test_the_six_losses_are_measured():
    for row in DIGITS.rows:
        assert set(row.measured) == set(COLUMNS)


@pytest.mark.parametrize('address', [address for address, row in ROWS.items() if row.ours])
def test_what_is_recorded(address):
    """The table holds what the run left, by a commit without changes, without anybody's paths."""
    ours, entry = ROWS[address].ours, RECORD[address]
    assert ours == {key: entry[key.lower()] for key in ours}
    assert entry['metrics'] == {
        c: round(100 * entry['all_metrics'][f'det/{c}'], 2) for c in COLUMNS
    }
    assert re.fullmatch('[0-9a-f]{12}', ours['Commit']) and ours['Seed'] == 0
    config = ROWS[address].config
    assert ours['Command'].startswith(f'python tools/train.py {config} --work-dir work_dirs/')
    assert f' && python tools/test.py {config} work_dirs/' in ours['Command']
    assert not re.search(r'(^|[\s"=])/', json.dumps(entry))
    values = ours['Metrics']
    assert values['AP90'] < values['AP75'] < values['AP'] * 1.5 < 1.5 * values['AP50']


def test_the_smoke_covers_every_training():
    head, *lines = map(json.loads, (ROOT / 'docs/records/smoke.jsonl').read_text().splitlines())
    assert all(line['state'] == 'ok' for line in lines)
    later = [line for line in lines if 'commit' in line]  # added one by one
    assert len(lines) - len(later) == head['trainings']
    rows = [row for path in CONFIGS.glob('*/metafile.yml') for t in read_metafile(path).tables
            for row in t.rows if row.model]  # fmt: skip
    tested = {address for line in lines for test in line['tests'] for address in test['rows']}
    assert tested == {row.address for row in rows}
    assert {Path(line['config']) for line in lines} == {Path(row.config) for row in rows}
