"""VOC XML in any layout: the development kit's, or annotations wherever their images are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..voc import Record, list_annotations, list_images, read_record
from .listing import Folder, Job, Listing, split_name


def is_voc(folder: Folder) -> bool:
    return bool(_annotations(folder))


def list_voc(folder: Folder) -> Listing:
    """Every image that has, or should have, an annotation in XML.

    ``ImageSets/Main/{train,val,test}.txt`` say which image is where; ``trainval`` counts where
    there is no ``train``. Without lists the names of folders do.
    """
    listing = Listing()
    years = sorted(
        {p.parent.parent for p in _annotations(folder) if p.parent.name == 'Annotations'}
    )
    for year in years:
        if (year / 'JPEGImages').is_dir():
            _list_year(listing, folder, year)
    if not listing.jobs:
        _list_anywhere(listing, folder)
    return listing


def _annotations(folder: Folder) -> list[Path]:
    return [path for path in folder.ending('.xml') if b'<annotation' in _head(path)]


def _head(path: Path) -> bytes:
    try:
        with path.open('rb') as file:
            return file.read(4096)
    except OSError:
        return b''


def _list_year(listing: Listing, folder: Folder, year: Path) -> None:
    images = list_images(year)
    main = year / 'ImageSets' / 'Main'
    lists = {path.stem for path in folder.ending('.txt') if path.parent == main}
    names = {split_name(n): n for n in ('trainval', 'train', 'val', 'test') if n in lists}
    for split, name in names.items() or [(None, None)]:
        annotations, findings = list_annotations(year, name, images)
        listing.findings += findings
        for xml in annotations:
            own = folder.split_of(xml) if split is None else split
            listing.jobs.append(Job(own, xml, _reader(xml, images)))


def _list_anywhere(listing: Listing, folder: Folder) -> None:
    annotations = _annotations(folder)
    for xml in annotations:
        images = {xml.stem: folder.nearest(folder.by_stem.get(xml.stem, []), xml)}
        listing.jobs.append(Job(folder.split_of(xml), xml, _reader(xml, images)))
    described = {xml.stem for xml in annotations}
    for image in folder.images:
        if image.stem not in described:
            listing.skip(image, 'annotation is missing')


def _reader(xml: Path, images: dict[str, list[Path]]) -> partial[Record]:
    return partial(read_record, xml, images, zero_based=False, images_only=False)
