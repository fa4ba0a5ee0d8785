"""Checks before a run, on configs and files made by hand."""

import json
import os
import zipfile

import pytest
import torch
from mmengine.config import Config, ConfigDict
from torch import nn

from rankdet.analysis.learning import SCENES
from rankdet.engine.checkpoints import latest_checkpoint
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import (
    _DIGITS,
    check_checkpoint,
    check_data,
    coco_categories,
    dataset_classes,
    leaf_datasets,
)

INNER = dict(type='CocoDataset', metainfo=dict(classes=('cat', 'dog')), ann_file='a.json')


def whole(dataset, **model):
    model = dict(model, type='Model')
    return Config(dict(model=model, train_dataloader=dict(dataset=dataset), train_cfg=dict(a=1)))


@pytest.fixture
def coco(tmp_path):
    categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
    (tmp_path / 'a.json').write_text(json.dumps(dict(images=[], categories=categories)))
    return tmp_path


def test_data_sets_inside_wrappers():
    one, two = dict(type='A'), dict(type='B')
    wrapped = dict(type='Seeded', dataset=dict(type='Concat', datasets=[one, dict(dataset=two)]))
    assert [d.type for d in leaf_datasets(ConfigDict(wrapped))] == ['A', 'B']


def test_every_data_set_inside_is_checked(coco):
    good = dict(INNER, data_root=str(coco))
    check_data(whole(dict(type='ConcatDataset', datasets=[good, good])), ('train',))
    bad = dict(good, ann_file='b.json')
    with pytest.raises(UserError, match=r'train_dataloader \(CocoDataset\).*b\.json'):
        check_data(whole(dict(type='ConcatDataset', datasets=[good, bad])), ('train',))


def test_every_head_is_checked_but_an_rpn(coco):
    data = dict(INNER, data_root=str(coco))
    heads = [dict(type='X', num_classes=2), dict(type='X', num_classes=3)]
    rpn = dict(type='RPNHead', num_classes=1)
    check_data(whole(data, rpn_head=rpn, bbox_head=heads[:1]), ('train',))
    with pytest.raises(UserError, match=r'set model\.bbox_head\.1\.num_classes=2, in the config'):
        check_data(whole(data, rpn_head=rpn, bbox_head=heads), ('train',))


@pytest.mark.parametrize(
    'root, remedy',
    [
        ('data/digits/', r'make_digits\S* --out data/digits/$'),
        ('x/digits-128', r'make_digits\S* --out x/digits-128 --train 4000 --val 300 --size 128$'),
        ('my_digits', 'put the data there'),  # somebody's own
    ],
)
def test_data_that_can_be_made(root, remedy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is none
    with pytest.raises(UserError, match=f'{root} does not exist; .*{remedy}'):
        check_data(whole(dict(INNER, data_root=root)), ('train',))


def test_the_line_makes_the_data_of_the_learning_table():
    words = iter(map(str, _DIGITS['digits-128']))
    names = {'--train': 'num_train', '--val': 'num_val', '--size': 'size'}
    assert {names[word]: int(next(words)) for word in words} == SCENES


def test_files_elsewhere_are_left_alone():
    check_data(whole(dict(INNER, data_root='s3://bucket/', data_prefix=dict(img='x'))), ('train',))


def test_classes_of_a_data_set(tmp_path):
    assert dataset_classes(ConfigDict(INNER)) == ('cat', 'dog')
    assert len(dataset_classes(ConfigDict(type='CocoDataset'))) == 80
    (tmp_path / 'names.txt').write_text('cat\ndog\n')
    named = dict(type='CocoDataset', metainfo=dict(classes=str(tmp_path / 'names.txt')))
    assert dataset_classes(ConfigDict(named)) == ('cat', 'dog')


@pytest.mark.parametrize('pad', [0, 3 * 2**20])
def test_categories_wherever_they_stand(tmp_path, pad):
    path = tmp_path / 'a.json'
    text = {'info': {'categories': 'a word'}, 'images': ['x' * pad]}
    for content in (
        dict(text, categories=[dict(id=1, name='ä')]),
        dict(categories=[dict(id=1, name='ä')], **text),
    ):
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n')
        assert coco_categories(str(path)) == ['ä']


def test_no_categories(tmp_path):
    (tmp_path / 'a.json').write_text('{"images": []}')
    with pytest.raises(UserError, match='not in COCO format'):
        coco_categories(str(tmp_path / 'a.json'))


# --- checkpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('nested', [True, False])
def test_any_form_of_checkpoint_fits(tmp_path, prefix, nested):
    model = nn.Linear(2, 3)
    state = {prefix + key: value for key, value in model.state_dict().items()}
    torch.save(dict(state_dict=state) if nested else state, tmp_path / 'a.pth')
    check_checkpoint(model, str(tmp_path / 'a.pth'), ('cat',))


def test_surplus_weights_are_no_fault(tmp_path):
    state = dict(nn.Linear(2, 3).state_dict(), extra=torch.zeros(1))
    torch.save(state, tmp_path / 'a.pth')
    check_checkpoint(nn.Linear(2, 3), str(tmp_path / 'a.pth'), None)
    with pytest.raises(UserError, match=r'weight is \(3, 2\), the model has \(4, 2\) \(and 1 more'):
        check_checkpoint(nn.Linear(2, 4), str(tmp_path / 'a.pth'), None)


def save(path, time):
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('data', 'x' * 1000)
    os.utime(path, (time, time))


def test_the_newest_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / 'none') is None
    # By number, not by name nor by time: copying may touch them in any order.
    for number, time in ((9, 300), (10, 200), (2, 400)):
        save(tmp_path / f'epoch_{number}.pth', time)
    save(tmp_path / 'best_coco_bbox_mAP_epoch_11.pth', 500)
    assert latest_checkpoint(tmp_path).name == 'epoch_10.pth'
    save(tmp_path / 'iter_5.pth', 250)  # an epoch and an iteration compare by time only
    assert latest_checkpoint(tmp_path).name == 'epoch_2.pth'


def test_checkpoints_cut_short_are_passed_over(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path / f'iter_{number}.pth', 100)
    for number in (2, 3):
        path = tmp_path / f'iter_{number}.pth'
        path.write_bytes(path.read_bytes()[:-30])
    assert latest_checkpoint(tmp_path).name == 'iter_1.pth'
