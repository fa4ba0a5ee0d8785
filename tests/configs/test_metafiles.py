"""Configs, metafiles and READMEs say the same, and the papers' numbers agree with each other."""

import copy
import inspect
import math
import re
from pathlib import Path

import pytest
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.fileio import load as read_yaml

from rankdet.analysis.paper_tables import read_metafile
from rankdet.analysis.reproduce.recording import TABLES as TABLES_OF_A_README
from rankdet.analysis.reproduce.show import format_tables
from rankdet.functional.dr import dr_lambdas
from tests.configs.zoo import CONFIGS, PAPERS, ROOT, load

METAFILES = {folder: read_yaml(CONFIGS / folder / 'metafile.yml') for folder in PAPERS}
TABLES = {
    f'{folder}/{table.name}': table
    for folder in PAPERS
    for table in read_metafile(CONFIGS / folder / 'metafile.yml').tables
}
ROWS = {row.address: row for table in TABLES.values() for row in table.rows}
TRAINED = {address: row for address, row in ROWS.items() if row.model}
MODELS_OF = [(folder, model) for folder in PAPERS for model in METAFILES[folder]['Models']]
DATA = {
    'coco': 'COCO trainval35k',
    'voc07': 'PASCAL VOC2007 trainval',
    'voc0712': 'PASCAL VOC2007 trainval, VOC2012 trainval',
    'voc07++12': 'PASCAL VOC2007 trainval and test, VOC2012 trainval',
}
#: What a table shows: its rows that somebody trained, and those that the paper only prints.
SHAPES = {
    'ap_loss/table-1-batch-size': (4, 0),
    'ap_loss/table-1-delta': (5, 0),
    'ap_loss/table-1-interpolation': (2, 0),
    'ap_loss/step': (1, 0),
    'ap_loss/table-2-retinanet-voc': (4, 0),
    'ap_loss/table-2-retinanet-coco': (4, 0),
    'ap_loss/table-2-ssd-voc': (4, 0),
    'ap_loss/table-3': (4, 0),
    'ap_loss/table-4': (3, 0),
    'ap_loss/table-5': (3, 0),
    'ap_loss/table-6': (3, 0),
    'alrp_loss/table-2': (5, 0),
    'alrp_loss/table-3': (16, 7),
    'alrp_loss/table-4': (4, 0),
    'alrp_loss/table-5': (3, 0),
    'alrp_loss/table-6': (7, 0),
    'alrp_loss/table-7': (3, 0),
    'alrp_loss/table-8': (3, 0),
    'dr_loss/table-1': (6, 0),
    'dr_loss/table-2': (8, 0),
    'dr_loss/table-3': (3, 0),
    'dr_loss/table-4': (4, 0),
    'dr_loss/table-5': (12, 0),
    'dr_loss/table-6': (5, 5),
    'dr_loss/table-7': (2, 0),
}
TEST_DEV = {
    *('alrp_loss/table-6', 'ap_loss/table-6'),
    *('dr_loss/table-4', 'dr_loss/table-6'),
}
LOST = {
    *('ap_loss/table-4/ap-loss800', 'ap_loss/table-5/ap-loss800'),
    *(f'alrp_loss/table-3/{iou}-{2**n}' for iou in ('giou', 'iou') for n in range(7)),
    'alrp_loss/table-3/iou-sb',
}


@pytest.fixture(scope='module', autouse=True)
def scope():
    register_all_modules(init_default_scope=True)


def row_config(row) -> Config:
    return load(ROOT / row.config)


def with_options(row) -> Config:
    config = copy.deepcopy(row_config(row))
    config.merge_from_dict({**row.options, **row.test_options})
    return config


# --- what is listed ----------------------------------------------------------------------------


def test_the_index_imports_every_metafile():
    listed = read_yaml(ROOT / 'model-index.yml')['Import']
    assert sorted(listed) == [
        str(path.relative_to(ROOT)) for path in sorted(CONFIGS.glob('*/metafile.yml'))
    ]
    assert {Path(path).parent.name for path in listed} == {*PAPERS, 'learning'}
    assert all((ROOT / 'rankdet' / '.mim' / path).is_file() for path in listed)


@pytest.mark.parametrize('folder', PAPERS)
def test_every_config_is_listed_once_and_used(folder):
    files = {str(path.relative_to(ROOT)) for path in (CONFIGS / folder).glob('*.py')}
    listed = [model['Config'] for model in METAFILES[folder]['Models']]
    assert sorted(listed) == sorted(files)
    assert {row.config for row in TRAINED.values() if row.folder == folder} == files
    collection = METAFILES[folder]['Collections'][0]
    assert (ROOT / collection['README']).is_file()
    assert collection['Paper']['URL'] in (ROOT / collection['README']).read_text()


@pytest.mark.parametrize(
    ('folder', 'model'), MODELS_OF, ids=lambda part: part if isinstance(part, str) else part['Name']
)
def test_a_model_says_what_its_config_does(folder, model):
    assert Path(model['Config']) == Path('configs', folder, f'{model["Name"]}.py')
    assert model['In Collection'] == METAFILES[folder]['Collections'][0]['Name']
    config, said = load(ROOT / model['Config']), model['Metadata']
    length = said.get('Epochs') or said['Iterations']
    key = 'max_epochs' if 'Epochs' in said else 'max_iters'
    assert config.train_cfg[key] == length
    assert config.auto_scale_lr.base_batch_size == said['Batch Size']
    assert config.optim_wrapper.optimizer.lr == said['Learning Rate']
    data = model['Name'].rpartition('_')[2].partition('-')[0]
    assert said['Training Data'] == DATA[data]
    kinds = {
        'RetinaNet': 'RetinaNet',
        'FOVEA': 'FoveaBox',
        'FasterRCNN': 'Faster R-CNN',
        'SingleStageDetector': 'SSD512',
    }
    backbone = config.model.backbone
    net = {'ResNet': 'ResNet', 'ResNeXt': 'ResNeXt', 'SSDVGG': 'VGG'}[backbone.type]
    assert said['Architecture'][0] == kinds[config.model.type]
    assert said['Architecture'][1].startswith(f'{net}-{backbone.depth}')
    assert ('FPN' in said['Architecture']) == (config.model.neck.type == 'FPN')
    assert ('ATSS' in said['Architecture']) == ('atss' in model['Name'])
    assert ('DCNv2' in said['Architecture']) == ('dcn' in backbone)


def test_the_tables_are_those_of_the_papers():
    found = {
        address: (len([r for r in t.rows if r.model]), len([r for r in t.rows if not r.model]))
        for address, t in TABLES.items()
    }
    assert found == SHAPES


def test_what_the_texts_have_lost():
    assert {address for address, row in ROWS.items() if row.lost} == LOST
    for address, row in ROWS.items():
        assert set(row.paper) | set(row.lost) == set(row.columns), address


@pytest.mark.parametrize('folder', PAPERS)
def test_the_readme_shows_the_tables(folder):
    text = (CONFIGS / folder / 'README.md').read_text()
    shown = TABLES_OF_A_README.search(text)[0]
    expected = format_tables(read_metafile(CONFIGS / folder / 'metafile.yml').tables)
    assert shown == expected, f'put there what this prints: tools/reproduce.py show {folder}'


@pytest.mark.parametrize('folder', PAPERS)
def test_the_commands_of_a_readme_name_files(folder):
    text = (CONFIGS / folder / 'README.md').read_text() + (CONFIGS / 'README.md').read_text()
    named = set(re.findall(r'\b(?:configs|tools)/[\w./+-]+\.(?:py|sh)', text))
    assert len(named) >= 5
    assert not [path for path in named if not (ROOT / path).is_file()]


# --- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize('address', TRAINED)
def test_options_fit_the_config(address):
    """Each sets a key that is there, or an argument of the class that it is given to."""
    row = TRAINED[address]
    config = with_options(row)
    for key, value in {**row.options, **row.test_options}.items():
        parent, leaf = config, key.split('.')[-1]
        for part in key.split('.')[:-1]:
            parent = parent[int(part) if part.isdigit() else part]
        if value_of(row_config(row), key) is None:
            kind = MODELS.get(parent['type'])
            assert leaf in inspect.signature(kind.__init__).parameters, key
        assert parent[leaf] == value
    if row.options:
        assert config != row_config(row), 'the options change nothing'
        head = config.model.bbox_head
        MODELS.build(head.loss_cls), MODELS.build(head.loss_bbox)


def value_of(node, key):
    for part in key.split('.'):
        try:
            node = node[int(part) if part.isdigit() else part]
        except (KeyError, AttributeError):
            return None
    return node


@pytest.mark.parametrize('address', TRAINED)
def test_a_row_is_tested_where_it_says(address):
    row = TRAINED[address]
    assert row.data == row.model.rpartition('_')[2].partition('-')[0]
    tested = {
        'coco': {'COCO minival', 'COCO test-dev'},
        'voc07': {'VOC2007 test'},
        'voc0712': {'VOC2007 test'},
        'voc07++12': {'VOC2012 test'},
    }
    assert row.test_data in tested[row.data]
    config = row_config(row)
    if row.data != 'coco':
        assert config.test_dataloader.dataset.data_root.endswith(row.test_data.split()[0])
    entry = next(
        entry
        for table in METAFILES[row.folder]['Tables']
        for entry in table['Rows']
        if table['Name'] == row.table and entry['Name'] == row.name
    )
    assert row.tta == ('TTA' in entry) == ('multi-scale' in row.label)
    if row.tta:
        assert config.tta_pipeline == load(ROOT / entry['TTA']).tta_pipeline
    assert (row.test_data == 'COCO test-dev') == (f'{row.folder}/{row.table}' in TEST_DEV)


LABELLED = {
    'ap_loss/table-1-delta': ('bbox_head.loss_cls.delta', r'delta = (\S+)'),
    'ap_loss/table-1-batch-size': ('train_dataloader.batch_size', r'batch size (\d+)'),
    'alrp_loss/table-4': ('bbox_head.loss_cls.loc_weight', r'w_r = (\d+)'),
    'alrp_loss/table-3': ('bbox_head.loss_cls.loc_weight', r'w_r = (\d+)'),
    'dr_loss/table-5': ('test_cfg.score_thr', r'threshold (\S+)'),
    'dr_loss/table-2': ('bbox_head.loss_cls.smoothness', r'L = (\d+)'),
}


@pytest.mark.parametrize('address', LABELLED)
def test_options_mean_what_the_label_says(address):
    key, pattern = LABELLED[address]
    key = key if 'dataloader' in key else f'model.{key}'
    matched = 0
    for row in TABLES[address].rows:
        label = re.search(pattern, row.label)
        if label and row.model:
            config = with_options(row)
            assert value_of(config, key) == float(label[1]), row.address
            matched += 1
            if address == 'ap_loss/table-1-batch-size':
                assert config.optim_wrapper.optimizer.lr == 0.001 * float(label[1]) / 8
            if address == 'alrp_loss/table-3':
                assert not config.model.bbox_head.loss_cls.self_balance
            if address == 'dr_loss/table-2':
                assert config.model.bbox_head.loss_cls.surrogate == 'logistic'
    assert matched >= 4


def test_the_lambdas_of_dr_loss():
    for row in TABLES['dr_loss/table-1'].rows:
        bases = re.fullmatch(r'h\+ = (\S+), h- = (\S+)', row.label).groups()
        expected = dr_lambdas(*(math.e if base == 'e' else float(base) for base in bases))
        loss = with_options(row).model.bbox_head.loss_cls
        assert (loss.pos_lambda, loss.neg_lambda) == pytest.approx(expected, rel=1e-5)


def test_the_other_options_of_the_ablations():
    def loss(address):
        return with_options(ROWS[address]).model.bbox_head.loss_cls

    assert not loss('ap_loss/table-1-interpolation/no').interpolated
    assert loss('ap_loss/table-1-interpolation/yes').interpolated
    assert loss('ap_loss/step/sigmoid').step == 'sigmoid'
    assert loss('dr_loss/table-2/hinge').surrogate == 'hinge'
    for rho in (0.2, 0.5):
        found = loss(f'dr_loss/table-2/rho-{rho}')
        assert (found.surrogate, found.rho) == ('quadratic', rho)
    pairings = [loss(f'dr_loss/table-3/{name}').pairing for name in ('all', 'neg-only', 'dr')]
    assert pairings == ['all', 'neg_only', 'dr']
    for name, iou, balanced, weight in (
        ('iou', 'IoULoss', False, 1.0),
        ('iou-sb', 'IoULoss', True, 50.0),
        ('giou-sb', 'GIoULoss', True, 50.0),
        ('giou-sb-atss', 'GIoULoss', True, 50.0),
    ):
        config = with_options(ROWS[f'alrp_loss/table-2/{name}'])
        found = config.model.bbox_head.loss_cls
        assert (found.self_balance, found.loc_weight) == (balanced, weight)
        assert config.model.bbox_head.loss_bbox.type == iou
        assert config.param_scheduler[1].milestones == [60, 80]


def test_the_bounds_are_those_of_the_first_row():
    first, lower, upper = TABLES['alrp_loss/table-5'].rows
    assert first.options == ROWS['alrp_loss/table-2/iou-sb'].options and not first.metrics
    for row, name in ((lower, 'lower'), (upper, 'upper')):
        assert (row.options, row.test_options) == (first.options, first.test_options)
        assert row.metrics == {column: f'det/{name}/{column}' for column in row.columns}
    assert with_options(first).test_evaluator[1] == dict(
        row_config(first).test_evaluator[1], bounds=True
    )


def test_robustness_is_that_of_the_trainings_of_table_2():
    found = TABLES['ap_loss/table-3'].rows
    assert {row.tool for row in found} == {'robustness'}
    assert [row.model for row in found] == [
        row.model for row in TABLES['ap_loss/table-2-retinanet-voc'].rows
    ]
    others = [row for row in ROWS.values() if f'{row.folder}/{row.table}' != 'ap_loss/table-3']
    assert {row.tool for row in others} == {'test'}
    for row in found:  # Sec. 4.2.2: AP Loss is best everywhere
        best = found[-1].paper
        assert row is found[-1] or all(row.paper[c] < best[c] for c in row.columns)
        assert all(row.paper['Original'] > row.paper[c] for c in row.columns[1:])


# --- numbers -----------------------------------------------------------------------------------


def test_one_training_has_one_number():
    """Wherever tables print the same training, tested alike, they print the same."""
    seen = {}
    for row in TRAINED.values():
        threshold = row.test_options.get('model.test_cfg.score_thr')
        usual = row_config(row).model.test_cfg.get('score_thr')
        options = str(sorted(row.options.items(), key=str))
        key = row.model, options, row.test_data, row.tta, threshold or usual
        for column, value in row.paper.items():
            number = 'AP50' if column == 'Original' else row.metrics.get(column, column)
            assert seen.setdefault((*key, number), value) == value, row.address
    assert len(seen) < sum(len(row.paper) for row in TRAINED.values()), 'nothing was compared'


@pytest.mark.parametrize('address', ROWS)
def test_numbers_are_possible(address):
    paper = ROWS[address].paper
    for column, value in paper.items():
        bound = re.search('/(lower|upper)$', address)
        if column == 'rho' and bound:
            assert value == {'lower': -1, 'upper': 1}[bound[1]]
            continue
        assert (0 < value < 1) if column == 'rho' else (5 < value < 100)
        digits = 2 if column == 'rho' else 1
        assert round(value, digits) == value, 'as many digits as the papers print'
    falling = [paper[c] for c in ('AP50', 'AP75', 'AP90') if c in paper]
    assert falling == sorted(falling, reverse=True)
    if 'AP' in paper and 'AP50' in paper:
        assert paper['AP'] < paper['AP50']
    for measure in ('AP', 'AR'):
        sizes = [paper[c] for c in (f'{measure}_S', f'{measure}_M', f'{measure}_L') if c in paper]
        inverted = address == 'dr_loss/table-3/all'  # its large objects suffer most
        assert inverted or sizes == sorted(sizes)


def of(address, column='AP'):
    return ROWS[address].paper[column]


@pytest.mark.parametrize(
    ('better', 'worse', 'column', 'printed'),
    [
        # aLRP, Sec. 5.1: "from 35.5 to 36.9", "+1.8AP gain", "+8.4 points in AP90 against AP Loss"
        ('alrp_loss/table-2/iou', 'alrp_loss/table-2/ap-loss', 'AP', 1.4),
        ('alrp_loss/table-2/iou-sb', 'alrp_loss/table-2/iou', 'AP', 1.8),
        ('alrp_loss/table-2/iou-sb', 'alrp_loss/table-2/ap-loss', 'AP90', 8.4),
        ('alrp_loss/table-2/giou-sb-atss', 'alrp_loss/table-2/giou-sb', 'AP', 1.3),
        # Sec. 5.3: "+5.4AP for scale 500 and +5.1AP for scale 800", "4.7AP better than DR Loss"
        ('alrp_loss/table-6/r101-500', 'ap_loss/table-6/ap-loss500', 'AP', 5.4),
        ('alrp_loss/table-6/r101-800', 'ap_loss/table-6/ap-loss800', 'AP', 5.1),
        ('alrp_loss/table-6/x101-800', 'dr_loss/table-4/x101', 'AP', 4.7),
        # Sec. 5.4: "by 1.4 and 3.2 AP points"
        ('alrp_loss/table-7/alrp', 'alrp_loss/table-7/focal', 'AP', 1.4),
        ('alrp_loss/table-7/alrp', 'alrp_loss/table-7/ap', 'AP', 3.2),
        # Sec. 5.2: "(up to ~ 10 AP)"; "up to 20 AP" between the bounds
        ('alrp_loss/table-5/upper', 'alrp_loss/table-5/alrp-loss', 'AP', 9.4),
        ('alrp_loss/table-5/upper', 'alrp_loss/table-5/lower', 'AP', 19.5),
        # AP, Sec. 4.2.2: "53.1% vs. 51.3%", "35.0% vs. 33.9%", "45.2% vs. 43.6%"
        ('ap_loss/table-2-retinanet-voc/ap', 'ap_loss/table-2-retinanet-voc/focal', 'AP', 1.8),
        ('ap_loss/table-2-retinanet-coco/ap', 'ap_loss/table-2-retinanet-coco/focal', 'AP', 1.1),
        ('ap_loss/table-2-ssd-voc/ap', 'ap_loss/table-2-ssd-voc/ohem', 'AP', 1.6),
    ],
)
def test_numbers_agree_with_the_prose(better, worse, column, printed):
    assert of(better, column) - of(worse, column) == pytest.approx(printed)


def test_more_numbers_agree_with_the_prose():
    assert of('ap_loss/step/sigmoid') == 53.5  # AP, Sec. 4.2.1
    assert of('ap_loss/table-4/ap-loss500', 'AP50') == pytest.approx(82.3 + 1.6)  # Sec. 4.4.1
    assert of('ap_loss/table-5/ap-loss500', 'AP50') == pytest.approx(80.3 + 2.8)
    assert of('alrp_loss/table-6/x101-dcn-800') == 48.9  # aLRP, abstract
    assert of('dr_loss/table-4/r101') == 41.7  # DR, abstract, and Sec. 4.4
    assert of('dr_loss/table-4/x101') == 43.1
    scales = (400, 500, 600, 700, 800)
    gains = [of(f'dr_loss/table-6/dr-{s}') - of(f'dr_loss/table-6/focal-{s}') for s in scales]
    assert all(1.5 < gain < 2.5 for gain in gains)  # "by about 2%"
