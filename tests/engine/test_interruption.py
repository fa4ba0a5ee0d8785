"""A signal ends a run even where Python drops what its handler raises."""

import signal
import sys
from types import SimpleNamespace

import pytest

from rankdet.engine import interruption
from rankdet.engine.errors import Interrupted
from rankdet.engine.interruption import Interruption

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)


class Destroyed:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def clock(monkeypatch):
    """What the time is; handlers are put back in the end."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(interruption, 'time', SimpleNamespace(monotonic=lambda: clock.now))
    yield clock
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def dropped(clock, monkeypatch, tmp_path):
    """The hook of a run whose first signal has come inside a destructor."""
    reports = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda report: reports.append(report.exc_type))
    hook = Interruption(str(tmp_path))
    hook.__enter__()
    Destroyed()
    assert Interrupted in reports
    yield hook
    hook.__exit__(None, None, None)


@pytest.mark.parametrize(
    'stage, arguments',
    [
        ('before_train_epoch', ()),
        ('before_train_iter', (0,)),
        ('after_train_iter', (0,)),
        ('before_val_epoch', ()),
        ('before_val_iter', (0,)),
        ('after_val_iter', (0,)),
        ('before_test_iter', (0,)),
        ('after_run', ()),
    ],
)
def test_a_signal_that_was_dropped_ends_the_run_at_the_next_stage(dropped, stage, arguments):
    with pytest.raises(Interrupted, match='SIGTERM'):
        getattr(dropped, stage)(None, *arguments)


def test_a_signal_that_is_sent_again_ends_it_at_once(dropped, clock):
    clock.now += 0.9  # a launcher's copy
    signal.raise_signal(signal.SIGTERM)
    clock.now += 0.2
    with pytest.raises(Interrupted, match='SIGINT'):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


def test_a_late_copy_does_not_break_the_end_of_a_launched_process(clock, monkeypatch, tmp_path):
    monkeypatch.setenv('RANK', '0')
    with pytest.raises(Interrupted), Interruption(str(tmp_path)):
        signal.raise_signal(signal.SIGTERM)
    clock.now += 10
    signal.raise_signal(signal.SIGTERM)
