"""Reading a config without running it.

MMEngine's configs are Python, so that whoever loads one runs it. What they hold is nearly always
plain: numbers, strings, ``dict(...)``, and what ``_base_`` files hold, merged. That much can be
worked out from the text alone.
"""

from __future__ import annotations

import ast
import importlib.util
import operator
import os
import pprint
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from .documents import read_json
from .limits import Refused

_LARGEST_FILE = 10**6  # bytes
_MOST_FILES = 64
_MOST_VALUES = 200_000  # in all; lists that hold each other's copies grow without bound
_LONGEST = 10**5  # of a string or list that is put together
_LARGEST_INT = 10**30
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_FILE = re.compile(r'\{\{\s*(file(?:Dirname|Basename|BasenameNoExtension|Extname))\s*\}\}')
_VARIABLE = re.compile(r'\{\{\s*\$\s*(\w+)\s*:\s*([^\s{}]*)\s*\}\}')
_SIGNS: dict[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}


class Unread(NamedTuple):
    """What would have to be run to know it; also stands where its value would be.

    Attributes:
        file, line: where it is.
        source: its text, on one line.
    """

    file: str
    line: int
    source: str

    def __repr__(self) -> str:
        return f'<{self.file}:{self.line}: {self.source}>'


class ReadConfig(NamedTuple):
    """A config as far as it is known without running it.

    Attributes:
        values: top-level names and what they hold; :class:`Unread` in place of what is not known.
        unread: everything that was not run. A statement among them may change any value.
    """

    values: dict[str, Any]
    unread: list[Unread]

    def text(self) -> str:
        """As Python, with what was not run in comments at the end."""
        lines = [f'{k} = {pprint.pformat(v, sort_dicts=False)}' for k, v in self.values.items()]
        if self.unread:
            lines += ['', '# Not run, so that values may differ from these:']
            lines += [f'# {piece.file}:{piece.line}: {piece.source}' for piece in self.unread]
        return '\n'.join(lines)


def read_config(path: str | Path) -> ReadConfig:
    """Read a config, and the files that it builds upon, without running any of them.

    ``_base_`` is followed inside the folder ``configs`` that the file is in (else its own folder)
    and into the configs of installed packages (``'mmdet::...'``), nowhere else.

    Args:
        path: a ``.py`` config as MMEngine reads it, or a ``.json`` one.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no Python, too large, or its bases go round in circles.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise FileNotFoundError(f'config {path} does not exist')
    if path.suffix == '.json':
        values = read_json(path, 'config')
        if not isinstance(values, dict):
            raise Refused(f'config {path} is no object of names and values')
        return ReadConfig(values, [])
    roots = [folder for folder in path.parents if folder.name == 'configs'] or [path.parent]
    reader = _Reader(roots[0])
    try:
        values = reader.read(path)
        if _count(values, _MOST_VALUES) <= 0:
            raise Refused(f'config {path} holds more than {_MOST_VALUES} values')
    except RecursionError:
        raise Refused(f'config {path} nests too deep') from None
    return ReadConfig(values, reader.unread)


class _NotPlain(Exception):
    """An expression that would have to be run."""


class _Reader:
    """One config with its bases."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unread: list[Unread] = []
        self.open: list[Path] = []
        self.files = 0

    def read(self, path: Path) -> dict[str, Any]:
        self.files += 1
        if path in self.open or self.files > _MOST_FILES:
            raise Refused(f'config {path}: its _base_ go round in circles, or are too many')
        if path.stat().st_size > _LARGEST_FILE:
            raise Refused(f'config {path} has more than {_LARGEST_FILE} bytes')
        self.open.append(path)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, MemoryError) as error:
            reason = str(error) or 'it nests too deep'  # the parser's MemoryError says nothing
            raise Refused(f'config {path} is no Python ({reason})') from None
        found = _File(self, path).values(tree)
        self.open.pop()
        return found


class _File:
    """One file, statement by statement."""

    def __init__(self, reader: _Reader, path: Path) -> None:
        self.reader, self.path = reader, path
        self.base: dict[str, Any] = {}
        self.own: dict[str, Any] = {}

    def values(self, tree: ast.Module) -> dict[str, Any]:
        for node in tree.body:  # wherever it stands, MMEngine reads it first
            match node:
                case ast.Assign(targets=[ast.Name(id='_base_')], value=value):
                    self.read_bases(value)
        for node in tree.body:
            self.statement(node)
        return _merged(self.own, self.base)

    def read_bases(self, node: ast.expr) -> None:
        try:
            names = ast.literal_eval(node)
        except (ValueError, TypeError):
            self.skip(node)
            return
        for name in [names] if isinstance(names, str) else names:
            path = self.find(str(name))
            if path is None:
                self.skip(node, f'_base_ {name!r} is not followed: not in {self.reader.root}')
            else:
                self.base = _merged(self.reader.read(path), self.base)

    def find(self, name: str) -> Path | None:
        package, scoped, inner = name.partition('::')
        if scoped:
            spec = importlib.util.find_spec(package) if package.isidentifier() else None
            folders = [
                Path(p, '.mim/configs') for p in (spec and spec.submodule_search_locations) or ()
            ]
            root, wanted = folders[0] if folders else self.reader.root, inner
        else:
            root, wanted = self.reader.root, name
        try:
            start = root if scoped else self.path.parent
            # Links inside of a package are its own; of those in a folder only the end counts.
            path = (start / wanted).resolve()
            allowed = path.is_relative_to(root.resolve()) or path.is_relative_to(self.reader.root)
            return path if allowed and path.is_file() and path.suffix == '.py' else None
        except (OSError, ValueError):  # no name that a file can have
            return None

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Assign(targets=[ast.Name(id='_base_')]):
                pass
            case ast.Assign(targets=targets, value=value) if _are_names(targets):
                found = self.value(value)
                for target in targets:
                    self.own[target.id] = found
            case ast.Delete(targets=targets) if _are_names(targets):
                for target in targets:
                    self.own.pop(target.id, None)
            case _:
                self.skip(node)
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                        self.own[inner.id] = self.reader.unread[-1]

    def skip(self, node: ast.expr | ast.stmt, why: str = '') -> Unread:
        source = why or ast.unparse(node).split('\n')[0][:200]
        try:
            file = str(self.path.relative_to(self.reader.root))
        except ValueError:
            file = str(self.path)
        piece = Unread(file, node.lineno, source)
        self.reader.unread.append(piece)
        return piece

    def value(self, node: ast.expr) -> Any:
        """What an expression holds, with :class:`Unread` for what in it is not plain."""
        try:
            found = self.plain(node)
        except (_NotPlain, ArithmeticError, TypeError, ValueError, KeyError, IndexError):
            return self.skip(node)
        if isinstance(found, int) and abs(found) > _LARGEST_INT:
            return self.skip(node)
        return self.skip(node) if hasattr(found, '__len__') and len(found) > _LONGEST else found

    def plain(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return self.filled(value) if isinstance(value, str) else value
            # {{_base_.name}}, as older configs write it
            case ast.Set(elts=[ast.Set(elts=[ast.Attribute() as inner])]):
                return self.plain(inner)
            case ast.List(elts=elts):
                return self.items(elts)
            case ast.Tuple(elts=elts):
                return tuple(self.items(elts))
            case ast.Set(elts=elts):
                return set(self.items(elts))
            case ast.Dict(keys=keys, values=values):
                return self.entries(
                    [(k and self.plain(k), v, k is None) for k, v in zip(keys, values)]
                )
            case ast.Call(func=ast.Name(id='dict'), args=args, keywords=words) if len(args) < 2:
                spread = [(None, arg, True) for arg in args]
                return self.entries(spread + [(w.arg, w.value, w.arg is None) for w in words])
            case ast.Call(func=ast.Name(id='list' | 'tuple' as kind), args=[inner], keywords=[]):
                found = self.plain(inner)
                items = found if isinstance(found, str) else _sequence(found)
                return list(items) if kind == 'list' else tuple(items)
            case ast.Name(id=name) if name in self.own:
                return self.own[name]
            case ast.Attribute(value=ast.Name(id='_base_'), attr=name):
                return self.base[name]
            case ast.Attribute(value=inner, attr=name):
                found = self.plain(inner)
                if not isinstance(found, dict):
                    raise _NotPlain
                return found[name]
            case ast.Subscript(value=inner, slice=index):
                return self.plain(inner)[self.plain(index)]
            case ast.UnaryOp(op=op, operand=inner) if type(op) in _SIGNS:
                return _SIGNS[type(op)](_number(self.plain(inner)))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return _combined(type(op), self.plain(left), self.plain(right))
            case ast.JoinedStr(values=parts):
                return ''.join(map(self.part, parts))
        raise _NotPlain

    def filled(self, text: str) -> str:
        """With what MMEngine puts in: ``{{$VARIABLE:default}}``, ``{{fileBasename}}`` and such."""
        path = self.path
        names = dict(
            fileDirname=str(path.parent),
            fileBasename=path.name,
            fileBasenameNoExtension=path.stem,
            fileExtname=path.suffix,
        )
        text = _FILE.sub(lambda found: names[found[1]], text)
        return _VARIABLE.sub(lambda found: os.environ.get(found[1], found[2]), text)

    def part(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(text)):
                return text
            case ast.FormattedValue(value=inner, conversion=-1, format_spec=None):
                found = self.plain(inner)
                if isinstance(found, (str, int, float)):
                    return str(found)
        raise _NotPlain

    def items(self, nodes: list[ast.expr]) -> list:
        found: list = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                found += _sequence(self.plain(node.value))
            else:
                found.append(self.value(node))
        return found

    def entries(self, entries: list[tuple[Any, ast.expr, bool]]) -> dict:
        found: dict = {}
        for key, node, spread in entries:
            if spread:
                inner = self.plain(node)
                if not isinstance(inner, dict):
                    raise _NotPlain
                found |= inner
            else:
                found[key] = self.value(node)
        return found


def _are_names(targets: list[ast.expr]) -> TypeGuard[list[ast.Name]]:
    return all(isinstance(target, ast.Name) for target in targets)


def _sequence(found: Any) -> list | tuple:
    if not isinstance(found, (list, tuple)) or isinstance(found, Unread):
        raise _NotPlain
    return found


def _number(found: Any) -> Any:
    if not isinstance(found, (int, float)) or (type(found) is int and abs(found) > _LARGEST_INT):
        raise _NotPlain
    return found


def _combined(op: type, left: Any, right: Any) -> Any:
    """Arithmetic of numbers; joining and repeating of strings and lists, up to a length."""
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return _ARITHMETIC[op](_number(left), _number(right))
    if isinstance(left, int):
        left, right = right, left
        if op is not ast.Mult:
            raise _NotPlain
    if (
        isinstance(left, Unread)
        or isinstance(right, Unread)
        or not isinstance(left, (str, list, tuple))
    ):
        raise _NotPlain
    if op is ast.Add and type(left) is type(right) and len(left) + len(right) <= _LONGEST:
        return operator.add(left, right)
    if op is ast.Mult and isinstance(right, int) and len(left) * right <= _LONGEST:
        return left * right
    raise _NotPlain


def _merged(new: dict, old: dict) -> dict:
    """``new`` over ``old``, as MMEngine merges a config into its base."""
    found = dict(old)
    for key, value in new.items():
        if not isinstance(value, dict):
            found[key] = value
            continue
        replaces = value.get('_delete_', False)
        value = {k: v for k, v in value.items() if k != '_delete_'}
        below = found.get(key) if not replaces else None
        found[key] = _merged(value, below if isinstance(below, dict) else {})
    return found


def _count(value: Any, budget: int) -> int:
    """What is left of a budget after one for each value."""
    budget -= 1
    inner = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list, tuple, set)):
        for item in inner:
            if budget <= 0:
                break
            budget = _count(item, budget)
    return budget
