"""Drawing and reading heatmaps, and the flip test, against loops written from their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from harness.api import COCO_17
from harness.loading import load_method
from methods.parts.flip import flip_test
from methods.parts.heatmap import argmax_2d, gaussian_targets, quarter_offset, weighted_mse


def slow_target(joint, weight, size, stride, sigma):
    """One joint's map and weight, pixel by pixel."""
    height, width = size
    mu = [int(value / stride + 0.5) for value in joint]
    radius = 3 * sigma
    target = np.zeros(size)
    if (
        mu[0] - radius >= width
        or mu[1] - radius >= height
        or mu[0] + radius + 1 < 0
        or mu[1] + radius + 1 < 0
    ):
        return target, 0.0
    if weight > 0:
        for y in range(height):
            for x in range(width):
                if abs(x - mu[0]) <= radius and abs(y - mu[1]) <= radius:
                    squared = (x - mu[0]) ** 2 + (y - mu[1]) ** 2
                    target[y, x] = math.exp(-squared / (2 * sigma**2))
    return target, weight


@pytest.mark.parametrize(("size", "sigma"), [((64, 48), 2), ((32, 24), 1), ((96, 72), 3)])
def test_targets_are_the_definition_s(size, sigma):
    random = np.random.default_rng(0)
    # Quarters are exact in float32, so no rounding decides which pixel is the centre.
    joints = np.round(random.uniform(-50, 4 * size[0] + 50, (6, 17, 2)) * 4) / 4
    weights = (random.random((6, 17)) > 0.3).astype(np.float64)
    maps, kept = gaussian_targets(
        torch.tensor(joints, dtype=torch.float32), torch.tensor(weights).float(), size, 4, sigma
    )
    assert weights.sum() > kept.sum().item() > 0, "no joint fell outside"
    for index in np.ndindex(6, 17):
        target, weight = slow_target(joints[index], weights[index], size, 4, sigma)
        assert kept[index] == weight
        assert maps[index].numpy() == pytest.approx(target, abs=1e-6)


def test_loss_is_half_the_mean_over_joints_of_the_weighted_squared_error():
    random = np.random.default_rng(1)
    predicted, target = random.random((2, 3, 17, 8, 6))
    weights = (random.random((3, 17)) > 0.4).astype(np.float64)
    joints = [
        0.5 * np.mean([w * (p - t) ** 2 for p, t, w in zip(a, b, c, strict=True)])
        for a, b, c in zip(predicted.swapaxes(0, 1), target.swapaxes(0, 1), weights.T, strict=True)
    ]
    found = weighted_mse(*map(torch.tensor, (predicted, target, weights)))
    assert found.item() == pytest.approx(np.mean(joints), rel=1e-12)


def slow_decode(heatmap):
    """One joint's point and value, as the official code words it."""
    height, width = heatmap.shape
    index = int(np.argmax(heatmap))
    x, y, value = index % width, index // width, heatmap.max()
    if value <= 0:
        return (0.0, 0.0), value
    point = [float(x), float(y)]
    if 1 < x < width - 1 and 1 < y < height - 1:
        point[0] += 0.25 * np.sign(heatmap[y, x + 1] - heatmap[y, x - 1])
        point[1] += 0.25 * np.sign(heatmap[y + 1, x] - heatmap[y - 1, x])
    return tuple(point), value


@pytest.mark.parametrize("levels", [3, 50, None])
def test_decoding_is_the_definition_s(levels):
    """With few grey levels there are ties everywhere, of maxima and of neighbours."""
    random = np.random.default_rng(2)
    maps = random.normal(size=(40, 17, 6, 5)).astype(np.float32)
    if levels:
        maps = np.round(maps * levels / 6)
    maps[0] = -np.abs(maps[0])
    points, values = argmax_2d(torch.from_numpy(maps))
    points = quarter_offset(torch.from_numpy(maps), points)
    for index in np.ndindex(40, 17):
        point, value = slow_decode(maps[index])
        assert tuple(points[index].tolist()) == point
        assert values[index].item() == value


@pytest.mark.parametrize(
    ("x", "moves"), [(0, False), (1, False), (2, True), (21, True), (22, True), (23, False)]
)
def test_only_the_interior_moves(x, moves):
    maps = torch.zeros(1, 1, 32, 24)
    maps[0, 0, 10, x] = 1
    maps[0, 0, 10, max(x - 1, 0)] += 0.5
    points, _ = argmax_2d(maps)
    assert quarter_offset(maps, points)[0, 0].tolist() == [x - 0.25 * moves, 10]


def test_a_target_decodes_to_within_half_a_pixel():
    """Targets are centred on whole pixels, so half a heatmap pixel (2 input pixels) is the limit.

    Uniformly spread joints lose a quarter pixel on average, on each axis.
    """
    random = np.random.default_rng(3)
    joints = torch.tensor(random.uniform(12, 80, (300, 17, 2)), dtype=torch.float32)
    maps, _ = gaussian_targets(joints, torch.ones(300, 17), (32, 24), 4, 2)
    points, values = argmax_2d(maps)
    error = (quarter_offset(maps, points) - joints / 4).abs()
    assert (values == 1).all()
    assert error.max() <= 0.5 + 1e-5
    assert error.mean().item() == pytest.approx(0.25, abs=0.01)


def test_a_peak_between_pixels_decodes_to_within_a_quarter_pixel():
    random = np.random.default_rng(4)
    true = random.uniform(5, 18, (200, 17, 2))
    y, x = np.mgrid[:32, :24]
    squared = (x - true[..., 0, None, None]) ** 2 + (y - true[..., 1, None, None]) ** 2
    maps = torch.from_numpy(np.exp(-squared / 8))
    points, _ = argmax_2d(maps)
    error = (quarter_offset(maps, points) - torch.from_numpy(true)).abs()
    assert error.max() <= 0.25 + 1e-6


@pytest.fixture(scope="module")
def nano():
    method = load_method("hrnet:nano")
    for layer in method.network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.manual_seed(0)
            torch.nn.init.kaiming_normal_(layer.weight)
    return method


@pytest.mark.parametrize("shift", [False, True])
@torch.inference_mode()
def test_flip_test_sees_no_difference_between_an_image_and_its_mirror_image(nano, shift):
    """Equal after mirroring back, up to the one column that the shift takes."""
    order = torch.from_numpy(nano.skeleton.flip_order)
    images = torch.rand(2, 3, 128, 96, generator=torch.Generator().manual_seed(1))
    maps = flip_test(nano.network, images, order, shift)
    mirrored = flip_test(nano.network, images.flip(-1), order, shift).flip(-1)[:, order]
    assert maps.std() > 0
    if shift:
        assert torch.equal(maps[..., 1:], mirrored[..., :-1])
    else:
        assert torch.equal(maps, mirrored)


@torch.inference_mode()
def test_flip_test_swaps_left_and_right():
    """A network that always answers with its joint's number: pairs must meet in the middle."""
    maps = torch.arange(17.0).view(1, 17, 1, 1).expand(1, 17, 4, 3)
    found = flip_test(
        lambda images: maps, torch.zeros(1, 3, 8, 6), torch.from_numpy(COCO_17.flip_order), True
    )
    for joint, other in enumerate(COCO_17.flip_order):
        assert (found[0, joint] == (joint + other) / 2).all()


def test_shift_keeps_the_first_column():
    maps = torch.arange(5.0).view(1, 1, 1, 5)
    mirror_maps = maps.flip(-1) * 10  # the network sees the mirror image second
    answers = iter([maps, mirror_maps])
    found = flip_test(
        lambda images: next(answers),
        torch.zeros(1, 3, 4, 4),
        torch.zeros(1, dtype=torch.long),
        True,
    )
    assert (2 * found - maps).flatten().tolist() == [0, 0, 10, 20, 30]
