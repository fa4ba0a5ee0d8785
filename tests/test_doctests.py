"""Every example in a docstring prints what it says."""

import doctest
import importlib
import pkgutil

import pytest

import rankdet

MODULES = [
    module.name
    for module in pkgutil.walk_packages(rankdet.__path__, 'rankdet.')
    if module.name.split('.')[1] in ('functional', 'evaluation', 'datasets')
]


@pytest.mark.parametrize('name', MODULES)
def test_examples(name):
    if name.startswith(('rankdet.datasets', 'rankdet.evaluation')):
        import rankdet.plugin  # noqa: F401 - before MMDetection, which some of them import
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples():
    parser = doctest.DocTestFinder()
    found = [
        t for name in MODULES for t in parser.find(importlib.import_module(name)) if t.examples
    ]
    assert len(found) >= 12
