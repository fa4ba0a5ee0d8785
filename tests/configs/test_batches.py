"""Every row of every table can be run on the GPUs of its config's name, at its own rate."""

import copy
import re

import pytest

from rankdet.analysis.paper_tables import find_rows, read_papers
from rankdet.analysis.reproduce.batch import (
    as_many_images,
    check_learning_rate,
    needs_scaling,
    written_for,
)
from rankdet.analysis.reproduce.estimate import count_iterations, training_images
from rankdet.analysis.reproduce.plan import parsed, plan
from tests.configs.zoo import CONFIGS, ROOT, load

ROWS = find_rows(read_papers(CONFIGS), ['all'])
TRAININGS = {training.rows[0].address: training for training in plan(ROWS)}


def with_options(training):
    config = copy.deepcopy(load(ROOT / training.config))
    config.merge_from_dict(parsed(list(training.options)))
    return config


@pytest.mark.parametrize('address', TRAININGS)
def test_a_training_is_neither_refused_nor_scaled(address):
    training = TRAININGS[address]
    config = with_options(training)
    check_learning_rate(training, config)
    gpus, batch = map(int, re.search(r'_(\d+)xb(\d+)-', training.config).groups())
    assert not needs_scaling(config, gpus)
    assert as_many_images(config, gpus) == []
    assert written_for(config) == gpus
    own = any(option.startswith('train_dataloader.batch_size') for option in training.options)
    assert own or config.train_dataloader.batch_size == batch


def test_every_row_is_looked_at():
    trained = {row.address for row in ROWS if row.config}
    assert {row.address for training in TRAININGS.values() for row in training.rows} == trained
    assert len(TRAININGS) > 90


@pytest.mark.parametrize(
    ('address', 'gpus', 'batch', 'images', 'iterations'),
    [
        # AP, Table 1: 160 epochs of the 5,011 + 11,540 images of VOC 07 and 12 trainval.
        ('ap_loss/table-1-batch-size/1', 2, 1, 16551, 160 * 8276),
        ('ap_loss/table-1-batch-size/2', 2, 2, 16551, 160 * 4138),
        ('ap_loss/table-1-batch-size/4', 2, 4, 16551, 160 * 2069),
        ('ap_loss/table-1-batch-size/8', 2, 8, 16551, 160 * 1035),
        # 118,287 images of COCO, of which 1,021 have no objects.
        ('alrp_loss/table-6/r50-500', 4, 8, 117266, 100 * 3665),
        ('dr_loss/table-4/r101', 8, 2, 117266, 180000),
    ],
)
@pytest.mark.parametrize('names', ['2017', '2014'])
def test_what_an_estimate_counts(address, gpus, batch, images, iterations, names, monkeypatch):
    monkeypatch.setenv('COCO_NAMES', names)
    training = next(t for t in TRAININGS.values() if address in {row.address for row in t.rows})
    config = training.load(ROOT, ROOT)
    found = (written_for(config), config.train_dataloader.batch_size, training_images(config))
    assert found == (gpus, batch, images)
    assert count_iterations(config, gpus * batch, images) == iterations
