import sys

import pytest


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
