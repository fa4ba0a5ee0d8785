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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from rankdet.evaluation.coco_data import (
    Detections,
    GroundTruth,
    load_detections,
    load_ground_truth,
    read_json,
)

#: Written instead of the time, which would make every archive differ.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_coco_submission(
    results: str | os.PathLike | Iterable[Mapping],
    images: GroundTruth | str | os.PathLike | Mapping,
    out_dir: str | os.PathLike,
    *,
    algorithm: str,
    test_set: str = 'test-dev2017',
) -> Path:
    """Zip a result file for COCO's detection server under its naming rule.

    Writes ``detections_<test_set>_<algorithm>_results.zip``, which holds one file of the same
    name that ends in ``.json``: a list of ``image_id``, ``category_id``, ``bbox``, ``score``.
    Other fields are left out; numbers stay as they are.

    Args:
        results: path of the result file, or its content.
        images: the test set, such as COCO's ``image_info_test-dev2017.json``.
        out_dir: folder of the archive, made if it is not there.
        algorithm: name for the results: letters, digits, ``.`` and ``-``.
        test_set: name of the test set.

    Returns:
        Path: the archive.

    Raises:
        ValueError: the results do not fit the format or the test set, there are none, or a
            name does not fit; nothing is written then.
    """
    for name, value in dict(algorithm=algorithm, test_set=test_set).items():
        if not re.fullmatch(r'[A-Za-z0-9.-]+', str(value)):
            raise ValueError(f'{name} must be letters, digits, "." and "-", got {value!r}')
    if not isinstance(images, GroundTruth):
        images = load_ground_truth(images, allow_empty=True)
    if isinstance(results, (str, os.PathLike)):
        results = read_json(results, 'results')
    rows = list(results) if not isinstance(results, Mapping) else results
    dt = load_detections(rows, images)
    if not len(dt):
        raise ValueError('results hold no detection, which the server cannot score')
    for n, row in enumerate(rows):
        _check_coco_row(row, n)
    fields = ('image_id', 'category_id', 'bbox', 'score')
    content = json.dumps(
        [{field: row[field] for field in fields} for row in rows],
        separators=(',', ':'),
        allow_nan=False,
    )
    stem = f'detections_{test_set}_{algorithm}_results'
    path = Path(out_dir) / f'{stem}.zip'

    def write(file: io.BufferedWriter) -> None:
        with zipfile.ZipFile(file, 'w') as archive:
            member = zipfile.ZipInfo(f'{stem}.json', _EPOCH)
            archive.writestr(member, content, compress_type=zipfile.ZIP_DEFLATED)

    return _write_whole(path, write)


def write_voc_submission(
    results: Detections | str | os.PathLike | Iterable[Mapping],
    images: GroundTruth | str | os.PathLike | Mapping,
    path: str | os.PathLike,
    *,
    competition: str = 'comp4',
    year: str = 'VOC2012',
    split: str = 'test',
) -> Path:
    """Pack results for VOC's evaluation server.

    The archive holds ``results/<year>/Main/<competition>_det_<split>_<class>.txt`` for every
    class, also for one without detections. A line has the image's name, the score, and the
    box as first and last pixel, counted from 1.

    Args:
        results: COCO results, loaded or not.
        images: COCO ground truth converted from VOC, with or without annotations.
        path: archive to write, ending in ``.tar.gz`` or ``.tgz``.
        competition: ``comp4`` for detectors trained on any data, ``comp3`` on VOC alone.
        year, split: names of the data set and of its part.

    Returns:
        Path: the archive.

    Raises:
        ValueError: unusable results, an image without a name of its own, or another ending;
            nothing is written then.
    """
    path = Path(path)
    if not path.name.endswith(('.tar.gz', '.tgz')):
        raise ValueError(f'path must end in .tar.gz or .tgz, got {str(path)!r}')
    if not isinstance(images, GroundTruth):
        images = load_ground_truth(images, allow_empty=True)
    dt = results if isinstance(results, Detections) else load_detections(results, images)
    stems = [Path(name).stem for name in images.file_names]
    if not all(stems) or len(set(stems)) < len(stems):
        raise ValueError('images must have a file_name each, and all names must differ')
    order = np.lexsort((-dt.scores, dt.image, dt.label))
    dt = dt[order]
    folder = f'results/{year}/Main/{competition}_det_{split}'
    files = {}
    for label, name in enumerate(images.class_names):
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

    return _write_whole(path, write)


def _check_coco_row(row: Mapping, n: int) -> None:
    for field in ('image_id', 'category_id'):
        if type(row[field]) is not int:
            raise ValueError(
                f'results: {field} must be an integer, got {row[field]!r} at entry {n}'
            )
    numbers = [row['score'], *row['bbox']]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in numbers):
        raise ValueError(f'results: score and bbox must be numbers, got {numbers} at entry {n}')


def _write_whole(path: Path, write: Callable[[io.BufferedWriter], None]) -> Path:
    """Write beside ``path`` first, so that what is at ``path`` is always a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        with part.open('wb') as file:
            write(file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
