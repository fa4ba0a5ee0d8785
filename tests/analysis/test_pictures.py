"""Boxes on images and images on a page, pixel by pixel."""

import numpy as np
import pytest

from rankdet.analysis.pictures import BLUE, GREEN, ORANGE, draw_boxes, page

BLACK = np.zeros((60, 80, 3), np.uint8)


def where(image, color):
    """Rows and columns with nearly this colour (lines are smoothed)."""
    return np.nonzero(np.abs(image.astype(int) - color).max(2) < 40)


def test_a_box_is_drawn_where_it_is():
    drawn = draw_boxes(BLACK, [[10, 20, 50, 45]], [''], ORANGE)
    rows, columns = where(drawn, ORANGE)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 45, 10, 50)
    assert not drawn[24:42, 14:46].any()  # hollow
    assert not BLACK.any()  # the image given is not drawn on


def test_scale_enlarges_image_and_boxes():
    drawn = draw_boxes(BLACK, np.array([[10, 20, 50, 45]]), [''], BLUE, scale=3.0)
    assert drawn.shape == (180, 240, 3)
    rows, columns = where(drawn, BLUE)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 135, 30, 150)


@pytest.mark.parametrize(
    'box, below', [([10, 30, 50, 45], False), ([10, 0, 50, 30], True), ([60, 0, 79, 30], True)]
)
def test_a_label_stays_inside_the_image(box, below):
    plain = draw_boxes(BLACK, [box], [''], GREEN)
    labelled = draw_boxes(BLACK, [box], ['7 0.93'], GREEN)
    rows, columns = np.nonzero((plain != labelled).any(2))
    assert len(rows) > 100
    assert rows.min() >= box[3] if below else rows.max() <= box[1] + 1
    assert columns.max() < 80


@pytest.mark.parametrize(
    'name, other', [('café', 'cafè'), ('кошка', 'мышка'), ('γάτα', 'γατά'), ('Ω', '?'), ('ß', '?')]
)
def test_letters_outside_ascii(name, other):
    """Question marks would be alike."""
    drawn = [draw_boxes(BLACK, [[10, 30, 50, 45]], [text], GREEN) for text in (name, other)]
    assert not np.array_equal(*drawn)


def test_letters_are_white_and_as_high_as_the_label_allows():
    drawn = draw_boxes(np.zeros((1200, 1200, 3), np.uint8), [[100, 300, 500, 600]], ['H'], BLUE)
    rows, columns = where(drawn, (255, 255, 255))
    assert 20 <= rows.max() - rows.min() + 1 <= 24 and columns.min() >= 100
    rows, _ = where(drawn[:298], BLUE)
    assert 30 <= rows.max() - rows.min() + 1 <= 40


@pytest.mark.parametrize('box', [[-30, -30, 90, 90], [75, 55, 79, 59], [-20, 58, -10, 59]])
def test_a_label_that_is_longer_than_the_image(box):
    image = np.zeros((60, 80, 3), np.uint8)
    drawn = draw_boxes(image, [box], ['a name that is far too long\n0.5'], GREEN)
    assert drawn.shape == image.shape and drawn.any()


def test_nothing_to_draw():
    assert np.array_equal(draw_boxes(BLACK, np.zeros((0, 4)), []), BLACK)
    with pytest.raises(ValueError):
        draw_boxes(BLACK, [[1, 2, 3, 4]], [])


def test_a_page_keeps_every_image():
    cells = [[np.full((60, 80, 3), 20 * r + 10 * c, np.uint8) for c in (0, 1)] for r in range(3)]
    sheet = page(cells, ['left', 'right'], gap=8)
    assert sheet.shape == (34 + 3 * 68, 8 + 2 * 88, 3)
    for r in range(3):
        for c in (0, 1):
            cell = sheet[34 + r * 68 :, 8 + c * 88 :][:60, :80]
            assert np.array_equal(cell, cells[r][c])
    assert (sheet[:34] < 128).any()  # the headers
    assert (sheet[:, :8] == 255).all()
