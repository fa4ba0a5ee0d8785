"""The row of the table: what is kept, what is measured again, what a table shows; mistakes."""

import csv
import io
import json
import shutil

import pytest
import torch

import rankdet.plugin  # noqa: F401
from rankdet.analysis.robustness import deepfool as attacks
from rankdet.analysis.robustness import run as module
from rankdet.analysis.robustness.adversarial_patch import PatchOptions
from rankdet.analysis.robustness.deepfool import DeepFoolOptions
from rankdet.analysis.robustness.detector import build_dataset, find_detectors, measure, truth_of
from rankdet.analysis.robustness.run import COLUMNS, RobustnessOptions, measure_robustness
from rankdet.analysis.robustness.table import robustness_table, write_tables
from rankdet.engine.errors import UserError
from rankdet.evaluation import evaluate
from tests.analysis import robustness_toy as toy

PATCH = PatchOptions(steps=3, batch=2, size=4)


@pytest.fixture(scope='module')
def toys(tmp_path_factory):
    root = tmp_path_factory.mktemp('toy')
    data = toy.write_data(root / 'data', dict(train=3, test=4))
    return toy.write_config(root / 'toy.py', data), toy.write_checkpoint(root / 'toy.pth')


@pytest.fixture
def detector(toys):
    (found,) = find_detectors(list(map(str, toys)))
    return found


@pytest.fixture
def measured(monkeypatch):
    """Columns that were measured, not taken from what is kept."""
    columns = []
    original = module._Task._measure

    def counting(self, column, key):
        columns.append(column)
        return original(self, column, key)

    monkeypatch.setattr(module._Task, '_measure', counting)
    return columns


def options(**changes) -> RobustnessOptions:
    return RobustnessOptions(**(dict(patch=PATCH, device='cpu', workers=0) | changes))


def values(rows):
    names = ('AP', 'AP50', 'L2', 'fooled')
    return [
        {c: {n: cell[n] for n in names if n in cell} for c, cell in row['cells'].items()}
        for row in rows
    ]


def test_a_whole_row_with_its_provenance(detector, tmp_path, measured):
    (row,) = measure_robustness([detector], options(), tmp_path, command='python tools/x.py a')
    assert tuple(row['cells']) == COLUMNS == tuple(measured)
    cells = row['cells']
    assert cells['original']['AP50'] == pytest.approx(1) and cells['original']['objects'] == 11
    assert all(0 <= cells[name]['AP50'] <= 1 for name in COLUMNS if name != 'deepfool')
    assert cells['deepfool']['fooled'] == 11 and cells['deepfool']['L2'] > 0
    for cell in cells.values():
        assert cell['command'] == 'python tools/x.py a' and cell['device'].endswith('CPU')
        assert cell['torch'] and cell['date'] and cell['seconds'] >= 0 and 'commit' in cell
    assert cells['noise']['settings'] == dict(variance=0.01, seed=0, batch_size=2)
    assert json.loads((tmp_path / 'toy/results.json').read_text()) == row


def test_a_column_is_the_ap_of_the_config_with_its_transform(detector, tmp_path):
    """Against MMEngine's own test of the same pipeline, with DetectionMetric."""
    chosen = options(columns=['flip'], extent='width', seed=3)
    (row,) = measure_robustness([detector], chosen, tmp_path)
    perturbation = dict(type='FlipPatch', extent='width', seed=3)
    expected = mmengine_says(detector, tmp_path, perturbation)
    assert row['cells']['flip']['AP'] == pytest.approx(expected['det/AP'], abs=1e-12)
    assert row['cells']['flip']['AP50'] == pytest.approx(expected['det/AP50'], abs=1e-12)


def mmengine_says(detector, tmp_path, perturbation=None):
    """What tools/test.py would."""
    from rankdet.engine import launch

    cfg = launch.load_config(str(detector.cfg.filename), work_dir=str(tmp_path / 'run'))
    pipeline = cfg.test_dataloader.dataset.pipeline
    if perturbation:
        pipeline.insert(1, perturbation)
    cfg.test_dataloader.dataset.test_mode = True
    cfg.train_dataloader = cfg.train_cfg = None
    cfg.test_evaluator = dict(
        type='DetectionMetric', bounds=False, ann_file=cfg.test_evaluator.ann_file
    )
    cfg.visualizer = dict(type='Visualizer', name='robust')
    return launch.test(cfg, str(detector.checkpoint))


@pytest.mark.parametrize('difficult', [1, 0])
def test_difficult_objects_count_as_in_a_test(toys, tmp_path, difficult):
    """A detection in a difficult object of twice its size is wrong; in a crowd it is ignored."""

    def change(content):
        for one in content['annotations'][2::3]:
            x, y, *_ = one['bbox']
            one.update(bbox=[x, y, 32, 32], area=1024, iscrowd=1, difficult=difficult)

    (detector,) = spoilt(toys, tmp_path, change)
    (row,) = measure_robustness([detector], options(columns=['original']), tmp_path / 'out')
    cell, expected = row['cells']['original'], mmengine_says(detector, tmp_path)
    assert (cell['AP'], cell['AP50']) == (expected['det/AP'], expected['det/AP50'])
    assert (cell['AP50'] < 0.9) == bool(difficult) and cell['objects'] == 4


def test_difficult_objects_of_voc_xml_are_no_crowds(tmp_path):
    """A small box of higher score inside a large difficult object is wrong."""
    from mmdet.datasets import XMLDataset

    (tmp_path / 'Annotations').mkdir()
    boxes = [('0', 11, 11, 51, 51), ('1', 101, 101, 301, 301)]
    objects = ''.join(
        f'<object><name>red</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin>'
        f'<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
        for difficult, x1, y1, x2, y2 in boxes
    )
    size = '<size><width>320</width><height>320</height></size>'
    (tmp_path / 'Annotations/1.xml').write_text(f'<annotation>{size}{objects}</annotation>')
    (tmp_path / 'test.txt').write_text('1\n')
    dataset = XMLDataset(
        data_root=str(tmp_path), data_prefix=dict(sub_data_root=''), ann_file='test.txt',
        metainfo=dict(classes=('red',)), test_mode=True,
    )  # fmt: skip
    found = [
        dict(image_id=0, category_id=0, bbox=box, score=score)
        for box, score in (([10, 10, 40, 40], 0.5), ([150, 150, 20, 20], 0.9))
    ]
    values = evaluate(truth_of(dataset, ('red',)), found, bounds=False).summary()
    assert values['AP50'] == pytest.approx(0.5)


def test_what_a_test_depends_on_is_in_the_digest(detector, monkeypatch):
    before = detector.digest
    detector.cfg.data_preprocessor = dict(type='DetDataPreprocessor', mean=[1.0] * 3, std=[2.0] * 3)
    with_preprocessor = detector.digest
    monkeypatch.setattr('rankdet.analysis.robustness.detector.VERSION', -1)
    assert len({before, with_preprocessor, detector.digest}) == 3


def test_workers_and_batches_change_nothing(detector, tmp_path):
    names = ['random', 'adversarial', 'noise']
    rows = [
        measure_robustness([detector], options(columns=names, **changes), tmp_path / str(n))
        for n, changes in enumerate([dict(workers=0, batch=1), dict(workers=2, batch=3)])
    ]
    assert values(rows[0]) == values(rows[1])


def test_what_is_kept_is_not_measured_again(detector, tmp_path, measured):
    few = ['noise', 'adversarial', 'deepfool']
    (first,) = measure_robustness([detector], options(columns=few), tmp_path)
    measured.clear()
    (second,) = measure_robustness([detector], options(columns=few), tmp_path)
    assert not measured and first == second
    measure_robustness([detector], options(columns=few, variance=0.02), tmp_path)
    assert measured == ['noise']
    measured.clear()
    measure_robustness([detector], options(columns=few, variance=0.02, seed=1), tmp_path)
    assert measured == ['adversarial', 'noise']
    measured.clear()
    last = dict(variance=0.02, seed=1, deepfool=DeepFoolOptions(max_iter=9))
    measure_robustness([detector], options(columns=few, **last), tmp_path)
    assert measured == ['deepfool']
    measured.clear()
    measure_robustness([detector], options(columns=few, **last, images=2), tmp_path)
    assert len(measured) == 3


def test_another_batch_size_is_measured_again(detector, tmp_path, measured, monkeypatch):
    """It sets how images of different sizes are padded; DeepFool takes one image at a time."""
    few = ['original', 'adversarial', 'deepfool']
    measure_robustness([detector], options(columns=few), tmp_path)
    assert measured == few
    measure_robustness([detector], options(columns=few, batch=2, workers=1), tmp_path)
    assert measured == few  # the config's
    step = 'rankdet.analysis.robustness.adversarial_patch.objective'
    monkeypatch.setattr(step, lambda *args: pytest.fail('the patch was made again'))
    (row,) = measure_robustness([detector], options(columns=few, batch=3), tmp_path)
    assert measured[3:] == few[:2]  # with the same patch
    assert row['cells']['original']['settings'] == dict(batch_size=3)
    detector.cfg.test_dataloader.batch_size = 1
    measure_robustness([detector], options(columns=few), tmp_path)
    assert measured[5:] == few[:2]


def test_other_weights_are_measured_again(toys, tmp_path, measured):
    config, checkpoint = toys
    own = shutil.copy(checkpoint, tmp_path / 'own.pth')
    (detector,) = find_detectors([str(config), str(own)])
    measure_robustness([detector], options(columns=['original']), tmp_path)
    content = torch.load(own)
    content['state_dict']['bbox_head.retina_cls.weight'] *= -1
    torch.save(content, own)
    (row,) = measure_robustness([detector], options(columns=['original']), tmp_path)
    assert measured == ['original'] * 2 and row['cells']['original']['AP'] < 0.5


def test_a_killed_run_goes_on_with_the_column_it_was_at(detector, tmp_path, monkeypatch):
    chosen = options(columns=['original', 'adversarial', 'deepfool'])
    expected = values(measure_robustness([detector], chosen, tmp_path / 'whole'))

    def dying(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, 'deepfool', dying)
        with pytest.raises(KeyboardInterrupt):
            measure_robustness([detector], chosen, tmp_path / 'killed')
    kept = json.loads((tmp_path / 'killed/toy/results.json').read_text())['cells']
    assert tuple(kept) == ('original', 'adversarial')
    monkeypatch.setattr(module, 'measure', dying)
    monkeypatch.setattr(module, 'make_patch', dying)
    assert values(measure_robustness([detector], chosen, tmp_path / 'killed')) == expected


def test_a_part_of_the_images(detector, tmp_path):
    chosen = options(
        columns=['original', 'adversarial', 'deepfool'], images=3, deepfool_images=2,
        train_images=1,
    )  # fmt: skip
    (row,) = measure_robustness([detector], chosen, tmp_path)
    assert row['cells']['original']['images'] == 3 and row['cells']['original']['objects'] == 8
    assert row['cells']['deepfool']['images'] == 2


# --- the table -----------------------------------------------------------------------------------


def rows():
    ap = dict(AP=0.5312, AP50=0.8149, images=7, objects=30)
    fool = dict(L2=14.72, relative=0.0123, fooled=9, withstood=1, missed=2, images=3)
    return [
        dict(name='a|b', cells=dict(original=ap, black=ap | dict(AP50=float('nan')))),
        dict(name='c', cells=dict(original=ap | dict(images=8), deepfool=fool)),
    ]


def test_the_table_has_the_columns_of_the_paper(tmp_path):
    lines = robustness_table(rows()).splitlines()
    assert lines[0] == '| detector | Original | Black patch | DeepFool |'
    assert lines[1] == '|---|---:|---:|---:|'
    assert lines[2] == '| a\\|b | 81.5 / 53.1 | - / 53.1 | - |'
    assert lines[3] == '| c | 81.5 / 53.1 | - / - | 14.7 |'
    assert '7 images (30 objects) or 8 images' in lines[5]
    assert '(c: 9 objects fooled, 1 withstood, 2 called wrong before, on 3 images)' in lines[6]
    table = list(csv.DictReader(io.StringIO(robustness_table(rows(), 'csv'))))
    assert table[1]['Original AP50'] == '81.5' and table[1]['DeepFool L2'] == '14.7'
    assert table[0]['Black patch AP50'] == '' and table[0]['DeepFool relative'] == ''
    kept = json.loads(robustness_table(rows(), 'json'))
    assert kept[0]['cells']['black']['AP50'] is None and kept[1]['cells']['deepfool']['L2'] == 14.72
    written = write_tables(rows(), tmp_path / 'new')
    assert [path.name for path in written] == [f'robustness.{s}' for s in ('md', 'csv', 'json')]
    with pytest.raises(ValueError, match=r"style must be one of .*, got 'html'"):
        robustness_table(rows(), 'html')


@pytest.fixture
def both(toys, tmp_path):
    """The second detector, blind to red, calls fewer objects rightly."""
    config, checkpoint = toys
    content = torch.load(checkpoint)
    content['state_dict']['bbox_head.retina_cls.bias'][2] -= 9
    torch.save(content, tmp_path / 'blind.pth')
    return find_detectors([str(config), str(checkpoint), str(config), str(tmp_path / 'blind.pth')])


def norms_file(folder):
    """The only one."""
    (path,) = folder.glob('deepfool*.jsonl')
    return path


def test_deepfool_also_over_the_same_objects(both, tmp_path):
    rows = measure_robustness(both, options(columns=['deepfool']), tmp_path)
    one, two = (row['cells']['deepfool'] for row in rows)
    assert one['common'] == two['common'] == two['fooled'] < one['fooled']
    assert two['common_L2'] == pytest.approx(two['L2'])
    lines = norms_file(tmp_path / rows[0]['name']).read_text().splitlines()[1:]
    norms = [o['l2'] for line in map(json.loads, lines) for o in line['objects'] if o['label'] != 2]
    assert one['common_L2'] == pytest.approx(sum(norms) / len(norms)) != pytest.approx(one['L2'])
    text = robustness_table(rows)
    assert f'The same over the {len(norms)} objects that all detectors lose: toy-toy ' in text
    one.update(fooled=0, withstood=0)
    assert 'toy-toy: no object to attack, 0 called wrong before' in robustness_table(rows)


def interrupted(monkeypatch, detectors, chosen, folder):
    """A run that ends after the first image of DeepFool."""
    attack, images = attacks.attack_image, []

    def once(*args, **kwargs):
        if images:
            raise KeyboardInterrupt
        images.append(attack(*args, **kwargs))
        return images[0]

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(attacks, 'attack_image', once)
        measure_robustness(detectors, chosen, folder)


def test_the_same_objects_are_those_of_these_options(both, tmp_path, monkeypatch):
    """Another attack on the first detector was interrupted in between; it can go on, too."""
    first = options(columns=['deepfool'])
    other = options(columns=['deepfool'], deepfool=DeepFoolOptions(overshoot=0.5))
    expected = measure_robustness(both, first, tmp_path / 'out')
    interrupted(monkeypatch, both, other, tmp_path / 'out')
    assert measure_robustness(both, first, tmp_path / 'out') == expected
    whole = values(measure_robustness(both, other, tmp_path / 'whole'))
    assert values(measure_robustness(both, other, tmp_path / 'out')) == whole


def test_without_the_norms_the_same_objects_are_left_out(both, tmp_path, measured, capsys):
    chosen = options(columns=['deepfool'])
    expected = measure_robustness(both, chosen, tmp_path)
    file = norms_file(tmp_path / 'toy-blind')
    for text in (file.read_text()[:-9], None):
        file.unlink() if text is None else file.write_text(text)
        capsys.readouterr()
        rows = measure_robustness(both, chosen, tmp_path)
        assert values(rows) == values(expected) and len(measured) == 2
        assert not any('common' in row['cells']['deepfool'] for row in rows)
        assert 'all detectors lose' not in robustness_table(rows)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('DeepFool is not compared over the same objects: ')
        assert str(file) in line


def test_attacks_on_two_runs_of_one_config_are_kept(toys, tmp_path, monkeypatch):
    """Their rows have one name, and so one folder."""
    config, checkpoint = toys
    for seed in (0, 1):
        (tmp_path / f'x_seed{seed}').mkdir()
        shutil.copy(config, tmp_path / f'x_seed{seed}')
        content = torch.load(checkpoint)
        content['state_dict']['bbox_head.retina_cls.bias'][2] -= seed
        torch.save(content, tmp_path / f'x_seed{seed}/epoch_1.pth')
    runs = [find_detectors([str(tmp_path / f'x_seed{seed}')]) for seed in (0, 1)]
    chosen = options(columns=['adversarial', 'deepfool'])
    first, second = (measure_robustness(run, chosen, tmp_path / 'out') for run in runs)
    assert first[0]['name'] == second[0]['name'] and values(first) != values(second)
    for module_name, name in (('adversarial_patch', 'objective'), ('deepfool', 'attack_image')):
        place = f'rankdet.analysis.robustness.{module_name}.{name}'
        monkeypatch.setattr(place, lambda *args: pytest.fail('attacked again'))
    assert values(measure_robustness(runs[0], chosen, tmp_path / 'out')) == values(first)
    assert values(measure_robustness(runs[1], chosen, tmp_path / 'out')) == values(second)


def test_a_patch_from_before_it_had_a_folder_of_its_own(detector, tmp_path, monkeypatch):
    chosen = options(columns=['adversarial'])
    expected = measure_robustness([detector], chosen, tmp_path)
    (folder,) = (tmp_path / 'toy').glob('adversarial-*')
    for path in folder.iterdir():
        path.rename(tmp_path / 'toy' / path.name)
    folder.rmdir()
    (tmp_path / 'toy/results.json').unlink()
    step = 'rankdet.analysis.robustness.adversarial_patch.objective'
    with monkeypatch.context() as patched:
        patched.setattr(step, lambda *args: pytest.fail('the patch was made again'))
        assert values(measure_robustness([detector], chosen, tmp_path)) == values(expected)
    measure_robustness([detector], options(columns=['adversarial'], seed=1), tmp_path)
    assert len(list((tmp_path / 'toy').rglob('adversarial_patch.png'))) == 2


def test_norms_from_before_they_were_named_by_their_key(both, tmp_path, measured, monkeypatch):
    """They count for the same options, and no others replace them."""
    chosen = options(columns=['deepfool'])
    expected = measure_robustness(both, chosen, tmp_path / 'new')
    interrupted(monkeypatch, both, chosen, tmp_path / 'out')
    interrupted_at = norms_file(tmp_path / 'out/toy-toy')
    old = interrupted_at.rename(interrupted_at.with_name('deepfool.jsonl'))
    begun = old.read_text()
    rows = measure_robustness(both, chosen, tmp_path / 'out')
    assert norms_file(old.parent) == old and old.read_text().startswith(begun)
    assert values(rows) == values(expected)
    measured.clear()
    other = options(columns=['deepfool'], deepfool=DeepFoolOptions(max_iter=9))
    measure_robustness(both, other, tmp_path / 'out')
    assert measured and len(list(old.parent.glob('deepfool*.jsonl'))) == 2
    again = measure_robustness(both, chosen, tmp_path / 'out')
    names = ('common_L2', 'common')
    norms = [[row[0]['cells']['deepfool'][name] for name in names] for row in (again, expected)]
    assert norms[0] == norms[1]


# --- mistakes ------------------------------------------------------------------------------------


def test_detectors_from_a_command_line(toys, tmp_path):
    config, checkpoint = map(str, toys)
    other = shutil.copy(checkpoint, tmp_path / 'epoch_3.pth')
    both = find_detectors([config, checkpoint, config, str(other)])
    assert [one.name for one in both] == ['toy-toy', 'toy-epoch_3']
    run = tmp_path / 'run'
    run.mkdir()
    shutil.copy(config, run / 'config.py')
    for epoch in (2, 10):
        shutil.copy(checkpoint, run / f'epoch_{epoch}.pth')
    folder, named = find_detectors([str(run), config, checkpoint], names=['x', 'y'])
    assert folder.checkpoint.name == 'epoch_10.pth' and [folder.name, named.name] == ['x', 'y']


@pytest.mark.parametrize(
    'arguments, names, message',
    [
        ([], None, 'no detector: give CONFIG CHECKPOINT'),
        (['{checkpoint}'], None, r'toy\.pth has no config in front of it'),
        (['{config}'], None, r'toy\.py has no checkpoint behind it'),
        (['{config}', '{config}'], None, r'toy\.py has no checkpoint behind it'),
        (['{config}', 'none.pth'], None, r'checkpoint none\.pth does not exist'),
        (['none.py', '{checkpoint}'], None, r'config none\.py does not exist'),
        (['{folder}'], None, 'holds no configs: give CONFIG CHECKPOINT'),
        (['{config}', '{checkpoint}'], ['a', 'b'], 'there are 1 detectors, but --names has 2'),
        (['{config}', '{checkpoint}'] * 2, None, 'two detectors are called toy-toy'),
        (['{config}', '{checkpoint}'], ['a/b'], "'a/b' is no name"),
    ],
)
def test_what_is_missing_is_named(toys, tmp_path, arguments, names, message):
    places = dict(config=toys[0], checkpoint=toys[1], folder=tmp_path)
    with pytest.raises(UserError, match=message):
        find_detectors([one.format(**places) for one in arguments], names)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(columns=['black', 'blur']), r"columns must be among original, .*got \['blur'\]"),
        (dict(columns=[]), 'columns must be among'),
        (dict(images=0), 'images must be at least 1, got 0'),
        (dict(workers=-1), 'workers must be at least 0, got -1'),
        (dict(extent='half'), "extent must be one of .*'either'.*, got 'half'"),
        (dict(seed=-1), 'seed must be an integer of at least 0, got -1'),
        (dict(variance=-1.0), 'variance must not be negative, got -1.0'),
        (dict(device='gpu'), "device 'gpu' cannot be used"),
    ],
)
def test_wrong_options_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        options(**changes)


def spoilt(toys, tmp_path, change, split='test'):
    """The toy on data that was changed."""
    data = toy.write_data(tmp_path / 'data', dict(train=2, test=2))
    path = data / f'annotations/{split}.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    config = toy.write_config(tmp_path / 'own.py', data)
    return find_detectors([str(config), str(toys[1])])


def test_data_without_boxes(toys, tmp_path):
    detectors = spoilt(toys, tmp_path, lambda content: content.update(annotations=[]))
    with pytest.raises(UserError, match=r'test_dataloader .*test\.json has no boxes on the 2'):
        measure_robustness(detectors, options(columns=['black']), tmp_path / 'out')
    shutil.rmtree(tmp_path / 'data')
    detectors = spoilt(toys, tmp_path, lambda content: content.update(annotations=[]), 'train')
    with pytest.raises(UserError, match=r'train_dataloader .*train\.json has no boxes'):
        measure_robustness(detectors, options(columns=['adversarial']), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_one_class_has_nothing_else_to_become(detector, tmp_path):
    detector.cfg.test_dataloader.dataset.metainfo = dict(classes=('red',))
    detector.cfg.model.bbox_head.num_classes = 1
    content = torch.load(detector.checkpoint)
    content['meta'], state = {}, content['state_dict']
    for name in ('weight', 'bias'):
        state[f'bbox_head.retina_cls.{name}'] = state[f'bbox_head.retina_cls.{name}'][2:]
    torch.save(content, tmp_path / 'red.pth')
    object.__setattr__(detector, 'checkpoint', tmp_path / 'red.pth')
    with pytest.raises(UserError, match='has one class: DeepFool needs another'):
        measure_robustness([detector], options(columns=['deepfool']), tmp_path / 'out')
    (row,) = measure_robustness([detector], options(columns=['original']), tmp_path / 'out')
    assert row['cells']['original']['AP50'] > 0.9


REMEDY = 'leave these columns out by --only original black random flip noise'


@pytest.mark.parametrize('column', ['adversarial', 'deepfool'])
def test_a_head_that_cannot_be_attacked_is_found_before_anything_is_measured(
    detector, tmp_path, column
):
    detector.cfg.model.bbox_head.type = 'ToyOwnHead'
    with pytest.raises(UserError, match=rf'RetinaNet with ToyOwnHead: .*; {REMEDY}$'):
        measure_robustness([detector], options(columns=['original', column]), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    (row,) = measure_robustness([detector], options(columns=['original']), tmp_path / 'out')
    assert row['cells']['original']['AP50'] == pytest.approx(1)


def test_an_attack_that_fails_for_any_reason_is_one_line(detector, tmp_path, monkeypatch):
    def failing(*args):
        raise AssertionError  # with no word on what is wrong

    monkeypatch.setattr(module, 'candidates', failing)
    with pytest.raises(UserError, match=rf'toy\.py .*RetinaHead .*AssertionError; {REMEDY}$'):
        measure_robustness([detector], options(), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_a_checkpoint_of_another_model(toys, tmp_path):
    config, checkpoint = toys
    content = torch.load(checkpoint)
    content['state_dict']['bbox_head.retina_reg.bias'] = torch.zeros(8)
    torch.save(content, tmp_path / 'other.pth')
    good_and_bad = [str(config), str(checkpoint), str(config), str(tmp_path / 'other.pth')]
    with pytest.raises(UserError, match=r'other\.pth does not fit this config.*retina_reg'):
        measure_robustness(find_detectors(good_and_bad), options(), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()  # nothing was measured of the good one either


def test_a_pipeline_that_cannot_be_perturbed(detector):
    detector.cfg.test_dataloader.dataset.pipeline.pop()
    with pytest.raises(UserError, match=r'must load an image .* and end in PackDetInputs'):
        build_dataset(detector.cfg)


def test_ap_is_of_the_images_measured_alone(detector):
    from rankdet.analysis.robustness.detector import first_images, load_model

    images = first_images(build_dataset(detector.cfg), 1)
    truth = truth_of(images, toy.CLASSES)
    found = measure(load_model(detector, 'cpu'), images, truth, workers=0, batch=1)
    assert found == pytest.approx(dict(AP=1.0, AP50=1.0, images=1, objects=2))
