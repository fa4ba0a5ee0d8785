import gc
import signal
import sys

import pytest
from hypothesis import settings

# The same examples in each run, so that a change is judged by what it changed. For others:
# --hypothesis-profile=default
settings.register_profile('same', derandomize=True)
settings.load_profile('same')


def pytest_configure() -> None:
    # A shell lets its background jobs ignore Ctrl-C, and their children inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# A process has a file to itself: those of minutes come first, so that none of them is the last.
LONG = ('test_in_interpreter.py', 'test_other_projects.py', 'test_detectors_on_processes.py')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_collection_finish() -> None:
    # What is imported by now stays: a data set that is built collects garbage first, and would
    # look through millions of objects.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_scope_is_left_behind():
    """MMEngine keeps the scope of the last runner for the whole process; a test gives it back."""
    before = _scopes()
    yield
    if 'mmengine.registry' in sys.modules:
        kept = sys.modules['mmengine.registry'].DefaultScope._instance_dict
        kept.clear()
        kept.update(before)


def _scopes() -> dict:
    registry = sys.modules.get('mmengine.registry')
    return dict(registry.DefaultScope._instance_dict) if registry else {}
