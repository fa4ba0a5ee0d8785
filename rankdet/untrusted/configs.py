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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from .config_limits import (
    LARGEST_INT,
    LONGEST,
    MOST_VALUES,
    NotPlain,
    Unread,
    as_key,
    count,
    deletes,
    merged,
    number,
    sequence,
)
from .config_text import ConfigText, decoded, put_in
from .documents import parse_json
from .limits import Refused
from .python_text import parse_filled
from .shown_config import ReadConfig

_LARGEST_FILE = 10**6  # bytes, with its bases
_MOST_FILES = 64
_MOST_BUILT = 10**7  # of all these together
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
_SIGNS: dict[type, Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}
_KINDS = ('.py', '.json')
# What MMEngine's ConfigDict answers to itself, whatever it holds.
_METHODS = {
    *dir(dict),
    *('build_lazy', 'deepcopy', 'freeze', 'lazy', 'merge', 'scope', 'to_dict', 'unfreeze'),
}


def read_config(path: str | Path) -> ReadConfig:
    """Read a config, and the files that it builds upon, without running any of them.

    ``_base_`` is followed inside the folder ``configs`` that the file is in (else its own folder)
    and into the configs of installed packages (``'mmdet::...'``), nowhere else.

    Args:
        path: a ``.py`` config as MMEngine reads it, or a ``.json`` one.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is no Python or JSON in UTF-8, too large, nests too deep, its bases go round in
            circles, or what MMEngine puts into its text may be code.
    """
    path = Path(os.path.abspath(path))  # as MMEngine: a link's bases are beside the link
    if not path.is_file():
        raise FileNotFoundError(f'config {path} does not exist')
    if path.suffix not in _KINDS:
        raise Refused(f'config {path} is no .py or .json')
    roots = [folder for folder in path.parents if folder.name == 'configs'] or [path.parent]
    reader = _Reader(roots[0])
    try:
        values = reader.read(path)
    except RecursionError:
        raise Refused(f'config {path} nests too deep') from None
    return ReadConfig(values, reader.unread)


@dataclass
class _FromBase:
    """``{{_base_.name}}``: to a config while it runs a string, the base's value at its end."""

    value: Any


class _Reader:
    """One config with its bases."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.packages: list[Path] = []
        self.unread: list[Unread] = []
        self.open: list[Path] = []
        self.files = self.bytes = 0
        self.left = _MOST_BUILT

    def read(self, path: Path) -> dict[str, Any]:
        self.files += 1
        if path in self.open or self.files > _MOST_FILES:
            raise Refused(f'config {path}: its _base_ go round in circles, or are too many')
        self.bytes += path.stat().st_size
        if self.bytes > _LARGEST_FILE:
            raise Refused(f'config {path} has, with its bases, more than {_LARGEST_FILE} bytes')
        self.open.append(path)
        try:
            raw = decoded(path.read_bytes())
            filled = put_in(raw, path, len(raw) + _LARGEST_FILE - self.bytes)
            self.bytes += max(len(filled.text) - len(raw), 0)
            tree = None if path.suffix == '.json' else parse_filled(raw, filled.text)
        except Refused as error:
            raise Refused(f'config {path} {error}') from None
        file = _File(self, path, filled)
        found = file.values(tree) if tree else file.json_values()
        self.open.pop()
        return found

    def merged(self, new: dict, old: dict) -> dict:
        """:func:`merged`, which makes copies of all that is new: it is counted before."""
        self.check(new)
        found = merged(new, old)
        self.check(found)
        return found

    def check(self, values: dict) -> None:
        if count(values, MOST_VALUES) <= 0:
            what = f'holds more than {MOST_VALUES} values, or as much text'
            raise Refused(f'config {self.open[-1]} {what}')

    def take(self, length: int) -> None:
        """Called before something of this length is put together."""
        if length > min(self.left, LONGEST):
            raise NotPlain
        self.left -= length


class _File:
    """One file, statement by statement."""

    def __init__(self, reader: _Reader, path: Path, filled: ConfigText) -> None:
        self.reader, self.path, self.filled = reader, path, filled
        self.lines = filled.text.encode().splitlines()
        inside = path.is_relative_to(reader.root)
        self.name = str(path.relative_to(reader.root) if inside else path)
        self.base: dict[str, Any] = {}
        self.own: dict[str, Any] = {}
        self.deleting: dict[str | bytes, bool] = {}

    def values(self, tree: ast.Module) -> dict[str, Any]:
        # Wherever it stands, MMEngine reads it first, and no second one.
        base = next(filter(_is_base, tree.body), None)
        if isinstance(base, ast.Assign):
            self.read_bases(base.value)
        for node in tree.body:
            if not _is_base(node):
                self.statement(node)
        return self.whole()

    def json_values(self) -> dict[str, Any]:
        shown = f'config {self.path}'
        values = parse_json(self.filled.text.encode(), shown)
        if not isinstance(values, dict):
            raise Refused(f'{shown} is no object of names and values')
        self.follow(values.get('_base_', []), ast.Constant('', lineno=1))
        self.own = values
        try:
            return self.whole()
        except (NotPlain, KeyError, TypeError):
            reason = 'that its bases do not have, or have with _delete_'
            raise Refused(f'{shown} has a {{{{_base_.name}}}} {reason}') from None

    def whole(self) -> dict[str, Any]:
        """Own values over the base's, without the names that MMEngine leaves out."""
        left_out = ('_base_', '_deprecation_')
        own = {k: v for k, v in self.own.items() if k not in left_out and not k.startswith('__')}
        if self.filled.bases:
            self.reader.check(own)
            own = self.with_base(own)
        return self.reader.merged(own, self.base)

    def with_base(self, value: Any) -> Any:
        """With the base's values in their places, as deep as MMEngine looks."""
        match self.constant(value):
            case _FromBase(value=found):
                return found
            case dict():
                return {key: self.with_base(inner) for key, inner in value.items()}
            case list() | tuple() if not isinstance(value, Unread):
                return type(value)(map(self.with_base, value))
        return value

    def constant(self, value: Any) -> Any:
        """Itself, or what it stands for."""
        text = value.decode('latin-1') if isinstance(value, bytes) else value
        if not isinstance(text, str) or self.filled.mark not in text:
            return value
        if value not in self.filled.bases:  # within a string, where MMEngine leaves it
            raise NotPlain
        found = self.base
        for name in self.filled.bases[value].split('.'):
            found = found[name]
        if value not in self.deleting:
            self.deleting[value] = deletes(found)
        if self.deleting[value]:  # MMEngine merges the base's own value, and takes that out of it
            raise NotPlain
        return _FromBase(found)

    def read_bases(self, node: ast.expr) -> None:
        try:
            names = ast.literal_eval(node)
        except (ValueError, TypeError):
            self.skip(node)
            return
        self.follow(names, node)

    def follow(self, names: Any, node: ast.expr) -> None:
        if not isinstance(names, (str, list, tuple)):
            self.skip(node, f'_base_ {names!r} is not followed: it names no file')
            return
        for name in [names] if isinstance(names, str) else names:
            path = self.find(str(name))
            if path is None:
                place = f'not a .py or .json in {self.reader.root}'
                self.skip(node, f'_base_ {name!r} is not followed: {place}')
            else:
                self.base = self.reader.merged(self.reader.read(path), self.base)

    def find(self, name: str) -> Path | None:
        package, scoped, inner = name.partition('::')
        root, wanted = self.reader.root, inner if scoped else name
        try:
            if scoped:
                spec = importlib.util.find_spec(package) if package.isidentifier() else None
                places = (spec and spec.submodule_search_locations) or ()
                root = next((Path(place, '.mim/configs') for place in places), root)
                self.reader.packages.append(root)
            start = root if scoped else self.path.parent
            path = Path(os.path.abspath(start / wanted))
            # Links inside of a package are its own; of those in a folder only the end counts.
            end = path.resolve()
            tops = (self.reader.root, *self.reader.packages)
            allowed = any(end.is_relative_to(top.resolve()) for top in tops)
            return path if allowed and path.is_file() and path.suffix in _KINDS else None
        except (OSError, ValueError):  # no name that a file can have
            return None

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr(value=ast.Constant()) | ast.Pass():
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
        if len(self.reader.unread) >= MOST_VALUES:
            raise Refused(f'config {self.path} has more than {MOST_VALUES} pieces to be run')
        piece = Unread(self.name, node.lineno, why[:200] or self.source(node))
        self.reader.unread.append(piece)
        return piece

    def source(self, node: ast.expr | ast.stmt) -> str:
        """Its text as it stands in the file: ast.unparse would take minutes for a long one."""
        last = (node.end_lineno or node.lineno) - 1
        lines = self.lines[node.lineno - 1 : min(last + 1, node.lineno + 7)]
        if last == node.lineno - 1:
            lines = [lines[0][: node.end_col_offset]]
        elif isinstance(node, ast.stmt):
            lines = lines[:1]
        lines[0] = lines[0][node.col_offset :]
        text = b' '.join(line[:800] for line in lines).decode(errors='replace')
        return self.filled.original(' '.join(text.split()))[:200]

    def value(self, node: ast.expr) -> Any:
        """What an expression holds, with :class:`Unread` for what in it is not plain."""
        try:
            found = self.plain(node)
        except (NotPlain, ArithmeticError, TypeError, ValueError, KeyError, IndexError):
            return self.skip(node)
        if isinstance(found, int) and abs(found) > LARGEST_INT:
            return self.skip(node)
        return self.skip(node) if hasattr(found, '__len__') and len(found) > LONGEST else found

    def plain(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return self.constant(value)
            case ast.List(elts=elts):
                return self.items(elts)
            case ast.Tuple(elts=elts):
                return tuple(self.items(elts))
            case ast.Set(elts=elts):
                return {as_key(item) for item in self.items(elts)}
            case ast.Dict(keys=keys, values=values):
                return self.entries(
                    [(k and as_key(self.plain(k)), v, k is None) for k, v in zip(keys, values)]
                )
            case ast.Call(func=ast.Name(id='dict'), args=args, keywords=words) if len(args) < 2:
                spread = [(None, arg, True) for arg in args]
                return self.entries(spread + [(w.arg, w.value, w.arg is None) for w in words])
            case ast.Call(func=ast.Name(id='list' | 'tuple' as kind), args=[inner], keywords=[]):
                found = self.plain(inner)
                items = found if isinstance(found, str) else sequence(found)
                self.reader.take(len(items))
                return list(items) if kind == 'list' else tuple(items)
            case ast.Name(id=name) if name in self.own:
                return self.own[name]
            case ast.Attribute(attr=name) if name in _METHODS or name.startswith('_'):
                raise NotPlain
            case ast.Attribute(value=ast.Name(id='_base_'), attr=name):
                return self.base[name]
            case ast.Attribute(value=inner, attr=name):
                found = self.plain(inner)
                if not isinstance(found, dict):
                    raise NotPlain
                return found[name]
            case ast.Subscript(value=inner, slice=index):
                found = self.plain(inner)
                if isinstance(found, Unread):
                    raise NotPlain
                return found[as_key(self.plain(index))]
            case ast.UnaryOp(op=op, operand=inner) if type(op) in _SIGNS:
                return _SIGNS[type(op)](number(self.plain(inner)))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                return self.combined(type(op), self.plain(left), self.plain(right))
            case ast.JoinedStr(values=parts):
                return self.joined(map(self.part, parts))
        raise NotPlain

    def joined(self, parts: Iterable[str]) -> str:
        kept, length = [], 0
        for part in parts:
            length += len(part)
            if length > LONGEST:
                raise NotPlain
            kept.append(part)
        self.reader.take(length)
        return ''.join(kept)

    def combined(self, op: type, left: Any, right: Any) -> Any:
        """Arithmetic of numbers; joining and repeating of strings and lists, up to a length."""
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return _ARITHMETIC[op](number(left), number(right))
        if isinstance(left, int):
            left, right = right, left
            if op is not ast.Mult:
                raise NotPlain
        if (
            isinstance(left, Unread)
            or isinstance(right, Unread)
            or not isinstance(left, (str, list, tuple))
        ):
            raise NotPlain
        if op is ast.Add and type(left) is type(right):
            self.reader.take(len(left) + len(right))
            return operator.add(left, right)
        if op is ast.Mult and isinstance(right, int):
            self.reader.take(len(left) * max(right, 0))
            return left * right
        raise NotPlain

    def part(self, node: ast.expr) -> str:
        match node:
            case ast.Constant(value=str(text)) if self.filled.mark not in text:
                return text
            case ast.FormattedValue(value=inner, conversion=-1, format_spec=None):
                found = self.plain(inner)
                if isinstance(found, (str, int, float)):
                    return str(found)
        raise NotPlain

    def items(self, nodes: list[ast.expr]) -> list:
        found: list = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                more = sequence(self.plain(node.value))
                self.reader.take(len(more))
                found += more
            else:
                found.append(self.value(node))
            if len(found) > LONGEST:
                raise NotPlain
        return found

    def entries(self, entries: list[tuple[Any, ast.expr, bool]]) -> dict:
        found: dict = {}
        for key, node, spread in entries:
            if spread:
                inner = self.plain(node)
                if not isinstance(inner, dict):
                    raise NotPlain
                self.reader.take(len(found) + len(inner))
                found |= inner
            else:
                found[key] = self.value(node)
        return found


def _is_base(node: ast.stmt) -> bool:
    """Whether MMEngine takes it for its list of bases, and the other targets not at all."""
    match node:
        case ast.Assign(targets=[ast.Name(id='_base_'), *_]):
            return True
    return False


def _are_names(targets: list[ast.expr]) -> TypeGuard[list[ast.Name]]:
    return all(isinstance(target, ast.Name) for target in targets)
