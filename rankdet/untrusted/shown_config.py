"""A config as far as it is known without running it, and as text."""

from __future__ import annotations

import keyword
import pprint
from typing import Any, NamedTuple

from .config_limits import Bounded, Unread
from .limits import Refused


class ReadConfig(NamedTuple):
    """A config as far as it is known without running it.

    Attributes:
        values: top-level names and what they hold; :class:`Unread` in place of what is not known.
        unread: everything that was not run. A statement among them may change any value.
    """

    values: dict[str, Any]
    unread: list[Unread]

    def text(self) -> str:
        """As Python, with what was not run in comments at the end.

        MMEngine may read it as a config: there is nothing in it that it would put something into.

        Raises:
            Refused: it would be beyond all reading, or JSON has a name that is none in Python.
        """
        stream = Bounded()
        for name, value in self.values.items():
            if not name.isidentifier() or keyword.iskeyword(name):
                raise Refused(f'the config has the name {name!r}, which is none in Python')
            stream.write(f'{name} = ')
            pprint.pprint(value, stream, sort_dicts=False)
        lines = [f'# {piece}'.replace('{{', '{ {') for piece in self.unread]
        if lines:
            lines = ['', '# Not run, so that values may differ from these:', *lines]
        return stream.getvalue().replace('{{', r'{\x7b') + '\n'.join(lines)
