"""Whole images as input, their training views, and OpenPose's way through scales and skeletons."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from bottom_up_oracle import sized

from harness.api import COCO_17, Sample
from harness.loading import load_method
from methods.bottom_up.openpose import grow
from methods.parts.crop import transform
from methods.parts.whole_image import (
    FITS,
    SceneView,
    fitted,
    inverse,
    labelled_area,
    to_input,
)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_whole_image_is_in_the_input_and_comes_back(fit, factor):
    size = (403, 297)
    matrix, (width, height) = fitted(size, (256, 192), fit, 32, factor)
    assert width % 32 == height % 32 == 0
    corners = np.array([[-0.5, -0.5], [size[0] - 0.5, size[1] - 0.5]])
    placed = transform(corners, matrix)
    tolerance = 1.0  # a centred fit keeps pixel indices, not corners
    assert (placed >= -0.5 - tolerance).all()
    assert (placed <= np.array([width, height]) - 0.5 + tolerance).all()
    np.testing.assert_allclose(transform(placed, inverse(matrix)), corners, atol=1e-9)


def test_known_fits():
    assert fitted((640, 480), (368, 368), "height", 8)[1] == (496, 368)
    assert fitted((640, 480), (368, 368), "height", 8, 0.5)[1] == (248, 184)
    assert fitted((640, 480), (512, 512), "square", 64)[1] == (512, 512)
    assert fitted((640, 480), (512, 512), "square", 64, 0.5)[1] == (256, 256)
    assert fitted((640, 480), (512, 512), "short side", 64)[1] == (704, 512)
    matrix, size = fitted((640, 480), (256, 192), "inside", 8)
    assert size == (256, 192)
    np.testing.assert_allclose(matrix, [[0.4, 0, -0.3], [0, 0.4, -0.3]])


def test_a_dot_is_where_the_matrix_says():
    image = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(image, (250, 120), 9, (255, 255, 255), -1, cv2.LINE_AA)
    for fit in FITS:
        matrix, size = fitted((400, 300), (256, 192), fit, 64)
        view = to_input(image, matrix, size, (0, 0, 0))[..., 0].astype(float)
        y, x = np.mgrid[: size[1], : size[0]]
        found = np.array([(view * x).sum(), (view * y).sum()]) / view.sum()
        np.testing.assert_allclose(found, transform(np.array([250.0, 120]), matrix), atol=0.1)


@pytest.mark.parametrize("person", [None, 0.6])
def test_views_carry_joints_and_regions_along(person):
    """Every joint is a dot of its own colour; views mirror, turn, scale and shift it."""
    random = np.random.default_rng(0)
    joints = random.uniform((60, 40), (340, 260), (2, 17, 2)).round()
    visible = np.ones((2, 17), bool)
    view = SceneView(scaling=(0.7, 1.1), rotation=40, shift=15, person=person)
    checked = 0
    for _ in range(12):
        k = int(random.integers(17))
        image = np.zeros((300, 400, 3), np.uint8)
        cv2.circle(image, joints[1, k].astype(int).tolist(), 8, (255, 255, 255), -1)
        box = np.array([[*(joints[1, k] - 8), 16, 16]])
        crop, placed, seen, regions = view.draw(
            image, joints, visible, box, COCO_17, (256, 192), (0, 0, 0), random
        )
        values = crop[..., 0].astype(float)
        if values.sum() < 5000:
            continue
        y, x = np.mgrid[:192, :256]
        found = np.array([(values * x).sum(), (values * y).sum()]) / values.sum()
        np.testing.assert_allclose(regions[0].mean(axis=0), found, atol=4)
        distance = np.linalg.norm(placed[1] - found, axis=1)
        nearest = int(distance.argmin())
        assert nearest in (k, COCO_17.flip_order[k])
        assert distance[nearest] < 4
        inside = ((placed > -0.5) & (placed < (255.5, 191.5))).all(axis=-1)
        np.testing.assert_array_equal(seen, inside)
        mask = labelled_area(regions, (24, 32), 8)
        assert mask[round((found[1] - 3.5) / 8), round((found[0] - 3.5) / 8)] == 0
        assert mask.mean() > 0.9
        checked += 1
    assert checked >= 4


def test_necks_are_the_middle_of_labelled_shoulders():
    method = load_method("openpose:nano")
    joints = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
    visible = np.ones((2, 17), bool)
    visible[1, 5] = False  # left shoulder
    placed, seen = method.with_middles(joints, visible)
    np.testing.assert_allclose(placed[0, 1], joints[0, [5, 6]].mean(axis=0))
    np.testing.assert_allclose(placed[0, 2], joints[0, 6])  # right shoulder
    assert seen[0].all()
    assert np.flatnonzero(~seen[1]).tolist() == [1, 5]


def test_field_channels_are_the_networks():
    """Limb and channel of x as CMU's tables give them."""
    for variant, known in (
        ("coco18", {(1, 2): 12, (1, 8): 0, (1, 0): 28, (5, 17): 26, (15, 17): 36}),
        ("body25", {(1, 8): 0, (1, 2): 14, (16, 18): 38, (5, 18): 28, (11, 24): 50}),
    ):
        with torch.device("meta"):
            method = load_method(f"openpose:{variant}-368x368")
        limbs = method.parts.limbs
        assert sorted(method.field_order) == list(range(len(limbs)))
        for limb, channel in known.items():
            assert 2 * method.field_order[limbs.index(limb)] == channel


def test_training_rows_leave_out_people_without_labels(tmp_path):
    path = str(tmp_path / "image.png")
    cv2.imwrite(path, np.full((300, 400, 3), 90, np.uint8))
    method = sized("openpose:nano", view={"scaling": [1, 1], "rotation": 0, "shift": 0})
    truth = {
        "keypoints": np.random.default_rng(0).uniform(50, 250, (1, 17, 2)),
        "visible": np.ones((1, 17), bool),
        "unlabelled": np.array([[200.0, 100, 100, 120]]),
    }
    sample = Sample("1", (path,))
    rows = method.training_rows(sample, truth, np.random.default_rng(0))
    assert {name: value.shape for name, value in rows.items()} == {
        "image": (1, 240, 320, 3), "maps": (1, 19, 30, 40), "fields": (1, 38, 30, 40),
        "counted": (1, 30, 40),
    }  # fmt: skip
    assert 0.8 < rows["counted"].mean() < 0.95
    tensors = {name: torch.from_numpy(value) for name, value in rows.items()}
    nothing = {**tensors, "counted": torch.zeros(1, 30, 40)}
    assert method.loss(tensors).item() > 0
    assert method.loss(nothing).item() == 0


def test_scales_agree_on_where_a_joint_is():
    """Ideal answers at half, once and twice the scale have their peaks at one place."""
    method = load_method("openpose:nano")
    joints = np.array([[[101.0, 83.0]] * 17])
    answers = []
    for scale in (1.0, 0.5, 2.0):
        method.input_size = (int(256 * scale), int(192 * scale))
        placed = (joints + 0.5) * scale - 0.5
        method.sigma = 7 * scale
        targets = method.targets(placed, np.ones((1, 17), bool))
        maps, fields = (torch.from_numpy(targets[name])[None] for name in ("maps", "fields"))
        alone = method.read([(1.0, grow(maps, 1 / scale, [24, 32]), fields)])
        answers.append((scale, maps, fields))
        assert (alone["peaks"][0, 0, 0, :2] - torch.tensor([101.0, 83.0])).abs().max() <= 4
    peaks = method.read(answers)["peaks"][0]
    assert (peaks[0, 0, :2] - torch.tensor([101.0, 83.0])).abs().max() <= 1
    assert peaks[0, 0, 2] > 0.8
    assert not torch.isfinite(peaks[0, 1:, 2]).any()


def test_growing_keeps_the_place_of_pixels():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    grown = grow(ramp, 4.0, [32, 32])[0, 0, 16]
    expected = (torch.arange(8.0, 24) + 0.5) / 4 - 0.5
    torch.testing.assert_close(grown[8:24], expected, atol=0.05, rtol=0)  # cubic, a = -0.75
    assert grow(ramp, 1.0, [6, 10]).shape == (1, 1, 6, 10)
