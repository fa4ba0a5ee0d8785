"""One clear line for a user's mistake; a traceback for a bug."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from rankdet.untrusted import limit

TRACEBACK = 'RANKDET_TRACEBACK'


class UserError(Exception):
    """Something that the user can put right. The message says what and how."""


USER = (UserError, ValueError, TypeError, ImportError, FileNotFoundError, PermissionError)
# MMEngine puts "class `X` in a/b.py: " before the message of whatever fails while X is built.
_BUILD_PREFIX = re.compile(r'^(class `\w+` in [\w./-]+: )+')
# Errors of a data worker arrive as text: "Caught X in DataLoader worker ... Original Traceback".
_WORKER_ERROR = re.compile(r'^(?:\w+\.)*(\w+(?:Error|Exception)): (.*)', re.MULTILINE)


def explain(error: BaseException) -> str | None:
    """The line that tells a user what is wrong, or None where only a traceback would help."""
    # The text of a KeyError is the repr of its message.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    text = _BUILD_PREFIX.sub('', text).strip()
    if 'CV_IO_MAX_IMAGE_' in text:  # OpenCV does not say which image
        return (
            'an image has more pixels than are decoded; python tools/check_data.py CONFIG names '
            'it, RANKDET_MAX_MEGAPIXELS sets another limit'
        )
    if 'DataLoader worker' in text and 'Original Traceback' in text:
        found = _WORKER_ERROR.findall(text)
        text = found[-1][1].strip() if found else text
        kind = found[-1][0] if found else ''
    else:
        kind = type(error).__name__
    if 'failed to load image' in text or kind == 'UnidentifiedImageError':
        return f'{text}; the file is no readable image: replace it or take it out of the data set'
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
    if isinstance(error, USER) or kind in {k.__name__ for k in USER} | {'ConfigParsingError'}:
        return ' '.join(text.split()) or type(error).__name__
    return None


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Run a command line: a user's mistake ends it with one line on stderr and status 1."""
    try:
        # OpenCV takes it when it is imported, which nothing outside has done yet.
        pixels = limit('RANKDET_MAX_MEGAPIXELS') * 10**6
        os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(pixels))
        yield
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        line = explain(error)
        if line is None or os.environ.get(TRACEBACK):
            traceback.print_exc()
        else:
            print(f'error: {line}', file=sys.stderr)
        sys.exit(1)
