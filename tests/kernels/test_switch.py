"""Which code runs, and what is said where kernels were asked for and cannot run."""

import os
import subprocess
import sys

import pytest
import torch

from rankdet.functional import (
    _backend,
    ap_loss,
    dr_loss,
    error_driven_loss,
    kernels_in_use,
    ohem_cross_entropy_loss,
    use_kernels,
)

LOGITS, TARGETS = torch.tensor([[0.5, -1.0], [2.0, 0.0]]), torch.tensor([[1, 0], [0, 0]])


@pytest.fixture
def anywhere(monkeypatch):
    """As if kernels could run on this machine."""
    monkeypatch.setattr(_backend, 'obstacle_of_machine', lambda device: None)


def test_the_choice_holds_until_it_is_given_back():
    assert kernels_in_use() == 'auto'
    with use_kernels('torch'):
        assert kernels_in_use() == 'torch'
        with pytest.raises(ZeroDivisionError), use_kernels('triton'):
            assert kernels_in_use() == 'triton'
            raise ZeroDivisionError
        assert kernels_in_use() == 'torch'
    assert kernels_in_use() == 'auto'
    again = use_kernels('torch')
    with again:
        assert kernels_in_use() == 'torch'
    for _ in range(2):
        with again, again:
            assert kernels_in_use() == 'torch'
        assert kernels_in_use() == 'auto'
    use_kernels('torch')
    assert kernels_in_use() == 'torch'


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match=r"choice must be one of 'auto', 'triton', 'torch', got"):
        use_kernels('cuda')
    assert kernels_in_use() == 'auto'


@pytest.mark.parametrize('value, found', [('torch', 'torch'), ('', 'auto')])
def test_the_environment_gives_the_first_choice(value, found):
    assert first_choice(value).stdout.split() == [found, 'False']


def test_a_wrong_environment_is_refused():
    done = first_choice('fast')
    assert done.returncode and "RANKDET_KERNELS must be one of 'auto', 'triton'" in done.stderr


def first_choice(value):
    """Of a new process, and whether an import alone loads triton."""
    code = (
        'import sys; from rankdet.functional import kernels_in_use;'
        "print(kernels_in_use(), 'triton' in sys.modules)"
    )
    return subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'RANKDET_KERNELS': value},
        capture_output=True,
        text=True,
        check=False,
    )


def test_left_alone_the_cpu_computes_on_plain_torch(monkeypatch):
    monkeypatch.setattr(_backend, 'obstacle_of_machine', pytest.fail)
    assert ap_loss(LOGITS, TARGETS) > 0 and dr_loss(LOGITS, TARGETS) > 0


@pytest.mark.parametrize(
    'options, reason',
    [
        (dict(step='sigmoid'), "linear step only, got step='sigmoid'"),
        (dict(scope='image', image_ids=torch.arange(2)), "got scope='image'"),
    ],
)
def test_what_kernels_cannot_rank_is_named(anywhere, options, reason):
    with use_kernels('triton'), pytest.raises(RuntimeError, match=reason):
        ap_loss(LOGITS, TARGETS, **options)


@pytest.mark.parametrize(
    'options, reason',
    [
        (dict(pairing='all'), "pairing='dr' only, got 'all'"),
        (dict(neg_ratio=3), 'mine no hard negatives'),
        (dict(image_ids=torch.arange(2)), 'rows of 16 logits or more'),
    ],
)
def test_what_dr_kernels_cannot_compute_is_named(anywhere, options, reason):
    with use_kernels('triton'), pytest.raises(RuntimeError, match=reason):
        dr_loss(LOGITS, TARGETS, **options)


def test_float64_is_named(anywhere):
    for loss in (ap_loss, dr_loss):
        with use_kernels('triton'), pytest.raises(RuntimeError, match='logits are float64'):
            loss(LOGITS.double(), TARGETS)


def test_a_machine_without_triton_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'rankdet.kernels._device', None)
    with use_kernels('triton'), pytest.raises(RuntimeError, match='triton cannot be imported'):
        ap_loss(LOGITS, TARGETS)


def test_a_cpu_without_the_interpreter_is_named(monkeypatch):
    from rankdet.kernels import _device

    monkeypatch.setattr(_device, 'INTERPRETED', False)
    with use_kernels('triton'), pytest.raises(RuntimeError, match='TRITON_INTERPRET=1'):
        ap_loss(LOGITS, TARGETS)


def test_losses_without_kernels_are_left_alone():
    def imprecision(ranking):
        return ranking.false_positives / ranking.rank

    with use_kernels('triton'):
        error_driven_loss(LOGITS, TARGETS, imprecision)
        ohem_cross_entropy_loss(LOGITS, torch.tensor([0, 1]))
        ap_loss(torch.zeros(0), torch.zeros(0))
