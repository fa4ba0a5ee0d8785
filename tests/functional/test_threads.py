"""Cores share the work of a loss, and change nothing in it."""

import pytest
import torch

from rankdet.functional import _step, alrp_loss
from tests.functional.scenes import make_scene


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize('number', [2, 5])
def test_any_number_of_threads(monkeypatch, threads, number):
    scores, targets, errors = make_scene('ties', rows=40)
    runs = []
    for parts, used in ((10**9, 1), (7, number)):
        monkeypatch.setattr(_step, '_PART', parts)
        threads(used)
        started = count_threads(monkeypatch)
        logits = scores.clone().requires_grad_()
        loss = alrp_loss(logits, targets, errors)
        loss.cls.backward()
        runs.append((loss.cls.detach(), loss.loc, logits.grad))
        assert started == ([] if used == 1 else [number])
    torch.testing.assert_close(*runs, rtol=1e-12, atol=1e-15)


def count_threads(monkeypatch):
    started, original = [], _step.ThreadPoolExecutor
    original = getattr(original, 'original', original)

    def watched(parts):
        started.append(parts)
        return original(parts)

    watched.original = original
    monkeypatch.setattr(_step, 'ThreadPoolExecutor', watched)
    return started
