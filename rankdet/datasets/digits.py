"""The data set of digit scenes: COCO files that every machine can make itself.

See :mod:`rankdet.datasets.digit_scenes` for what a scene shows.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from .digit_scenes import CLASSES, METAINFO, MIN_SIZE, SPLITS, make_scene, require, split_scans

__all__ = ['CLASSES', 'METAINFO', 'make_digits', 'make_scene', 'split_scans']

MARKER = 'digits.json'
VERSION = 2  # of the scenes; part of the marker, so that old ones are never taken for new ones


def make_digits(
    out_dir: str | os.PathLike,
    *,
    num_train: int = 3200,
    num_val: int = 200,
    size: int = 160,
    seed: int = 0,
    overwrite: bool = False,
    workers: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Write the digit scenes as a COCO data set.

    Leaves ``out_dir/{train,val}/000000.png`` and ``out_dir/annotations/instances_{train,val}.json``
    with the categories '0' to '9' (ids 1 to 10). Everything is written beside ``out_dir`` and
    moved there at the end, so that an interrupted run leaves nothing half written. If ``out_dir``
    already holds the data set with the same options, nothing is done.

    Args:
        out_dir: Folder to make.
        num_train: Training scenes, at least 1.
        num_val: Validation scenes, at least 1.
        size: Height and width of a scene in pixels, at least 96.
        seed: Not negative. The same seed gives the same bytes (with the same numpy and OpenCV).
        overwrite: Replace a digit data set that was made with other options. A folder that holds
            anything else is never replaced.
        workers: Processes that render; the bytes do not depend on it.
        progress: Called with (split, done, total) after each scene.

    Returns:
        Path: ``out_dir``.

    Raises:
        ValueError: If an option is out of range.
        FileExistsError: If ``out_dir`` holds something else, or other options' scenes.
        ImportError: If scikit-learn or OpenCV is missing.
    """
    for name, value, least in (
        ('num_train', num_train, 1),
        ('num_val', num_val, 1),
        ('size', size, MIN_SIZE),
        ('seed', seed, 0),
        ('workers', workers, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f'{name} must be an integer of at least {least}, got {value!r}')
    out = Path(out_dir)
    options = dict(version=VERSION, num_train=num_train, num_val=num_val, size=size, seed=seed)
    if _is_made(out, options, overwrite):
        return out

    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f'.{out.name}.{os.getpid()}.part')
    shutil.rmtree(part, ignore_errors=True)
    try:
        (part / 'annotations').mkdir(parents=True)
        for split, number in (('train', num_train), ('val', num_val)):
            _write_split(part, split, number, options, workers, progress)
        _write_json(part / MARKER, options)
        if not _is_made(out, options, overwrite):  # another process may have been faster
            _move_into_place(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def _is_made(out: Path, options: dict, overwrite: bool) -> bool:
    """Whether ``out`` is this very data set; False if it may be written; else an error."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / MARKER).is_file():
        raise FileExistsError(f'{out} exists and is no digit data set: choose another folder')
    made = json.loads((out / MARKER).read_text())
    if made == options:
        counts = [len(list((out / split).glob('*.png'))) for split in SPLITS]
        if counts == [options['num_train'], options['num_val']] and not overwrite:
            return True
        problem = f'holds {counts[0]} + {counts[1]} images of {options}'
    else:
        problem = f'holds digit scenes of other options: {made}, asked for {options}'
    if not overwrite:
        raise FileExistsError(f'{out} {problem}; choose another folder or overwrite it')
    return False


def _move_into_place(part: Path, out: Path) -> None:
    old = part.with_suffix('.old')
    if out.exists():
        out.rename(old)
    try:
        part.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_split(
    root: Path,
    split: str,
    number: int,
    options: dict,
    workers: int,
    progress: Callable[[str, int, int], None] | None,
) -> None:
    (root / split).mkdir()
    size = options['size']
    render = partial(_render, split=split, size=size, seed=options['seed'])
    images: list[dict] = []
    annotations: list[dict] = []
    for index, (encoded, digits) in enumerate(_map(render, range(number), workers)):
        name = f'{index:06d}.png'
        (root / split / name).write_bytes(encoded)
        images.append(dict(id=index + 1, file_name=name, height=size, width=size))
        for digit in digits:
            w, h = digit['bbox'][2:]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=index + 1,
                    category_id=digit['label'] + 1,
                    bbox=digit['bbox'],
                    area=w * h,
                    iscrowd=0,
                    scan=digit['scan'],
                )
            )
        if progress is not None:
            progress(split, index + 1, number)
    _write_json(
        root / 'annotations' / f'instances_{split}.json',
        dict(
            info=dict(description='Scenes of handwritten digits', split=split, options=options),
            images=images,
            annotations=annotations,
            categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)],
        ),
    )


def _render(index: int, *, split: str, size: int, seed: int) -> tuple[bytes, list[dict]]:
    """A scene as PNG, and its digits."""
    cv2 = require('cv2', 'opencv-python-headless')
    pixels, digits = make_scene(index, split=split, size=size, seed=seed)
    # Noise leaves nothing to match: coding its bytes alone is as small, and much faster.
    png = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    return cv2.imencode('.png', pixels[..., ::-1], png)[1].tobytes(), digits


def _map(render: Callable, indices: range, workers: int) -> Iterator:
    if workers == 1:
        yield from map(render, indices)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(render, indices, chunksize=16)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, separators=(',', ':')) + '\n', encoding='utf-8')
