"""Surfaces drawn over pictures: the right colours at the right pixels, and the gallery of them."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from harness.api import DENSE_POSE, Predictions, Sample
from reports.drawings import draw_surface
from reports.surfaces import paint_surfaces, part_colours


def png(part, u, v, height, width):
    iuv = np.full((height, width, 3), (part, u, v), np.uint8)
    return cv2.imencode(".png", iuv[..., ::-1])[1].tobytes()


NOBODY = np.zeros((0, 2)), np.zeros(0, np.int64)


def test_24_parts_have_24_colours():
    colours = part_colours().astype(int)
    apart = np.abs(colours[:, None] - colours[None]).max(axis=2)
    assert apart[~np.eye(25, dtype=bool)].min() > 12
    assert (colours[0] == 0).all()


def test_parts_are_on_the_left_and_places_on_the_right():
    image = np.full((20, 30, 3), 100, np.uint8)
    boxes = np.array([[4.0, 5, 8, 6], [10.9, 5, 4, 6]])
    drawn = paint_surfaces(
        image, boxes, [png(3, 255, 0, 6, 8), png(9, 0, 255, 6, 4)], *NOBODY
    ).astype(int)
    assert drawn.shape == (40, 120, 3)
    left, right = drawn[:, :60], drawn[:, 60:]
    for panel in (left, right):
        assert (panel[:8] == 100).all()
        assert (panel[30:] == 100).all()
    for x, part in ((6, 3), (12, 9)):  # the second box is cut to pixel 10, over the first
        due = 0.35 * 100 + 0.65 * part_colours()[part]
        np.testing.assert_allclose(left[16, 2 * x + 1], due, atol=1)
    assert right[16, 13, 2] > right[16, 13, 1]  # red grows with u
    assert right[16, 25, 1] > right[16, 25, 2]  # green with v


@pytest.mark.parametrize("corner", [(-40, 3), (3, -40), (60, 3), (3, 60), (-4, -3), (27, 18)])
def test_boxes_may_leave_the_picture(corner):
    image = np.zeros((20, 30, 3), np.uint8)
    drawn = paint_surfaces(image, np.array([[*corner, 8.0, 6]]), [png(1, 9, 9, 6, 8)], *NOBODY)
    inside = all(-8 < place < size for place, size in zip(corner, (30, 20), strict=True))
    assert drawn.any() == inside


def test_annotated_points_have_the_colour_of_their_part():
    image = np.zeros((20, 30, 3), np.uint8)
    drawn = paint_surfaces(
        image, np.zeros((0, 4)), [], np.array([[10.0, 12]]), np.array([17])
    ).astype(int)
    np.testing.assert_allclose(drawn[25, 21], part_colours()[17], atol=2)
    assert (drawn[:, 60:] == 0).all()


def test_a_gallery_draws_as_many_people_as_are_annotated(tmp_path):
    path = str(tmp_path / "picture.png")
    cv2.imwrite(path, np.zeros((20, 30, 3), np.uint8))
    truth = {
        "keypoints": np.array([[[10.0, 12], [0, 0]]]),
        "visible": np.array([[True, False]]),
        "surface": np.array([[[17, 0.5, 0.5], [0, 0, 0]]]),
    }
    known = SimpleNamespace(samples={"1": Sample("1", (path,))}, surfaces={"1": truth})
    pictures = np.empty(2, dtype=object)
    pictures[:] = [png(1, 0, 0, 6, 8), png(2, 0, 0, 6, 8)]
    rows = {"box": np.array([[1.0, 1, 8, 6], [20, 1, 8, 6]]), "score": np.array([0.3, 0.9]),
            "iuv": pictures}  # fmt: skip
    found = Predictions.from_samples(DENSE_POSE, [("1", rows)])
    picture = draw_surface("best", "1", 0.5, known, found, tmp_path / "01.jpg")
    assert (picture.people, picture.drawn, picture.rows) == (1, 1, 2)
    drawn = cv2.imread(str(tmp_path / "01.jpg")).astype(int)
    assert picture.size == drawn.shape[1::-1]
    assert drawn[4:12, 42:54].max() > 60  # the likelier one
    assert drawn[4:8, 4:16].max() < 30
    nobody = Predictions(DENSE_POSE, ("1",), np.array([0, 0]), {})
    assert draw_surface("worst", "1", 0.0, known, nobody, tmp_path / "02.jpg").drawn == 0
