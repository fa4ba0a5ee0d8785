"""How large a file from a stranger may be, and what happens to a larger one."""

from __future__ import annotations

import os
from pathlib import Path

#: Environment variable, and what it is where it is not set. All are far above real data: the
#: largest annotation file of COCO has 0.5 GB and nests 5 deep, its images have 0.4 megapixels.
LIMITS = {
    'RANKDET_MAX_JSON_MB': 2048,
    'RANKDET_MAX_JSON_DEPTH': 64,
    'RANKDET_MAX_XML_MB': 16,
    'RANKDET_MAX_XML_DEPTH': 64,
    'RANKDET_MAX_MEGAPIXELS': 150,
    'RANKDET_MAX_UNPACKED_GB': 200,
    'RANKDET_MAX_UNPACKED_RATIO': 100,
}


class Refused(ValueError):
    """A file is not read. The message names the file, the reason, and the limit if it is one."""


def limit(name: str) -> int:
    """A limit: the environment's, or the one of :data:`LIMITS`.

    Raises:
        ValueError: the environment variable is not a positive whole number.

    >>> limit('RANKDET_MAX_JSON_DEPTH')
    64
    """
    text = os.environ.get(name) or str(LIMITS[name])
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f'{name} must be a positive whole number, got {text!r}')
    return int(text)


def beyond(what: str, found: str, name: str, unit: str = '') -> Refused:
    """The error for something that is larger than a limit."""
    return Refused(
        f'{what} {found}; at most {limit(name)}{unit} are read, {name} sets another limit'
    )


def read_limited(path: str | os.PathLike, name: str, what: str = '') -> bytes:
    """Content of a regular file that is neither empty nor larger than a limit in megabytes.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no regular file, empty, or too large.
    """
    path = Path(path)
    shown = f'{what} {path}'.strip()
    if not path.exists():
        raise FileNotFoundError(f'{shown} does not exist')
    if not path.is_file():  # reading a device or a pipe may never end
        raise Refused(f'{shown} is no regular file')
    size = path.stat().st_size
    if not size:
        raise Refused(f'{shown} is empty (0 bytes)')
    if size > limit(name) * 10**6:
        raise beyond(shown, f'has {size / 1e6:.0f} MB', name, ' MB')
    return path.read_bytes()


def check_pixels(width: int, height: int, name: str = 'image') -> None:
    """Refuse an image by the size that its header states, before anything is decoded.

    Args:
        width, height: in pixels.
        name: of the image, for the message.

    Raises:
        Refused: it has more than ``RANKDET_MAX_MEGAPIXELS``.

    >>> check_pixels(1920, 1080)
    >>> check_pixels(60_000, 60_000, 'sky.png')
    Traceback (most recent call last):
    rankdet.untrusted.limits.Refused: sky.png has 60000 x 60000 pixels; at most 150 megapixels \
are read, RANKDET_MAX_MEGAPIXELS sets another limit
    """
    if width * height > limit('RANKDET_MAX_MEGAPIXELS') * 10**6:
        found = f'has {width} x {height} pixels'
        raise beyond(name, found, 'RANKDET_MAX_MEGAPIXELS', ' megapixels')
