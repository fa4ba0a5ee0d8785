"""Whatever ends a run: one clear line, the right status, nobody left, and an exact way on."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rankdet.datasets.seeded import SeededDataset, SeededIndex
from rankdet.engine.whole_files import WholeFiles
from tests.engine import tiny
from tests.engine.misfortune import EVENT, running
from tests.engine.test_resume import assert_same
from tests.tools import cli

OPTIONS = dict(
    default_hooks__checkpoint__max_keep_ckpts=1,
    train_dataloader__num_workers=2,
    train_dataloader__batch_size=1,
    custom_hooks=[dict(type='Misfortune')],
    custom_imports=dict(imports=['rankdet.plugin', 'tests.engine.misfortune']),
)
FROM = r'\(from \S*run/epoch_1\.pth\)'
HOW_ON = rf'continue with --resume {FROM}'
BOUND = 120  # seconds, many times what any of them takes: for tests that hang


@pytest.fixture(scope='module')
def whole(digits, tmp_path_factory):
    """Two epochs of six iterations without a break, and the config of all runs here."""
    folder = tmp_path_factory.mktemp('endurance')
    tiny.write(folder / 'config.py', digits, **OPTIONS)
    return tiny.train(tiny.load(digits, folder / 'run', **OPTIONS))


def start(event: str, folder: Path, tool: str, *arguments) -> tuple[cli.Done, list[str]]:
    """Train in a session of its own, as a terminal's or scheduler's; also the lines of the end."""
    command = [sys.executable, cli.ROOT / f'tools/{tool}.py', *arguments]
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(cli.ROOT), EVENT: event},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=BOUND,
        check=False,
    )
    ends = ('error: ', 'interrupted', 'ended by')
    lines = [line for line in done.stderr.splitlines() if line.startswith(ends)]
    return cli.Done(done.returncode, done.stdout, done.stderr), lines


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if '.pth' in path.name)


@pytest.mark.parametrize(
    'event, status, line',
    [
        ('full_disk 9', 1, 'error: File too large in \\S*run: make room there or .*'),
        ('lost_worker 8', 1, 'error: data worker [\\d ]*was lost \\(.*memory: .*'),
        ('control_c 8', 130, 'interrupted'),
        ('scheduler 8', 143, 'ended by SIGTERM'),
    ],
)
def test_an_end(event, status, line, whole, digits, tmp_path):
    arguments = (whole.parent / 'config.py', '--work-dir', tmp_path / 'run')
    done, lines = start(event, tmp_path, 'train', *arguments)
    assert done.status == status, done.err[-3000:]
    if 'worker' in event:  # threads of the other one may complain, even within the line's
        assert len(re.findall(f'{line}; {HOW_ON}$', done.err, re.MULTILINE)) == 1, done.err[-3000:]
    else:
        assert len(lines) == 1 and re.fullmatch(f'{line}; {HOW_ON}', lines[0]), done.err[-3000:]
        assert 'Traceback' not in done.err, done.err[-3000:]
    assert names(tmp_path / 'run') == ['epoch_1.pth'] and not running(tmp_path / 'run')
    tiny.train(tiny.load(digits, tmp_path / 'run', **OPTIONS), resume='auto')
    assert_same(whole / 'epoch_2.pth', tmp_path / 'run/epoch_2.pth')
    assert names(tmp_path / 'run') == ['epoch_2.pth']


@pytest.mark.parametrize(
    'event, status, line',
    [
        ('lost_worker 8', 1, 'error: data worker [\\d ]*was lost \\(.* less in the config'),
        ('control_c 8', 130, 'interrupted'),
        ('scheduler 8', 143, 'ended by SIGTERM'),
    ],
)
def test_an_end_of_train_own(event, status, line, digits, tmp_path):
    """It has neither --resume nor --cfg-options, and names none of them."""
    folder = tmp_path / 'mine'
    folder.mkdir()
    tiny.write(folder / 'config.py', digits, **OPTIONS)
    done, _ = start(event, tmp_path, 'train_own', digits, '--work-dir', folder)
    assert done.status == status and '--resume' not in done.err, done.err[-3000:]
    how_on = f'call the same command again to go on {FROM}'
    assert len(re.findall(f'^{line}; {how_on}$', done.err, re.MULTILINE)) == 1, done.err[-3000:]
    assert names(folder / 'run') == ['epoch_1.pth'] and not running(folder / 'run')


@pytest.fixture
def broken(digits, tmp_path):
    """The data with one image cut short."""
    data = shutil.copytree(digits, tmp_path / 'data')
    image = sorted(data.glob('train/*'))[3]
    image.write_bytes(image.read_bytes()[:-200])
    return data, image


def test_a_corrupt_image_ends_the_run(broken, tmp_path, monkeypatch, capsys):
    data, image = broken
    config = tiny.write(tmp_path / 'config.py', data, **OPTIONS)
    arguments = [config, '--work-dir', tmp_path / 'run']
    done = cli.run_inside(monkeypatch, capsys, 'train', *arguments)
    (line,) = (line for line in done.err.splitlines() if line.startswith('error: '))
    assert done.status == 1 and str(image) in line and 'check_data.py' in line


def test_a_corrupt_image_is_skipped_if_the_config_says_so(broken, tmp_path, capfd):
    data, image = broken
    runs = [
        tiny.train(
            tiny.load(
                data,
                tmp_path / f'run{workers}',
                **OPTIONS | dict(train_dataloader__num_workers=workers),
                train_dataloader__dataset__skip_unreadable=True,
            )
        )
        for workers in (0, 2)
    ]
    assert f'skipped an image: failed to load image: {image}' in ''.join(capfd.readouterr())
    assert_same(runs[0] / 'epoch_2.pth', runs[1] / 'epoch_2.pth')


def test_where_no_image_is_readable_none_is_skipped_forever():
    class Unreadable(list):
        def __getitem__(self, index):
            raise AssertionError(f'failed to load image: {index}')

    data = SeededDataset(Unreadable(range(100)), skip_unreadable=True)
    with pytest.raises(AssertionError, match='failed to load image: 7'):
        data[SeededIndex(7, (0, 0))]


def test_other_errors_are_not_skipped():
    class Wrong(list):
        def __getitem__(self, index):
            raise OSError(24, 'Too many open files')

    with pytest.raises(OSError, match='Too many'):
        SeededDataset(Wrong([1]), skip_unreadable=True)[SeededIndex(0, (0, 0))]


def test_a_file_goes_when_the_next_is_whole(tmp_path, monkeypatch):
    old, new = tmp_path / 'old', tmp_path / 'new'
    WholeFiles().put(b'old', old)
    WholeFiles().remove(old)

    def full(descriptor):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as disk, pytest.raises(OSError, match=f"No space.*'{new}'"):
        disk.setattr(os, 'fsync', full)
        WholeFiles().put(b'new', new)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'old']
    WholeFiles().put(b'new', new)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b'new']


def test_a_file_written_again_is_whole_before_and_after(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_1.pth'
    WholeFiles().put(b'old', path)
    monkeypatch.setattr(os, 'fsync', lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        WholeFiles().put(b'new', path)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b'old']
    monkeypatch.undo()
    WholeFiles().remove(path)
    WholeFiles().put(b'new', path)
    assert path.read_bytes() == b'new'
