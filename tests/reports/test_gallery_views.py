"""Galleries beyond single pictures: poses in space from two sides, and tracks as strips."""

from __future__ import annotations

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from harness import registry
from harness.api import JOINTS_3D, MESH, PEOPLE_2D, Predictions, Sample
from harness.api.skeleton import H36M_17, H36M_17_REGRESSOR, NYU_14, POSETRACK_15
from reports.drawings import SIDE, draw_body, draw_in_space, draw_strip
from reports.gallery import Gallery
from reports.meshes import draw_mesh
from reports.rendering import environment
from reports.skeletons import skeleton_views


def points(svg, kind):
    """Return all ends of strokes of one kind, as an array (n, 2)."""
    paths = list(ElementTree.fromstring(str(svg)).iter("path"))
    texts = [e.get("d") for e in paths if e.get("class").startswith(kind)]
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", " ".join(texts))]
    return np.array(numbers).reshape(-1, 2)


def pose(skeleton, seed=0):
    away = np.array([0, 0, 700])
    return np.random.default_rng(seed).uniform(-80, 80, (1, len(skeleton), 3)) + away


def test_views_show_x_and_z_against_y_to_one_scale():
    truth = pose(NYU_14)
    beside = truth + np.array([4.0, 0, 0])
    svg = skeleton_views(truth, beside, NYU_14)
    every = np.concatenate([truth, beside]).reshape(-1, 3)
    middle = (every.max(axis=0) + every.min(axis=0)) / 2
    scale = 45 / np.abs(every - middle).max()
    limbs = {joint for limb in NYU_14.limbs for joint in limb}
    shown = {tuple(point) for point in points(svg, "truth")}
    for joint in limbs:
        x, y, z = (truth[0, joint] - middle) * scale
        for across, left in ((x, 0), (z, 100)):
            due = np.round([left + 50 + across, 50 + y], 1)
            assert min(np.abs(np.array(list(shown)) - due).max(axis=1)) < 0.11
    front = points(svg, "predicted")[points(svg, "predicted")[:, 0] < 100]
    assert len(front)
    assert skeleton_views(truth * np.nan, truth * np.nan, NYU_14) == ""


def known(benchmark, sample, truth):
    return SimpleNamespace(
        skeleton=registry.benchmark(benchmark).skeleton,
        samples={sample.id: sample},
        poses={sample.id: truth},
    )


@pytest.mark.parametrize("fy", [587.0, -587.0])
def test_a_hand_is_drawn_over_its_part_of_the_depth_image(fy, tmp_path):
    truth = pose(NYU_14)
    beside = truth + np.array([10.0, 0, 0])
    camera = np.array([[588.0, 0, 320], [0, fy, 240], [0, 0, 1]])
    depth = np.zeros((480, 640), np.uint16)
    depth[200:300, 280:360] = 700
    cv2.imwrite(str(tmp_path / "depth.png"), depth)
    inputs = {"hand_center": truth.mean(axis=1), "camera": camera}
    sample = Sample("f", (str(tmp_path / "depth.png"),), inputs=inputs)
    found = Predictions(JOINTS_3D, ("f",), np.array([0, 1]), {"joints": beside})
    file = tmp_path / "out" / "01.jpg"
    file.parent.mkdir()
    picture = draw_in_space("best", "f", 10.0, known("nyu-hand", sample, truth), found, file)
    image = cv2.imread(str(file))
    assert image.shape[:2] == picture.size[::-1]
    assert image.shape[0] < 480
    assert image.shape[1] < 640
    # Both skeletons lie at their projections, moved by the same corner: 10 mm are 588/z * 10 px.
    moved = points(picture.overlay, "predicted") - points(picture.overlay, "truth")
    assert moved[:, 0].min() > 588 * 10 / 780 - 0.2
    assert moved[:, 0].max() < 588 * 10 / 620 + 0.2
    assert np.abs(moved[:, 1]).max() < 0.15
    # Up in the picture is up in the views; the first half of them is seen from the front.
    shown, seen = points(picture.overlay, "truth"), points(picture.views, "truth")
    assert np.corrcoef(shown[:, 1], seen[: len(shown), 1])[0, 1] > 0.9
    assert picture.drawn == picture.people == 1


def test_a_body_is_laid_on_the_pelvis_and_a_sequence_shows_its_middle_frame(tmp_path):
    truth = pose(H36M_17) + np.array([0, 0, 4000])
    ids = (*(f"S9/Eating-1/5/{n:06d}" for n in range(5)), "S9/Eating-1/55/000000")
    camera = np.array([[1145.0, 0, 500], [0, 1145, 500], [0, 0, 1]])
    sample = Sample(ids[2], inputs={"camera": camera})
    joints = np.repeat(truth - truth[:, :1] + 7.0, 6, axis=0)
    found = Predictions(JOINTS_3D, ids, np.arange(7), {"joints": joints})
    file = tmp_path / "01.jpg"
    split = known("h36m", sample, truth)
    picture = draw_in_space("best", "S9/Eating-1/5", 1.0, split, found, file)
    assert picture.sample_id == ids[2]
    assert picture.file == ""
    assert not file.exists()
    assert picture.overlay == ""
    np.testing.assert_allclose(
        points(picture.views, "truth"), points(picture.views, "predicted"), atol=0.11
    )


def test_a_strip_shows_frames_in_order_and_each_track_in_one_colour(tmp_path):
    count, people = 9, 2
    random = np.random.default_rng(0)
    truth = random.uniform(20, 460, (count, people, 15, 2))
    ids = tuple(f"walk/{n:06d}" for n in range(count))
    cv2.imwrite(str(tmp_path / "frame.png"), np.full((480, 640, 3), 90, np.uint8))
    split = SimpleNamespace(
        skeleton=POSETRACK_15,
        samples={i: Sample(i, (str(tmp_path / "frame.png"),)) for i in ids},
        poses=dict(zip(ids, truth, strict=True)),
    )
    rows = count * people
    found = Predictions(
        PEOPLE_2D,
        ids,
        np.arange(count + 1) * people,
        {
            "keypoints": truth.reshape(rows, 15, 2),
            "keypoint_scores": np.ones((rows, 15)),
            "score": np.ones(rows),
            "track_id": np.array([[7, 3], [3, 7], [7, 3]] * 3).ravel(),
        },
    )
    file = tmp_path / "01.jpg"
    picture = draw_strip("worst", "walk", 50.0, split, found, file)
    assert picture.size == (5 * 320, 240)
    assert cv2.imread(str(file)).shape == (240, 5 * 320, 3)
    paths = list(ElementTree.fromstring(str(picture.overlay)).iter("path"))
    tracks = [e.get("class") for e in paths if e.get("class").startswith("track")]
    # Frames 0, 2, 4, 6 and 8; track 7 is seen first.
    assert tracks == [
        *("track s0", "track s1"),
        *("track s0", "track s1"),
        *("track s1", "track s0"),
        *("track s0", "track s1"),
        *("track s0", "track s1"),
    ]
    first = POSETRACK_15.limbs[0][0]
    for place, frame in enumerate((0, 2, 4, 6, 8)):
        due = (truth[frame, 0, first] + 0.5) / 2 - 0.5 + [320 * place, 0]
        drawn = points(picture.overlay, "track")
        assert np.abs(drawn - due).max(axis=1).min() < 0.06


def test_near_triangles_hide_far_ones_and_turned_ones_are_darker():
    image = np.zeros((40, 40, 3), np.uint8)
    near = np.array([[5.0, 5, 1], [35, 5, 1], [5, 35, 1]])
    far = near + np.array([0.0, 0, 10])
    tilted = near * [1, 1, 0] + np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 60]])
    faces = np.array([[0, 1, 2]])
    alone = draw_mesh(image, near, faces)
    assert alone[15, 15].min() > 60
    assert not alone[38, 38].any()
    assert not image.any()
    both = np.concatenate([tilted + np.array([0.0, 0, 70]), near])
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        inside = draw_mesh(image, both, np.array(order))[8:14, 8:14]
        assert np.array_equal(inside, alone[8:14, 8:14])
    assert draw_mesh(image, tilted, faces)[15, 15].sum() != alone[15, 15].sum()
    assert np.array_equal(draw_mesh(image, far, faces), alone)


@pytest.mark.parametrize("seen", [True, False])
def test_a_mesh_lies_over_the_second_picture(seen, tmp_path):
    cv2.imwrite(str(tmp_path / "picture.png"), np.full((200, 300, 3), 20, np.uint8))
    sample = Sample("a", (str(tmp_path / "picture.png"),), np.array([[100.0, 40, 60, 120]]))
    # A square of 1 m whose middle the camera puts on the middle of the box, 60 pixels wide.
    square = 500.0 * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) + [100, 0, 300]
    scale = 0.06
    joints = pose(H36M_17_REGRESSOR)
    columns = {"vertices": square[None], "joints": joints + 50.0}
    if seen:
        camera = [[scale, 130 / scale - 100, 100 / scale]]
        columns["camera"] = np.array(camera)
    found = Predictions(MESH, ("a",), np.array([0, 1]), columns)
    split = known("h36m-mesh", sample, joints)
    split.faces = np.array([[0, 1, 2], [0, 2, 3]])
    file = tmp_path / "01.jpg"
    picture = draw_body("best", "a", 10.0, split, found, file)
    image = cv2.imread(str(file))
    assert picture.size == (SIDE * (1 + seen), SIDE) == image.shape[1::-1]
    assert np.abs(image[:, :SIDE].astype(int) - 20).max() < 12
    if seen:
        rows, columns = np.nonzero(image[:, SIDE:].max(axis=2) > 90)
        width = 60 * SIDE / (1.3 * 120)
        assert np.ptp(columns) == pytest.approx(width, abs=4)
        assert columns.mean() == pytest.approx(SIDE / 2, abs=2)
        assert rows.mean() == pytest.approx(SIDE / 2, abs=2)
    np.testing.assert_allclose(  # the same pose elsewhere: laid on the pelvis
        points(picture.views, "truth"), points(picture.views, "predicted"), atol=0.11
    )


@pytest.mark.parametrize("sided", [True, False])
def test_the_legend_names_sides_where_joints_have_them(sided):
    source = '{% from "parts.html" import pictures %}{{ pictures(gallery, "") }}'
    legend = environment().from_string(source).render(gallery=Gallery(sided=sided))
    assert ("right side" in legend) is sided
    assert "predicted" in legend
