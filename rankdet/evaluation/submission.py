"""Results packed as the evaluation servers want them: COCO test-dev and VOC2012 test.

Everything is checked before anything is written, a file is there complete or not at all, and equal
results give equal files.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rankdet.evaluation.coco_data import (
    Detections,
    GroundTruth,
    load_detections,
    load_ground_truth,
    read_json,
)
from rankdet.evaluation.progress import Progress, silent

#: Test sets that COCO's server has taken results for.
COCO_TEST_SETS = ('test-dev2017', 'test2017', 'test-dev2015', 'test2015')
#: Written instead of the time, which would make every archive differ.
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Submission(NamedTuple):
    """A packed result.

    Attributes:
        path: the archive.
        images: how many the test set has.
        images_detected: how many of them have detections.
        detections: how many were packed.
    """

    path: Path
    images: int
    images_detected: int
    detections: int


def write_coco_submission(
    results: str | os.PathLike | Iterable[Mapping],
    images: GroundTruth | str | os.PathLike | Mapping,
    out_dir: str | os.PathLike,
    *,
    algorithm: str,
    test_set: str = 'test-dev2017',
    categories: Mapping[str, int] | None = None,
    num_images: int | None = None,
    progress: Progress = silent,
) -> Submission:
    """Zip a result file for COCO's detection server under its naming rule.

    Writes ``detections_<test_set>_<algorithm>_results.zip``, which holds one file of the same
    name that ends in ``.json``: a list of ``image_id``, ``category_id``, ``bbox``, ``score``.
    Other fields are left out; numbers stay as they are.

    Args:
        results: path of the result file, or its content.
        images: the test set, such as COCO's ``image_info_test-dev2017.json``.
        out_dir: folder of the archive, made if it is not there.
        algorithm: name for the results: letters, digits, ``.`` and ``-``.
        test_set: its name, one of ``COCO_TEST_SETS``.
        categories: name and id of each class of the server, which ``images`` must have, no more
            and no less: it knows COCO's classes by ids up to 90, and scores others as wrong. None
            takes any.
        num_images: how many images the test set has, which ``images`` must list; None takes any.
        progress: told how far it is.

    Returns:
        Submission: the archive and what it covers.

    Raises:
        ValueError: the results do not fit the format or the test set, there are none, a name
            does not fit, or ``images`` is another list than the test set's or has annotations;
            nothing is written then.
        NotADirectoryError: ``out_dir`` is a file, or below one.
    """
    if not re.fullmatch(r'[A-Za-z0-9.-]+', str(algorithm)):
        raise ValueError(f'algorithm must be letters, digits, "." and "-", got {algorithm!r}')
    _check_folder(Path(out_dir), 'out_dir')
    if test_set not in COCO_TEST_SETS:
        raise ValueError(f'test_set must be one of {COCO_TEST_SETS}, got {test_set!r}')
    images = _load_images(images, progress)
    if len(images):
        raise ValueError(
            f'images must be the list of a test set, whose annotations are withheld; these have '
            f'{len(images)} annotations'
        )
    if categories is not None:
        _check_categories(images, categories)
    _check_count(images, num_images, test_set)
    progress('reading results', 0, 1)
    entries: Any = results
    if isinstance(results, (str, os.PathLike)):
        entries = read_json(results, 'results')
    elif isinstance(results, Iterator):
        entries = list(results)
    dt = _some_detections(entries, images)
    rows: list[Mapping] = list(entries)
    for n, row in enumerate(rows):
        _check_coco_row(row, n)
    fields = ('image_id', 'category_id', 'bbox', 'score')
    content = json.dumps(
        [{field: row[field] for field in fields} for row in rows],
        separators=(',', ':'),
        allow_nan=False,
    )
    progress('writing', 0, 1)
    stem = f'detections_{test_set}_{algorithm}_results'
    path = Path(out_dir) / f'{stem}.zip'

    def write(file: io.BufferedWriter) -> None:
        with zipfile.ZipFile(file, 'w') as archive:
            member = zipfile.ZipInfo(f'{stem}.json', _EPOCH)
            archive.writestr(member, content, compress_type=zipfile.ZIP_DEFLATED)

    _write_whole(path, write)
    return _submission(path, images, dt)


def write_voc_submission(
    results: Detections | str | os.PathLike | Iterable[Mapping],
    images: GroundTruth | str | os.PathLike | Mapping,
    path: str | os.PathLike,
    *,
    classes: Sequence[str],
    competition: str = 'comp4',
    year: str = 'VOC2012',
    split: str = 'test',
    num_images: int | None = None,
    progress: Progress = silent,
) -> Submission:
    """Pack results for VOC's evaluation server.

    The archive holds ``results/<year>/Main/<competition>_det_<split>_<class>.txt`` for every
    class, also for one without detections. A line has the image's name, the score, and the
    box as first and last pixel, counted from 1.

    Args:
        results: COCO results, loaded or not.
        images: the test set, converted from VOC to COCO's format.
        path: archive to write, ending in ``.tar.gz`` or ``.tgz``.
        classes: names that the server expects, which are VOC's 20 as a rule; those of ``images``
            must be the same, in any order.
        competition: ``comp4`` for detectors trained on any data, ``comp3`` on VOC alone.
        year, split: names of the data set and of its part.
        num_images: how many images the test set has. ``images`` must then be its list: of that
            number, with VOC2012's names for ``year='VOC2012'``, and for the part ``'test'``
            without annotations, which the server keeps. None takes any images.
        progress: told how far it is.

    Returns:
        Submission: the archive and what it covers.

    Raises:
        ValueError: unusable results or none, other classes, an image without a name of its
            own, images that are not the test set's, or another ending; nothing is written then.
        IsADirectoryError, NotADirectoryError: ``path`` is a folder, or below a file.
    """
    path = Path(path)
    if not path.name.endswith(('.tar.gz', '.tgz')):
        raise ValueError(f'path must end in .tar.gz or .tgz, got {str(path)!r}')
    if path.is_dir():
        raise IsADirectoryError(f'path must name a file, but {str(path)!r} is a folder')
    _check_folder(path.parent, 'path')
    images = _load_images(images, progress)
    if sorted(images.class_names) != sorted(classes):
        lacking = sorted(set(classes) - set(images.class_names))
        unknown = sorted(set(images.class_names) - set(classes))
        raise ValueError(
            f'images must have the {len(classes)} classes of the server once each; they lack '
            f'{lacking} and have {unknown} besides'
        )
    stems = [Path(name).stem for name in images.file_names]
    if not all(stems) or len(set(stems)) < len(stems):
        raise ValueError('images must have a file_name each, and all names must differ')
    if num_images is not None:
        _check_voc_images(images, stems, year, split)
        _check_count(images, num_images, f'{year} {split}')
    progress('reading results', 0, 1)
    dt = _some_detections(results, images)
    order = np.lexsort((-dt.scores, dt.image, dt.label))
    dt = dt[order]
    folder = f'results/{year}/Main/{competition}_det_{split}'
    files = {}
    for label, name in enumerate(images.class_names):
        progress('packing', label, len(images.class_names))
        part = dt[slice(*np.searchsorted(dt.label, [label, label + 1]))]
        first, last = part.boxes[:, :2] + 1, part.boxes[:, :2] + part.boxes[:, 2:]
        lines = (
            f'{stems[image]} {score:.9f} {x1:.6f} {y1:.6f} {x2:.6f} {y2:.6f}\n'
            for image, score, (x1, y1), (x2, y2) in zip(part.image, part.scores, first, last)
        )
        files[f'{folder}_{name}.txt'] = ''.join(lines).encode()

    def write(file: io.BufferedWriter) -> None:
        with (
            gzip.GzipFile(filename='', fileobj=file, mode='wb', mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode='w') as archive,
        ):
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    progress('writing', 0, 1)
    _write_whole(path, write)
    return _submission(path, images, dt)


def _check_folder(folder: Path, argument: str) -> None:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        needed = 'be a folder' if argument == 'out_dir' else 'lie in a folder'
        raise NotADirectoryError(f'{argument} must {needed}, but {str(there)!r} is a file')


def _load_images(
    images: GroundTruth | str | os.PathLike | Mapping, progress: Progress
) -> GroundTruth:
    if isinstance(images, GroundTruth):
        return images
    progress('reading images', 0, 1)
    return load_ground_truth(images, allow_empty=True)


def _some_detections(
    results: Detections | str | os.PathLike | Iterable[Mapping], images: GroundTruth
) -> Detections:
    dt = results if isinstance(results, Detections) else load_detections(results, images)
    if not len(dt):
        raise ValueError('results hold no detection, which the server cannot score')
    return dt


def _check_categories(images: GroundTruth, official: Mapping[str, int]) -> None:
    found = dict(zip(images.class_names, images.class_ids))
    if found == official:
        return
    facts = {
        'lack': [name for name in official if name not in found],
        'have besides': [name for name in found if name not in official],
        'number otherwise': [
            f'{name} {found[name]} instead of {id}'
            for name, id in official.items()
            if found.get(name, id) != id
        ],
    }
    told = '; '.join(
        f'they {what} {", ".join(names[:3])}' + (f' and {len(names) - 3} more' * (len(names) > 3))
        for what, names in facts.items()
        if names
    )
    raise ValueError(
        f"images must have the server's {len(official)} categories with its ids, as in COCO's own "
        f'list of the test set: {told}'
    )


def _check_count(images: GroundTruth, official: int | None, test_set: str) -> None:
    if official not in (None, len(images.image_ids)):
        raise ValueError(
            f'images must be those of {test_set}, of which there are {official}, got '
            f'{len(images.image_ids)}'
        )


def _check_voc_images(images: GroundTruth, stems: Sequence[str], year: str, split: str) -> None:
    if split == 'test' and len(images):
        raise ValueError(
            f'images must be the list of a test set, whose annotations are withheld; these have '
            f'{len(images)} annotations'
        )
    # VOC2007 numbers its images 000001, later years put a year before: 2008_000001.
    other = [stem for stem in stems if not re.fullmatch(r'20\d\d_\d{6}', stem)]
    if year == 'VOC2012' and other:
        raise ValueError(
            f'images must be those of VOC2012, whose names are like 2008_000001; {len(other)} are '
            f'not, such as {other[0]!r}'
        )


def _submission(path: Path, images: GroundTruth, dt: Detections) -> Submission:
    return Submission(path, len(images.image_ids), len(np.unique(dt.image)), len(dt))


def _check_coco_row(row: Mapping, n: int) -> None:
    for field in ('image_id', 'category_id'):
        if type(row[field]) is not int:
            raise ValueError(
                f'results: {field} must be an integer, got {row[field]!r} at entry {n}'
            )
    numbers = [row['score'], *row['bbox']]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in numbers):
        raise ValueError(f'results: score and bbox must be numbers, got {numbers} at entry {n}')


def _write_whole(path: Path, write: Callable[[io.BufferedWriter], None]) -> None:
    """Write beside ``path`` first, so that what is at ``path`` is always a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        with part.open('wb') as file:
            write(file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
