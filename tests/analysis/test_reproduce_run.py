"""What is run for rows, in which order, and what is kept; the runs themselves are played."""

import json
import shutil
import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import rankdet.plugin  # noqa: F401, before any import of MMDetection
from rankdet.analysis.paper_tables import find_rows, read_papers
from rankdet.analysis.reproduce import run as running
from rankdet.analysis.reproduce.own_data import OWN_DATA
from rankdet.analysis.reproduce.records import read_results
from rankdet.analysis.reproduce.run import record_row, summary
from rankdet.analysis.reproduce.show import format_tables
from rankdet.analysis.reproduce.submit import pack
from rankdet.datasets.tiny import make_tiny_coco
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import leaf_datasets
from tests.analysis.played import ROWS, ours, states, write_metafile


def test_a_table(play):
    outcomes = play()
    assert states(outcomes) == dict(
        plain='measured', score='measured', delta='measured', quoted='quoted'
    )
    assert play.player.tools == ['train', 'test', 'test', 'train', 'test']
    train, plain, score, other, delta = play.player.commands
    assert [Path(command[2]).name for command in (train, plain, score)] == ['net.py'] * 3
    assert '--cfg-options' not in train and '--resume' in train
    assert plain[3] == score[3] == 'work/net/epoch_2.pth' and delta[3] != plain[3]
    assert score[-1] == 'model.test_cfg.score_thr=0.5'
    assert other[-1] == delta[-1] == 'model.bbox_head.loss_cls.delta=0.5'
    text = summary(outcomes)
    assert 'one/t/plain   measured  AP 41.2 (paper 50.0)' in text
    assert text.endswith('4 rows, 0 failed')


def test_rows_that_are_tested_alike_share_the_test(play):
    rows = [
        *(ROWS[:2]),
        dict(Name='again', Model='net', Paper=dict(AP75=40.0)),
        dict(Name='other', Model='net', Metrics=dict(AP='coco/other')),
        dict(Name='third', Model='net', Metrics=dict(AP='coco/bbox_mAP', AP75='coco/bbox_mAP')),
    ]
    write_metafile(play.root / 'configs/one', rows)
    outcomes = play()
    assert play.player.tools == ['train', 'test', 'test']
    assert states(outcomes) == dict(
        plain='measured', score='measured', again='measured', other='failed', third='measured'
    )
    assert 'measured nothing' in outcomes[3].text
    results = read_results(Path('work/results.jsonl'))
    assert results['one/t/plain'] == results['one/t/again'] | dict(row='one/t/plain')
    assert results['one/t/third']['metrics'] == {'AP': 41.2, 'AP75': 41.2}
    assert results['one/t/score']['command'] != results['one/t/plain']['command']


def test_a_result_with_its_provenance(play):
    play('t/plain', record=True)
    entry = read_results(Path('work/results.jsonl'))['one/t/plain']
    assert entry['metrics'] == {'AP': 41.2} and entry['all_metrics'] == {'coco/bbox_mAP': 0.412}
    train = 'python tools/train.py configs/one/net.py --work-dir work/net --resume --auto-scale-lr'
    test = 'python tools/test.py configs/one/net.py work/net/epoch_2.pth --work-dir '
    assert entry['command'].startswith(f'{train} && {test}work/net/test_one_t_plain')
    assert str(play.root) not in json.dumps(entry)
    assert entry['seed'] == 0 and entry['device'] == '1 x A' and entry['commit'] == 'unknown'
    assert entry['scaled_lr'] is True and 'torch' in entry['versions']
    found = ours(play.root, 'plain')
    assert found['Metrics'] == {'AP': 41.2} and found['Command'] == entry['command']
    assert ours(play.root, 'score') is None


def test_a_recorded_result_is_in_the_readme_too(play):
    readme = play.root / 'configs/one/README.md'
    marks = ('<!-- tables -->\n\n', '\n\n<!-- end of tables -->')
    readme.write_text(f'# One\n\n{marks[0]}old\\1{marks[1]}\n\nEnd\n')
    play('t/plain')
    assert 'old' in readme.read_text()
    play('t/plain', record=True, again=True)
    (table,) = read_papers(play.root / 'configs')[0].tables
    shown = format_tables([table])
    assert readme.read_text() == f'# One\n\n{marks[0]}{shown}{marks[1]}\n\nEnd\n'
    assert '41.2 (-8.8)' in shown


def test_what_is_there_is_not_done_again(play):
    play()
    play.player.commands.clear()
    assert states(play())['delta'] == 'measured' and not play.player.commands
    play('t/delta', again=True)
    assert play.player.tools == ['test']
    play.player.commands.clear()
    write_metafile(
        play.root / 'configs/one', [ROWS[0] | {'Test Options': {'model.test_cfg.nms_pre': 9}}]
    )
    play('t/plain')
    assert play.player.tools == ['test']  # its result was of another test


def test_a_training_that_was_interrupted_goes_on(play):
    play.player.fails = lambda command: True
    assert states(play('t/plain')) == dict(plain='failed')
    play.player.fails = lambda command: False
    assert states(play('t/plain')) == dict(plain='measured')
    assert play.player.tools == ['train', 'train', 'test']
    entry = read_results(Path('work/results.jsonl'))['one/t/plain']
    assert len(entry['training']) == 2


def test_an_interruption_ends_it(play):
    def interrupt(command):
        raise KeyboardInterrupt

    play.player.fails = interrupt
    with pytest.raises(KeyboardInterrupt):
        play()
    assert play.player.tools == ['train']


def test_the_next_row_after_a_failure(play, capsys):
    play.player.fails = lambda command: 'test_one_t_plain' in ' '.join(command)
    outcomes = play()
    assert states(outcomes) == dict(
        plain='failed', score='measured', delta='measured', quoted='quoted'
    )
    assert 'error: one/t/plain: the test ended with status 3' in capsys.readouterr().err
    assert summary(outcomes).endswith('4 rows, 1 failed')


def test_a_row_of_perturbed_images(play, monkeypatch):
    columns = ['Original', 'Black Patch', 'DeepFool']
    row = ROWS[1] | dict(Paper={'Original': 81.0})
    write_metafile(play.root / 'configs/one', [row], Tool='robustness', Columns=columns)
    (outcome,) = play()
    assert outcome.text == 'Original 82.3 (paper 81.0), DeepFool 16.43'
    train, test = play.player.commands
    assert [play.player.tool(train), play.player.tool(test)] == ['train', 'robustness']
    folder = 'work/net/test_one_t_score'
    assert test[2:] == [
        *(str(play.root / 'configs/one/net.py'), 'work/net/epoch_2.pth', '--out-dir', folder),
        *('--cfg-options', 'model.test_cfg.score_thr=0.5'),
    ]
    entry = read_results(Path('work/results.jsonl'))['one/t/score']
    found = {'original/AP50': 0.823, 'original/AP': 0.5, 'deepfool/L2': 16.43}
    assert entry['all_metrics'] == found
    assert states(play(again=True)) == dict(score='measured')
    monkeypatch.setenv('NNODES', '2')
    monkeypatch.setenv('NODE_RANK', '1')
    assert states(play(again=True)) == dict(score='measured')
    assert play.player.tools == ['train', 'robustness', 'robustness']  # by the first node alone
    tested = 'python tools/robustness.py configs/one/net.py work/net/epoch_2.pth --out-dir'
    assert f' && {tested} ' in entry['command']


def test_a_run_makes_the_data_that_are_its_own(play, monkeypatch, capsys):
    monkeypatch.setitem(OWN_DATA, 'scenes', dict(num_train=3, num_val=2, size=96))
    config = Config.fromfile(play.root / 'configs/one/net.py')
    for mode in ('train', 'val', 'test'):
        for dataset in leaf_datasets(config[f'{mode}_dataloader'].dataset):
            dataset.data_root = 'made/digits'
    for mode in ('val', 'test'):
        config[f'{mode}_evaluator'].ann_file = 'made/digits/annotations/instances_val.json'
    config.dump(play.root / 'configs/one/net.py')
    write_metafile(play.root / 'configs/one', ROWS[:1])
    assert states(play()) == dict(plain='failed') and not Path('made').exists()
    write_metafile(play.root / 'configs/one', ROWS[:1], Data='scenes')
    assert states(play()) == dict(plain='measured')
    assert len(list(Path('made/digits/train').iterdir())) == 3
    assert capsys.readouterr().out.count('making the scenes of scenes in made/digits\n') == 1
    monkeypatch.setitem(OWN_DATA, 'scenes', dict(num_train=4, num_val=2, size=96))
    (outcome,) = play(again=True)
    assert outcome.state == 'failed' and 'other options' in outcome.text


def test_another_training_in_the_folder_is_not_taken(play):
    play('t/plain')
    config = play.root / 'configs/one/net.py'
    config.write_text(config.read_text().replace('lr=0.002', 'lr=0.004'))
    (outcome,) = play('t/plain')
    assert outcome.state == 'failed' and 'another version of configs/one/net.py' in outcome.text


def test_data_are_checked_before_any_training(play, capsys):
    shutil.rmtree(play.root / 'lost/train')
    write_metafile(play.root / 'configs/one', [dict(Name='gone', Model='gone'), ROWS[0]])
    outcomes = play()
    assert states(outcomes) == dict(gone='failed', plain='measured')
    assert 'train' in outcomes[0].text and 'lost' in outcomes[0].text
    printed = capsys.readouterr()
    assert 'error: one/t/gone: ' in printed.err
    assert all('gone' not in ' '.join(command) for command in play.player.commands)


# --- processes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'gpus, batch, base, scaled', [(2, 2, 8, True), (4, 2, 8, False), (2, 4, 8, False)]
)
def test_several_processes(play, gpus, batch, base, scaled):
    row = ROWS[0] | dict(Options={'train_dataloader.batch_size': batch})
    write_metafile(play.root / 'configs/one', [row])
    play('t/plain', gpus=gpus)
    train, test = play.player.commands
    assert train[0] == 'bash' and train[1].endswith('tools/dist_train.sh') and train[3] == str(gpus)
    assert ('--auto-scale-lr' in train) == scaled
    assert test[1].endswith('tools/dist_test.sh') and test[4] == str(gpus)
    entry = read_results(Path('work/results.jsonl'))['one/t/plain']
    assert entry['scaled_lr'] == scaled and entry['device'] == f'{gpus} x A'


def test_several_nodes(play, monkeypatch):
    monkeypatch.setenv('NNODES', '2')
    play('t/plain', gpus=2)
    entry = read_results(Path('work/results.jsonl'))['one/t/plain']
    assert entry['device'] == '4 x A'
    commands = entry['command'].split(' && ')
    assert [command.split()[:3] for command in commands] == [
        ['NNODES=2', 'bash', 'tools/dist_train.sh'],
        ['NNODES=2', 'bash', 'tools/dist_test.sh'],
    ]
    assert '--auto-scale-lr' not in play.player.commands[0]  # 2 nodes x 2 processes x 2 images
    monkeypatch.setenv('NODE_RANK', '1')
    before = Path('work/results.jsonl').read_text()
    assert states(play('t/score', gpus=2)) == dict(score='measured')
    assert Path('work/results.jsonl').read_text() == before


def test_a_learning_rate_needs_its_batch(play):
    options = {'optim_wrapper.optimizer.lr': 0.1}
    folder = play.root / 'configs/one'
    write_metafile(folder, [ROWS[0] | dict(Options=options)])
    (outcome,) = play('t/plain')
    assert outcome.state == 'failed' and 'auto_scale_lr.base_batch_size' in outcome.text
    write_metafile(folder, [ROWS[0] | dict(Options=options | {'auto_scale_lr.base_batch_size': 2})])
    play('t/plain')
    assert '--auto-scale-lr' not in play.player.commands[0]


@pytest.mark.parametrize('there, gpus', [(0, 0), (2, 3), (2, 0)])
def test_more_processes_than_gpus(play, monkeypatch, there, gpus):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: there > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: there)
    cfg = Config.fromfile(play.root / 'configs/one/net.py')
    with pytest.raises(UserError, match=f'--gpus .* got {gpus}'):
        running.processes(cfg, gpus)
    assert running.processes(cfg, None) == max(1, there)


# --- test sets of a server -------------------------------------------------------------------


@pytest.fixture
def withheld(play, tmp_path, monkeypatch):
    """The table's row is tested on COCO test-dev."""
    monkeypatch.setattr(running, 'pack', partial(pack, any_images=True))
    data = make_tiny_coco(tmp_path / 'coco', images=4)
    config = Config.fromfile(play.root / 'configs/one/net.py')
    images = data / 'annotations/image_info_test-dev2017.json'
    config.test_dataloader.dataset.update(
        data_root=str(data),
        ann_file='annotations/image_info_test-dev2017.json',
        data_prefix=dict(img='test2017/'),
        metainfo=dict(classes=('person', *'123456789')),
    )
    content = json.loads(images.read_text())
    for name in '123456789':
        content['categories'].append(dict(id=100 + int(name), name=name))
    content['images'][0]['id'] = 9
    images.write_text(json.dumps(content))
    config.test_evaluator = dict(
        type='CocoMetric', ann_file=str(images), format_only=True, outfile_prefix='x'
    )
    config.dump(play.root / 'configs/one/dev.py')
    row = {'Name': 'dev', 'Model': 'dev', 'Test Data': 'COCO test-dev', 'Paper': {'AP': 40.0}}
    write_metafile(play.root / 'configs/one', [row])
    return play


def test_results_for_a_server(withheld):
    (outcome,) = withheld('t/dev')
    assert outcome.state == 'submit', outcome.text
    assert withheld.player.variables[-1] == {'COCO_TEST': 'test-dev'}
    archive = Path(read_results(Path('work/results.jsonl'))['one/t/dev']['archive'])
    with zipfile.ZipFile(archive) as file:
        (name,) = file.namelist()
    assert name == 'detections_test-dev2017_one-t-dev_results.json'
    (row,) = find_rows(read_papers(withheld.root / 'configs'), ['t/dev'])
    with pytest.raises(UserError, match='waits for the numbers of the server'):
        record_row(row, [], withheld.root, Path('work'))
    assert record_row(row, ['AP=41.5'], withheld.root, Path('work')) == 'AP 41.5 (paper 40.0)'
    found = ours(withheld.root, 'dev')
    assert found['Metrics'] == {'AP': 41.5} and 'COCO_TEST=test-dev python' in found['Command']
    (outcome,) = withheld('t/dev')
    assert outcome.state == 'measured' and withheld.player.tools == ['train', 'test']


def test_numbers_of_a_server_given_twice(withheld):
    withheld('t/dev')
    (row,) = find_rows(read_papers(withheld.root / 'configs'), ['t/dev'])
    for number in (41.4, 41.5):
        record_row(row, [f'AP={number}'], withheld.root, Path('work'))
    found = ours(withheld.root, 'dev')
    assert found['Metrics'] == {'AP': 41.5}
    assert found['Command'].count('measured by the server') == 1


def test_fractions_of_a_server(withheld):
    withheld('t/dev')
    (row,) = find_rows(read_papers(withheld.root / 'configs'), ['t/dev'])
    with pytest.raises(UserError, match=r'^AP=0.417 AP75=0.45: .* in percent, e\.g\. 41\.7'):
        record_row(row, ['AP=0.417', 'AP75=0.45'], withheld.root, Path('work'))
    record_row(row, ['AP=41.7', 'AP75=0.9'], withheld.root, Path('work'))
    assert ours(withheld.root, 'dev')['Metrics'] == {'AP': 41.7, 'AP75': 0.9}


def test_results_on_other_images_than_the_server_s_are_refused(withheld, monkeypatch):
    monkeypatch.setattr(running, 'pack', pack)
    (outcome,) = withheld('t/dev')
    assert outcome.state == 'failed' and 'categories' in outcome.text


def test_numbers_of_no_server(withheld):
    withheld('t/dev')
    (row,) = find_rows(read_papers(withheld.root / 'configs'), ['t/dev'])
    for number in ('AP', 'AP=x', 'AP50=1', 'AP=101', 'AP=-1', 'AP=nan'):
        with pytest.raises(UserError, match=number):
            record_row(row, [number], withheld.root, Path('work'))


def test_no_number_without_a_run(play):
    (row,) = find_rows(read_papers(play.root / 'configs'), ['t/plain'])
    with pytest.raises(UserError, match='no number stands without a run'):
        record_row(row, ['AP=50'], play.root, Path('work'))
    play('t/plain')
    with pytest.raises(UserError, match='is measured by its run'):
        record_row(row, ['AP=50'], play.root, Path('work'))
    record_row(row, [], play.root, Path('work'))
    assert ours(play.root, 'plain')['Metrics'] == {'AP': 41.2}
