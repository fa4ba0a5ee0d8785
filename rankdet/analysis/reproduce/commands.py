"""The commands that a run consists of: how they are written, started and ended together."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rankdet.commands import GO_ON, SAME_COMMAND
from rankdet.engine.errors import Interrupted, UserError

#: Starts a command with environment variables beside the present ones; returns its exit status.
Start = Callable[[list[str], Mapping[str, str]], int]


def run_command(command: list[str], variables: Mapping[str, str], *, show: bool = True) -> int:
    """Run a command beside this process, which an interruption ends too.

    Args:
        command: its words.
        variables: of the environment, beside the present ones.
        show: print the command first.

    Returns:
        Its exit status.
    """
    if show:
        words = [*(f'{k}={v}' for k, v in variables.items()), shlex.join(command)]
        print(f'\n$ {" ".join(words)}', flush=True)
    known = os.environ | {'PYTHON': sys.executable, GO_ON: SAME_COMMAND} | dict(variables)
    process = subprocess.Popen(command, env=known, close_fds=False)  # see locked()
    try:
        return process.wait()
    except KeyboardInterrupt as stop:  # let it end in order
        if getattr(stop, 'number', None) == signal.SIGTERM:  # of Ctrl-C it got its own
            process.terminate()
        process.wait()
        raise


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Take a scheduler's SIGTERM as Ctrl-C is taken: :class:`Interrupted` is raised, once."""

    def receive(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Interrupted(number)

    before = signal.getsignal(signal.SIGTERM)
    if before != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs away from a folder, which is made, for as long as this one goes on.

    The lock goes with the processes that hold it, however they end: this one, and a command that
    :func:`run_command` has started, should it outlive this. Several nodes share the folder; the
    first one holds the lock for all.

    Raises:
        UserError: Another run holds it.
    """
    if not first_node():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / '.lock', os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise UserError(
                f'another run is at work in {folder}; wait for its end or take another --work-dir'
            ) from None
        except OSError:
            pass  # a file system without locks
        os.set_inheritable(file, True)
        yield
    finally:
        os.close(file)


def nodes() -> int:
    """How many there are."""
    return int(os.environ.get('NNODES', 1))


def first_node() -> bool:
    """Whether this is the one that keeps results."""
    return os.environ.get('NODE_RANK', '0') == '0'


def tool_command(
    tool: str, root: Path, gpus: int, what: list[str], arguments: list[str]
) -> list[str]:
    """The command of a tool on one process, or of its launching script on several."""
    tools = root / 'tools'
    if gpus * nodes() == 1:
        return [sys.executable, str(tools / f'{tool}.py'), *what, *arguments]
    return ['bash', str(tools / f'dist_{tool}.sh'), *what, str(gpus), *arguments]


def shown(command: list[str], root: Path, variables: Mapping[str, str] | None = None) -> str:
    """A command as a user types it in the folder of the code, on the first node."""
    launched = command[0] != sys.executable and nodes() > 1
    known = {**(variables or {}), **({'NNODES': str(nodes())} if launched else {})}
    program = 'python' if command[0] == sys.executable else command[0]
    words = [f'{name}={shlex.quote(value)}' for name, value in known.items()]
    text = ' '.join([*words, shlex.join([program, *command[1:]])])
    return text.replace(f'{root}{os.sep}', '').replace(f'{os.getcwd()}{os.sep}', '')
