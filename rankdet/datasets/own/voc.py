"""VOC XML in any layout: the development kit's, or annotations wherever their images are."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

from ..voc import IMAGE_SUFFIXES, Record, list_annotations, list_images, read_record
from ..voc_files import Unusable, read_list
from .listing import Folder, Job, Listing, split_name

_LISTS = ('trainval', 'train', 'val', 'test')


def is_voc(folder: Folder) -> bool:
    return bool(_annotations(folder))


def list_voc(folder: Folder) -> Listing:
    """Every image that has, or should have, an annotation in XML.

    ``ImageSets/Main/{train,val,test}.txt`` say which image is where; ``trainval`` counts where
    there is no ``train``. Without lists the names of folders do.
    """
    listing = Listing()
    annotations = _annotations(folder)
    years = {p.parent.parent for p in annotations if p.parent.name == 'Annotations'}
    kits = sorted(year for year in years if _is_kit(folder, year))
    for year in kits:
        _list_year(listing, folder, year)
    for year in sorted(years.difference(kits)) if kits else [folder.root]:
        _list_anywhere(listing, folder, year, [xml for xml in annotations if year in xml.parents])
    return listing


def _annotations(folder: Folder) -> list[Path]:
    return [path for path in folder.ending('.xml') if b'<annotation' in _head(path)]


def _head(path: Path) -> bytes:
    try:
        with path.open('rb') as file:
            return file.read(4096)
    except OSError:
        return b''


def _is_kit(folder: Folder, year: Path) -> bool:
    """Whether a folder is as the development kit has it: lists in ``Main``, or none at all."""
    if not (year / 'JPEGImages').is_dir():
        return False
    elsewhere = (year / 'ImageSets', year, folder.root)
    return bool(_lists(folder, year / 'ImageSets/Main')) or not any(
        _lists(folder, place) for place in elsewhere
    )


def _lists(folder: Folder, place: Path) -> dict[str | None, Path]:
    """The list of each split in a folder."""
    found = {p.stem: p for p in folder.ending('.txt') if p.parent == place}
    return {split_name(name): found[name] for name in _LISTS if name in found}


def _list_year(listing: Listing, folder: Folder, year: Path) -> None:
    """A folder as the development kit has it."""
    images = list_images(year)
    there = {p.stem: p for p in folder.ending('.xml') if p.parent == year / 'Annotations'}
    lists = _lists(folder, year / 'ImageSets' / 'Main')
    for split, path in lists.items() or [(None, None)]:
        annotations, findings = list_annotations(year, path.stem if path else None, images)
        listing.findings += findings
        stems = [xml.stem for xml in annotations]
        stems += sorted(there.keys() - set(stems)) if split is None else []
        for stem in stems:
            xml = there.get(stem, year / 'Annotations' / f'{stem}.xml')
            own = folder.split_of(xml) if split is None else split
            listing.jobs.append(Job(own, xml, _reader(xml, images)))


def _list_anywhere(listing: Listing, folder: Folder, top: Path, annotations: list[Path]) -> None:
    """Annotations below a folder, each with the image of its name; lists choose among them."""
    described = {xml.stem for xml in annotations}
    splits = _listed(listing, folder, top, annotations)
    for split, xml in splits or [(folder.split_of(xml), xml) for xml in annotations]:
        images = {xml.stem: folder.nearest(folder.by_stem.get(xml.stem, []), xml)}
        listing.jobs.append(Job(split, xml, _reader(xml, images)))
    for image in folder.images:
        if image.stem not in described and top in image.parents and not splits:
            listing.skip(image, 'annotation is missing')


def _listed(
    listing: Listing, folder: Folder, top: Path, annotations: list[Path]
) -> list[tuple[str | None, Path]]:
    """Splits and annotations, by the lists of ``ImageSets`` or those above the annotations."""
    folders = {xml.parent for xml in annotations}
    places = {p for own in folders for p in (own, *own.parents) if top in (p, *p.parents)}
    by_stem: dict[str, list[Path]] = {}
    for xml in annotations:
        by_stem.setdefault(xml.stem, []).append(xml)
    found: dict[tuple[str | None, Path], None] = {}
    for place in sorted(places):
        for sets in (place / 'ImageSets' / 'Main', place / 'ImageSets', place):
            lists = _lists(folder, sets)
            for split, path in lists.items():
                try:
                    stems = [_stem(name) for name in read_list(path)]
                except Unusable as problem:
                    raise ValueError(f'{path} {problem}') from None
                if sets == place and not any(stem in by_stem for stem in stems):
                    continue  # a list of something else
                for stem in stems:
                    fits = [xml for xml in by_stem.get(stem, []) if place in xml.parents]
                    if len(fits) > 1:
                        fits = [xml for xml in fits if folder.split_of(xml) == split]
                    if len(fits) != 1:
                        what = 'several annotations are' if fits else 'no annotation is'
                        listing.skip(path, f'{what} called {stem!r:.80}')
                    found |= {(split, xml): None for xml in fits[:1]}
            if lists:
                break
    return list(found)


def _stem(name: str) -> str:
    """Of a line of a list, which may be a path."""
    path = PurePosixPath(name.replace('\\', '/'))
    return path.stem if path.suffix.lower() in {'.xml', *IMAGE_SUFFIXES} else path.name


def _reader(xml: Path, images: dict[str, list[Path]]) -> partial[Record]:
    return partial(read_record, xml, images, zero_based=False, images_only=False)
