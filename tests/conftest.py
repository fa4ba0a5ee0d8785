import sys

import pytest


@pytest.fixture(autouse=True)
def no_scope_is_left_behind():
    """MMEngine keeps the scope of the last runner for the whole process."""
    yield
    if 'mmengine.registry' in sys.modules:
        sys.modules['mmengine.registry'].DefaultScope._instance_dict.clear()
