"""COCO files are checked as they are loaded: parsed once, and before anything trusts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmdet.datasets.api_wrappers import COCO

from rankdet.commands import tool_line
from rankdet.untrusted import Refused, check_coco

# What MMDetection reads of each entry without asking whether it is there.
_NEEDED = {
    'images': ('id', 'file_name', 'width', 'height'),
    'categories': ('id', 'name'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
}


@contextmanager
def checked_annotations() -> Iterator[None]:
    """Whatever data sets and metrics load by MMDetection's COCO inside is checked before use.

    Raises:
        Refused: a file is no JSON, or something in it cannot be used; names the file, the field
            and the first entry.
    """
    start, create_index = COCO.__init__, COCO.createIndex

    def init(self: Any, annotation_file: str | None = None) -> None:
        self.checked_as = f'annotation file {annotation_file}' if annotation_file else ''
        try:
            start(self, annotation_file)
        except Refused:
            raise
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
            if not self.checked_as or self.dataset:
                raise
            raise Refused(f'{self.checked_as} is not JSON, perhaps cut short: {error}') from error

    def checked_index(self: Any) -> None:
        if self.checked_as:
            check_coco(self.dataset, self.checked_as)
            _check_needed(self.dataset, self.checked_as)
        create_index(self)

    COCO.__init__, COCO.createIndex = init, checked_index
    try:
        yield
    finally:
        COCO.__init__ = start
        del COCO.createIndex  # pycocotools' own shows again


def _check_needed(content: dict, shown: str) -> None:
    for key, fields in _NEEDED.items():
        for field in fields:
            lacking = [n for n, entry in enumerate(content.get(key, [])) if field not in entry]
            if lacking:
                raise Refused(
                    f'{shown}: {len(lacking)} of its {key} have no {field}, entry {lacking[0]} is '
                    f'the first; add it, or let {tool_line("dataset_converters/to_coco")} write '
                    'the file anew'
                )
