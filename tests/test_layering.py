"""The arrows between the parts of rankdet, read off every import statement in the sources."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# yapf is MMEngine's: it formats the configs.
HOST = {'mmengine', 'mmcv', 'mmdet', 'yapf'}
TORCH = {'torch'}
VISION = {'torchvision', 'cv2', 'PIL', 'pycocotools', 'matplotlib', 'sklearn'}
MEASURES = {'numpy', 'pycocotools'}

# part: (parts of rankdet it may import, packages that are neither of Python nor of rankdet).
# A part is found by the longest matching prefix. Downwards only: what stands higher in the table
# may import what stands lower, never the other way round.
RULES = {
    'tools': ({'rankdet.analysis', 'rankdet.engine', 'rankdet.evaluation', 'rankdet.datasets',
               'rankdet.models', 'rankdet.plugin', 'rankdet.functional', 'rankdet.compat',
               'rankdet.untrusted', 'rankdet.commands'},
              HOST | TORCH | VISION | {'numpy'}),
    # Times the oracle beside the loss; a benchmark runs from a checkout.
    'tools.benchmarks': ({'rankdet.evaluation', 'rankdet.functional', 'rankdet.compat',
                          'rankdet.engine', 'rankdet.plugin', 'tests.reference'},
                         HOST | TORCH | VISION | {'numpy'}),
    'rankdet.plugin': ({'rankdet.engine', 'rankdet.models', 'rankdet.models.losses',
                        'rankdet.evaluation', 'rankdet.datasets', 'rankdet.registry',
                        'rankdet.compat'}, set()),
    'rankdet.registry': (set(), HOST),
    'rankdet.analysis': ({'rankdet.engine', 'rankdet.models', 'rankdet.models.losses',
                          'rankdet.evaluation', 'rankdet.datasets', 'rankdet.functional',
                          'rankdet.plugin', 'rankdet.untrusted', 'rankdet.commands'},
                         HOST | TORCH | VISION | {'numpy'}),
    'rankdet.engine': ({'rankdet.models', 'rankdet.models.losses', 'rankdet.compat',
                        'rankdet.untrusted', 'rankdet.commands'}, HOST | TORCH),
    'rankdet.models': ({'rankdet.models.losses', 'rankdet.functional'}, HOST | TORCH),
    'rankdet.models.losses': ({'rankdet.functional'}, HOST | TORCH),
    'rankdet.evaluation': ({'rankdet.untrusted'}, HOST | TORCH | MEASURES),
    'rankdet.datasets': ({'rankdet.untrusted', 'rankdet.commands'},
                         HOST | TORCH | VISION | {'numpy'}),
    # Reads what strangers wrote, for parts that need no torch.
    'rankdet.untrusted': ({'rankdet.commands'}, {'numpy'}),
    # Names the tools, in messages of any part.
    'rankdet.commands': (set(), set()),
    'rankdet.compat': (set(), HOST | TORCH | {'torchvision', 'cv2', 'numpy'}),
    'rankdet.functional': ({'rankdet.kernels'}, TORCH),
    'rankdet.kernels': (set(), TORCH | {'triton'}),
    'rankdet.__main__': ({'rankdet.commands'}, set()),
    'rankdet': (set(), set()),
    'tests.reference': (set(), TORCH),
}  # fmt: skip
OWN = ('rankdet', 'tools', 'tests')
SOURCES = sorted([*(ROOT / 'rankdet').rglob('*.py'), *(ROOT / 'tools').rglob('*.py')])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def part_of(module: str) -> str:
    fits = [part for part in RULES if f'{module}.'.startswith(f'{part}.')]
    # The package itself is a part of its own: no other part may stand on it.
    if module.count('.') and fits == ['rankdet']:
        raise AssertionError(f'{module} belongs to no part of RULES')
    return max(fits, key=len, default=module.split('.')[0])


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and absolute name of everything that a file imports, inside functions too."""
    package = module_name(path).split('.')
    if path.name != '__init__.py':
        package = package[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = '.'.join([*base, node.module] if node.module else base)
            for alias in node.names:
                name = f'{base}.{alias.name}'
                is_module = (ROOT / name.replace('.', '/')).exists() or (
                    ROOT / (name.replace('.', '/') + '.py')
                ).exists()
                found.append((node.lineno, name if is_module else base))
    return found


def violations(path: Path) -> list[str]:
    module = module_name(path)
    own = part_of(module)
    parts, packages = RULES[own]
    found = []
    for line, name in imports(path):
        top = name.split('.')[0]
        if top in sys.stdlib_module_names:
            continue
        fits = part_of(name) in parts | {own} if top in OWN else top in packages
        if not fits:
            found.append(f'{path.relative_to(ROOT)}:{line} {own} must not import {name}')
    return found


def test_every_import_points_downwards():
    assert not [line for path in SOURCES for line in violations(path)]


def test_the_rules_have_no_cycle():
    """Whatever may be imported stands lower: the table is an order."""
    below = {part: parts for part, (parts, _) in RULES.items()}

    def reach(part, seen=()):
        assert part not in seen, (*seen, part)
        for other in below[part]:
            reach(other, (*seen, part))

    for part in below:
        reach(part)


@pytest.mark.parametrize(
    'module, code',
    [
        ('rankdet/functional/new.py', 'import mmdet'),
        ('rankdet/functional/new.py', 'def f():\n    from torchvision.ops import nms'),
        ('rankdet/functional/new.py', 'from ..models import losses'),
        ('rankdet/datasets/new.py', 'from rankdet.models.losses import APLoss'),
        ('rankdet/datasets/new.py', 'from rankdet import evaluation'),
        ('rankdet/models/losses/new.py', 'from ..ranking_core import Rows'),
        ('rankdet/models/new.py', 'from rankdet.engine.errors import UserError'),
        ('rankdet/engine/new.py', 'from rankdet.analysis import curves'),
        ('rankdet/analysis/new.py', 'import tools.train'),
        ('rankdet/analysis/new.py', 'from tests.reference import dr'),
        ('rankdet/new.py', 'import torch'),
    ],
)
def test_a_wrong_arrow_is_seen(module, code, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), 'ROOT', tmp_path)
    for folder in ('rankdet/models', 'rankdet/evaluation', 'rankdet/analysis', 'tools', 'tests'):
        (tmp_path / folder).mkdir(parents=True)
    path = tmp_path / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    if module == 'rankdet/new.py':
        with pytest.raises(AssertionError, match='belongs to no part'):
            violations(path)
    else:
        assert len(violations(path)) == 1


FOREIGN = """
import sys
import {module}
loaded = {{name.split('.')[0] for name in sys.modules}}
print(*sorted(name for name in loaded if name.startswith('mm') and name != 'mmap'
              or name in ('torchvision', 'cv2', 'pycocotools', 'matplotlib', 'sklearn')))
"""


@pytest.mark.parametrize('module', ['rankdet', 'rankdet.functional', 'rankdet.evaluation'])
def test_an_import_pulls_in_no_host(module):
    """In a fresh interpreter: the maths and the measures work where MMDetection is not."""
    done = subprocess.run(
        [sys.executable, '-c', FOREIGN.format(module=module)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == []


@pytest.mark.parametrize('module', ['rankdet', 'rankdet.evaluation', 'rankdet.untrusted'])
def test_an_import_without_tensors_needs_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=False).returncode == 0


def test_files_stay_one_idea_long():
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in SOURCES}
    assert not {path: length for path, length in lengths.items() if length > 450}
