"""One clear line for a user's mistake; a traceback for a bug."""

from __future__ import annotations

import dis
import errno
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from rankdet.commands import tool_line
from rankdet.untrusted import limit, visible

TRACEBACK = 'RANKDET_TRACEBACK'


class UserError(Exception):
    """Something that the user can put right. The message says what and how."""


class Interrupted(KeyboardInterrupt):
    """A signal asked the process to end.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


USER = (
    *(UserError, ValueError, TypeError, ImportError),
    *(FileNotFoundError, FileExistsError, PermissionError),
)
# MMEngine puts "class `X` in a/b.py: " before the message of whatever fails while X is built.
_BUILD_PREFIX = re.compile(r'^(class `\w+` in [\w./-]+: )+')
# Errors of a data worker arrive as text: "Caught X in DataLoader worker ... Original Traceback".
_LOST_WORKER = re.compile(
    r'DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is )?(killed.*\w|exited unexpectedly)'
)
_WORKER_ERROR = re.compile(r'^(?:\w+\.)*(\w+(?:Error|Exception)): (.*)', re.MULTILINE)
_WORKER_LINE = re.compile(r'^  File ".*", line \d+, in .*\n    (.*)', re.MULTILINE)
_BUILDING = os.path.join('mmengine', 'registry', 'build_functions.py')


def explain(error: BaseException) -> str | None:
    """The line that tells a user what is wrong, or None where only a traceback would help."""
    # The text of a KeyError is the repr of its message.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    text = _BUILD_PREFIX.sub('', text).strip()
    if 'CV_IO_MAX_IMAGE_' in text:  # OpenCV does not say which image
        return (
            f'an image has more pixels than are decoded; {tool_line("check_data", "CONFIG")} names '
            'it, RANKDET_MAX_MEGAPIXELS sets another limit'
        )
    if 'DataLoader worker' in text and 'Original Traceback' in text:
        found = _WORKER_ERROR.findall(text)
        text = found[-1][1].strip() if found else text
        kind = found[-1][0] if found else ''
    else:
        kind = type(error).__name__
    if 'failed to load image' in text or kind == 'UnidentifiedImageError':
        return (
            f'{text}; the file is no readable image: replace it or take it out of the data set '
            f'({tool_line("check_data", "CONFIG", "--decode")} finds all of them); '
            'train_dataloader.dataset.skip_unreadable=True in the config skips it in training'
        )
    lost = _loss(error, text, kind)
    if lost:
        return lost
    if isinstance(error, json.JSONDecodeError):
        return f'not valid JSON: {text}'
    if 'is not in the' in text and 'registry' in text:
        name = text.split(' is not in the')[0].split()[-1]
        return (
            f'{name} is not registered; check the spelling of type=..., and that the config says '
            "custom_imports = dict(imports=['rankdet.plugin'])"
        )
    if isinstance(error, FileNotFoundError) and error.filename and error.strerror:
        return f'{error.strerror}: {error.filename}'
    if kind in ('TypeError', 'ValueError') and not _was_said(error):
        return None
    if isinstance(error, USER) or kind in {k.__name__ for k in USER} | {'ConfigParsingError'}:
        return ' '.join(text.split()) or type(error).__name__
    return None


def _was_said(error: BaseException) -> bool:
    """Whether somebody wrote the error, by a statement ``raise``, to be read by a user.

    A TypeError or ValueError that Python itself raises (``None + 1``) says nothing of the mistake,
    if it is not a bug: only its traceback helps. But the arguments of a call that MMEngine makes
    are what a config says.
    """
    if 'Original Traceback' in str(error):  # of a data worker
        lines = _WORKER_LINE.findall(str(error))
        return bool(lines) and lines[-1].startswith('raise')
    while _BUILD_PREFIX.match(str(error)) and error.__context__:
        error = error.__context__
    place = error.__traceback__
    if place is None:
        return True
    while place.tb_next:
        place = place.tb_next
    code = place.tb_frame.f_code
    said = code.co_code[place.tb_lasti] == dis.opmap['RAISE_VARARGS']
    return said or code.co_filename.endswith(_BUILDING)


def _loss(error: BaseException, text: str, kind: str) -> str | None:
    """What a run lost that it needs: a data worker, another process, or room on the disk."""
    if 'Bus error' in text or 'unable to write to file </torch_' in text:
        return (
            'data workers ran out of shared memory (/dev/shm): enlarge it (docker run '
            '--shm-size=8g), or set train_dataloader.num_workers to less in the config'
        )
    worker = _LOST_WORKER.search(text)
    if worker or _while_a_worker_was_heard(error):
        who, how = worker.groups() if worker else ('', kind)
        return (
            f'data worker {who} was lost ({how}); usually the machine ran out of memory: set '
            'train_dataloader.num_workers or batch_size to less in the config'
        ).replace('  ', ' ')
    if kind.startswith('Dist') or '/gloo/' in text:
        return (
            'the connection to another process of this run broke: it failed, for the reason that '
            f'it gives, or was killed ({" ".join(text.split())})'
        )
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if isinstance(error, OSError) and error.errno in full:
        where = f' in {os.path.dirname(error.filename)}' if error.filename else ''
        return f'{error.strerror}{where}: make room there or choose another folder by --work-dir'
    return None


def _while_a_worker_was_heard(error: BaseException) -> bool:
    """Whether it broke off what a data loader received: the worker dies before torch knows."""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return (
        isinstance(error, (OSError, EOFError, RuntimeError))
        and any(file.endswith(os.path.join('utils', 'data', 'dataloader.py')) for file in files)
        and f'{os.sep}multiprocessing{os.sep}' in files[-1]
    )


@contextmanager
def one_line_errors(go_on: str = '') -> Iterator[None]:
    """Run a command line: a user's mistake ends it with one line on stderr and status 1.

    A signal ends it with status 128 + its number. An exception's attribute ``remedy`` is added.

    Args:
        go_on: the remedy for a signal, where the exception has none.
    """
    try:
        # OpenCV takes it when it is imported, which nothing outside has done yet.
        pixels = limit('RANKDET_MAX_MEGAPIXELS') * 10**6
        os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(pixels))
        yield
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        _hear_no_more_of_workers()
        number = getattr(stop, 'number', signal.SIGINT)
        if os.environ.get('RANK', '0') == '0':
            what = 'interrupted' if number == signal.SIGINT else f'ended by {stop}'
            print(_with_remedy(what, stop, go_on), file=sys.stderr)
        sys.exit(128 + number)
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does; nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        _hear_no_more_of_workers()
        line = explain(error)
        if line is None or os.environ.get(TRACEBACK):
            traceback.print_exc()
        else:
            text = _with_remedy(f'error: {line}', error)
            # It may name what strangers wrote.
            print('\n'.join(map(visible, text.split('\n'))), file=sys.stderr)
        sys.exit(1)


def _hear_no_more_of_workers() -> None:
    """Before the last words: torch raises that a data worker was lost wherever the process is."""
    while True:
        try:
            if threading.current_thread() is threading.main_thread():  # signals go to that one
                signal.signal(signal.SIGCHLD, lambda *_: None)
            return
        except RuntimeError:  # just now
            continue


def _with_remedy(line: str, error: BaseException, otherwise: str = '') -> str:
    # torch may raise that a data worker was lost while an error is on its way here.
    last: BaseException | None = error
    while last and not hasattr(last, 'remedy'):
        last = last.__context__
    remedy = getattr(last, 'remedy', otherwise)
    return f'{line}; {remedy}' if remedy else line
