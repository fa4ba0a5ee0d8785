"""Which errors are a user's, and how they read."""

import json
import signal
import subprocess
import sys
from traceback import format_exc

import pytest

from rankdet.engine import errors, interruption
from rankdet.engine.errors import Interrupted, UserError, explain, one_line_errors
from rankdet.engine.interruption import Interruption
from tests.tools import cli

WORKER = """Caught FileNotFoundError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "fetch.py", line 1, in fetch
    raise x
FileNotFoundError: [Errno 2] No such file or directory: 'a/b.png'
"""


@pytest.mark.parametrize(
    'error, line',
    [
        (UserError('two\n  lines'), 'two lines'),
        (ValueError('class `A` in m/a.py: class `B` in m/b.py: gamma is -1'), 'gamma is -1'),
        (FileNotFoundError(2, 'No such file or directory', 'x.json'),
         'No such file or directory: x.json'),
        (RuntimeError(WORKER), "[Errno 2] No such file or directory: 'a/b.png'"),
        (AssertionError('failed to load image: a.png'),
         'failed to load image: a.png; the file is no readable image: replace it or take it out '
         'of the data set (python tools/check_data.py CONFIG --decode finds all of them); '
         'train_dataloader.dataset.skip_unreadable=True in the config skips it in training'),
        (RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '),
         'data worker 7 was lost (killed by signal: Killed); usually the machine ran out of '
         'memory: set train_dataloader.num_workers or batch_size to less in the config'),
        (RuntimeError('DataLoader worker (pid(s) 7, 8) exited unexpectedly'),
         'data worker 7, 8 was lost (exited unexpectedly); usually the machine ran out of '
         'memory: set train_dataloader.num_workers or batch_size to less in the config'),
        (RuntimeError('DataLoader worker (pid 7) is killed by signal: Bus error. It is possible'),
         'data workers ran out of shared memory (/dev/shm): enlarge it (docker run '
         '--shm-size=8g), or set train_dataloader.num_workers to less in the config'),
        (OSError(28, 'No space left on device', 'run/epoch_1.pth'),
         'No space left on device in run: make room there or choose another folder by --work-dir'),
        (RuntimeError('[gloo/transport/tcp/pair.cc:5] /gloo/ Connection closed by peer'),
         'the connection to another process of this run broke: it failed, for the reason that it '
         'gives, or was killed ([gloo/transport/tcp/pair.cc:5] /gloo/ Connection closed by peer)'),
        (ValueError(), 'ValueError'),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(error, line, monkeypatch):
    monkeypatch.chdir(cli.ROOT)
    assert explain(error) == line


@pytest.mark.parametrize(
    'error', [AssertionError('x == 1'), RuntimeError('sizes differ'), KeyError('a'), IndexError()]
)
def test_a_bug_keeps_its_traceback(error, capsys):
    assert explain(error) is None
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise error
    assert end.value.code == 1 and 'Traceback' in capsys.readouterr().err


def deliberate(value):
    raise TypeError(
        'value must be '
        f'a number, got {value}'
    )  # fmt: skip


@pytest.mark.parametrize(
    'call, line',
    [
        (lambda: deliberate('a'), 'value must be a number, got a'),
        (lambda: [][0:1] + 'NaN', None),
        (lambda: [(a, b) for a, b in [[1]]], None),
        (lambda: int('many'), None),
        (lambda: deliberate(), None),
        (lambda: build('APLoss', delta=-1), 'delta must be a finite number >= 0, got -1'),
        (lambda: build('APLoss', dleta=1), "APLoss.__init__() got an unexpected keyword argument "
                                           "'dleta'"),
        (lambda: build('APLoss', delta='1'), "delta must be a number, got '1'"),
    ],
)  # fmt: skip
def test_only_what_somebody_wrote_is_for_the_user(call, line):
    """Python's own words about an operation are no message: where it happened is needed."""
    with pytest.raises((TypeError, ValueError)) as error:
        call()
    found = explain(error.value)
    # Python says what was meant, from 3.13 on.
    assert (found and found.removesuffix(". Did you mean 'delta'?")) == line


def build(kind, **options):
    from mmdet.registry import MODELS

    import rankdet.plugin  # noqa: F401

    return MODELS.build(dict(type=kind, **options))


@pytest.mark.parametrize('code, line', [('raise TypeError("1 box")', '1 box'), ('1 + ""', None)])
def test_the_same_in_a_data_worker(tmp_path, code, line):
    (tmp_path / 'data.py').write_text(f'def fetch():\n    {code}\n')
    try:
        exec(compile((tmp_path / 'data.py').read_text() + 'fetch()', tmp_path / 'data.py', 'exec'))
    except TypeError:
        text = f'Caught TypeError in DataLoader worker process 0.\nOriginal {format_exc()}'
    assert explain(TypeError(text)) == line


def test_a_registry_s_error_names_what_is_missing():
    from mmdet.registry import MODELS

    import rankdet.plugin  # noqa: F401

    with pytest.raises(KeyError) as error:
        MODELS.build(dict(type='APLos'))
    assert explain(error.value).startswith('APLos is not registered; check the spelling')


def test_json():
    with pytest.raises(json.JSONDecodeError) as error:
        json.loads('{"a": ')
    assert explain(error.value).startswith('not valid JSON: ')


@pytest.mark.parametrize('go_on, line', [('', 'interrupted'), ('go on', 'interrupted; go on')])
def test_an_interruption(go_on, line, capsys):
    with pytest.raises(SystemExit) as end, one_line_errors(go_on):
        raise KeyboardInterrupt
    assert end.value.code == 130 and capsys.readouterr().err == f'{line}\n'


def test_a_worker_that_dies_while_it_is_heard():
    """What multiprocessing says of it is no help."""
    failing = compile('raise ConnectionResetError', '/lib/multiprocessing/connection.py', 'exec')
    calling = compile('exec(failing)', '/torch/utils/data/dataloader.py', 'exec')
    with pytest.raises(ConnectionError) as error:
        exec(calling, dict(failing=failing))
    assert explain(error.value).startswith('data worker was lost (ConnectionResetError); usually')


@pytest.mark.parametrize('late', [False, True])
def test_a_worker_whose_death_is_reported_late(late, monkeypatch, capsys):
    """What it sent breaks off first; torch raises the rest while that error is on its way out."""

    def report(*_):
        raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')

    def checkpoint(work_dir):
        signal.raise_signal(signal.SIGCHLD)
        return 'epoch_1.pth'

    def told(error):
        signal.raise_signal(signal.SIGCHLD)
        return explain(error)

    monkeypatch.setattr(interruption, 'latest_checkpoint', checkpoint)
    monkeypatch.setattr(errors, 'explain', told)
    before = signal.signal(signal.SIGCHLD, report)
    try:
        with pytest.raises(SystemExit), one_line_errors():
            try:
                with Interruption('run') as hook:
                    hook.before_train_iter()
                    raise UserError('broken off')
            finally:
                if late:
                    signal.raise_signal(signal.SIGCHLD)
    finally:
        signal.signal(signal.SIGCHLD, before)
    what = 'data worker 7 was lost' if late else 'broken off'
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f'error: {what}')
    assert line.endswith('; continue with --resume (from epoch_1.pth)')


@pytest.mark.parametrize('rank, text', [('0', 'ended by SIGTERM; go on\n'), ('1', '')])
def test_a_scheduler_s_end(capsys, monkeypatch, rank, text):
    monkeypatch.setenv('RANK', rank)
    stop = Interrupted(signal.SIGTERM)
    stop.remedy = 'go on'
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise stop
    assert end.value.code == 143 and capsys.readouterr().err == text


def test_no_error():
    with one_line_errors():
        sys.getsizeof(0)


def test_a_reader_that_stops_is_no_error(tmp_path):
    code = (
        'from rankdet.engine.errors import one_line_errors\n'
        'with one_line_errors():\n'
        '    for number in range(10**5):\n'
        '        print(number)\n'
    )
    command = f'"{sys.executable}" -c "{code}" | head -n 1; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(['bash', '-c', command], capture_output=True, text=True, timeout=120)
    assert (done.stdout.split(), done.stderr) == (['0', '141'], '')
