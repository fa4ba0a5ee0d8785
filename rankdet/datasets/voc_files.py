"""Reading what VOC's development kit is made of: lists, XML annotations, boxes, images."""

from __future__ import annotations

import math
import operator
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from rankdet.untrusted import Refused, check_pixels, limit, read_xml

_LONGEST_NAME = 200  # bytes; file systems take 255, suffix included
_FLAG = re.compile(r'\s+(?:-1|0|1)$')
_TURNED = {'JPEG', 'MPO', 'PNG'}  # whose orientation every OpenCV follows
_LARGEST_TEXT = 2**26  # bytes; nobody wrote such a list of names or boxes by hand


class Unusable(Exception):
    """Why an image or an object cannot be used."""


def read_text(path: Path, largest: int = _LARGEST_TEXT) -> str:
    """A text file of at most ``largest`` bytes, with or without a byte order mark."""
    try:
        if path.exists() and not path.is_file():  # reading a device or a pipe may never end
            raise Unusable('is no regular file')
        if path.stat().st_size > largest:
            raise Unusable(f'is larger than {largest >> 20} MB')
        return path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError:
        raise Unusable('is no text: not UTF-8') from None
    except OSError as error:
        raise Unusable(f'cannot be read ({error.strerror})') from error


def read_list(path: Path) -> list[str]:
    """Names in a list of ``ImageSets/Main``, in its order.

    The lists of a class have a flag, -1, 0 or 1, behind each name. Names may have spaces.
    """
    try:
        lines = read_text(path).splitlines()
    except Unusable as problem:
        raise Unusable(f'is no list of names: it {problem}') from None
    names = [line.strip() for line in lines if line.strip()]
    bare = [_FLAG.sub('', name) for name in names]
    if all(map(operator.ne, bare, names)):
        names = bare
    if long := [name for name in names if len(name.encode()) > _LONGEST_NAME]:
        raise Unusable(
            f'is no list of names: {long[0]!r:.40}... is longer than a file may be called'
        )
    return names


def parse_xml(path: Path) -> ElementTree.Element:
    """Parse an annotation; what is too large or declares a document type is refused."""
    try:
        return read_xml(path)
    except OSError as error:
        raise Unusable(f'cannot be read ({error.strerror or "there is no such file"})') from error
    except Refused as error:
        raise Unusable(str(error).removeprefix(f'{path} ')) from error


def text_of(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or '').strip()


def read_box(element: ElementTree.Element, zero_based: bool) -> list[float]:
    """x1, y1, x2, y2 measured from the image's corner.

    VOC's corners are pixels that belong to the box, so that ``xmax == xmin`` is one pixel wide. A
    box of a single pixel, though, is where somebody clicked without drawing: it is no object.
    """
    if element.find('bndbox') is None:
        raise Unusable('has no bndbox')
    corners = []
    for name in ('xmin', 'ymin', 'xmax', 'ymax'):
        text = text_of(element, f'bndbox/{name}')
        try:
            corners.append(float(text))
        except ValueError:
            raise Unusable(f'{name} is {text!r}, not a number') from None
        if not math.isfinite(corners[-1]):
            raise Unusable(f'{name} is {text!r}, not a finite number')
    x1, y1, x2, y2 = corners
    if zero_based:
        if x2 <= x1 or y2 <= y1:
            raise Unusable(f'box {corners} is degenerate: xmax <= xmin or ymax <= ymin')
        return corners
    if x2 < x1 or y2 < y1:
        raise Unusable(f'box {corners} is degenerate: xmax < xmin or ymax < ymin')
    if x2 == x1 and y2 == y1:
        raise Unusable(f'box {corners} is degenerate: a single pixel')
    return [x1 - 1, y1 - 1, x2, y2]


def clip_box(box: list[float], size: tuple[int, int]) -> list[float]:
    clipped = [min(max(value, 0.0), float(size[axis % 2])) for axis, value in enumerate(box)]
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise Unusable(f'box {box} lies outside the image of {size[0]} x {size[1]}')
    if clipped[2] - clipped[0] < 1 or clipped[3] - clipped[1] < 1:
        raise Unusable(f'box {box} covers less than a pixel of the image')
    return clipped


def decode_size(path: Path) -> tuple[int, int]:
    """Width and height of an image as a training pipeline sees it, after decoding all of it."""
    return _image_size(path, decode=True)


def header_size(path: Path) -> tuple[int, int]:
    """Width and height as the header has them: a file that is cut short still passes."""
    return _image_size(path, decode=False)


def _loaded_size(path: Path) -> tuple[int, int]:
    """As MMCV loads images: OpenCV reads other files than Pillow, and turns fewer of them."""
    import cv2
    import numpy as np

    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError('OpenCV cannot read it, perhaps as its pixels are not of 8 or 16 bits')
    return image.shape[1], image.shape[0]


def _image_size(path: Path, decode: bool) -> tuple[int, int]:
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None:  # ours is the limit, where it is the higher one
        pixels = limit('RANKDET_MAX_MEGAPIXELS') * 10**6
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, pixels)
    how = 'decoded' if decode else 'opened'
    if path.exists() and not path.is_file():  # reading a device or a pipe may never end
        raise Unusable(f'image cannot be {how} (it is no regular file)')
    try:
        with Image.open(path) as image:
            check_pixels(*image.size)
            if decode:
                image.load()  # OpenCV takes a file that is cut short
                return _loaded_size(path)
            # Of a PNG all is decoded in search of EXIF that does not come before its pixels.
            hidden = image.format == 'PNG' and 'exif' not in image.info
            exif = {} if hidden or image.format == 'TIFF' else image.getexif()  # TIFF is turned
            if exif.get(0x0112, 1) not in (5, 6, 7, 8):
                return image.size
            return image.size[::-1] if image.format in _TURNED else _loaded_size(path)
    except Refused as error:
        raise Unusable(f'image is too large ({error})') from error
    except Image.DecompressionBombError as error:  # twice the limit: it does not even open
        hint = 'RANKDET_MAX_MEGAPIXELS sets another limit'
        raise Unusable(f'image is too large ({error}; {hint})') from error
    except Exception as error:  # decoders raise almost anything on damaged files
        raise Unusable(f'image cannot be {how} ({error})') from error
