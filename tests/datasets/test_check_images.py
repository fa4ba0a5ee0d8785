"""Images that are missing, damaged or of another size, and what the report says was looked at."""

import mmcv
import numpy as np
import pytest
from PIL import Image
from test_check import coco, edit_text, official, single, voc  # noqa: F401

from rankdet.datasets.check import check_folder
from rankdet.datasets.voc_files import Unusable, decode_size, header_size


def test_empty_file(coco):  # noqa: F811
    (coco / 'train2017/000000000002.jpg').write_bytes(b'')
    single(check_folder(coco, decode=True), 'empty files: 000000000002.jpg', 'train2017.zip')


def test_damaged_pixels_are_found_by_decoding(voc):  # noqa: F811
    path = voc / 'VOC2007/JPEGImages/000003.jpg'
    path.write_bytes(path.read_bytes()[:2000])
    report = check_folder(voc)
    assert report.problems == []
    assert f'{path.parent}: 4 of 4 images found; headers read, pixels not' in report.text()
    single(check_folder(voc, decode=True), '000003.jpg', 'damaged', 'VOCtrainval_06-Nov-2007.tar')


@pytest.mark.parametrize('decode', [False, True])
@pytest.mark.parametrize('content', [b'<html>404</html>', bytes(5000), b'\xff\xd8\xff\xe0'])
def test_what_is_no_image_is_found_at_once(coco, content, decode):  # noqa: F811
    (coco / 'train2017/000000000002.jpg').write_bytes(content)
    single(check_folder(coco, decode=decode), '000000000002.jpg', 'damaged', 'train2017.zip')


@pytest.mark.parametrize('decode', [False, True])
def test_images_of_another_size(coco, decode):  # noqa: F811
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(coco / 'val2017/000000000006.jpg')
    report = check_folder(coco, decode=decode)
    single(report, '000000000006.jpg (is 60 x 50, not 96 x 144)')


def test_a_wrong_size_in_the_xml_only_warns(voc):  # noqa: F811
    """The converter writes the size of the image."""
    edit_text(voc / 'VOC2007/Annotations/000001.xml', '<width>', '<width>9')
    single(check_folder(voc), '000001.jpg', 'size of the annotations', stops=False)


def test_images_on_their_side_have_the_size_that_loaders_see(coco):  # noqa: F811
    path = coco / 'train2017/000000000002.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((96, 144, 3), np.uint8)).save(path, exif=exif)
    assert check_folder(coco).problems == []
    Image.fromarray(np.zeros((96, 144, 3), np.uint8)).save(path)
    single(check_folder(coco), 'is 144 x 96, not 96 x 144')


def test_the_header_of_a_png_is_read_alone(tmp_path):
    path = tmp_path / 'a.png'
    Image.fromarray(np.zeros((96, 144, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    assert header_size(path) == (144, 96)
    with pytest.raises(Unusable, match='cannot be decoded'):
        decode_size(path)


def test_sizes_are_those_of_a_training_pipeline(tmp_path):
    """Pillow turns some formats by itself, OpenCV others not at all."""
    exif = Image.Exif()
    for suffix in ('jpg', 'png', 'webp', 'tif', 'bmp'):
        for orientation in range(1, 9):
            exif[0x0112] = orientation
            path = tmp_path / f'{orientation}.{suffix}'
            Image.new('RGB', (48, 32)).save(path, exif=exif)
            height, width, _ = mmcv.imread(path, backend='cv2').shape
            assert header_size(path) == decode_size(path) == (width, height), path


@pytest.mark.parametrize('kind', [np.float32, np.int32])
def test_pixels_that_opencv_cannot_read(voc, kind):  # noqa: F811
    """Pillow reads them; training would end at the first one."""
    path = voc / 'VOC2007/JPEGImages/000003.jpg'
    Image.fromarray(np.zeros((96, 144), kind)).save(path, format='TIFF')
    assert header_size(path) == (144, 96)
    with pytest.raises(Unusable, match=r'cannot be decoded \(OpenCV cannot read it'):
        decode_size(path)
    assert '000003.jpg' in check_folder(voc, decode=True).text()


@pytest.mark.parametrize('decode', [False, True])
def test_the_report_says_what_was_looked_at(voc, coco, decode):  # noqa: F811
    read = 'decoded' if decode else 'headers read, pixels not'
    for path in (coco / 'test2017').iterdir():
        path.unlink()
    (coco / 'test2017').rmdir()
    (coco / 'annotations/image_info_test-dev2017.json').unlink()
    parts = check_folder(coco, decode=decode).parts
    assert f'{coco / "train2017"}: 4 of 4 images found; {read}; 4 sizes compared' in parts
    assert parts[-1].endswith('test-dev2017.json: not there, and only needed for the test server')
    (voc / 'VOC2007/JPEGImages/000006.jpg').unlink()
    parts = check_folder(voc, decode=decode).parts
    images = voc / 'VOC2007/JPEGImages'
    assert f'{images}: 3 of 4 images found; {read}; 3 sizes compared' in parts
    assert f'{voc / "VOC2007/instances_test.json"}: its images were not looked at' in parts


def test_progress(voc):  # noqa: F811
    calls = []
    check_folder(voc, decode=True, progress=lambda *call: calls.append(call))
    decoding = [call for call in calls if call[0].startswith('decoding')]
    assert [call[1:] for call in decoding[:4]] == [(n, 4) for n in range(1, 5)]
    calls.clear()
    check_folder(voc, progress=lambda *call: calls.append(call))
    assert sum(call[0].startswith('opening') for call in calls) == 8 * 4
