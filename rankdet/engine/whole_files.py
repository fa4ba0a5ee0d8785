"""Checkpoints that are there as a whole or not at all, and are deleted only for newer ones.

MMEngine writes ``epoch_3.pth`` in place, and deletes what is one too many before that: a full disk
or a kill leaves half a file, and with ``max_keep_ckpts=1`` nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

_NAME = 'rankdet_whole_files'


def save_whole_checkpoints(runner: Runner) -> None:
    """Let the checkpoint hooks of a run write by :class:`WholeFiles`, unless told where to."""
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            elsewhere = hook.backend_args or hook.file_client_args or '://' in str(hook.out_dir)
            hook.backend_args = hook.backend_args if elsewhere else dict(backend=_NAME)


class WholeFiles(LocalBackend):
    """Files of this machine; what is put appears under its name once all of it is on the disk.

    A file that is removed goes after the next one was put: if that fails, it stays.

    Example:
        >>> files = WholeFiles()
        >>> files.put(b'first', 'epoch_1.pth')  # doctest: +SKIP
        >>> files.remove('epoch_1.pth')  # still there  # doctest: +SKIP
        >>> files.put(b'second', 'epoch_2.pth')  # now it goes  # doctest: +SKIP
    """

    _outdated: set[Path] = set()  # MMEngine removes by one backend and puts by another

    def put(self, obj: bytes, filepath: str | os.PathLike) -> None:
        """Write bytes.

        Raises:
            OSError: names the file; nothing is left of it, and an older one of that name is as
                it was.
        """
        path = Path(filepath)
        partial = path.with_name(f'.{path.name}.partial')
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())  # some disks are full only then
            os.replace(partial, path)
        except BaseException as error:
            partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise
        while self._outdated:
            old = self._outdated.pop()
            if old != path:
                old.unlink(missing_ok=True)

    def remove(self, filepath: str | os.PathLike) -> None:
        """Remove a file as soon as the next one is put."""
        self._outdated.add(Path(filepath))


register_backend(_NAME, WholeFiles, force=True)
