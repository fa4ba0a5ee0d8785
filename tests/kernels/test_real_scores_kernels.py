"""Every loss by kernels on what a detector in training scored, kept in ``real_scores.npz``.

See make_real_scores.py: one image at the start, in the middle and at the end of a training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rankdet.functional import alrp_loss, ap_loss, auc_loss, dr_loss
from rankdet.kernels import dr, ranking
from rankdet.kernels._device import INTERPRETED
from tests.kernels.both import assert_equal
from tests.reference import dr as dr_reference
from tests.reference import error_driven as reference

FILE = Path(__file__).parent / 'real_scores.npz'
STEP = reference.linear_step(1.0)
every_moment = pytest.mark.parametrize('moment', ['start', 'middle', 'end'])


def by_ap(logits, labels, errors, **options):
    return ap_loss(logits, labels, **options)


def by_plain_ap(logits, labels, errors, **options):
    return ap_loss(logits, labels, interpolated=False, **options)


def by_auc(logits, labels, errors, **options):
    return auc_loss(logits, labels, **options)


def by_dr(logits, labels, errors, **options):
    return dr_loss(logits, labels, **options)


def oracle_of_alrp(scores, targets, errors):
    """Of cls + 3 loc, by the scores, as ``run`` of both.py adds them."""
    cls, loc, gradient, _ = reference.alrp_loss(scores, targets, errors, STEP)
    return cls + 3 * loc, gradient


# A loss, its oracle of (scores, targets, errors of the positives), and its tolerance.
LOSSES = {
    'ap': (by_ap, lambda s, t, e: reference.ap_loss(s, t, STEP), 2e-6),
    'plain_ap': (by_plain_ap, lambda s, t, e: reference.ap_loss(s, t, STEP, False), 2e-6),
    'auc': (by_auc, lambda s, t, e: reference.auc_loss(s, t, STEP), 2e-6),
    'alrp': (alrp_loss, oracle_of_alrp, 2e-6),
    'dr': (by_dr, lambda s, t, e: dr_reference.dr_loss(s, t), 5e-6),
}
every_loss = pytest.mark.parametrize('name', LOSSES)


@pytest.fixture(autouse=True)
def large_blocks(monkeypatch):
    """The interpreter takes its time by the operation, not by the number."""
    if INTERPRETED:
        for module, name in ((ranking, '_PASS'), (dr, '_MOST')):
            monkeypatch.setattr(module, name, 8192)
        for name in ('_SMALL', '_CLEAR', '_TABULATE'):
            monkeypatch.setattr(ranking, name, 8 * getattr(ranking, name))


def load(moment):
    """Logits ``(rows, 10)``, class indices and errors ``(rows,)``."""
    arrays = np.load(FILE)
    logits, labels, errors = (
        torch.from_numpy(arrays[f'{moment}_{what}']) for what in ('logits', 'labels', 'errors')
    )
    return logits.float(), labels.long(), errors.float()


@every_moment
def test_the_file_holds_a_batch_of_a_detector(moment):
    logits, labels, errors = load(moment)
    classes = logits.shape[1]
    is_positive = (labels >= 0) & (labels < classes)
    assert is_positive.sum() > 10 and (labels == -1).any() and (labels == classes).any()
    assert errors[is_positive].gt(0).all() and not errors[~is_positive].any()
    assert logits.isfinite().all() and logits.std() > 0


@every_moment
@every_loss
def test_equal_plain_torch_and_the_oracle(moment, name):
    loss, oracle, tolerance = LOSSES[name]
    logits, labels, errors = load(moment)
    value, gradient, _ = assert_equal(
        loss, logits, labels, errors.requires_grad_(), class_indices=True, rtol=tolerance
    )
    is_positive = (labels >= 0) & (labels < logits.shape[1])
    targets = torch.zeros_like(logits, dtype=torch.int64)
    targets[labels == -1] = -1
    targets[is_positive, labels[is_positive]] = 1
    wanted, slopes = oracle(logits.flatten(), targets.flatten(), errors[is_positive])
    slopes = torch.as_tensor(slopes).view_as(logits)
    torch.testing.assert_close(value.double().item(), float(wanted), rtol=tolerance, atol=tolerance)
    bound = tolerance * slopes.abs().max().item()
    torch.testing.assert_close(gradient.double(), slopes, rtol=0, atol=bound)


@every_loss
def test_half_precision_equals_plain_torch(name):
    loss, _, tolerance = LOSSES[name]
    logits, labels, errors = load('end')
    assert_equal(
        loss, logits.half(), labels, errors, class_indices=True, rtol=tolerance, incoming=2.0**10
    )
