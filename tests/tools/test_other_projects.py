"""rankdet installed as any package: its configs serve configs that lie elsewhere."""

import re
import sys
import tarfile
import zipfile

import pytest
import yaml

import rankdet
from tests.tools import cli

BASE = next((cli.ROOT / 'configs/demo').glob('*ap-loss*.py')).name
CONFIG = """
_base_ = 'rankdet::demo/{base}'
custom_imports = dict(imports=['rankdet.plugin'])
model = dict(bbox_head=dict(loss_cls=dict(delta=0.5)))
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(dataset=dict(data_root='{data}/')),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root='{data}/')
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='{data}/annotations/instances_val.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
"""


def test_a_config_of_another_project(digits, tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text(CONFIG.format(base=BASE, data=digits))
    done = cli.run_alone([sys.executable, cli.ROOT / 'tools/train.py', config], tmp_path)
    assert done.status == 0, done.err[-2000:]
    run = tmp_path / 'work_dirs' / config.stem
    assert (run / 'epoch_1.pth').is_file() and 'delta=0.5' in (run / config.name).read_text()
    assert 'Failed to search registry' not in done.out


@pytest.fixture(scope='session')
def wheel(tmp_path_factory):
    """The wheel of what git tracks here, made without a look at the network."""
    folder = tmp_path_factory.mktemp('wheel')
    pip = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-q']
    copy = folder / 'source'
    cli.copy_sources(copy)
    done = cli.run_alone([*pip, '-w', folder, copy], folder, PIP_NO_INDEX='1')
    assert done.status == 0, done.err[-2000:]
    (path,) = folder.glob('*.whl')
    return path


def test_a_wheel_holds_configs_and_tools(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if 'dist-info' not in name}
    for folder in ('configs', 'tools'):
        own = (cli.ROOT / folder).rglob('*')
        own = [p for p in own if p.suffix in ('.py', '.sh', '.yml', '.md')]
        wanted = {f'rankdet/.mim/{path.relative_to(cli.ROOT)}' for path in own}
        assert wanted and wanted <= held
    assert {'rankdet/.mim/model-index.yml', 'rankdet/py.typed'} <= held
    assert all(name.startswith('rankdet/') for name in held)


def test_an_installed_wheel_serves_its_configs(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / 'site')
    (tmp_path / 'mine.py').write_text(f"_base_ = 'rankdet::demo/{BASE}'\n")
    code = (
        'import rankdet.plugin; from mmengine.config import Config; '
        "print(rankdet.__file__, Config.fromfile('mine.py').model.bbox_head.type)"
    )
    done = cli.run_alone([sys.executable, '-c', code], tmp_path, PYTHONPATH=str(tmp_path / 'site'))
    assert done.status == 0, done.err[-2000:]
    assert done.out.split()[-2:] == [str(tmp_path / 'site/rankdet/__init__.py'), 'RankRetinaHead']


@pytest.fixture(scope='session')
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sdist')
    copy = folder / 'source'
    cli.copy_sources(copy)
    (copy / 'docs/_build').mkdir()
    (copy / 'docs/_build/index.html').write_text('built')
    done = cli.run_alone([sys.executable, 'setup.py', '-q', 'sdist', '-d', folder], copy)
    assert done.status == 0, done.err[-2000:]
    (path,) = folder.glob('*.tar.gz')
    return path


def test_a_source_archive_makes_the_same_wheel(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter='data')
    (source,) = tmp_path.iterdir()
    pip = [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-q']
    done = cli.run_alone([*pip, '-w', tmp_path, source], tmp_path, PIP_NO_INDEX='1')
    assert done.status == 0, done.err[-2000:]
    (again,) = tmp_path.glob('*.whl')
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_a_source_archive_can_run_its_tests(sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter='data')
    (source,) = tmp_path.iterdir()
    wanted = {'Makefile', 'mypy.ini', 'pytest.ini', 'ruff.toml', 'requirements-dev.txt'}
    for folder in ('docs', 'tests'):
        own = (path for path in (cli.ROOT / folder).rglob('*') if path.is_file())
        own = {str(path.relative_to(cli.ROOT)) for path in own if path.suffix != '.pyc'}
        wanted |= {path for path in own if not path.startswith('docs/_build/')}
    assert not {path for path in wanted if not (source / path).is_file()}
    assert not (source / 'docs/_build').exists()
    # The pages are there with all that they link to.
    run = [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', 'tests/docs/test_pages.py']
    done = cli.run_alone([*run, '-k', 'links'], source)
    assert done.status == 0, done.out[-2000:]


def test_the_citation_names_the_version():
    citation = yaml.safe_load((cli.ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert citation['version'] == rankdet.__version__


def test_the_newest_changes_are_of_the_version():
    changes = (cli.ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    newest = re.search(r'^## (\S+?)(?:, .*)?$', changes, re.MULTILINE)
    assert newest[1] == rankdet.__version__


def test_an_installed_wheel_runs_the_demo_from_anywhere(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / 'site')
    environment = dict(PYTHONPATH=str(tmp_path / 'site'))
    small = ['--train', '16', '--val', '8', '--epochs', '1']
    run = [sys.executable, '-m', 'rankdet']
    done = cli.run_alone([*run, 'demo', *small], tmp_path, **environment)
    assert done.status == 0, done.err[-2000:]
    assert (tmp_path / 'work_dirs/demo/summary.md').is_file()
    named = set(re.findall(r'\brankdet (\w+)', done.out))
    assert {'test', 'report', 'image_demo', 'train_own'} <= named
    assert 'python tools/' not in done.out
    done = cli.run_alone([*run, 'nothing'], tmp_path, **environment)
    assert done.status == 2 and "no tool 'nothing'; there are: analyze" in done.err
    done = cli.run_alone(run, tmp_path, **environment)
    assert done.status == 0 and 'train_own ' in done.out
    done = cli.run_alone([*run, 'dist_train', 'none.py', '2'], tmp_path, **environment)
    assert done.status == 1 and 'none.py' in done.err and 'Traceback' not in done.err
