"""Rows whose trainings and tests are played: they leave what the tools would leave."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.fileio import dump

import rankdet.plugin  # noqa: F401, before any import of MMDetection
from rankdet.analysis.paper_tables import find_rows, read_papers
from rankdet.analysis.reproduce.run import RunOptions, run_rows
from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401

MODELS = [dict(Name=name, Config=f'configs/one/{name}.py') for name in ('net', 'dev', 'gone')]
ROWS = [
    dict(Name='plain', Model='net', Paper=dict(AP=50.0)),
    {'Name': 'score', 'Model': 'net', 'Test Options': {'model.test_cfg.score_thr': 0.5}},
    {'Name': 'delta', 'Model': 'net', 'Options': {'model.bbox_head.loss_cls.delta': 0.5}},
    dict(Name='quoted', Paper=dict(AP=40.0)),
]
METRICS = {'coco/bbox_mAP': 0.412, 'coco/bbox_mAP_75': float('nan')}
CELLS = dict(original=dict(AP=0.5, AP50=0.823, images=9), deepfool=dict(L2=16.43, fooled=3))
CELLS |= dict(black=dict(AP=None, AP50=None))


class Player:
    """Leaves what tools/train.py and tools/test.py would leave."""

    def __init__(self):
        self.commands, self.variables, self.fails = [], [], lambda command: False

    def __call__(self, command, variables):
        self.commands.append(command)
        self.variables.append(variables)
        if self.fails(command):
            return 3
        if self.tool(command) == 'robustness':
            folder = Path(command[command.index('--out-dir') + 1])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / 'robustness.json').write_text(json.dumps([dict(name='net', cells=CELLS)]))
            return 0
        folder = Path(command[command.index('--work-dir') + 1])
        overrides = (
            command[command.index('--cfg-options') + 1 :] if '--cfg-options' in command else []
        )
        if 'train' in self.tool(command):
            with zipfile.ZipFile(folder / 'epoch_2.pth', 'w') as file:
                file.writestr('data', '')
            return 0
        for override in overrides:
            if override.startswith('test_evaluator.outfile_prefix='):
                prefix = Path(override.partition('=')[2])
                prefix.parent.mkdir(parents=True)
                row = dict(image_id=9, category_id=1, bbox=[1, 1, 5, 5], score=0.5)
                Path(f'{prefix}.bbox.json').write_text(json.dumps([row]))
        log = folder / str(len(self.commands)) / 'metrics.json'
        log.parent.mkdir(parents=True)
        log.write_text(json.dumps(METRICS))
        return 0

    @staticmethod
    def tool(command):
        return Path(command[1]).stem

    @property
    def tools(self):
        return [self.tool(command) for command in self.commands]


@pytest.fixture
def root(digits, tmp_path, monkeypatch):  # noqa: F811
    """A folder with configs; its table is one/t."""
    monkeypatch.chdir(tmp_path)
    # Configs written as they are: formatting them takes longer than everything else.
    monkeypatch.setattr('rankdet.compat.quirks.formatted', '{}\n'.format)
    for name in ('NNODES', 'NODE_RANK', 'BACKBONES'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr('rankdet.analysis.reproduce.records.device', lambda count: f'{count} x A')
    folder = tmp_path / 'configs' / 'one'
    folder.mkdir(parents=True)
    tiny.write(folder / 'net.py', digits)
    tiny.write(folder / 'gone.py', shutil.copytree(digits, tmp_path / 'lost'))
    write_metafile(folder, ROWS)
    return tmp_path


def write_metafile(folder, rows, **table):
    table = dict(Name='t', Title='T', Columns=['AP', 'AP75'], Rows=rows) | table
    dump(dict(Models=MODELS, Tables=[table]), str(folder / 'metafile.yml'), file_format='yml')


@pytest.fixture
def play(root):
    """Run rows of the table, all unless they are named."""
    player = Player()

    def run(*names, **options):
        rows = find_rows(read_papers(root / 'configs'), names or ['t'])
        return run_rows(rows, RunOptions(root, Path('work'), **options), player)

    run.player, run.root = player, root
    return run


def states(outcomes):
    return {outcome.row.name: outcome.state for outcome in outcomes}


def ours(root, name):
    return find_rows(read_papers(root / 'configs'), [f't/{name}'])[0].ours
