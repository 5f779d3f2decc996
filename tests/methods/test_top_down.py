"""The top-down methods end to end: image file -> rows -> outputs -> people, and training."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from harness.api import COCO_17, PEOPLE_2D, Predictions, Sample, SampleError
from harness.loading import load_method
from methods.parts.augment import Augmentation, half_body

NETWORKS = ["simplebaseline:nano", "hrnet:nano"]
METHODS = [*NETWORKS, "mean-pose:nano"]


def lively(spec):
    """A method whose random network answers visibly, unlike the papers' tiny initial weights."""
    method = load_method(spec)
    torch.manual_seed(0)
    for layer in method.network.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            torch.nn.init.kaiming_normal_(layer.weight)
    return method


def run(method, sample):
    prepared = method.prepare(sample)
    with torch.inference_mode():
        outputs = method.forward({k: torch.from_numpy(v) for k, v in prepared.rows.items()})
    return method.decode({k: v.numpy() for k, v in outputs.items()}, prepared, sample)


@pytest.fixture
def picture(tmp_path):
    """Write an array as an image file and give its path."""

    def write(image, name="image.png"):
        path = tmp_path / name
        assert cv2.imwrite(str(path), image)
        return str(path)

    return write


@pytest.fixture
def noise(picture):
    return picture(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8))


BOXES = np.array([[30.0, 20, 80, 150], [100, 60, 120, 90], [-20, 100, 60, 200]])


@pytest.mark.parametrize("spec", METHODS)
def test_predictions_fit_their_schema(spec, noise):
    sample = Sample("1", (noise,), BOXES, np.array([0.9, 0.8, 0.7]))
    method = lively(spec)
    rows = run(method, sample)
    people = Predictions.from_samples(PEOPLE_2D, [("1", rows)])
    assert people.columns["keypoints"].shape == (len(rows["score"]), len(method.skeleton), 2)


@pytest.mark.parametrize("spec", METHODS)
def test_a_sample_without_boxes_has_no_people(spec, noise):
    method = load_method(spec)
    rows = run(method, Sample("1", (noise,), np.empty((0, 4)), np.empty(0)))
    assert rows["keypoints"].shape == (0, len(method.skeleton), 2)
    assert rows["score"].shape == (0,)


@pytest.mark.parametrize("spec", METHODS)
def test_batch_of_one_equals_batch_of_many(spec, noise):
    method = lively(spec)
    rows = method.prepare(Sample("1", (noise,), BOXES, np.ones(3))).rows
    rows = {name: torch.from_numpy(array) for name, array in rows.items()}
    with torch.inference_mode():
        together = method.forward(rows)
        for i in range(3):
            alone = method.forward({name: array[i : i + 1] for name, array in rows.items()})
            for name, value in alone.items():
                torch.testing.assert_close(value[0], together[name][i], rtol=1e-5, atol=1e-5)


class Dots(torch.nn.Module):
    """An ideal network: every heatmap is the blurred brightness at its own pixel, x / 4, y / 4."""

    def __init__(self, joints):
        super().__init__()
        self.joints = joints
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def forward(self, images):
        bright = images.mean(dim=1, keepdim=True) - images.amin()
        blurred = functional.avg_pool2d(bright, 7, stride=4, padding=3, count_include_pad=False)
        return blurred.expand(-1, self.joints, -1, -1)


@pytest.mark.parametrize("spec", [*NETWORKS, "hrnet:w32-256x192"])
@pytest.mark.parametrize("box", [(60.0, 40.0, 90.0, 120.0), (10.0, 80.0, 260.0, 60.0)])
def test_a_dot_comes_back_to_its_own_pixel(spec, box, picture):
    """Crop, flip test with shift, decoding and the way back agree on one coordinate system.

    The limit is half a heatmap pixel, 2 pixels of the crop, in image pixels.
    """
    with torch.device("meta"):
        method = load_method(spec)
    method.network = Dots(len(method.skeleton))
    random = np.random.default_rng(0)
    errors = []
    for _ in range(10):
        x, y = np.array(box[:2]) + random.uniform(0.1, 0.9, 2) * box[2:]
        image = np.zeros((240, 320, 3), np.uint8)
        cv2.circle(image, (round(x * 16), round(y * 16)), 4 * 16, (255, 255, 255), -1, shift=4)
        image = cv2.GaussianBlur(image, (0, 0), 3)
        rows = run(method, Sample("1", (picture(image),), np.array([box]), np.ones(1)))
        errors.append(rows["keypoints"][0, 0] - (x, y))
    crop_pixel = max(box[2], box[3] * 0.75) * 1.25 / method.input_size[0]
    assert np.abs(errors).max() <= 2 * crop_pixel + 0.3
    assert np.abs(np.mean(errors, axis=0)).max() <= 0.75 * crop_pixel + 0.3


@pytest.mark.parametrize(("spec", "channel"), [("simplebaseline:nano", 0), ("hrnet:nano", 2)])
def test_channel_order_is_the_official_one(spec, channel, picture):
    blue = picture(np.full((50, 50, 3), (200, 0, 0), np.uint8))
    method = load_method(spec)
    crops = method.prepare(Sample("1", (blue,), np.array([[0.0, 0, 50, 50]]))).rows["crops"]
    assert crops[0, 64, 48].tolist() == [200 * (i == channel) for i in range(3)]
    images = method.images(torch.from_numpy(crops))
    expected = [
        (200 / 255 * (i == channel) - mean) / std
        for i, (mean, std) in enumerate(
            zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
        )
    ]
    assert images[0, :, 64, 48].tolist() == pytest.approx(expected, rel=1e-5)


def test_people_of_mpii_keep_their_order(noise):
    centers = np.array([[60.0, 80], [61, 80], [200, 120]])
    sample = Sample("1", (noise,), inputs={"center": centers, "scale": np.array([1.0, 1, 0.5])})
    rows = run(lively("hrnet:nano"), sample)
    assert len(rows["score"]) == 3
    offsets = np.abs(rows["keypoints"] - centers[:, None]).max(axis=(1, 2))
    assert (offsets < [210, 210, 105]).all()


@pytest.mark.parametrize("spec", NETWORKS)
def test_a_missing_or_corrupt_image_is_a_failed_sample(spec, tmp_path):
    method = load_method(spec)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 not an image")
    for path, message in ((tmp_path / "no.jpg", "does not exist"), (broken, "cannot be decoded")):
        with pytest.raises(SampleError, match=message):
            method.prepare(Sample("1", (str(path),), BOXES, np.ones(3)))


def truth(people, joints, seed=0):
    random = np.random.default_rng(seed)
    return {
        "keypoints": random.uniform(30, 150, (people, joints, 2)),
        "visible": random.random((people, joints)) > 0.3,
    }


@pytest.mark.parametrize("spec", METHODS)
def test_loss_decreases_on_one_batch(spec, noise):
    method = load_method(spec)
    sample = Sample("1", (noise,), BOXES, np.ones(3))
    rows = method.training_rows(sample, truth(3, len(method.skeleton)), np.random.default_rng(0))
    rows = {name: torch.from_numpy(array) for name, array in rows.items()}
    method.network.train()
    optimizer = torch.optim.Adam(method.network.parameters(), lr=0.001 if spec in NETWORKS else 0.1)
    losses = []
    for _ in range(25):
        loss = method.loss(rows)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.shape == ()
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("spec", NETWORKS)
def test_training_rows_are_drawn_from_the_generator_alone(spec, noise):
    method = load_method(spec)
    sample = Sample("1", (noise,), BOXES, np.ones(3))
    people = truth(3, len(method.skeleton))
    people["visible"][1] = False
    first, second, other = (
        method.training_rows(sample, people, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    # The person without joints is left out.
    assert first["crops"].shape == (2, *method.variant.input_size, 3)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["crops"], other["crops"])
    people["visible"][:] = False
    nobody = method.training_rows(sample, people, np.random.default_rng(0))
    assert {name: len(array) for name, array in nobody.items()} == {
        "crops": 0, "joints": 0, "weights": 0,
    }  # fmt: skip


def test_augmented_joints_lie_where_their_pixels_went():
    random = np.random.default_rng(0)
    augmentation = Augmentation(scaling=0.35, rotation=45, half_body=0.5)
    seen = 0
    for _ in range(60):
        joints = random.uniform(40, 200, (17, 2))
        visible = random.random(17) > 0.2
        shown = int(random.choice(np.flatnonzero(visible)))
        image = np.zeros((240, 240, 3), np.uint8)
        cv2.circle(image, tuple(joints[shown].round().astype(int).tolist()), 6, (255,) * 3, -1)
        crop, placed, labelled = augmentation.draw(
            image, np.array([120.0, 120]), np.array([0.9, 1.2]), joints, visible, COCO_17,
            (96, 128), random,
        )  # fmt: skip
        assert labelled.sum() == visible.sum()
        twin = COCO_17.flip_order[shown]
        here = [j for j in {shown, int(twin)} if labelled[j] and bright(crop, placed[j])]
        inside = [j for j in {shown, int(twin)} if labelled[j] and within(placed[j])]
        if set(inside) == {shown, int(twin)} or (inside == [shown] and not labelled[twin]):
            assert here
            seen += 1
    assert seen > 20


def within(point):
    return 2 <= point[0] <= 93 and 2 <= point[1] <= 125


def bright(crop, point):
    return within(point) and crop[round(point[1]), round(point[0])].min() > 200


def test_augmentation_off_is_the_plain_crop_and_mirroring_swaps_sides(noise):
    image = cv2.imread(noise)
    person = truth(1, len(COCO_17))
    joints, visible = person["keypoints"][0], person["visible"][0]
    center, size = np.array([100.0, 110]), np.array([0.6, 0.8])

    def draw(mirrored):
        still = Augmentation(scaling=0, rotation=0, mirrored=mirrored)
        return still.draw(
            image, center, size, joints, visible, COCO_17, (96, 128), np.random.default_rng(0)
        )

    crop, placed, labelled = draw(0.0)
    expected = (joints - center) * 96 / 120 + (48, 64)
    assert placed[visible] == pytest.approx(expected[visible], abs=1e-3)
    assert np.array_equal(labelled, visible)
    assert not placed[~visible].any()
    _, mirrored, labelled = draw(1.0)
    assert np.array_equal(labelled, visible[COCO_17.flip_order])
    back = mirrored[COCO_17.flip_order]
    assert back[visible] == pytest.approx(expected[visible] * (-1, 1) + (96, 0), abs=1e-3)
    assert crop.std() > 0


def test_half_bodies_are_upper_or_lower():
    random = np.random.default_rng(0)
    joints = random.uniform(0, 10, (17, 2))
    joints[11:] += (0, 200)  # the legs are far below
    centers = [
        half_body(joints, np.ones(17, bool), COCO_17, (96, 128), random)[0][1] for _ in range(200)
    ]
    lower = np.array(centers) > 100
    assert 0.2 < lower.mean() < 0.42  # P(standard normal >= 0.5) = 0.31
    legs = np.arange(17) >= 15  # two lower joints only: too few for a half of their own
    assert half_body(joints, legs, COCO_17, (96, 128), random) is None
    center, size = half_body(joints, np.arange(17) < 5, COCO_17, (96, 128), random)
    assert center == pytest.approx(joints[:5].mean(axis=0))
    assert size[0] / size[1] == pytest.approx(0.75)


def test_mean_pose_learns_the_mean_pose(noise):
    random = np.random.default_rng(0)
    method = load_method("mean-pose:nano")
    pose = random.uniform(-0.3, 0.3, (17, 2))
    corners, sizes = random.uniform(0, 100, (40, 2)), random.uniform(20, 90, (40, 1))
    boxes = np.concatenate([corners, sizes * 0.75, sizes], axis=1)
    keypoints = (boxes[:, :2] + boxes[:, 2:] / 2)[:, None] + pose * boxes[:, None, 2:] * 1.25
    people = {"keypoints": keypoints, "visible": random.random((40, 17)) > 0.5}
    rows = method.training_rows(Sample("1", (noise,), boxes), people, random)
    rows = {name: torch.from_numpy(array) for name, array in rows.items()}
    optimizer = torch.optim.Adam(method.network.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        method.loss(rows).backward()
        optimizer.step()
    box = np.array([[10.0, 20, 60, 80]])
    found = run(method, Sample("1", (), box, np.array([0.7])))
    assert found["keypoints"][0] == pytest.approx(pose * (75, 100) + (40, 60), abs=0.1)
    assert found["score"].tolist() == [0.7]
