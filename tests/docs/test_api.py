"""The page of the API has every name that a config may say, and what programs are told to call."""

import importlib
import re
from pathlib import Path

import mmdet.registry
from mmengine.registry import Registry

import rankdet.plugin  # noqa: F401

PAGE = (Path(__file__).parents[2] / 'docs/api.md').read_text(encoding='utf-8')
DIRECTIVE = re.compile(r'^\.\. auto(module|class|function):: (\S+)\n((?: +:.*\n)*)', re.MULTILINE)


def documented(page):
    """Objects that autodoc lists: members of modules by its rules, and those named themselves."""
    found = []
    for kind, name, options in DIRECTIVE.findall(page):
        if kind != 'module':
            module, _, member = name.rpartition('.')
            found.append(getattr(importlib.import_module(module), member))
            continue
        module = importlib.import_module(name)
        if ':members:' not in options:
            continue
        excluded = re.findall(r'\w+', options.partition(':exclude-members:')[2])
        names = getattr(module, '__all__', None) or [n for n in vars(module) if n[0] != '_']
        for name in names:
            member = getattr(module, name)
            own = getattr(member, '__module__', None) == module.__name__
            if name not in excluded and (own or ':imported-members:' in options):
                found.append(member)
    return found


def registered():
    """Classes of rankdet in MMDetection's registries, but for those of its own analyses."""
    registries = [r for r in vars(mmdet.registry).values() if isinstance(r, Registry)]
    classes = {c for registry in registries for c in registry.module_dict.values()}
    ours = [c for c in classes if c.__module__.startswith('rankdet.')]
    return {c for c in ours if not c.__module__.startswith('rankdet.analysis.')}


def test_all_that_is_registered():
    names = {c.__name__ for c in registered()}
    assert {'APLoss', 'LRPMetric', 'SeededDataset', 'SeededSampler', 'BlackPatch'} <= names
    shown = documented(PAGE)
    assert not [c.__name__ for c in registered() if c not in shown]


def test_a_name_that_is_left_out_is_noticed():
    shorter = PAGE.replace('.. automodule:: rankdet.evaluation.metrics', '')
    missing = {c.__name__ for c in registered() if c not in documented(shorter)}
    assert missing == {'DetectionMetric', 'LRPMetric', 'RankCorrelationMetric', 'VOCAPMetric'}


def test_functions_for_programs():
    names = {member.__name__ for member in documented(PAGE)}
    assert names >= {
        *('voc_ap', 'write_coco_submission', 'write_voc_submission', 'evaluate', 'check_folder'),
        *('convert_voc', 'split_val2014', 'convert_own', 'make_tiny_voc', 'make_tiny_coco'),
    }


def test_what_a_new_head_is_built_on():
    """All that the page on new heads imports from rankdet or names as one of its bases."""
    page = (Path(__file__).parents[2] / 'docs/new_head.md').read_text(encoding='utf-8')
    imports = re.findall(r'^from rankdet\.models\S* import (.*)$', page, re.MULTILINE)
    used = {name for line in imports for name in line.split(', ')}
    assert used >= {'RankingDenseHead', 'Rows'}
    used |= {'RankingLoss', 'RankingHead', 'RankingAnchorMixin', 'ranking_losses', 'stock_losses'}
    assert used <= {member.__name__ for member in documented(PAGE)}
