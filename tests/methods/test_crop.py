"""Crops against their definition, pixel by pixel, and the way back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import Sample, SampleError
from methods.parts.crop import (
    Regions,
    crops,
    regions_of,
    regions_of_boxes,
    regions_of_centers,
    three_point_affine,
    to_image,
    transform,
    warp,
)

SIZES = st.floats(2, 900)
CORNERS = st.floats(-200, 900)
BOXES = st.tuples(CORNERS, CORNERS, SIZES, SIZES)


@given(BOXES)
def test_region_is_the_box_grown_to_the_aspect_then_by_a_quarter(box):
    x, y, w, h = box
    regions = regions_of_boxes(np.array([box]), aspect=0.75, padding=1.25)
    width, height = (w, w / 0.75) if w > 0.75 * h else (h * 0.75, h)
    assert regions.centers[0] == pytest.approx([x + w / 2, y + h / 2], rel=1e-5, abs=1e-4)
    assert regions.sizes[0] == pytest.approx([width / 160, height / 160], rel=1e-5)
    assert regions.areas[0] == pytest.approx(width * height * 1.25**2, rel=1e-5)


def test_region_of_a_centre_and_scale_is_mpii_s():
    regions = regions_of_centers(np.array([[100.0, 50.0]]), np.array([2.0]))
    assert regions.centers.tolist() == [[100, 80]]  # down by 15 scales
    assert regions.sizes.tolist() == [[2.5, 2.5]]


@given(BOXES, st.floats(-90, 90), st.sampled_from([(192, 256), (48, 64), (96, 128), (256, 256)]))
def test_matrix_is_the_similarity_of_its_definition(box, rotation, output):
    """Centre to (W/2, H/2), one scale W / width for both axes, turned by the rotation."""
    regions = regions_of_boxes(np.array([box]), 0.75, 1.25)
    (cx, cy), width = regions.centers[0].tolist(), float(regions.sizes[0, 0]) * 200
    scale, angle = output[0] / width, math.radians(rotation)
    matrix = three_point_affine(regions.centers[0], width, output, rotation)
    for x, y in ((0.0, 0.0), (0.5, 0.5), (1.0, 0.0)):
        u, v = (x - 0.5) * width, (y - 0.5) * width
        expected = (
            output[0] / 2 + scale * (u * math.cos(angle) + v * math.sin(angle)),
            output[1] / 2 + scale * (v * math.cos(angle) - u * math.sin(angle)),
        )
        assert transform(np.array([cx + u, cy + v]), matrix) == pytest.approx(expected, abs=0.02)


@given(st.lists(BOXES, min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_points_come_back_from_the_crop(boxes, seed):
    regions = regions_of_boxes(np.array(boxes), 0.75, 1.25)
    relative = np.random.default_rng(seed).uniform(-0.5, 0.5, (len(boxes), 17, 2))
    points = regions.centers[:, None] + relative * regions.sizes[:, None] * 200
    grid = np.stack(
        [
            transform(points[i], three_point_affine(center, size[0] * 200, (48, 64)))
            for i, (center, size) in enumerate(zip(regions.centers, regions.sizes, strict=True))
        ]
    )
    assert to_image(grid, regions, (48, 64)) == pytest.approx(points, abs=1e-3)


def slow_warp(image, matrix, output):
    """Bilinear interpolation at the inverse image of every output pixel; 0 outside."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    height, width = image.shape[:2]
    result = np.zeros((output[1], output[0], 3))
    for v in range(output[1]):
        for u in range(output[0]):
            x, y, _ = inverse @ [u, v, 1]
            if not (-1 <= x < width and -1 <= y < height):
                continue
            i, j = math.floor(x), math.floor(y)
            a, b = x - i, y - j
            corners = padded[j + 1 : j + 3, i + 1 : i + 3]
            result[v, u] = (corners[0, 0] * (1 - a) + corners[0, 1] * a) * (1 - b) + (
                corners[1, 0] * (1 - a) + corners[1, 1] * a
            ) * b
    return result


@pytest.mark.parametrize("rotation", [0.0, 33.0])
@pytest.mark.parametrize("box", [(40.0, 30.0, 40.0, 60.0), (-25.0, 70.0, 90.0, 60.0)])
def test_crop_is_bilinear_with_zeros_outside(box, rotation):
    y, x = np.mgrid[:120, :160]
    image = np.stack([x, y, 60 + 0.4 * x + 0.5 * y], axis=-1).astype(np.uint8) + np.uint8(40)
    regions = regions_of_boxes(np.array([box]), 0.75, 1.25)
    matrix = three_point_affine(regions.centers[0], regions.sizes[0, 0] * 200, (48, 64), rotation)
    found = warp(image, matrix, (48, 64)).astype(np.float64)
    expected = slow_warp(image, matrix, (48, 64))
    # OpenCV rounds coordinates to 1/32 pixel: up to 3.5 of the 224 grey levels at the image's edge.
    assert expected.max() > 100
    assert np.abs(found - expected).max() <= 4
    assert np.abs(found - expected).mean() < 0.5
    if rotation == 0:
        assert np.array_equal(crops(image, regions, (48, 64))[0], found)


def test_no_boxes_give_no_crops():
    regions = regions_of_boxes(np.empty((0, 4)), 0.75, 1.25)
    assert crops(np.zeros((5, 5, 3), np.uint8), regions, (48, 64)).shape == (0, 64, 48, 3)
    assert to_image(np.empty((0, 17, 2)), regions, (48, 64)).shape == (0, 17, 2)


@pytest.mark.parametrize("box", [(1, 2, 0, 5), (1, 2, 5, -1), (1, 2, float("nan"), 5)])
def test_box_without_area_is_named(box):
    sample = Sample("7", ("a.jpg",), np.array([(0, 0, 9, 9), box], dtype=float))
    with pytest.raises(SampleError, match=r"sample 7: box 1 has no area"):
        regions_of(sample, 0.75, 1.25)


def test_region_is_taken_from_centre_and_scale_where_there_is_no_box():
    sample = Sample("7", inputs={"center": np.array([[100.0, 50.0]]), "scale": np.array([2.0])})
    regions = regions_of(sample, 0.75, 1.25)
    assert isinstance(regions, Regions)
    assert regions.centers.tolist() == [[100, 80]]
