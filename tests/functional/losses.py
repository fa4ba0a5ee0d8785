"""The losses that the shared suite runs over, each with its oracle. A new loss is a new entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from rankdet import functional as F
from tests.reference import approx_ap, dr, error_driven, ohem, structured_hinge


@dataclass(frozen=True)
class LossCase:
    """One loss with fixed options, and which of the shared properties it has.

    Attributes:
        function: ``(logits, targets, errors, **options) -> scalar``, with ``errors`` in the
            shape of ``targets``; most losses ignore them.
        oracle: ``(scores, targets, errors) -> (value, gradient)``, flat, in float64.
        zero_without_positives: then the value and the gradient are 0.
        zero_without_negatives: then the gradient is 0.
        shift_invariant: a constant added to all scores changes nothing.
        zero_sum: positives gain what negatives lose.
        margin: a ranking perfect by more than this has no gradient; None where none is enough.
        handles_ties: the gradient at ties is unique.
        small: the oracle is too slow for more than a handful of scores.
        takes_class_indices: as one of several readings of the same targets.
    """

    function: Callable
    oracle: Callable
    zero_without_positives: bool = True
    zero_without_negatives: bool = True
    shift_invariant: bool = True
    zero_sum: bool = True
    margin: float | None = None
    handles_ties: bool = True
    small: bool = False
    takes_class_indices: bool = True


def _plain(function, **options):
    def call(logits, targets, errors, **more):
        return function(logits, targets, **{**options, **more})

    return call


def _softmax(function):
    """A softmax loss of two channels, the background's logit 0: the sigmoid of the other."""

    def call(logits, targets, errors, **more):
        labels = (1 - targets.long()).masked_fill(targets == -1, -1)
        return function(torch.stack([logits, torch.zeros_like(logits)], -1), labels, **more)

    return call


def _alrp(**options):
    def call(logits, targets, errors, **more):
        loss = F.alrp_loss(logits, targets, errors, **options, **more)
        return loss.cls + loss.loc

    return call


def _image(function):
    """The whole batch is one image, so that ranking by image changes nothing."""

    def call(logits, targets, errors, **more):
        ids = torch.zeros(logits.shape[:1], dtype=torch.int64)
        return function(logits, targets, errors, scope='image', image_ids=ids, **more)

    return call


def _oracle(function, *args, **options):
    def call(scores, targets, errors):
        return function(scores, targets.tolist(), *args, **options)

    return call


def _alrp_oracle(step):
    def call(scores, targets, errors):
        cls, loc, gradient, _ = error_driven.alrp_loss(scores, targets, errors[targets == 1], step)
        return cls + loc, gradient

    return call


def _hinge_oracle(scores, targets, errors):
    if not ((targets == 1).any() and (targets == 0).any()):
        return 0.0, 0 * scores
    return structured_hinge.structured_hinge_ap_loss(scores, targets.tolist())


def _approx_oracle(scores, targets, errors):
    if not (targets == 1).any():
        return 0.0, 0 * scores
    return approx_ap.approx_ap_loss(scores, targets.tolist())


def _dr(surrogate='logistic', **options):
    return LossCase(
        _plain(F.dr_loss, surrogate=surrogate, **options),
        _oracle(dr.dr_loss, kind=surrogate, **options),
        zero_without_positives=False,
        zero_without_negatives=False,
        shift_invariant=False,
        zero_sum=False,
        handles_ties='neg_ratio' not in options,
    )


_ap, _auc = error_driven.ap_loss, error_driven.auc_loss
_linear, _sigmoid = error_driven.linear_step, error_driven.sigmoid_step

LOSSES = {
    'ap': LossCase(_plain(F.ap_loss), _oracle(_ap, _linear(1)), margin=1),
    'ap_plain': LossCase(
        _plain(F.ap_loss, interpolated=False, delta=0.25),
        _oracle(_ap, _linear(0.25), interpolated=False),
        margin=0.25,
    ),
    'ap_heaviside': LossCase(_plain(F.ap_loss, delta=0), _oracle(_ap, _linear(0)), margin=0),
    'ap_narrow': LossCase(_plain(F.ap_loss, delta=1e-3), _oracle(_ap, _linear(1e-3)), margin=1e-3),
    'ap_sigmoid': LossCase(
        _plain(F.ap_loss, step='sigmoid', scale=2.0), _oracle(_ap, _sigmoid(2.0))
    ),
    'ap_image': LossCase(_image(_plain(F.ap_loss)), _oracle(_ap, _linear(1)), margin=1),
    'auc': LossCase(_plain(F.auc_loss), _oracle(_auc, _linear(1)), margin=1),
    'auc_heaviside': LossCase(_plain(F.auc_loss, delta=0), _oracle(_auc, _linear(0)), margin=0),
    'alrp': LossCase(_alrp(), _alrp_oracle(_linear(1)), margin=1),
    'alrp_image': LossCase(_image(_alrp()), _alrp_oracle(_linear(1)), margin=1),
    'alrp_heaviside': LossCase(_alrp(delta=0), _alrp_oracle(_linear(0)), margin=0),
    'alrp_sigmoid': LossCase(
        _alrp(step='sigmoid', scale=3.0), _alrp_oracle(_sigmoid(3.0)), margin=None
    ),
    'dr': _dr(),
    'dr_quadratic': _dr(surrogate='quadratic', rho=0.2),
    'dr_hinge_neg_only': _dr(surrogate='hinge', pairing='neg_only'),
    'dr_all': _dr(pairing='all'),
    'dr_mined': _dr(neg_ratio=2.0),
    'approx_ap': LossCase(_plain(F.approx_ap_loss), _approx_oracle, zero_without_negatives=False),
    'structured_hinge': LossCase(
        _plain(F.structured_hinge_ap_loss),
        _hinge_oracle,
        handles_ties=False,
        small=True,
    ),
    'ohem_sigmoid': LossCase(
        _plain(F.ohem_cross_entropy_loss, use_sigmoid=True, class_indices=False),
        _oracle(ohem.ohem_sigmoid),
        zero_without_positives=False,
        zero_without_negatives=False,
        shift_invariant=False,
        zero_sum=False,
        handles_ties=False,
    ),
    'ohem_softmax': LossCase(
        _softmax(F.ohem_cross_entropy_loss),
        _oracle(ohem.ohem_sigmoid),
        zero_without_positives=False,
        zero_without_negatives=False,
        shift_invariant=False,
        zero_sum=False,
        handles_ties=False,
        takes_class_indices=False,
    ),
}

every_loss = pytest.mark.parametrize('case', LOSSES.values(), ids=LOSSES.keys())


def losses_where(condition: Callable[[LossCase], bool]):
    """Parametrise over the losses for which ``condition`` holds."""
    chosen = {name: case for name, case in LOSSES.items() if condition(case)}
    return pytest.mark.parametrize('case', chosen.values(), ids=chosen.keys())
